"""From a table's rows to readings or samples, by the table's layout.

long       one row a reading
wide       one row a time, one column a channel
subjects   one row a time, one column a subject
trials     one row a recording, one column a sample
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.plausible import substance
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.records import Columns, Record, records
from tsfm_adapt.signals.readers._tables.repeats import (
    Duplicates,
    merged,
    refuse,
    repeated,
    too_many,
)
from tsfm_adapt.signals.recording import FloatArray, IntArray, IrregularReadings, Recording
from tsfm_adapt.signals.units import canonical, convert

Layout = Literal["long", "wide", "subjects", "trials"]


@dataclass(frozen=True)
class Plan:
    """How the tables of a reader are laid out; the fields are those of its settings."""

    layout: Layout
    columns: Columns
    channel: str  # long: the column with the channel's name; subjects: the channel
    value: str  # long: the column with the reading; trials: the channel
    unit: str | None  # the column with a reading's unit
    units: Mapping[str, str]  # by channel; in wide tables the columns to read
    units_by_subject: Mapping[str, Mapping[str, str]]
    ignored: Collection[str]  # columns, and channels of a long table, that are not read
    duplicates: Duplicates | None
    rate_hz: float | None

    @property
    def used(self) -> set[str]:
        """The columns that are read."""
        own = self.columns
        names = {own.subject, own.record, own.series, self.unit, *own.attributes, *own.labels}
        names |= {*own.row_labels}
        if own.times is not None:
            names |= {own.times.time, own.times.date}
        if self.layout == "long":
            names |= {self.channel, self.value}
        elif self.layout == "wide":
            names |= {*self.units}
        return {name for name in names if name is not None}


def read_table(
    table: Table, plan: Plan, channels: Sequence[str], below: str
) -> Iterator[Recording | IrregularReadings]:
    """The recordings of a file.

    Args:
        table: the file.
        plan: of the reader.
        channels: names to read; empty = all.
        below: prefix of every id, the file's path below the root; '' for a single file.

    Raises:
        DataError: a column is absent, a reading is no number, a channel has no unit, or more
            readings share a time than may.
    """
    read = {"long": _long, "wide": _wide, "subjects": _subjects, "trials": _trials}[plan.layout]
    return read(table, plan, channels, below)


def _long(
    table: Table, plan: Plan, channels: Sequence[str], below: str
) -> Iterator[IrregularReadings]:
    """Readings of each record; every record has all channels of the file."""
    table.require([plan.channel], "channel")
    table.require([plan.value], "value")
    named = table.text(plan.channel)
    if (named == "").any():
        raise table.broken(int((named == "").argmax()), plan.channel, "expected a channel")
    of_records = records(table, plan.columns, below)
    known, code = np.unique(named, return_inverse=True)
    place = {name: number for number, name in enumerate(known.tolist())}
    wanted_names = channels or [name for name in place if name not in plan.ignored]
    names = tuple(name for name in wanted_names if name in place)
    index = np.full(len(place), -1)
    index[[place[name] for name in names]] = np.arange(len(names))
    of_row = index[code.reshape(-1)]
    wanted = np.flatnonzero(of_row >= 0)
    values = np.full(len(named), np.nan)
    if table.spelling.unit_in_cells:
        for number, name in enumerate(names):
            mine = np.flatnonzero(of_row == number)
            values[mine] = table.numbers(plan.value, mine, plan.units.get(name, ""))
    else:
        values[wanted] = table.numbers(plan.value, wanted)
    for record in of_records:
        kept = np.isfinite(values[record.rows]) & (of_row[record.rows] >= 0)
        rows, time_s = record.rows[kept], record.time_s[kept]
        own = np.array(values[rows])
        units = _units_of(table, plan, record, names, own, of_row[rows], rows)
        yield _readings(table, plan, record, _Cells(rows, time_s, of_row[rows], own), names, units)


def _wide(
    table: Table, plan: Plan, channels: Sequence[str], below: str
) -> Iterator[Recording | IrregularReadings]:
    """Samples of each record where there is a rate, else a reading for each filled cell."""
    for name in channels:
        if name in table.columns:
            _stated(table, name, plan.units)
    present = [name for name in plan.units if name in table.columns]
    if not present:
        table.require(plan.units, "units")
    names = tuple(name for name in channels or present if name in present)
    of_records = records(table, plan.columns, below)
    values = np.empty((len(names), table.rows))
    for number, name in enumerate(names):
        values[number] = table.numbers(name, unit=plan.units[name])
    for record in of_records:
        own = values[:, record.rows]  # (C, rows)
        if plan.rate_hz is not None:
            units = _units_of_wide(table, plan, record, names, own)
            yield _regular(table, plan, record, own, names, units, plan.rate_hz)
            continue
        row, index = np.nonzero(np.isfinite(own.T))
        units = _units_of_wide(table, plan, record, names, own)
        cells = _Cells(record.rows[row], record.time_s[row], index, own[index, row])
        yield _readings(table, plan, record, cells, names, units)


def _subjects(
    table: Table, plan: Plan, channels: Sequence[str], below: str
) -> Iterator[IrregularReadings]:
    """Readings of each column that is a subject; the file may be called by its channel."""
    file = table.path.name.split(".")[0]
    channel = file if file in plan.units else plan.channel
    if channels and channel not in channels:
        return
    unit = _stated(table, channel, plan.units)
    used = plan.used
    (record,) = records(table, plan.columns, below)
    for name in table.columns:
        if name in used:
            continue
        value = table.numbers(name, record.rows, unit=unit)
        kept = np.isfinite(value)
        number = np.zeros(int(kept.sum()), dtype=np.int64)
        cells = _Cells(record.rows[kept], record.time_s[kept], number, value[kept])
        own = replace(record, id=f"{below}/{name}" if below else name, subject=name)
        yield _readings(table, plan, own, cells, (channel,), (unit,))


def _trials(table: Table, plan: Plan, channels: Sequence[str], below: str) -> Iterator[Recording]:
    """A recording for each row, from the columns that are not used otherwise, in their order."""
    assert plan.rate_hz is not None
    if channels and plan.value not in channels:
        return
    unit = _stated(table, plan.value, plan.units)
    samples = [name for name in table.columns if name not in plan.used | {*plan.ignored}]
    values = np.stack([table.numbers(name, unit=unit) for name in samples], axis=1)
    prefix = below or table.path.name.split(".")[0]
    for row in range(table.rows):
        alone = Table(
            table.path,
            {name: column[row : row + 1] for name, column in table.columns.items()},
            table.number_of(row),
        )
        columns = replace(plan.columns, times=None)
        (record,) = records(alone, columns, below)
        yield Recording(
            id=f"{prefix}/{table.number_of(row)}",
            subject=record.subject if columns.subject else f"{prefix}/{table.number_of(row)}",
            values=values[row : row + 1],
            channels=(plan.value,),
            units=(unit,),
            rate_hz=plan.rate_hz,
            attributes=record.attributes,
            labels=record.labels,
            notes=_taken(table),
        )


@dataclass(frozen=True)
class _Cells:
    """Readings of one record, sorted by time; the arrays are (N,)."""

    rows: IntArray  # in the table
    time_s: FloatArray
    channel: IntArray
    value: FloatArray


def _readings(
    table: Table,
    plan: Plan,
    record: Record,
    cells: _Cells,
    channels: tuple[str, ...],
    units: tuple[str, ...],
) -> IrregularReadings:
    """The readings of a record; several of one channel and time are merged or refused."""
    time_s, channel, value = cells.time_s, cells.channel.astype(np.int64), cells.value
    if (np.diff(record.time_s) == 0).any() and plan.duplicates != "packets":
        again = repeated(time_s, channel)
        if plan.duplicates is not None:
            what = f"readings of one channel and time, of which the {plan.duplicates} stands"
            table.notes[what] += int(again.sum())
            time_s, channel, value = merged(time_s, channel, value, plan.duplicates)
        elif too_many(again):
            key = _key(table, plan, record)
            refuse(table, record.rows, key, cells.rows, again, plan.used)
    return IrregularReadings(
        id=record.id,
        subject=record.subject,
        time_s=time_s,
        channel=channel,
        value=value,
        channels=channels,
        units=units,
        start=record.start,
        spans=record.spans,
        attributes=record.attributes,
        labels=record.labels,
        zone=record.zone,
        notes=_taken(table),
    )


def _key(table: Table, plan: Plan, record: Record) -> IntArray:
    """A number for each row (N,) of a record, equal where time and channel are."""
    _, time = np.unique(record.time_s, return_inverse=True)
    if plan.layout != "long":
        return time.reshape(-1)
    _, channel = np.unique(table.text(plan.channel)[record.rows], return_inverse=True)
    _, key = np.unique(
        time.reshape(-1) * (channel.max() + 1) + channel.reshape(-1), return_inverse=True
    )
    return key.reshape(-1)


def _regular(
    table: Table,
    plan: Plan,
    record: Record,
    values: FloatArray,
    channels: tuple[str, ...],
    units: tuple[str, ...],
    rate_hz: float,
) -> Recording:
    """The samples of a record (C, N), whose rows lie on the clock."""
    if plan.columns.times is not None:
        _check_clock(table, plan.columns.times.time, record, rate_hz)
    return Recording(
        id=record.id,
        subject=record.subject,
        values=values,
        channels=channels,
        units=units,
        rate_hz=rate_hz,
        start=record.start,
        spans=record.spans,
        attributes=record.attributes,
        labels=record.labels,
        zone=record.zone,
        notes=_taken(table),
    )


def _taken(table: Table) -> dict[str, int]:
    """The table's notes, which go with the first recording that is made of it."""
    notes = dict(table.notes)
    table.notes.clear()
    return notes


