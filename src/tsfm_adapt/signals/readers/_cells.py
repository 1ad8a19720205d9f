"""Cells of a table as numbers, text and times; errors name file, row and column."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.recording import FloatArray, IntArray

Column = npt.NDArray[Any]  # text ('' = empty), numbers, or datetime64

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
_CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?")


@dataclass(frozen=True)
class Table:
    """The columns of a file, all of the same length."""

    path: Path
    columns: Mapping[str, Column]
    first_row: int  # number that viewers of this format give the first row of values

    @property
    def rows(self) -> int:
        """Number of rows of values."""
        return len(next(iter(self.columns.values()), ()))

    def require(self, names: Iterable[str], field: str) -> None:
        """Stops where a column is absent; `field` is the setting that names the columns."""
        for name in names:
            if name not in self.columns:
                raise DataError(
                    f"data.reader.{field}: {self.path} has no column '{name}'."
                    f"{closest(name, self.columns)} Columns: {', '.join(self.columns)}."
                )

    def broken(self, row: int, column: str, rule: str) -> DataError:
        """The error for one cell that does not follow `rule`."""
        cell = self.columns[column][row]
        return DataError(
            f"{self.path}, row {self.first_row + row}, column '{column}': {rule}, "
            f"found '{cell}'. Correct the cell, or the settings of data.reader."
        )

    def text(self, column: str) -> Column:
        """A column (N,) as text without surrounding blanks; '' where empty."""
        return np.char.strip(self.columns[column].astype(np.str_))

    def numbers(self, column: str, rows: IntArray, missing: Iterable[str]) -> FloatArray:
        """Some rows (M,) of a column as finite numbers; NaN where empty or one of `missing`."""
        tokens = {*MISSING, *missing}
        if self.columns[column].dtype.kind in "iufb":
            number = self.columns[column][rows].astype(np.float64)
        else:
            text = self.text(column)[rows]
            text = np.where(np.isin(text, list(tokens)), "nan", text)
            try:
                number = text.astype(np.float64)
            except ValueError:
                row = next(row for row, cell in zip(rows, text, strict=True) if not _number(cell))
                raise self.broken(
                    int(row), column, "expected a number or one of missing_values"
                ) from None
        number[np.isin(number, [float(token) for token in tokens if _number(token)])] = np.nan
        if np.isinf(number).any():
            raise self.broken(int(rows[np.isinf(number)][0]), column, "expected a finite number")
        return number

    def times(self, column: str, time_format: str) -> tuple[FloatArray | IntArray, bool]:
        """A column as times.

        Args:
            column: its name.
            time_format: auto, seconds, unix, clock, iso, or a pattern for `datetime.strptime`.

        Returns:
            The times (N,), and True where they are calendar times: integer microseconds since
            1970-01-01. Otherwise they are seconds since the record's own zero.
        """
        cells = self.columns[column]
        if cells.dtype.kind == "M":
            if np.isnat(cells).any():
                raise self.broken(int(np.isnat(cells).argmax()), column, "expected a time")
            return cells.astype("datetime64[us]").astype(np.int64), True
        if time_format == "auto":
            time_format = _guess(cells)
        if time_format in ("seconds", "unix"):
            seconds = self.numbers(column, np.arange(len(cells)), ())
            if np.isnan(seconds).any():
                raise self.broken(int(np.isnan(seconds).argmax()), column, "expected seconds")
            if time_format == "seconds":
                return seconds, False
            return np.round(seconds * 1e6).astype(np.int64), True
        if time_format == "clock":
            clock = self._each(column, _seconds_of_clock, "expected HH:MM or HH:MM:SS")
            return np.array(clock, dtype=np.float64), False
        if time_format == "iso":
            rule, read = "expected a time like 2014-02-03 08:42:12", datetime.fromisoformat
        else:
            rule = f"expected a time of the form {time_format}"
            read = lambda cell: datetime.strptime(cell, time_format)  # noqa: E731
        moments = [_utc(moment) for moment in self._each(column, read, rule)]
        return np.array(moments, dtype="datetime64[us]").astype(np.int64), True

    def _each(self, column: str, read: Callable[[str], Any], rule: str) -> list[Any]:
        """Parses every cell of a column."""
        parsed = []
        for row, cell in enumerate(self.text(column).tolist()):
            try:
                parsed.append(read(cell))
            except ValueError:
                raise self.broken(row, column, rule) from None
        return parsed


def read_csv(path: Path, delimiter: str, encoding: str) -> Table:
    """Reads the columns of a CSV file as text; rows are numbered like lines, the header is row 1.

    Raises:
        DataError: not such a file, two columns share a name, or a row is too short or too long.
    """
    try:
        with path.open(encoding=encoding, newline="") as file:
            rows = list(csv.reader(file, delimiter=delimiter, strict=True))
    except (OSError, UnicodeError, csv.Error) as problem:
        raise DataError(
            f"{path} must be a CSV file in {encoding}: {problem}. "
            "Correct the encoding or the file."
        ) from problem
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        raise DataError(f"A CSV file has a header row: {path} is empty. Fetch it again.")
    header = [cell.strip() for cell in rows[0]]
    if len(set(header)) != len(header):
        raise DataError(
            f"Column names differ: {path} has {', '.join(header)}. Rename one in the file."
        )
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise DataError(
                f"Every row has as many cells as the header, {len(header)}: {path}, row "
                f"{number}, has {len(row)} ('{delimiter.join(row)[:60]}'). Correct it or "
                "the delimiter."
            )
    columns = {
        name: np.array([row[index] for row in rows[1:]], dtype=np.str_)
        for index, name in enumerate(header)
    }
    return Table(path, columns, first_row=2)


def moment(text: str) -> np.datetime64:
    """Parses a calendar time to whole seconds, rounded down; a time with an offset becomes UTC.

    Raises:
        ValueError: it is not written like 2014-02-03 08:42:12.
    """
    return np.datetime64(_utc(datetime.fromisoformat(text)).replace(microsecond=0), "s")


def _guess(cells: Column) -> str:
    """The time format of the first cell; the other cells must follow it."""
    first = str(cells[0]).strip()
    if cells.dtype.kind in "iuf" or _number(first):
        return "seconds"
    return "clock" if _CLOCK.fullmatch(first) else "iso"


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _seconds_of_clock(cell: str) -> float:
    match = _CLOCK.fullmatch(cell)
    if match is None:
        raise ValueError(cell)
    hours, minutes, seconds = match.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds)


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
