"""The rate of a recipe, and where recordings are cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsfm_adapt._util.durations import duration
from tsfm_adapt.proposal.survey import Channel, Survey
from tsfm_adapt.tasks.base import MOST_SAMPLES

_FASTEST_HZ = 128.0  # 256 samples are 2 s: some heartbeats
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 10080)
_PERIODS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, *(60.0 * m for m in _MINUTES))
_MANY, _SLOWER = 0.4, 8  # share of channels that set the rate, and how much slower others may be
_RICH = 0.2  # a channel with fewer readings than this share of the richest sets no clock
_LONG_GAP, _CUT = 64, 12  # samples: gaps longer than this are cut out, and at which length


def clock(survey: Survey, of_trials: bool) -> tuple[float, str, frozenset[str]]:
    """The recipe's rate, why, and the channels that have it.

    Args:
        survey: of the recordings.
        of_trials: recordings are short trials, each of which shall fit into one window.
    """
    usable = [channel for channel in survey.channels if not channel.constant]
    usable = usable or [channel for channel in survey.channels if channel.measured]
    if all(channel.regular for channel in usable):
        return _regular_clock(survey, usable, of_trials)
    richest = max(channel.readings for channel in usable)
    rich = [channel for channel in usable if channel.readings >= _RICH * richest]
    periods = [1 / channel.usual_hz for channel in rich if channel.usual_hz] or [1.0]
    period = float(np.quantile(periods, 0.8, method="higher"))
    nice = _nice(period)
    return (
        1 / nice,
        f"readings are usually {duration(period)} apart"
        + ("" if len(periods) == 1 else ", in most of the channels that are read often"),
        frozenset(channel.name for channel in survey.channels),
    )


def _regular_clock(
    survey: Survey, usable: Sequence[Channel], of_trials: bool
) -> tuple[float, str, frozenset[str]]:
    """The rate of the faster channels; that of slower ones, where they are not much slower."""
    rates = {channel.name: _rounded(channel.rates_hz[0]) for channel in usable}
    many = _MANY * len(rates)
    fast = max(r for r in rates.values() if sum(o >= r for o in rates.values()) >= many)
    group = min(rate for rate in rates.values() if rate * _SLOWER >= fast)
    slowest = min(c.rates_hz[0] for c in usable if rates[c.name] == group)
    names = frozenset(  # of a much slower channel hardly any value would be there
        c.name for c in survey.channels if c.rates_hz and _rounded(c.rates_hz[0]) >= group
    )
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
        return slowest, "that of the files" if same else "that of the slowest of these", names
    rate_hz = slowest / divisor
    return (
        rate_hz,
        f"the median of {divisor} samples; at the files' {slowest:g} Hz {MOST_SAMPLES} samples, "
        f"the longest context, would be {duration(MOST_SAMPLES / slowest)}",
        names,
    )


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
