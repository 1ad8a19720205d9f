"""What a reader guarantees."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Self

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import IrregularReadings, Recording


class ReaderConfig(Frozen, ABC):
    """The recipe's `data.reader`: how to find recordings of one format.

    `read` yields recordings in a reproducible order, values and units as the file states them,
    nothing cleaned, interpolated or resampled. It raises `DataError` naming the file for whatever
    it cannot read, and never yields a partial recording instead.
    """

    name: str
    general: ClassVar[bool] = False  # claims what may well be a more special format, like tables

    @classmethod
    def guess(cls, path: Path) -> Self | None:  # noqa: ARG003
        """The settings that read what lies at `path`; None = it is not this reader's format.

        Looks at names and at the heads of a few files only, and needs none of the reader's extras.

        Args:
            path: an existing file or folder.
        """
        return None

    @property
    def synthetic(self) -> bool:
        """True where the recordings are simulated; reports and titles then say so."""
        return False

    def files(self) -> Iterable[Path] | None:
        """Every file that `read` looks into; None = it reads none.

        What was made of them is out of date once one of them is another. By default the file at
        `root`, or all below it; a reader that looks beside its root, or at few of many, says so.

        Raises:
            DataError: the root does not exist.
        """
        root = getattr(self, "root", None)
        if root is None:
            return None
        path = resolve_root(root)
        return [path] if path.is_file() else (p for p in path.rglob("*") if p.is_file())

    @abstractmethod
    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        """Yields every recording; of its channels only those named, in the file's own names.

        Args:
            channels: source channel names to read; empty = all. A recording that lacks some of
                them is yielded with what it has, so that the caller can say which are absent.
        """


def resolve_root(root: str) -> Path:
    """The folder or file behind a recipe's `root`.

    Relative to the working directory; where it does not exist there, to `TSFM_ADAPT_DATA`.

    Raises:
        DataError: neither exists.
    """
    path = Path(root).expanduser()
    if path.exists():
        return path
    data = os.environ.get("TSFM_ADAPT_DATA")
    if not path.is_absolute() and data and (Path(data).expanduser() / path).exists():
        return Path(data).expanduser() / path
    tried = [str(path.absolute())] + ([str(Path(data) / path)] if data else [])
    hint = "" if data else " or set TSFM_ADAPT_DATA to the folder that holds it"
    raise DataError(
        f"data.reader.root: '{root}' does not exist (looked at {', '.join(tried)}). "
        f"Correct the path{hint}."
    )
