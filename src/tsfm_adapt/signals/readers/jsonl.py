"""JSON tables (.jsonl, .ndjson, .json): an object a row, also compressed; one file or a folder.

Each line is an object, or the file is one list of objects. Keys are columns, those of nested
objects joined with dots (`heart.rate`); an absent key is an empty cell, and so is null. Rows are
numbered like lines, or by their place in the list.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import files_below, matching
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.dialect import Sample, spelled
from tsfm_adapt.signals.readers._tables.json_rows import JsonRows, looks_like_rows, rows_of
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.text import Dialect
from tsfm_adapt.signals.readers._tables.typed import column_of
from tsfm_adapt.signals.readers._tables.written import NumbersConfig

_HEAD_ROWS = 20_000
_LOOKED_AT = 8  # files
_PACKED = ("", ".gz")


class Config(NumbersConfig):
    """Objects as rows; numbers keep their type where a key holds nothing else."""

    patterns: ClassVar[tuple[str, ...]] = tuple(
        f"*{suffix}{packed}" for suffix in (".jsonl", ".ndjson") for packed in _PACKED
    )
    guessed_patterns: ClassVar[tuple[str, ...]] = (*patterns, "*.json", "*.json.gz")

    name: Literal["jsonl"] = "jsonl"

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by rows; JSON files that hold one object are settings, and no table."""
        files = matching(files_below(path), cls.guessed_patterns)
        if not any(map(looks_like_rows, files[:_LOOKED_AT])):
            return None
        return super().guess(path)

    @classmethod
    def sample(cls, path: Path) -> Sample:
        """The first rows, with the marks of numbers that are text."""
        rows = rows_of(path, _HEAD_ROWS)
        if len(rows.numbers) < 2:
            raise DataError(f"{path} must have rows; it has none, or one.")
        return spelled(path, _table(path, rows, Spelling()), Dialect(delimiter=""))

    def load(self, path: Path) -> Table:
        """Reads all objects."""
        return _table(path, rows_of(path), self.spelling)


def _table(path: Path, rows: JsonRows, spelling: Spelling) -> Table:
    columns = {name: column_of(cells) for name, cells in rows.columns.items()}
    return Table(path, columns, first_row=1, skipped=rows.skipped, spelling=spelling)
