"""A table's column of times: numbers in some unit, clocks, dates in any order, with their zone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.spelling import Column, Spelling, plain
from tsfm_adapt.signals.recording import FloatArray, IntArray

DAY_S = 86_400
# Formats of numbers: seconds in one of them, and the calendar's moment at 0; None = the record's.
_EXCEL, _MATLAB = -25_569 * DAY_S, -719_529 * DAY_S  # 1899-12-30, and day 0 of year 0
NUMERIC: Mapping[str, tuple[float, int | None]] = {
    "seconds": (1.0, None),
    "milliseconds": (1e-3, None),
    "microseconds": (1e-6, None),
    "minutes": (60.0, None),
    "hours": (3600.0, None),
    "days": (float(DAY_S), None),
    "unix": (1.0, 0),
    "unix_ms": (1e-3, 0),
    "unix_us": (1e-6, 0),
    "unix_ns": (1e-9, 0),
    "excel": (float(DAY_S), _EXCEL),
    "matlab": (float(DAY_S), _MATLAB),
}
FORMATS = ("auto", *NUMERIC, "clock", "iso")

_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?")
CLOCK = re.compile(r"(\d+):([0-5]\d)(?::([0-5]\d(?:[.,]\d+)?))?")


@dataclass(frozen=True)
class Times:
    """The times of a table's rows."""

    value: FloatArray | IntArray  # (N,) seconds; of the calendar integer microseconds since 1970
    calendar: bool
    zone: str | None = None  # as `Recording.zone`; the value is UTC then
    of_day: bool = False  # a clock's time of day, which begins again at midnight


@dataclass(frozen=True)
class TimeColumns:
    """The settings that say how times are read."""

    time: str
    time_format: str = "auto"
    date: str | None = None  # the column with the day of a clock
    zone: str | None = None  # IANA name of the zone that stamps without an offset are in


def times_of(table: Table, columns: TimeColumns) -> Times:
    """The times of all rows.

    Raises:
        DataError: a column is absent, or a cell is no time of the format.
    """
    table.require([columns.time], "time")
    if columns.date is not None:
        table.require([columns.date], "date")
        return _zoned(_of_two(table, columns, columns.date), columns.zone)
    cells = table.columns[columns.time]
    if cells.dtype.kind == "M":
        if np.isnat(cells).any():
            raise table.broken(int(np.isnat(cells).argmax()), columns.time, "expected a time")
        zone = table.zones.get(columns.time)
        return Times(cells.astype("datetime64[us]").astype(np.int64), True, zone)
    if cells.dtype.kind == "m":
        seconds = cells.astype("timedelta64[us]").astype(np.float64) / 1e6
        return Times(_complete(table, columns.time, seconds), calendar=False)
    time_format = columns.time_format
    if time_format == "auto":
        time_format = auto(columns.time, cells, table.spelling)
        if time_format == "seconds" and unit_in_name(columns.time) is None and table.begins:
            note = f"file(s) whose column '{columns.time}' states no unit, read as seconds"
            table.notes[note] += 1
    if time_format in NUMERIC:
        return _numeric(table, columns.time, time_format)
    if time_format == "clock":
        return _clock(table, columns.time)
    return _zoned(
        _calendar(table, columns.time, table.text(columns.time), time_format), columns.zone
    )


def auto(name: str, cells: Column, spelling: Spelling) -> str:
    """The format of a column by its name and its first cell; the other cells must follow it."""
    first = str(cells[0]).strip() if len(cells) else ""
    if cells.dtype.kind in "iuf" or spelling.plain(first) is not None:
        return unit_in_name(name) or "seconds"
    return "clock" if CLOCK.fullmatch(first) else "iso"


_UNIT_WORDS = {
    "seconds": ("s", "sec", "secs", "second", "seconds"),
    "milliseconds": ("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"),
    "microseconds": ("us", "µs", "μs", "usec", "micros", "microsecond", "microseconds"),
    "minutes": ("min", "mins", "minute", "minutes"),
    "hours": ("h", "hr", "hrs", "hour", "hours", "iculos"),
    "days": ("d", "day", "days"),
}
# Offsets of the eICU database are minutes since admission.
_EICU = r"(observation|nursingchart|respchart|lab|labresult|intakeoutput|nurseassess)\w*offset"
# 'hours in icu', 'days since admission', 'second of the day'.
_COUNTED = r"(hours?|hrs?|minutes?|mins?|seconds?|secs?|days?) (in|since|from|after|of) "
_OF_WORD = {word: unit for unit, words in _UNIT_WORDS.items() for word in words}


