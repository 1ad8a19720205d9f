"""The base class of readers: what `data.reader` of a recipe builds."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Self

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import IrregularReadings, Recording

# Settings by which a reader is told who was recorded.
_OF_SUBJECTS = ("subject", "subject_pattern", "subjects")


class ReaderConfig(Frozen, ABC):
    """A reader of one file format, with its settings; base class.

    `read` yields recordings in a reproducible order, with values and units as in the files:
    nothing is cleaned, interpolated or resampled. A file that cannot be read raises `DataError`
    with its name; no recording is ever yielded in part.
    """

    name: str
    general: ClassVar[bool] = False  # True: a more special reader goes first where both fit
    states_subjects: ClassVar[bool] = False  # True: every file of the format says who was recorded

    @classmethod
    def guess(cls, path: Path) -> Self | None:  # noqa: ARG003
        """The settings that read the data at `path`; None = not this reader's format.

        Opens only the beginnings of a few files, and needs no optional package where it can do
        without: `EnvironmentProblem` says which one it cannot do without.

        Args:
            path: an existing file or folder.
        """
        return None

    @property
    def synthetic(self) -> bool:
        """True where the recordings are simulated, which reports and titles then state."""
        return False

    @property
    def names_subjects(self) -> bool:
        """Whether `subject` of the recordings is who was recorded, not just a file's name.

        True where the format states the person, or a setting says who it was.
        """
        return self.states_subjects or any(
            getattr(self, name) is not None for name in self.subject_settings
        )

    @property
    def subject_settings(self) -> tuple[str, ...]:
        """The settings that say who was recorded, of those that the reader has."""
        return tuple(name for name in _OF_SUBJECTS if name in type(self).model_fields)

    def files(self) -> Iterable[Path] | None:
        """Every file that `read` opens, which caches depend on; None = none.

        By default the file at `root`, or all files below it. Readers that open files beside their
        root, or few of many, override this.

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
        """Yields every recording, with the named channels only.

        Args:
            channels: names of channels as in the files; empty = all. A recording that lacks some
                of them is yielded with the others.
        """


def resolve_root(root: str) -> Path:
    """The folder or file that a recipe's `root` names.

    Relative paths are looked up in the working directory first, then in `TSFM_ADAPT_DATA`.

    Raises:
        DataError: it exists in neither.
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
