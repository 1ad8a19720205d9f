"""Recognises the columns of a table: time, subject, channels and units, by names and first rows.

Where that is not clear the result is None: a table that is read in a wrong way looks right.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypedDict

from tsfm_adapt.signals.readers._cells import MISSING

Cells = Mapping[str, Sequence[str]]  # the first cells of each column as text


class TableSettings(TypedDict, total=False):
    """Recognised settings of a reader of tables, under the names of its fields."""

    time: str
    time_format: str
    subject: str
    record: str
    layout: Literal["long", "wide"]
    channel: str
    value: str
    unit: str
    units: dict[str, str]
    missing_values: tuple[str, ...]
    delimiter: str
    encoding: str


@dataclass(frozen=True)
class FirstRows:
    """The first rows of a table file."""

    cells: Cells
    time_columns: tuple[str, ...] = ()  # columns that the file's own types declare as times
    settings: TableSettings = field(default_factory=TableSettings)  # how the file is written


_TIMES = [
    "time",
    "times",
    "timestamp",
    "datetime",
    "date_time",
    "charttime",
    "chart_time",
    "times_s",
    "time_s",
    "t",
    "ts",
    "seconds",
    "sec",
    "elapsed",
    "elapsed_s",
    "elapsed_seconds",
    "date",
    "offset",
    "unixtime",
    "measured_at",
    "recorded_at",
    "created_at",
    "measurement_datetime",
    "observationtime",
    "device_timestamp",
    "local_time",
    "utc_time",
]
_SUBJECTS = [
    "subject",
    "subject_id",
    "subjectid",
    "patient",
    "patient_id",
    "patientid",
    "patient_nr",
    "patientunitstayid",
    "participant",
    "participant_id",
    "participantid",
    "person",
    "person_id",
    "pid",
    "user",
    "user_id",
    "userid",
    "ptid",
    "usubjid",
    "animal",
    "animal_id",
    "id",
    "case",
    "case_id",
    "caseid",
    "record_id",
    "recordid",
]
_RECORDS = [
    "record",
    "record_id",
    "recording",
    "recording_id",
    "stay",
    "stay_id",
    "icustay_id",
    "hadm_id",
    "encounter",
    "encounter_id",
    "visit",
    "visit_id",
    "session",
    "session_id",
    "sitting",
    "admission",
    "admission_id",
]
_CHANNELS = [
    "channel",
    "parameter",
    "variable",
    "signal",
    "vital",
    "vital_sign",
    "measurement",
    "item",
    "label",
    "feature",
    "analyte",
    "name",
    "code",
    "test",
    "observation",
    "parameter_name",
    "variable_name",
    "item_name",
    "signal_name",
]
_VALUES = [
    "value",
    "reading",
    "result",
    "valuenum",
    "numeric_value",
    "measured_value",
    "val",
    "result_value",
    "value_num",
    "observation_value",
]
_UNITS = ["unit", "units", "uom", "valueuom", "unit_of_measure", "unit_name"]
_STATIC = [
    "age",
    "sex",
    "gender",
    "height",
    "weight",
    "bmi",
    "race",
    "ethnicity",
    "diagnosis",
    "index",
    "row",
    "rownum",
    "row_number",
    "nr",
    "number",
    "unnamed:_0",
    "sequence",
    "seq",
    "label",
    "class",
    "outcome",
    "group",
    "site",
    "ward",
]
_PATTERNS = tuple(
    f"{date} {clock}".strip()
    for date in ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d", "%d-%m-%Y", "%m-%d-%Y")
    for clock in ("%H:%M:%S", "%H:%M:%S.%f", "%H:%M")
)
_UNIX_S = (2.0e8, 9.9e9)  # 1976 to 2283; milliseconds lie far above
_NUMBERS = 0.8  # a channel's filled cells are numbers in at least this share


def settings_of(cells: Cells, time_columns: Sequence[str] = ()) -> TableSettings | None:
    """The settings of `TableConfig` that read such a table; None = not clear.

    Args:
        cells: the first rows, two or more.
        time_columns: columns that the file's own types declare as times.
    """
    names = {_plain(name): name for name in cells}
    subject = _first(names, _SUBJECTS)
    time = _time(cells, names, time_columns, subject)
    if time is None:
        return None
    column, time_format = time
    settings: TableSettings = {"time": column}
    if time_format != "auto":
        settings["time_format"] = time_format
    if subject is not None:
        if subject == column or not all(cells[subject]):
            return None
        settings["subject"] = subject
    record = _first(names, [name for name in _RECORDS if names.get(name) != subject])
    if subject is not None and record is not None and all(cells[record]):
        settings["record"] = record
    used = tuple(settings.values())
    layout = _long(cells, names, used) or _wide(cells, used)
    return None if layout is None else {**settings, **layout}


def _long(
    cells: Cells, names: Mapping[str, str], used: Collection[object]
) -> TableSettings | None:
    """Settings of a long table: a column of channel names beside one of numbers."""
    value = _first(names, _VALUES)
    free = [name for name in _CHANNELS if name in names and names[name] not in used]
    named = [names[name] for name in free if _is_text(cells[names[name]])]
    if value is None or not named or _share_of_numbers(cells[value]) < _NUMBERS:
        return None
    settings: TableSettings = {"layout": "long", "channel": named[0], "value": value}
    unit = _first(names, _UNITS)
    if unit is not None and all(cells[unit]):
        settings["unit"] = unit
    else:
        settings["units"] = {name: _unit_in(name) for name in dict.fromkeys(cells[named[0]])}
    return {**settings, **_missing([cells[value]])}


def _wide(cells: Cells, used: Collection[object]) -> TableSettings | None:
    """Settings of a wide table: every other column of numbers is a channel."""
    channels = [
        name
        for name, column in cells.items()
        if name
        and name not in used
        and _plain(name) not in _STATIC
        and _plain(name) not in _SUBJECTS
        and _plain(name) not in _RECORDS
        and _share_of_numbers(column) >= _NUMBERS
    ]
    if not channels:
        return None
    units = {name: _unit_in(name) for name in channels}
    return {"layout": "wide", "units": units, **_missing([cells[name] for name in channels])}


def _time(
    cells: Cells, names: Mapping[str, str], time_columns: Sequence[str], subject: str | None
) -> tuple[str, str] | None:
    """The column with the time, and its format; None = there is none."""
    by_name = [names[name] for name in _TIMES if name in names]
    others = [name for name in cells if name != subject and name not in by_name]
    for column in dict.fromkeys([*time_columns, *by_name]):
        time_format = "auto" if column in time_columns else _time_format(cells[column])
        if time_format is not None:
            return column, time_format
    for column in others:  # a column of dates is a time whatever its name
        time_format = _time_format(cells[column])
        if time_format is not None and not _number(cells[column][0]):
            return column, time_format
    return None


def _time_format(column: Sequence[str]) -> str | None:
    """The format in which every cell is a time; None = not all are."""
    if not all(column):
        return None
    if all(map(_number, column)):
        seconds = [float(cell) for cell in column]
        if max(seconds) >= _UNIX_S[0]:
            return "unix" if max(seconds) <= _UNIX_S[1] else None
        return "seconds"
    if all(re.fullmatch(r"\d+:[0-5]\d(:[0-5]\d(\.\d+)?)?", cell) for cell in column):
        return "auto"
    if all(_parses(cell, None) for cell in column):
        return "auto"
    fitting = [p for p in _PATTERNS if all(_parses(cell, p) for cell in column)]
    # 01/02/2020 is a day of January or of February: the format that spans less time is right.
    return min(fitting, key=lambda pattern: _span_s(column, pattern), default=None)


def _span_s(column: Sequence[str], pattern: str) -> float:
    times = [datetime.strptime(cell, pattern) for cell in column]
    return (max(times) - min(times)).total_seconds()


def _parses(cell: str, pattern: str | None) -> bool:
    try:
        if pattern is None:
            datetime.fromisoformat(cell)
        else:
            datetime.strptime(cell, pattern)
    except ValueError:
        return False
    return True


def _missing(columns: Sequence[Sequence[str]]) -> TableSettings:
    """The setting of missing values: words among numbers, like 'Low'."""
    words = {
        cell
        for column in columns
        for cell in column
        if cell and cell not in MISSING and not _number(cell)
    }
    return {"missing_values": tuple(sorted(words))} if words else {}


def _unit_in(name: str) -> str:
    """The unit in brackets after a name; '1' where there is none."""
    bracket = re.search(r"[(\[]\s*([^)\]]*?)\s*[)\]]\s*$", name)
    return bracket.group(1) if bracket and bracket.group(1) else "1"


def _first(names: Mapping[str, str], known: Sequence[str]) -> str | None:
    return next((names[name] for name in known if name in names), None)


def _plain(name: str) -> str:
    return re.sub(r"[(\[].*", "", name).strip().casefold().replace(" ", "_").replace("-", "_")


def _is_text(column: Sequence[str]) -> bool:
    return _share_of_numbers(column) < 0.5 and any(column) and not any("\n" in c for c in column)


def _share_of_numbers(column: Sequence[str]) -> float:
    filled = [cell for cell in column if cell not in MISSING]
    return sum(map(_number, filled)) / len(filled) if filled else 0.0


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
