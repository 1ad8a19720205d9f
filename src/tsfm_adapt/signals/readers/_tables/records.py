"""Groups the rows of a table into records, with subject, start, attributes and labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.order import Backward, in_order
from tsfm_adapt.signals.readers._tables.repeats import separators, spread
from tsfm_adapt.signals.readers._tables.spelling import MISSING, plain
from tsfm_adapt.signals.readers._tables.times import TimeColumns, Times, times_of
from tsfm_adapt.signals.recording import FloatArray, IntArray, Span

_OF_DAY_S = 3600  # a clock that begins later tells the time of day, not what has passed


@dataclass(frozen=True)
class Columns:
    """Names of the columns that identify and describe a record."""

    times: TimeColumns | None  # None = rows are samples at `rate_hz`
    subject: str | None = None  # None = the file is one subject
    file_subject: str | None = None  # that of the file, where no column says it
    record: str | None = None  # None = a subject has one record
    series: str | None = None  # in whose rows time runs by itself: a long table's channel
    attributes: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    row_labels: tuple[str, ...] = ()
    backward: Backward | None = None
    packets: bool = False
    rate_hz: float = 1.0  # where there are no times


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
    spans: tuple[Span, ...] = ()
    zone: str | None = None


def records(table: Table, columns: Columns, below: str) -> list[Record]:
    """The table's records, sorted by id.

    Args:
        table: the file.
        columns: the columns to use.
        below: prefix of every id, the file's path below the root; '' for a single file.

    Raises:
        DataError: there are no rows, a column is absent, a time or name is missing or cannot be
            read, or an attribute is not constant in a record.
        Undecided: times run backwards, and not only one thing can be meant.
    """
    table.require([name for name in (columns.subject,) if name], "subject")
    table.require([name for name in (columns.record,) if name], "record")
    table.require(columns.attributes, "attributes")
    table.require(columns.labels, "labels")
    table.require(columns.row_labels, "row_labels")
    if not table.rows:
        raise DataError(
            f"A table has at least one row of values: {table.path} has a header only. "
            "Take it out of the folder, or correct data.reader.skip_rows."
        )
    times = Times(np.arange(table.rows), calendar=False)
    if columns.times is not None:
        times = times_of(table, columns.times)
    file = below or table.path.name.split(".")[0]
    ids, group = _groups(table, columns, file if below else "", file)
    value, divided = _settled(table, columns, times, group)
    one = len(ids) == 1 and divided is group
    order = np.argsort(value, kind="stable") if one else np.lexsort([value, divided])
    numbers: Counter[int] = Counter()
    result = []
    for rows in [order] if one else np.split(order, np.cumsum(np.bincount(divided))[:-1]):
        number = int(group[rows[0]])
        numbers[number] += 1
        id = ids[number] if divided is group else f"{ids[number]}#{numbers[number]}"
        own = value[rows] if columns.times else np.arange(len(rows)) / columns.rate_hz
        if times.of_day and own[0] >= _OF_DAY_S:
            table.notes["record(s) with a clock and no date, counted from the first row"] += 1
            own = own - own[0]
        elif not times.calendar and own[0] < 0:
            table.notes["record(s) with times before 0, counted from the first row"] += 1
            own = own - own[0]
        result.append(_record(table, columns, times, id, file, rows, own))
    return result


def _groups(table: Table, columns: Columns, below: str, file: str) -> tuple[list[str], IntArray]:
    """The ids of the records, sorted, and the number of each row's (N,)."""
    named = [name for name in (columns.subject, columns.record) if name is not None]
    if not named:
        return [file], np.zeros(table.rows, dtype=np.int64)
    names = [_names(table, column) for column in named]
    if below:
        names.insert(0, [below] * table.rows)
    ids, group = np.unique(
        ["/".join(of_row) for of_row in zip(*names, strict=True)], return_inverse=True
    )
    return ids.tolist(), group.reshape(-1)


def _settled(
    table: Table, columns: Columns, times: Times, group: IntArray
) -> tuple[FloatArray | IntArray, IntArray]:
    """Times that rise in each record, and the record of each row, which sessions divide."""
    if columns.times is None:
        return times.value, group
    series = None
    if columns.series is not None:
        _, series = np.unique(table.columns[columns.series], return_inverse=True)
    try:
        value, divided = in_order(
            table, columns.times.time, times, group, series, columns.backward
        )
    except Undecided as problem:
        raise _with_subject(table, columns, times, group, series, problem) from problem
    if columns.packets:
        scale = 1e6 if times.calendar else 1.0
        key = divided if series is None else divided * (series.max(initial=0) + 1) + series
        seconds = spread(table, (value - value.min()) / scale, key)
        value = seconds + value.min() if scale == 1.0 else _microseconds(seconds, value.min())
    return value, divided


def _with_subject(
    table: Table,
    columns: Columns,
    times: Times,
    group: IntArray,
    series: IntArray | None,
    problem: Undecided,
) -> Undecided:
    """The error, offering a column as subject where one tells rows of one time apart."""
    if columns.subject is not None or problem.settings != {"backward": "session"}:
        return problem
    codes = [group, times.value] if series is None else [group, series, times.value]
    key = np.unique(np.stack(codes), axis=1, return_inverse=True)[1].reshape(-1)
    used = {columns.record, columns.series}
    apart = [name for name in separators(table, key) if name not in used]
    if not apart:
        return problem
    return Undecided(
        f"{problem} Column '{apart[0]}' tells rows of one time apart: is it the subject?",
        {"subject": apart[0]},
    )


def _microseconds(seconds: FloatArray, origin: int) -> IntArray:
    return np.round(seconds * 1e6).astype(np.int64) + origin


def _record(
    table: Table,
    columns: Columns,
    times: Times,
    id: str,
    file: str,
    rows: IntArray,
    own: FloatArray | IntArray,
) -> Record:
    """One record; `own` (N,) are the times of its `rows`."""
    time_s, start = _since_start(own, times.calendar)
    subject = columns.file_subject or file
    if columns.subject is not None:
        subject = str(table.columns[columns.subject][rows[0]]).strip()
    return Record(
        id=id,
        subject=subject,
        rows=rows,
        time_s=time_s,
        start=start,
        attributes=_constants(table, columns.attributes, rows),
        labels={
            name: int(value) if isinstance(value, float) and value.is_integer() else value
            for name, value in _constants(table, columns.labels, rows).items()
        },
        spans=tuple(_spans(table, columns.row_labels, rows, time_s)),
        zone=times.zone,
    )


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
        number = table.spelling.plain(value)
        constants[name] = value if number is None or not np.isfinite(number) else number
    return constants


def _spans(
    table: Table, names: Iterable[str], rows: IntArray, time_s: FloatArray
) -> Iterator[Span]:
    """A span for each run of rows with one value; missing values and 0 have none.

    It lasts to the row after the run, the last one to the last row. A 1 is called by the column's
    name, another number `NAME=2`, text as it is.
    """
    for name in names:
        cells = table.text(name)[rows]
        edges = np.flatnonzero(cells[1:] != cells[:-1]) + 1
        for first, stop in pairwise([0, *edges.tolist(), len(cells)]):
            label = _label_of(name, str(cells[first]))
            if label is not None:
                end = time_s[stop] if stop < len(cells) else time_s[-1]
                yield Span(float(time_s[first]), float(end), label)


def _label_of(column: str, cell: str) -> str | None:
    if cell in MISSING:
        return None
    number = plain(cell)
    if number is None:
        return cell
    return None if number == 0 else column if number == 1 else f"{column}={number:g}"
