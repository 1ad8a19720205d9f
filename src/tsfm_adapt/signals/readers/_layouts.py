"""Readings out of a table: one row a reading (long), or one row a time (wide)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._records import Record
from tsfm_adapt.signals.recording import Events, FloatArray, IntArray, Recording


def events_of_long(
    table: Table,
    records: Sequence[Record],
    channels: Sequence[str],
    channel: str,
    value: str,
    unit: str | Mapping[str, str],
    missing: Sequence[str],
) -> Iterator[Events]:
    """Events of a long table; every record has all channels that the file has.

    Args:
        table: the file.
        records: its rows by record.
        channels: names to read; empty = all.
        channel: the column that names a row's channel.
        value: the column with the reading.
        unit: the column with its unit, or units by channel.
        missing: cells that mean missing.

    Raises:
        DataError: a column is absent, a reading is no number, or a channel has no unit or two.
    """
    table.require([channel], "channel")
    table.require([value], "value")
    named = table.text(channel)
    if (named == "").any():
        raise table.broken(int((named == "").argmax()), channel, "expected a channel")
    known = dict.fromkeys(np.unique(named).tolist())
    names = tuple(name for name in channels or known if name in known)
    index = np.full(len(named), -1)
    for number, name in enumerate(names):
        index[named == name] = number
    wanted = np.flatnonzero(index >= 0)
    values = np.full(len(named), np.nan)
    values[wanted] = table.numbers(value, wanted, missing)
    if isinstance(unit, str):
        units = _stated_units(table, unit, names, index)
    else:
        units = tuple(_unit_of(table, name, unit) for name in names)
    for record in records:
        rows = np.flatnonzero(np.isfinite(values[record.rows]))
        kept = record.rows[rows]
        yield _events(record, record.time_s[rows], index[kept], values[kept], names, units)


def events_of_wide(
    table: Table,
    records: Sequence[Record],
    channels: Sequence[str],
    units: Mapping[str, str],
    missing: Sequence[str],
) -> Iterator[Events]:
    """Events of a wide table, one for each cell that is not missing; see `regular_of_wide`."""
    names, values = _wide_values(table, channels, units, missing)
    for record in records:
        of_record = values[:, record.rows].T  # (rows, C)
        row, index = np.nonzero(np.isfinite(of_record))
        yield _events(
            record,
            record.time_s[row],
            index,
            of_record[row, index],
            names,
            tuple(units[name] for name in names),
        )


def regular_of_wide(
    table: Table,
    records: Sequence[Record],
    channels: Sequence[str],
    units: Mapping[str, str],
    missing: Sequence[str],
    time: str,
    rate_hz: float,
) -> Iterator[Recording]:
    """Recordings of a wide table with one row a sample.

    Args:
        table: the file.
        records: its rows by record.
        channels: names to read; empty = all that have a unit.
        units: by column; the columns that are channels.
        missing: cells that mean missing.
        time: the column with the time, for errors.
        rate_hz: the clock; every row must be nearest to its own sample.

    Raises:
        DataError: no channel is there, one has no unit, a cell is no number, or a row is off the
            clock.
    """
    names, values = _wide_values(table, channels, units, missing)
    for record in records:
        _check_clock(table, time, record, rate_hz)
        yield Recording(
            id=record.id,
            subject=record.subject,
            values=values[:, record.rows],
            channels=names,
            units=tuple(units[name] for name in names),
            rate_hz=rate_hz,
            start=record.start,
            attributes=record.attributes,
            labels=record.labels,
        )


def _stated_units(
    table: Table, column: str, names: Sequence[str], index: IntArray
) -> tuple[str, ...]:
    """The unit of each channel, from a column that must agree with itself."""
    table.require([column], "unit")
    cells = table.text(column)
    units = []
    for number, name in enumerate(names):
        rows = np.flatnonzero(index == number)
        unit = str(cells[rows[0]])
        others = rows[(cells[rows] != unit) | (cells[rows] == "")]
        if others.size:
            raise table.broken(
                int(others[0]), column, f"expected one unit of '{name}' in the file"
            )
        units.append(unit)
    return tuple(units)


def _unit_of(table: Table, name: str, units: Mapping[str, str]) -> str:
    if name not in units:
        raise DataError(
            f"data.reader.units: every channel that is read has a unit; '{name}' of {table.path} "
            f"has none.{closest(name, units)} Stated: {', '.join(units)}. Add it."
        )
    return units[name]


def _wide_values(
    table: Table, channels: Sequence[str], units: Mapping[str, str], missing: Sequence[str]
) -> tuple[tuple[str, ...], FloatArray]:
    """The names of the channels that are there, and their columns (C, rows)."""
    for name in channels:
        if name in table.columns:
            _unit_of(table, name, units)
    present = [name for name in units if name in table.columns]
    if not present:
        table.require(units, "units")
    names = tuple(name for name in channels or present if name in present)
    values = np.empty((len(names), table.rows))
    for number, name in enumerate(names):
        values[number] = table.numbers(name, np.arange(table.rows), missing)
    return names, values


def _check_clock(table: Table, column: str, record: Record, rate_hz: float) -> None:
    sample = (record.time_s - record.time_s[0]) * rate_hz
    off = np.flatnonzero(np.abs(sample - np.arange(len(sample))) >= 0.5)
    if off.size:
        row = int(off[0])
        step_s = record.time_s[row] - record.time_s[row - 1]
        raise table.broken(
            int(record.rows[row]),
            column,
            f"rate_hz={rate_hz:g} means a row every {1 / rate_hz:g} s (null reads rows as events "
            f"instead), expected sample {row} of {record.id}, {step_s:g} s after the row before",
        )


def _events(
    record: Record,
    time_s: FloatArray,
    channel: IntArray,
    value: FloatArray,
    channels: tuple[str, ...],
    units: tuple[str, ...],
) -> Events:
    return Events(
        id=record.id,
        subject=record.subject,
        time_s=time_s,
        channel=channel.astype(np.int64),
        value=value,
        channels=channels,
        units=units,
        start=record.start,
        attributes=record.attributes,
        labels=record.labels,
    )
