"""Toy text: a folder with a `.toy` file a subject, one sample a line.

The first line names the rate and each channel with its unit, `0.01 HR:bpm MAP:mmHg`; `-` stands
for a value that was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import IrregularReadings, Recording


class Config(ReaderConfig):
    """`data.reader: {name: toy_text, root: FOLDER}`."""

    name: Literal["toy_text"] = "toy_text"
    root: str

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """A folder with `.toy` files, or one of them."""
        return cls(root=str(path)) if _files(path) else None

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        """One recording a file, by name."""
        root = resolve_root(self.root)
        for path in _files(root):
            yield _recording(path, channels)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix == ".toy" else []
    return sorted(path.glob("*.toy"))


def _recording(path: Path, wanted: tuple[str, ...]) -> Recording:
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    try:
        rate, *columns = head.split()
        units = dict(column.split(":", 1) for column in columns)
        rows = [
            [np.nan if cell == "-" else float(cell) for cell in line.split()] for line in lines
        ]
        values = np.asarray(rows, dtype=np.float32).reshape(len(rows), len(units)).T
        rate_hz = float(rate)
    except ValueError as error:
        raise DataError(f"'{path}' is no toy text: {error}. Correct or remove it.") from error
    names = tuple(name for name in wanted or units if name in units)
    kept = [list(units).index(name) for name in names]
    return Recording(
        id=path.stem,
        subject=path.stem,
        values=values[kept],
        channels=names,
        units=tuple(units[name] for name in names),
        rate_hz=rate_hz,
    )
