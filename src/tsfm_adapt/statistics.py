"""Did adapting help? The paired difference of two models, with an interval over subjects.

Both models predicted the same windows. The unit of resampling is the subject: windows of one
patient are not independent. See section "How scores are made" of the README.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tsfm_adapt.metrics import ForecastErrors, mase
from tsfm_adapt.signals.recording import FloatArray, IntArray

Interval = Literal["subjects", "few subjects", "within one patient"]

DRAWS = 2000
_LEVEL = 0.95
_MANY = 8  # subjects from which a bootstrap over them is used


@dataclass(frozen=True)
class Comparison:
    """How much lower the adapted model's MASE is, in percent of the reference's."""

    difference: float  # positive = adapted is better
    low: float | None  # None where an interval cannot be had
    high: float | None
    shown: bool  # low > 0, and several subjects
    interval: Interval


def compare(
    adapted: ForecastErrors,
    reference: ForecastErrors,
    scale: FloatArray,
    block: int,
    seed: int = 0,
    steps: int | None = None,
) -> Comparison:
    """The relative difference in overall MASE with a 95 % interval.

    From eight subjects on, a percentile bootstrap over subjects. Below, a t interval from the
    subjects' own differences around the pooled one. For one subject, a moving-block bootstrap
    over its windows, which never counts as shown.

    Args:
        adapted: errors on some windows, in the order of time.
        reference: the other model's on the same windows.
        scale: (C,) MASE scale.
        block: consecutive windows that share samples.
        seed: of the resampling.
        steps: pool the steps 1..steps; None = all.
    """
    assert adapted.subjects == reference.subjects
    assert np.array_equal(adapted.scored, reference.scored)
    ours, count = adapted.until(steps).sums()
    theirs, _ = reference.until(steps).sums()  # (W, C)
    some = count.any(axis=1)  # a patient without a scored target is none
    ours, theirs, count = ours[some], theirs[some], count[some]
    names, inverse = np.unique(np.array(adapted.subjects)[some], return_inverse=True)
    subject = inverse.astype(np.int64)
    pooled = float(_gain(ours.sum(0), theirs.sum(0), count.sum(0), scale))
    rng = np.random.default_rng(seed)
    low: float | None
    high: float | None
    if len(names) <= 1:
        low, high = _over_blocks(ours, theirs, count, scale, block, rng)
        return Comparison(pooled, low, high, False, "within one patient")
    ours, theirs, count = (_per_subject(v, subject) for v in (ours, theirs, count))
    if len(names) >= _MANY:
        low, high = _over_subjects(ours, theirs, count, scale, rng)
        return Comparison(pooled, low, high, low > 0, "subjects")
    low, high = _t_interval(pooled, _gain(ours, theirs, count, scale))
    return Comparison(pooled, low, high, low is not None and low > 0, "few subjects")


def verdict(
    errors: Mapping[str, ForecastErrors], scale: FloatArray, block: int, seed: int = 0
) -> dict[str, Any]:
    """The adapted model against zero-shot and against the best of the other models.

    Args:
        errors: by model: `adapted`, `zero_shot`, and baselines.
        scale: (C,) MASE scale.
        block: consecutive windows that share samples.
        seed: of the resampling.
    """

    def score(name: str) -> float:
        absolute, count = errors[name].sums()
        return float(mase(absolute.sum(0), count.sum(0), scale))

    best = min((name for name in errors if name not in ("adapted", "zero_shot")), key=score)
    against = {
        name: compare(errors["adapted"], errors[name], scale, block, seed)
        for name in ("zero_shot", best)
    }
    return {
        "metric": "mase",
        "better": "lower",
        "interval": against[best].interval,
        "vs_zero_shot": _json(against["zero_shot"]),
        "vs_best_baseline": {"name": best, **_json(against[best])},
    }


def sentence(verdict: Mapping[str, Any]) -> str:
    """The verdict in words; being worse, too, is *not shown* where the interval holds 0."""
    kind, baseline = verdict["interval"], verdict["vs_best_baseline"]
    label = f" ({kind})" if kind != "subjects" else ""
    first = _clause("zero-shot", verdict["vs_zero_shot"], " MASE", kind)
    second = _clause(f"the best baseline ({baseline['name']})", baseline, "", kind)
    return f"adapted {first}; {second}{label}"


def _clause(other: str, result: Mapping[str, Any], metric: str, kind: Interval) -> str:
    difference, low, high = result["difference"], result["low"], result["high"]
    interval = "without an interval" if low is None else f"[{low:.1f}, {high:.1f}]"
    worse = kind != "within one patient" and high is not None and high < 0
    doubt = "" if result["shown"] or worse else ": not shown"
    if difference == 0:
        return f"is level with {other} {interval}{doubt}"
    verb = "beats" if difference > 0 else "is worse than"
    return f"{verb} {other} by {abs(difference):.1f} %{metric} {interval}{doubt}"


def _json(comparison: Comparison) -> dict[str, Any]:
    return {
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "shown": comparison.shown,
    }


def _gain(
    ours: FloatArray, theirs: FloatArray, count: FloatArray, scale: FloatArray
) -> FloatArray:
    """100 (reference - adapted) / reference of sums (..., C), in percent, (...)."""
    reference = mase(theirs, count, scale)
    with np.errstate(invalid="ignore", divide="ignore"):
        gain: FloatArray = 100 * (reference - mase(ours, count, scale)) / reference
    return np.where(reference > 0, gain, 0.0)


def _per_subject(values: FloatArray, subject: IntArray) -> FloatArray:
    """Sums (S, C) of (W, C) by subject."""
    sums = np.zeros((int(subject.max()) + 1, values.shape[1]))
    np.add.at(sums, subject, values)
    return sums


def _over_subjects(
    ours: FloatArray,
    theirs: FloatArray,
    count: FloatArray,
    scale: FloatArray,
    rng: np.random.Generator,
) -> tuple[float, float]:
    subjects = len(ours)
    times = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=DRAWS)  # (draws, S)
    return _percentiles(_gain(times @ ours, times @ theirs, times @ count, scale))


def _over_blocks(
    ours: FloatArray,
    theirs: FloatArray,
    count: FloatArray,
    scale: FloatArray,
    block: int,
    rng: np.random.Generator,
) -> tuple[float | None, float | None]:
    """Kuensch's moving blocks, at least two of them; None where the windows are too few."""
    windows = len(ours)
    length = max(block, int(np.ceil(np.sqrt(windows))))
    if windows < 2 * length:
        return None, None
    blocks = -(-windows // length)
    first = rng.integers(0, windows - length + 1, size=(DRAWS, blocks))

    def drawn(values: FloatArray) -> FloatArray:
        running = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)])
        total: FloatArray = (running[first + length] - running[first]).sum(axis=1)
        return total

    return _percentiles(_gain(drawn(ours), drawn(theirs), drawn(count), scale))


def _t_interval(pooled: float, gains: FloatArray) -> tuple[float | None, float | None]:
    from scipy import stats

    known = gains[np.isfinite(gains)]
    if len(known) < 2:
        return None, None
    error = float(known.std(ddof=1) / np.sqrt(len(known)))
    reach = float(stats.t.ppf((1 + _LEVEL) / 2, len(known) - 1)) * error
    return pooled - reach, pooled + reach


def _percentiles(draws: FloatArray) -> tuple[float, float]:
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.nanpercentile(draws, [tail, 100 - tail])
    return float(low), float(high)
