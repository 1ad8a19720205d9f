"""A table's cells as text and numbers; what cannot be read is named by row and column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._tables.spelling import Column, NotANumber, Spelling
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray


class Undecided(DataError):
    """What several settings would read differently; `settings` is the likeliest choice."""

    def __init__(self, message: str, settings: Mapping[str, JsonValue]) -> None:
        super().__init__(message)
        self.settings = settings


class TextColumns(Mapping[str, Column]):
    """Columns of text, which become arrays when they are asked for."""

    def __init__(self, cells: Mapping[str, Sequence[str]]) -> None:
        self.cells = cells
        self._arrays: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in self._arrays:
            self._arrays[name] = np.array(self.cells[name], dtype=np.str_)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self.cells

    def __iter__(self) -> Iterator[str]:
        return iter(self.cells)

    def __len__(self) -> int:
        return len(self.cells)


@dataclass(frozen=True)
class Table:
    """The columns of a file, all of the same length."""

    path: Path
    columns: Mapping[str, Column]
    first_row: int  # number that viewers of this format give the first row of values
    skipped: tuple[int, ...] = ()  # sorted; rows of the file, from `first_row` on, that are absent
    spelling: Spelling = field(default_factory=Spelling)
    units: Mapping[str, str] = field(default_factory=dict)  # by column, where the file states them
    zones: Mapping[str, str] = field(default_factory=dict)  # of typed columns of UTC times
    begins: bool = True  # False: a later part of a file, whose notes are taken
    notes: Counter[str] = field(default_factory=Counter)  # of `Recording.notes`; grows while read

    @property
    def rows(self) -> int:
        """Number of rows of values."""
        if isinstance(self.columns, TextColumns):
            return len(next(iter(self.columns.cells.values()), ()))
        return len(next(iter(self.columns.values()), ()))

    def kept(self, keep: BoolArray) -> Table:
        """The rows of which (N,) says so; the numbers of rows stay those of the file."""
        places = np.delete(np.arange(self.rows + len(self.skipped)), list(self.skipped))
        skipped = sorted([*self.skipped, *places[~keep].tolist()])
        columns = {name: column[keep] for name, column in self.columns.items()}
        return replace(self, columns=columns, skipped=tuple(skipped))

    def require(self, names: Iterable[str], field: str) -> None:
        """Stops where a column is absent; `field` is the setting that names the columns."""
        for name in names:
            if name not in self.columns:
                raise DataError(
                    f"data.reader.{field}: {self.path} has no column '{name}'."
                    f"{closest(name, self.columns)} Columns: {', '.join(self.columns)}."
                )

    def number_of(self, row: int) -> int:
        """The number that a viewer of the file gives a row of this table."""
        for skipped in self.skipped:
            row += skipped <= row
        return self.first_row + row

    def shown(self, row: int, most: int = 6) -> str:
        """A row for an error: `row 7: time=0, HR=70`."""
        cells = [f"{name}={column[row]}" for name, column in [*self.columns.items()][:most]]
        more = ", ..." if len(self.columns) > most else ""
        return f"row {self.number_of(row)}: {', '.join(cells)}{more}"

    def broken(self, row: int, column: str, rule: str) -> DataError:
        """The error for one cell that does not follow `rule`."""
        cell = self.columns[column][row]
        return DataError(
            f"{self.path}, row {self.number_of(row)}, column '{column}': {rule}, "
            f"found '{cell}'. Correct the cell, or the settings of data.reader."
        )

    def text(self, column: str) -> Column:
        """A column (N,) as text without surrounding blanks; '' where empty."""
        return np.char.strip(self.columns[column].astype(np.str_))

    def numbers(
        self, column: str, rows: IntArray | None = None, unit: str = "", *, noted: bool = True
    ) -> FloatArray:
        """Some rows (M,) of a column as finite numbers; NaN where empty or missing.

        Args:
            column: its name.
            rows: row numbers of the table; None = all.
            unit: that cells may bear, where the spelling says so.
            noted: count cells at a sensor's limit in `notes`.

        Raises:
            DataError: a cell is neither a number nor missing.
        """
        if rows is None and isinstance(self.columns, TextColumns):
            plain = self.spelling.plain_numbers(self.columns.cells[column])
            if plain is not None:
                return plain
        cells = self.columns[column] if rows is None else self.columns[column][rows]
        if cells.dtype.kind in "iufb":
            number: FloatArray = cells.astype(np.float64)
        else:
            text = np.char.strip(cells.astype(np.str_))
            try:
                number = self.spelling.numbers(text, unit, self.notes if noted else None)
            except NotANumber:
                row, rule = self._first_broken(text, unit)
                raise self.broken(row if rows is None else int(rows[row]), column, rule) from None
        missing = self.spelling.missing_numbers
        if missing:
            number[np.isin(number, missing)] = np.nan
        if np.isinf(number).any():
            row = int(np.isinf(number).argmax())
            place = row if rows is None else int(rows[row])
            raise self.broken(place, column, "expected a finite number")
        return number

    def _first_broken(self, text: Column, unit: str) -> tuple[int, str]:
        """The index of the first cell that is no number, and the rule that it breaks."""
        for row, cell in enumerate(text.tolist()):
            try:
                self.spelling.number(cell, unit)
            except NotANumber as problem:
                return row, str(problem)
        raise AssertionError("every cell is a number")


def moment(text: str) -> np.datetime64:
    """Parses a calendar time to whole seconds, rounded down; a time with an offset becomes UTC.

    Raises:
        ValueError: it is not written like 2014-02-03 08:42:12.
    """
    read = datetime.fromisoformat(text)
    utc = read if read.tzinfo is None else read.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(utc.replace(microsecond=0), "s")