def unit_in_name(name: str) -> str | None:
    """The format that a column's name states: 'Time (ms)', 'offset_minutes', 't [h]'; or None."""
    counted = re.match(_COUNTED, name.casefold().replace("_", " "))
    if counted is not None:
        return _OF_WORD[counted.group(1)]
    words = [word for word in re.split(r"[^a-zµμ]+", name.casefold()) if word]
    found = _OF_WORD.get(words[-1]) if words else None
    if found is None and words and re.fullmatch(_EICU, words[-1]):
        return "minutes"
    return found


def _numeric(table: Table, column: str, time_format: str) -> Times:
    bare = replace(table, spelling=replace(table.spelling, missing=()))  # 0 may mean no reading
    number = _complete(table, column, bare.numbers(column, noted=False))
    scale_s, origin_s = NUMERIC[time_format]
    if origin_s is None:
        return Times(number * scale_s if scale_s != 1 else number, calendar=False)
    if time_format in ("excel", "matlab"):
        # Days with six decimals are exact to 0.04 s: whole seconds are meant where all are near.
        seconds = number * scale_s
        whole = np.round(seconds)
        seconds = whole if np.abs(seconds - whole).max(initial=0.0) <= 0.1 else seconds
        return Times(np.round((seconds + origin_s) * 1e6).astype(np.int64), calendar=True)
    return Times(np.round(number * (scale_s * 1e6)).astype(np.int64), calendar=True)


def _complete(table: Table, column: str, seconds: FloatArray) -> FloatArray:
    if np.isnan(seconds).any():
        raise table.broken(int(np.isnan(seconds).argmax()), column, "expected a time")
    return seconds


def _clock(table: Table, column: str) -> Times:
    seconds = _each(table, column, seconds_of_clock, "expected HH:MM or HH:MM:SS")
    value = np.array(seconds, dtype=np.float64)
    return Times(value, calendar=False, of_day=bool(value.max(initial=0.0) < DAY_S))


def _of_day(table: Table, column: str) -> FloatArray:
    """Seconds since midnight (N,), of a clock or of numbers whose column states their unit."""
    unit = unit_in_name(column)
    if unit is None or CLOCK.fullmatch(str(table.columns[column][0]).strip()):
        return np.asarray(_clock(table, column).value, dtype=np.float64)
    number = _complete(table, column, table.numbers(column, noted=False))
    return number * NUMERIC[unit][0]


def _of_two(table: Table, columns: TimeColumns, date: str) -> Times:
    """Times of a day's column and a clock's."""
    clock, day = table.text(columns.time), table.text(date)
    if columns.time_format not in ("auto", "clock", "iso"):
        both = np.char.add(np.char.add(day, " "), clock)
        return _calendar(table, columns.time, both, columns.time_format)
    seconds = _of_day(table, columns.time)
    if plain(str(day[0])) is not None and len(str(day[0])) < 8:  # a count of days, no 20240131
        days = _complete(table, date, table.numbers(date, noted=False))
        return Times(seconds + DAY_S * (days - days.min()), calendar=False)
    midnight = _calendar(table, date, day, "iso")
    return Times(midnight.value + np.round(seconds * 1e6).astype(np.int64), calendar=True)


def _calendar(table: Table, column: str, text: Column, time_format: str) -> Times:
    """Stamps of one format, as UTC where they have an offset."""
    if time_format != "iso" and "%z" not in time_format:
        fast = _by_pandas(text, time_format)
        if fast is not None:
            zone = "+00:00" if time_format.endswith(("UTC", "GMT")) else None
            return Times(fast, calendar=True, zone=zone)
    if time_format == "iso":
        stamps = _aligned(text)
        if stamps is not None:
            return Times(stamps, calendar=True)
        rule, read = "expected a time like 2014-02-03 08:42:12", _from_iso
    else:
        rule = f"expected a time of the form {time_format}"
        read = lambda cell: datetime.strptime(cell, time_format)  # noqa: E731
    moments = _each(table, column, read, rule, text)
    aware = [moment.tzinfo is not None for moment in moments]
    if len({*aware}) > 1:
        row = aware.index(not aware[0])
        lacks = "an offset as in the first row" if aware[0] else "no offset as in the first row"
        raise table.broken(row, column, f"expected {lacks}")
    zone = _offset(moments[0]) if aware and aware[0] else None
    utc = [m if m.tzinfo is None else m.astimezone(UTC).replace(tzinfo=None) for m in moments]
    return Times(np.array(utc, dtype="datetime64[us]").astype(np.int64), True, zone)


