"""Which column of an unknown table is the time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.combined import Combined
from tsfm_adapt.signals.readers._tables.roles import numbers_of
from tsfm_adapt.signals.readers._tables.spelling import Column
from tsfm_adapt.signals.readers._tables.time_guess import TimeForm, date_and_clock, form_of
from tsfm_adapt.signals.readers._tables.times import TimeColumns, Times, times_of, unit_in_name
from tsfm_adapt.signals.recording import FloatArray, IntArray


@dataclass(frozen=True)
class TimeChoice:
    """The column of times, and the day's where it is a clock."""

    columns: tuple[str, ...]
    settings: Mapping[str, JsonValue]
    times: Times
    doubts: tuple[str, ...] = ()

    @property
    def value(self) -> FloatArray:
        """Seconds (N,), from whatever zero."""
        return self.times.value / 1e6 if self.times.calendar else self.times.value.astype(float)


@dataclass(frozen=True)
class _Candidate:
    name: str
    form: TimeForm
    rank: int


def chosen_time(rows: Combined, names: Mapping[str, str]) -> TimeChoice | None:
    """The column of times, by type, name and values; None = there is none.

    Stamps go before numbers, and names that say time before others.
    """
    candidates = _candidates(rows, names)
    if not candidates:
        return None
    best = min(candidates, key=lambda own: own.rank)
    of_day = re.search(r"of[ _]?(the[ _]?)?day", best.name.casefold()) is not None
    if best.form.kind == "clock" or of_day:
        dated = _with_date(rows, names, best)
        if dated is not None:
            return dated
    settings: dict[str, JsonValue] = {"time": best.name}
    if best.form.format != "auto":
        settings["time_format"] = best.form.format
    try:
        times = times_of(rows.table, TimeColumns(best.name, best.form.format))
    except DataError:
        return None
    doubts = (best.form.doubt,) if best.form.doubt else ()
    return TimeChoice((best.name,), settings, times, doubts)


def _candidates(rows: Combined, names: Mapping[str, str]) -> list[_Candidate]:
    table = rows.table
    by_name = [names[name] for name in vocabulary.TIMES if name in names]
    found = []
    for place, name in enumerate([*by_name, *(n for n in table.columns if n not in by_name)]):
        known = place < len(by_name)
        timely = known or _says_time(name)
        column = table.columns[name]
        if any(name not in held for held in rows.held):
            continue
        number = numbers_of(table, name)
        timely = timely or (number is not None and _counts(name, number, rows.file))
        if not timely and column.dtype.kind not in "MmU":
            continue
        form = form_of(name, column, rows.file, table.spelling)
        if form is None or (not timely and form.kind in ("elapsed",)):
            continue
        if form.kind == "stamp" and not timely and form.format in ("excel", "matlab"):
            continue
        if len(np.unique(column)) == 1 and table.rows > len(rows.held):
            continue  # a date of birth, or of the export
        found.append(_Candidate(name, form, _rank(form, known, timely, place, column.dtype.kind)))
    return found


def refuse_unread(rows: Combined, names: Mapping[str, str]) -> None:
    """Stops where a column is called a time and its cells are of no form that is known.

    Raises:
        DataError: with the column and its first cell.
    """
    table = rows.table
    by_name = [names[name] for name in vocabulary.TIMES if name in names]
    for name in [*by_name, *filter(_says_time, table.columns)]:
        text = table.text(name)
        filled = np.flatnonzero(text != "")
        if filled.size < 0.8 * len(text) or len(np.unique(text)) < 2:
            continue
        raise DataError(
            f"column '{name}' is called a time, and cells such as '{text[filled[0]]}' are of no "
            "form that is known. Set data.reader.time_format to a strptime pattern like "
            "'%d/%m/%Y %H:%M', or write the times in another form."
        )


def _rank(form: TimeForm, known: bool, timely: bool, place: int, kind: str) -> int:
    """Smaller is likelier."""
    textual = form.format in ("auto", "iso") or "%" in form.format
    order = {
        ("stamp", True): 0,
        ("elapsed", True): 2,
        ("clock", True): 2,
        ("stamp", False): 3,
        ("clock", False): 4,
        ("date", True): 5,
        ("date", False): 6,
    }[form.kind, timely]
    if kind in "Mm":
        order = 0
    elif form.kind == "stamp" and not textual:
        order += 1  # numbers since 1970 beside the same as text, which keeps the zone
    return order * 1000 + place + (0 if known else 500)


def _counts(name: str, number: FloatArray, group: IntArray) -> bool:
    """True if a name states a unit of time and its numbers mostly rise: 'offset_min', 't [h]'."""
    if unit_in_name(name) is None or vital(name) is not None:  # HR is a heart rate, no hours
        return False
    if not np.isfinite(number).all():
        return False
    if {*vocabulary.words(name)} & {"elapsed", "offset", "t", "since"}:
        return True
    step = np.diff(number)[np.diff(group) == 0]
    rising = max(float((step >= 0).mean()), float((step <= 0).mean())) if step.size else 0.0
    return rising >= 0.9 and bool(step.any())


def _says_time(name: str) -> bool:
    own = vocabulary.words(name)
    return bool(
        {*own} & {"time", "timestamp", "datetime", "date", "epoch", "zeit", "zeitstempel", "hora"}
    ) or any(word.endswith(("timestamp", "datetime", "time")) and len(word) > 5 for word in own)


def _with_date(rows: Combined, names: Mapping[str, str], clock: _Candidate) -> TimeChoice | None:
    """A clock with its day's column; None = there is none."""
    table = rows.table
    known = [names[name] for name in vocabulary.DATES if name in names]
    others = [name for name in table.columns if name not in known and name != clock.name]
    for name in [*known, *others]:
        text = table.text(name)
        if (text == "").any() or name == clock.name:
            continue
        numbered = name in known and table.columns[name].dtype.kind in "iu"
        form = _day_form(text, table, clock, rows)
        if form is None and name in known and _counts_days(text.tolist()):
            numbered = True
        if form is None and not numbered:
            continue
        settings: dict[str, JsonValue] = {"time": clock.name, "date": name}
        time_format = "auto" if form is None else form.format
        if time_format != "auto":
            settings["time_format"] = time_format
        try:
            times = times_of(table, TimeColumns(clock.name, time_format, name))
        except DataError:
            continue
        doubts = (form.doubt,) if form is not None and form.doubt else ()
        return TimeChoice((clock.name, name), settings, times, doubts)
    return None


def _day_form(text: Column, table: Table, clock: _Candidate, rows: Combined) -> TimeForm | None:
    """The form of a day's column (N,) beside a clock, or beside numbers since midnight."""
    if clock.form.kind == "clock":
        return date_and_clock(text, table.text(clock.name), rows.file)
    midnight = np.full(len(text), "00:00")
    form = date_and_clock(text, midnight, rows.file)
    return form if form is not None and form.format == "auto" else None


def _counts_days(cells: list[str]) -> bool:
    return all(cell.isdigit() and int(cell) < 10_000 for cell in cells)