def _stated(table: Table, name: str, units: Mapping[str, str]) -> str:
    if name not in units:
        raise DataError(
            f"data.reader.units: every channel that is read has a unit; '{name}' of {table.path} "
            f"has none.{closest(name, units)} Stated: {', '.join(units)}. Add it."
        )
    return units[name]


def _units_of(
    table: Table,
    plan: Plan,
    record: Record,
    names: Sequence[str],
    value: FloatArray,
    channel: IntArray,
    rows: IntArray,
) -> tuple[str, ...]:
    """The unit of each channel (C,) in a long record; `value` (N,) is converted to it in place."""
    own = plan.units_by_subject.get(record.subject, {})
    if plan.unit is None:
        return tuple(own.get(name) or _stated(table, name, plan.units) for name in names)
    table.require([plan.unit], "unit")
    cells = table.text(plan.unit)
    units = []
    for number, name in enumerate(names):
        mine = np.flatnonzero(channel == number)
        everywhere = cells[rows[mine]]
        if not mine.size:
            first = np.flatnonzero(table.text(plan.channel) == name)[0]
            units.append(str(cells[first]) or "1")
            continue
        unit = str(everywhere[0])
        for other in np.unique(everywhere).tolist():
            some = mine[everywhere == other]
            if other == "":
                raise table.broken(int(rows[some[0]]), plan.unit, f"expected the unit of '{name}'")
            value[some] = _converted(
                table, plan.unit, int(rows[some[0]]), value[some], name, other, unit
            )
        units.append(unit)
    return tuple(units)


