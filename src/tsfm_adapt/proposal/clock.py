"""The rate of a recipe, and where recordings are cut."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tsfm_adapt._util.durations import duration
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.survey import Channel, Survey
from tsfm_adapt.tasks.base import MOST_SAMPLES

_FASTEST_HZ = 128.0  # 256 samples are 2 s: some heartbeats
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 10080)
_PERIODS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, *(60.0 * m for m in _MINUTES))
# Share of channels that set the rate, and how much slower or faster others may be.
_MANY, _SLOWER = 0.4, 8
_RICH = 0.2  # a channel with fewer readings than this share of the richest sets no clock
_LONG_GAP, _CUT = 64, 12  # samples: gaps longer than this are cut out, and at which length


@dataclass(frozen=True)
class Clock:
    """The recipe's rate, and the channels for which it is right."""

    rate_hz: float
    why: str
    channels: frozenset[str]
    others: str = ""  # the channels of other rates, and the command that proposes these instead


def clock(survey: Survey, of_trials: bool, near_hz: float | None = None) -> Clock:
    """The recipe's clock.

    Args:
        survey: of the recordings.
        of_trials: recordings are short trials, each of which shall fit into one window.
        near_hz: of channels with several rates, take those of about this one; None = the fastest
            that many channels have.

    Raises:
        DataError: `near_hz` is given for readings at irregular times, which have no rate.
    """
    usable = [channel for channel in survey.channels if not channel.constant]
    usable = usable or [channel for channel in survey.channels if channel.measured]
    if all(channel.regular for channel in usable):
        return _regular_clock(survey, usable, of_trials, near_hz)
    if near_hz is not None:
        raise DataError(
            f"clock_hz: {near_hz:g} chooses among the rates of files; these hold readings at "
            "irregular times. Leave it out, and change data.rate_hz of the recipe.",
            argument="clock_hz",
        )
    richest = max(channel.readings for channel in usable)
    rich = [channel for channel in usable if channel.readings >= _RICH * richest]
    periods = [1 / channel.usual_hz for channel in rich if channel.usual_hz] or [1.0]
    period = float(np.quantile(periods, 0.8, method="higher"))
    nice = _nice(period)
    return Clock(
        1 / nice,
        f"readings are usually {duration(period)} apart"
        + ("" if len(periods) == 1 else ", in most of the channels that are read often"),
        frozenset(channel.name for channel in survey.channels),
    )


def _regular_clock(
    survey: Survey, usable: Sequence[Channel], of_trials: bool, near_hz: float | None
) -> Clock:
    """The rate of the slowest channel in the group of rates that is proposed."""
    rates = {channel.name: _rounded(channel.rates_hz[0]) for channel in usable}
    groups = _groups(rates)
    chosen = groups[0]
    if near_hz is not None:
        chosen = min(groups, key=lambda group: _distance(group, near_hz))
    low, high = min(chosen.values()), max(chosen.values())
    slowest = min(c.rates_hz[0] for c in usable if rates[c.name] == low)
    names = frozenset(
        c.name for c in survey.channels if c.rates_hz and low <= _rounded(c.rates_hz[0]) <= high
    )
    others = _others(chosen, [group for group in groups if group is not chosen])
    divisor = 1
    if of_trials:
        while max(survey.samples) > divisor * MOST_SAMPLES:
            divisor += 1
    elif slowest > _FASTEST_HZ:
        candidates = range(1, int(np.ceil(slowest)) + 1)
        divisor = next(d for d in candidates if slowest / d <= _FASTEST_HZ)
        whole = [d for d in candidates if d >= divisor and slowest % d == 0]
        if whole and whole[0] <= 2 * divisor:
            divisor = whole[0]
    if divisor == 1:
        same = len(set(rates.values())) == 1
        why = "that of the files" if same else "that of the slowest of these"
        return Clock(slowest, why, names, others)
    rate_hz = slowest / divisor
    return Clock(
        rate_hz,
        f"the median of {divisor} samples; at the files' {slowest:g} Hz {MOST_SAMPLES} samples, "
        f"the longest context, would be {duration(MOST_SAMPLES / slowest)}",
        names,
        others,
    )


def _groups(rates: Mapping[str, float]) -> list[dict[str, float]]:
    """Channels whose rates are alike, by rate; the group to propose comes first.

    It is around the fastest rate that many channels have or exceed: hardly any step of its clock
    would have a value of much slower channels, and of much faster ones little would be left.
    """
    groups, left = [], dict(rates)
    while left:
        many = _MANY * len(left)
        fast = max(r for r in left.values() if sum(o >= r for o in left.values()) >= many)
        near = {n: r for n, r in left.items() if fast / _SLOWER <= r <= fast * _SLOWER}
        groups.append(near)
        left = {name: rate for name, rate in left.items() if name not in near}
    return groups


def _distance(group: Mapping[str, float], near_hz: float) -> float:
    return min(abs(math.log(rate / near_hz)) for rate in group.values())


def _others(chosen: Mapping[str, float], groups: Sequence[Mapping[str, float]]) -> str:
    """The channels that this clock is not for, and how to have them proposed."""
    if not groups:
        return ""
    lines = "; ".join(
        f"for {_named(group)}: tsfm-adapt init --clock-hz {max(group.values()):g}"
        for group in groups
    )
    return f"channels differ much in rate: {_named(chosen)} are proposed; {lines}"


def _named(group: Mapping[str, float]) -> str:
    low, high = min(group.values()), max(group.values())
    shown = ", ".join(list(group)[:4]) + (f" and {len(group) - 4} more" if len(group) > 4 else "")
    return f"{shown} ({low:g} Hz)" if low == high else f"{shown} ({low:g} to {high:g} Hz)"


def gap(survey: Survey, rate_hz: float) -> tuple[float | None, str]:
    """Where to cut, and why."""
    seen = f"nothing is measured for up to {duration(survey.longest_gap_s)}"
    if survey.stated_duration or survey.longest_gap_s * rate_hz <= _LONG_GAP:
        return None, seen
    return _CUT / rate_hz, f"{seen}: recordings are cut at gaps longer than {_CUT} samples"


def _nice(period_s: float) -> float:
    """A period that divides days or seconds well, close to one or the next longer one."""
    if period_s < 0.95:
        return 1 / max(1, round(1 / period_s))
    close = [p for p in _PERIODS_S if abs(p - period_s) <= 0.05 * period_s]
    longer = [p for p in _PERIODS_S if p >= period_s]
    return (close or longer or [period_s])[0]


def _rounded(rate_hz: float) -> float:
    """Headers write 1/60 Hz with more or fewer digits."""
    return float(f"{rate_hz:.3g}")
