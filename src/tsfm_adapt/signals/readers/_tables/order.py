"""Times that run backwards in a file: midnight, summer time, sessions, or unsorted rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.times import DAY_S, Times
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

Backward = Literal["sort", "midnight", "summer_time", "session"]

SORTED = "rows earlier than the row before them, sorted by time"
_FEW, _ROWS = 0.02, 20  # share of rows that events, not disorder, put back; rows that tell
_HOUR_S, _APART_S = 3600, 600  # of summer time, and the interval across its end, at least

_NIGHT_S = 4 * 3600  # that a clock goes back at least from one day's readings to the next


@dataclass(frozen=True)
class _Steps:
    """Steps between rows that follow each other in a file and belong together."""

    order: IntArray  # (N,) rows of the table, those that belong together in a row, oldest first
    back: BoolArray  # (N,) time is earlier than in the row before
    step_s: FloatArray  # (N,) from the row before; 0 at the first of each sequence
    first: BoolArray  # (N,) begins a sequence


def in_order(
    table: Table,
    column: str,
    times: Times,
    group: IntArray,
    series: IntArray | None,
    backward: Backward | None,
) -> tuple[FloatArray | IntArray, IntArray]:
    """Times that rise within each record, where their steps back have a meaning.

    Args:
        table: the file.
        column: of the times, for errors.
        times: of the rows.
        group: (N,) number of each row's record.
        series: (N,) number of each row's channel in a long table; None = wide.
        backward: what a step back means; None = what is sure, and sorted where a file is
            plainly in no order.

    Returns:
        The times (N,) and the record of each row (N,), which sessions divide.

    Raises:
        Undecided: time steps back, and not only one thing can be meant.
    """
    if series is None and not group.any() and (times.value[1:] >= times.value[:-1]).all():
        return times.value, group
    steps = _steps(
        times, group if series is None else group * (series.max(initial=0) + 1) + series
    )
    if not steps.back.any():
        return times.value, group
    meaning = backward or _meaning(table, column, times, steps)
    if meaning == "sort":
        table.notes[SORTED] += int(steps.back.sum())
        return times.value, group
    counted = _since(steps, steps.back)  # (N,) steps back so far, in its sequence
    number = np.empty(len(group), dtype=np.int64)
    number[steps.order] = counted
    if meaning == "session":
        _, divided = np.unique(np.stack([group, number]), axis=1, return_inverse=True)
        table.notes["times at which time begins again, each a new session"] += int(
            steps.back.sum()
        )
        return times.value, divided.reshape(-1).astype(np.int64)
    what, added_s = (
        ("midnights that a clock without a date passes", DAY_S)
        if meaning == "midnight"
        else ("ends of summer time: the second of two equal hours is an hour later", _HOUR_S)
    )
    table.notes[what] += int(steps.back.sum())
    unit = 1_000_000 if times.calendar else 1
    return times.value + number * (added_s * unit), group


def meaning_of(table: Table, column: str, times: Times, key: IntArray) -> Backward | None:
    """What steps back mean in a file, where it is sure; None = there is none.

    Args:
        table: the file.
        column: of the times.
        times: of its rows.
        key: (N,) number of the record, and channel, of each row.

    Raises:
        Undecided: time steps back, and not only one thing can be meant.
    """
    steps = _steps(times, key)
    if not steps.back.any():
        return None
    if times.calendar and _all_summer_time(steps):
        return "summer_time"
    return _meaning(table, column, times, steps)


def _steps(times: Times, key: IntArray) -> _Steps:
    order = np.argsort(key, kind="stable")
    value = times.value[order]
    first = np.ones(len(key), dtype=np.bool_)
    first[1:] = key[order][1:] != key[order][:-1]
    step = np.diff(value, prepend=value[:1])
    step[first] = 0
    if (step < 0).sum() > 9 * (step > 0).sum():  # the newest row stands first
        order = order[::-1]
        first = np.roll(first[::-1], 1)
        step = np.diff(times.value[order], prepend=times.value[order][:1])
        step[first] = 0
    step_s = step / 1e6 if times.calendar else step.astype(np.float64)
    return _Steps(order, step_s < 0, step_s, first)


def _since(steps: _Steps, marked: BoolArray) -> IntArray:
    """How many rows are marked up to each row (N,), within its sequence."""
    total = np.cumsum(marked)
    begin = np.maximum.accumulate(np.where(steps.first, np.arange(len(total)), 0))
    return total - (total[begin] - marked[begin])


def _all_summer_time(steps: _Steps) -> bool:
    """True if every step back is an hour, less the interval across it."""
    back_s = -steps.step_s[steps.back]
    forward_s = steps.step_s[steps.step_s > 0]
    usual_s = float(np.median(forward_s)) if forward_s.size else 0.0
    apart_s = min(max(_APART_S, 1.5 * usual_s), 0.75 * _HOUR_S)
    return bool(((back_s > _HOUR_S - apart_s) & (back_s <= _HOUR_S)).all()) and _few(steps)


def _few(steps: _Steps) -> bool:
    rows = len(steps.order)
    return rows >= _ROWS and steps.back.sum() <= max(1, _FEW * rows)


def _meaning(table: Table, column: str, times: Times, steps: _Steps) -> Backward:
    """What the steps back mean; `Undecided` where that is not sure."""
    back_s = steps.step_s[steps.back]
    if times.of_day and (back_s < -DAY_S / 2).all():
        return "midnight"
    days = times.of_day and bool((back_s < -_NIGHT_S).any())
    if not (_few(steps) or days):
        return "sort"
    if times.of_day:
        raise _undecided(
            table,
            column,
            steps,
            "a clock without a date passes midnight (midnight), or rows are unsorted (sort)",
            "midnight",
        )
    if times.calendar:
        if _all_summer_time(steps):
            raise _undecided(
                table,
                column,
                steps,
                "summer time ends (summer_time), or rows are unsorted (sort)",
                "summer_time",
            )
        if ((back_s < -DAY_S / 2) & (back_s >= -DAY_S)).all():
            raise _undecided(
                table,
                column,
                steps,
                "the day is that of the beginning and the clock passes midnight (midnight), or "
                "rows are unsorted (sort)",
                "midnight",
            )
        return "sort"
    if _restarts(times, steps):
        raise _undecided(
            table,
            column,
            steps,
            "time begins again, in a new session of one subject (session) or with another subject "
            "(then name the column `subject`), or rows are unsorted (sort)",
            "session",
        )
    return "sort"


def _restarts(times: Times, steps: _Steps) -> bool:
    """True if each step back leads to where its sequence began."""
    value = times.value[steps.order].astype(np.float64)
    begin = np.maximum.accumulate(np.where(steps.first, np.arange(len(value)), 0))
    span = max(float(np.ptp(value)), 1e-9)
    return bool((value[steps.back] <= value[begin[steps.back]] + 0.02 * span).all())


def _undecided(
    table: Table, column: str, steps: _Steps, choice: str, likely: Backward
) -> Undecided:
    place = int(steps.back.argmax())
    row, before = int(steps.order[place]), int(steps.order[max(place - 1, 0)])
    cells = table.columns[column]
    return Undecided(
        f"{table.path}, row {table.number_of(row)}, column '{column}': time runs backwards, from "
        f"'{cells[before]}' to '{cells[row]}'. Either {choice}: set data.reader.backward.",
        {"backward": likely},
    )
