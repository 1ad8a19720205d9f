"""Groups the rows of a table into records, with subject, start, attributes and labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import MISSING, Table
from tsfm_adapt.signals.recording import FloatArray, IntArray


@dataclass(frozen=True)
class Columns:
    """Names of the columns that identify and describe a record."""

    time: str
    time_format: str
    subject: str | None  # None = the file is one subject
    record: str | None  # None = a subject has one record
    attributes: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """The rows of a record, sorted by time; rows of one time keep the file's order."""

    id: str
    subject: str
    rows: IntArray  # (N,) row numbers in the table
    time_s: FloatArray  # (N,) seconds since `start`, or since the file's own zero
    start: np.datetime64 | None
    attributes: dict[str, str | float]
    labels: dict[str, str | int | float]


def records(table: Table, columns: Columns, below: str) -> list[Record]:
    """The table's records, sorted by id.

    Args:
        table: the file.
        columns: the columns to use.
        below: prefix of every id, the file's path below the root; '' for a single file.

    Raises:
        DataError: there are no rows, a column is absent, a time or name is missing or cannot be
            read, or an attribute is not constant in a record.
    """
    table.require([columns.time], "time")
    table.require([name for name in (columns.subject,) if name], "subject")
    table.require([name for name in (columns.record,) if name], "record")
    table.require(columns.attributes, "attributes")
    table.require(columns.labels, "labels")
    if not table.rows:
        raise DataError(
            f"A table has at least one row of values: {table.path} has a header only. "
            "Fetch it again, or take it out of the folder."
        )
    times, calendar = table.times(columns.time, columns.time_format)
    subjects = None if columns.subject is None else _names(table, columns.subject)
    stays = None if columns.record is None else _names(table, columns.record)
    names = [cells for cells in (subjects, stays) if cells is not None]
    if below or not names:
        names.insert(0, [below or table.path.stem] * len(times))
    ids, first, group = np.unique(
        ["/".join(of_row) for of_row in zip(*names, strict=True)],
        return_index=True,
        return_inverse=True,
    )
    order = np.lexsort([times, group])  # stable
    result = []
    for number, rows in enumerate(np.split(order, np.cumsum(np.bincount(group))[:-1])):
        time_s, start = _since_start(times[rows], calendar)
        result.append(
            Record(
                id=str(ids[number]),
                subject=names[0][0] if subjects is None else subjects[first[number]],
                rows=rows,
                time_s=time_s,
                start=start,
                attributes=_constants(table, columns.attributes, rows),
                labels={
                    name: int(value) if isinstance(value, float) and value.is_integer() else value
                    for name, value in _constants(table, columns.labels, rows).items()
                },
            )
        )
    return result


def _names(table: Table, column: str) -> list[str]:
    """A column without empty cells."""
    cells = table.text(column)
    if (cells == "").any():
        raise table.broken(int((cells == "").argmax()), column, "expected a name")
    return [str(cell) for cell in cells]


def _since_start(
    times: FloatArray | IntArray, calendar: bool
) -> tuple[FloatArray, np.datetime64 | None]:
    """Seconds (N,) since `start`, the whole second of the first row; None without a calendar."""
    if not calendar:
        return times.astype(np.float64), None
    second = int(times[0]) // 1_000_000
    return (times - second * 1_000_000) / 1e6, np.datetime64(second, "s")


def _constants(table: Table, names: Iterable[str], rows: IntArray) -> dict[str, str | float]:
    """The one value of each column over some rows; absent where all are empty."""
    constants: dict[str, str | float] = {}
    for name in names:
        cells = table.text(name)[rows]
        known = np.flatnonzero(~np.isin(cells, MISSING))
        if not known.size:
            continue
        value = str(cells[known[0]])
        others = known[cells[known] != value]
        if others.size:
            raise table.broken(
                int(rows[others[0]]), name, f"expected '{value}' as in the record's other rows"
            )
        try:
            constants[name] = float(value)
        except ValueError:
            constants[name] = value
    return constants
