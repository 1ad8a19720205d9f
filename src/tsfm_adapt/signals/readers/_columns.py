"""Which column of an unknown table is the time, the subject, the reading: by names and first rows.

What cannot be told with some certainty gives None: a table read in a wrong way looks right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tsfm_adapt.signals.readers._cells import MISSING

Cells = Mapping[str, Sequence[str]]  # the first rows of each column as text

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


def settings_of(cells: Cells, stated: Sequence[str] = ()) -> dict[str, Any] | None:
    """The settings of `TableConfig` that read such a table; None = it cannot be told.

    Args:
        cells: the first rows, two or more.
        stated: columns that the file itself says are times.
    """
    names = {_plain(name): name for name in cells}
    subject = _first(names, _SUBJECTS)
    found: dict[str, Any] = {}
    time = _time(cells, names, stated, subject)
    if time is None:
        return None
    found["time"], time_format = time
    if time_format != "auto":
        found["time_format"] = time_format
    if subject is not None:
        if subject == found["time"] or not all(cells[subject]):
            return None
        found["subject"] = subject
    record = _first(names, [name for name in _RECORDS if names.get(name) != subject])
    if subject is not None and record is not None and all(cells[record]):
        found["record"] = record
    layout = _long(cells, names, found) or _wide(cells, found)
    return None if layout is None else found | layout


def _long(
    cells: Cells, names: Mapping[str, str], used: Mapping[str, Any]
) -> dict[str, Any] | None:
    """One row a reading: a column of names beside one of numbers."""
    value = _first(names, _VALUES)
    free = [name for name in _CHANNELS if name in names and names[name] not in used.values()]
    named = [names[name] for name in free if _is_text(cells[names[name]])]
    if value is None or not named or _share_of_numbers(cells[value]) < _NUMBERS:
        return None
    settings: dict[str, Any] = {"layout": "long", "channel": named[0], "value": value}
    unit = _first(names, _UNITS)
    if unit is not None and all(cells[unit]):
        settings["unit"] = unit
    else:
        settings["units"] = {name: _unit_in(name) for name in dict.fromkeys(cells[named[0]])}
    return settings | _missing([cells[value]])


def _wide(cells: Cells, used: Mapping[str, Any]) -> dict[str, Any] | None:
    """One row a time: every other column of numbers is a channel."""
    channels = [
        name
        for name, column in cells.items()
        if name
        and name not in used.values()
        and _plain(name) not in _STATIC
        and _plain(name) not in _SUBJECTS
        and _plain(name) not in _RECORDS
        and _share_of_numbers(column) >= _NUMBERS
    ]
    if not channels:
        return None
    units = {name: _unit_in(name) for name in channels}
    return {"layout": "wide", "units": units} | _missing([cells[name] for name in channels])


def _time(
    cells: Cells, names: Mapping[str, str], stated: Sequence[str], subject: str | None
) -> tuple[str, str] | None:
    """The column with the time and its format."""
    by_name = [names[name] for name in _TIMES if name in names]
    others = [name for name in cells if name != subject and name not in by_name]
    for column in dict.fromkeys([*stated, *by_name]):
        found = "auto" if column in stated else _time_format(cells[column])
        if found is not None:
            return column, found
    for column in others:  # a column of dates is a time whatever it is called
        found = _time_format(cells[column])
        if found is not None and not _number(cells[column][0]):
            return column, found
    return None


def _time_format(column: Sequence[str]) -> str | None:
    """How every cell is to be read as a time; None = it is none."""
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
    # 01/02/2020 is a day of January or of February: the reading that spans less time is right.
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


def _missing(columns: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Words among numbers, like 'Low', as missing values."""
    words = {
        cell
        for column in columns
        for cell in column
        if cell and cell not in MISSING and not _number(cell)
    }
    return {"missing_values": tuple(sorted(words))} if words else {}


def _unit_in(name: str) -> str:
    """What stands in brackets behind a name; '1' where nothing does and none can be told."""
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