def _aligned(text: Column) -> IntArray | None:
    """Microseconds (N,) of stamps of one length without an offset; None = they are not such."""
    first = str(text[0]) if len(text) else ""
    if not _STAMP.fullmatch(first):
        return None
    width = len(first)
    if text.dtype.itemsize != 4 * width:
        return None
    letters = np.ascontiguousarray(text).view("U1").reshape(-1, width)
    marks = [index for index, letter in enumerate(first) if not letter.isdigit()]
    if (letters[:, marks] != letters[0, marks]).any():  # a shorter one ends with other marks
        return None
    try:
        return text.astype("datetime64[us]").astype(np.int64)
    except ValueError:
        return None


def _by_pandas(text: Column, time_format: str) -> IntArray | None:
    """Microseconds (N,) by pandas, which is faster than strptime; None = not all are read."""
    import pandas as pd

    read = pd.to_datetime(pd.Series(text), format=time_format, errors="coerce")
    if read.isna().any():
        return None
    return read.to_numpy().astype("datetime64[us]").astype(np.int64)


def _from_iso(cell: str) -> datetime:
    return datetime.fromisoformat(cell.replace("/", "-"))


def _offset(moment: datetime) -> str:
    """The offset of a time as `-05:00`."""
    minutes = round((moment.utcoffset() or timedelta()).total_seconds() / 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"


def _zoned(times: Times, zone: str | None) -> Times:
    """Local times as UTC; of the hour that occurs twice a year the first, while they rise."""
    if zone is None or times.zone is not None or not times.calendar:
        return times
    import pandas as pd

    local = pd.DatetimeIndex(times.value.astype("datetime64[us]"))
    known = ZoneInfo(zone)
    early = local.tz_localize(
        known, ambiguous=np.ones(len(local), bool), nonexistent="shift_forward"
    )
    late = local.tz_localize(
        known, ambiguous=np.zeros(len(local), bool), nonexistent="shift_forward"
    )
    first, second = (np.asarray(i.tz_convert("UTC").tz_localize(None)) for i in (early, late))
    first, second = (i.astype("datetime64[us]").astype(np.int64) for i in (first, second))
    twice = first != second
    value = first.copy()
    back = np.diff(times.value, prepend=times.value[:1]) < 0
    again = False
    for row in np.flatnonzero(twice).tolist():
        again = (again and bool(twice[row - 1])) or bool(back[row])
        if again:
            value[row] = second[row]
    return Times(value, True, zone)


def seconds_of_clock(cell: str) -> float:
    """Seconds of HH:MM or HH:MM:SS; hours may exceed 24.

    Raises:
        ValueError: it is none.
    """
    match = CLOCK.fullmatch(cell)
    if match is None:
        return _twelve_hours(cell)
    hours, minutes, seconds = match.groups(default="0")
    return 3600 * int(hours) + 60 * int(minutes) + float(seconds.replace(",", "."))


def _twelve_hours(cell: str) -> float:
    for pattern in ("%I:%M:%S %p", "%I:%M %p"):
        try:
            read = datetime.strptime(cell, pattern)
        except ValueError:
            continue
        return 3600 * read.hour + 60 * read.minute + read.second
    raise ValueError(cell)


def _each(
    table: Table,
    column: str,
    read: Callable[[str], Any],
    rule: str,
    text: Column | None = None,
) -> list[Any]:
    """Parses every cell of a column, or `text` (N,) in its place."""
    parsed = []
    for row, cell in enumerate((table.text(column) if text is None else text).tolist()):
        try:
            parsed.append(read(cell))
        except ValueError:
            raise table.broken(row, column, rule) from None
    return parsed