def _units_of_wide(
    table: Table, plan: Plan, record: Record, names: Sequence[str], values: FloatArray
) -> tuple[str, ...]:
    """The unit of each channel (C,); `values` (C, N) are converted to it in place."""
    own = plan.units_by_subject.get(record.subject, {})
    units = [own.get(name) or plan.units[name] for name in names]
    if plan.unit is None or not names:
        return tuple(units)
    table.require([plan.unit], "unit")
    cells = table.text(plan.unit)[record.rows]
    measured = np.flatnonzero(np.isfinite(values[0]))
    if measured.size:
        units[0] = str(cells[measured[0]])
        for other in np.unique(cells[measured]).tolist():
            some = measured[cells[measured] == other]
            row = int(record.rows[some[0]])
            if other == "":
                raise table.broken(row, plan.unit, f"expected the unit of '{names[0]}'")
            values[0, some] = _converted(
                table, plan.unit, row, values[0, some], names[0], other, units[0]
            )
    return tuple(units)


def _converted(
    table: Table, column: str, row: int, value: FloatArray, name: str, source: str, target: str
) -> FloatArray:
    """Readings (N,) in the unit that the record's first reading has."""
    if source == target or (canonical(source) or source) == (canonical(target) or target):
        return value
    try:
        scale, offset = convert(source, target, substance(name))
    except DataError:
        raise table.broken(row, column, f"expected one unit of '{name}', {target}") from None
    return value * scale + offset


def _check_clock(table: Table, column: str, record: Record, rate_hz: float) -> None:
    """Stops at the first row that is half a sample or more off the clock."""
    sample = (record.time_s - record.time_s[0]) * rate_hz
    off = np.flatnonzero(np.abs(sample - np.arange(len(sample))) >= 0.5)
    if off.size:
        row = int(off[0])
        step_s = record.time_s[row] - record.time_s[row - 1]
        raise table.broken(
            int(record.rows[row]),
            column,
            f"with rate_hz={rate_hz:g} rows are {1 / rate_hz:g} s apart (null reads rows at any "
            f"times), expected sample {row} of {record.id}, {step_s:g} s after the row before",
        )
