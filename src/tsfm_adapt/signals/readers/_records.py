"""Rows of a table into records: who, when, and what is constant over a record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import MISSING, Table
from tsfm_adapt.signals.recording import FloatArray, IntArray


@dataclass(frozen=True)
class Columns:
    """Which columns say to which record a row belongs, by name."""

    time: str
    time_format: str
    subject: str | None  # None = the file is one subject
    record: str | None  # None = a subject has one record
    attributes: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """Some rows of a table, sorted by time; those of one time in the file's order."""

    id: str
    subject: str
    rows: IntArray  # (N,) in the table
    time_s: FloatArray  # (N,) since `start`, or since the file's own zero
    start: np.datetime64 | None
    attributes: dict[str, str | float]
    labels: dict[str, str | int | float]


def records(table: Table, columns: Columns, below: str) -> list[Record]:
    """The table's records, sorted by id.

    Args:
        table: the file.
        columns: which to use.
        below: the beginning of every id; '' where the table is the only one.

    Raises:
        DataError: there are no rows, a column is absent, a time or name is missing or broken, or
            an attribute changes in a record.
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
    parts = [cells for cells in (subjects, stays) if cells is not None]
    if below or not parts:
        parts.insert(0, [below or table.path.stem] * len(times))
    ids, first, group = np.unique(
        ["/".join(names) for names in zip(*parts, strict=True)],
        return_index=True,
        return_inverse=True,
    )
    order = np.lexsort([times, group])  # stable
    found = []
    for number, rows in enumerate(np.split(order, np.cumsum(np.bincount(group))[:-1])):
        time_s, start = _since_start(times[rows], calendar)
        found.append(
            Record(
                id=str(ids[number]),
                subject=parts[0][0] if subjects is None else subjects[first[number]],
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
    return found


def _names(table: Table, column: str) -> list[str]:
    cells = table.text(column)
    if (cells == "").any():
        raise table.broken(int((cells == "").argmax()), column, "expected a name")
    return [str(cell) for cell in cells]


def _since_start(
    times: FloatArray | IntArray, calendar: bool
) -> tuple[FloatArray, np.datetime64 | None]:
    """Seconds since `start`, which is the whole second of the first row."""
    if not calendar:
        return times.astype(np.float64), None
    second = int(times[0]) // 1_000_000
    return (times - second * 1_000_000) / 1e6, np.datetime64(second, "s")


def _constants(table: Table, names: Iterable[str], rows: IntArray) -> dict[str, str | float]:
    """What columns hold throughout some rows; absent where empty."""
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
