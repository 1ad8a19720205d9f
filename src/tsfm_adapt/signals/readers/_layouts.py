"""From a table's rows to readings or samples: long tables (one row a reading) and wide ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._records import Record
from tsfm_adapt.signals.recording import FloatArray, IntArray, IrregularReadings, Recording


def readings_of_long(
    table: Table,
    records: Sequence[Record],
    channels: Sequence[str],
    channel: str,
    value: str,
    unit: str | Mapping[str, str],
    missing: Sequence[str],
) -> Iterator[IrregularReadings]:
    """Readings of each record of a long table; every record has all channels of the file.

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
        yield _readings(record, record.time_s[rows], index[kept], values[kept], names, units)


def readings_of_wide(
    table: Table,
    records: Sequence[Record],
    channels: Sequence[str],
    units: Mapping[str, str],
    missing: Sequence[str],
) -> Iterator[IrregularReadings]:
    """Readings of each record of a wide table, one for each cell that is not missing.

    Arguments and errors are those of `regular_of_wide`.
    """
    names, values = _wide_values(table, channels, units, missing)
    for record in records:
        of_record = values[:, record.rows].T  # (rows, C)
        row, index = np.nonzero(np.isfinite(of_record))
        yield _readings(
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
    """A recording for each record of a wide table with one row a sample.

    Args:
        table: the file.
        records: its rows by record.
        channels: names to read; empty = all in `units`.
        units: by column, for each column that is a channel.
        missing: cells that mean missing.
        time: the column with the time, which errors name.
        rate_hz: of the clock; row n must lie less than half a sample from time n / rate_hz.

    Raises:
        DataError: no channel is in the table, one has no unit, a cell is no number, or a row
            is off the clock.
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
    """The unit of each channel (C,), from a column that holds one unit a channel."""
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
    """The names of the channels in the table, and their values (C, rows)."""
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


def _readings(
    record: Record,
    time_s: FloatArray,
    channel: IntArray,
    value: FloatArray,
    channels: tuple[str, ...],
    units: tuple[str, ...],
) -> IrregularReadings:
    return IrregularReadings(
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
