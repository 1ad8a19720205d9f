"""Did adapting help? The paired difference of two models, with an interval over subjects.

Both models predicted the same windows. The unit of resampling is the subject: windows of one
patient are not independent. See section "How scores are made" of the README.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsfm_adapt.evaluation.class_errors import ClassErrors, Metric, weighted
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors, mase
from tsfm_adapt.evaluation.intervals import Comparison, Interval, Pair, compared
from tsfm_adapt.signals.recording import FloatArray, IntArray

_AT_ONCE = 1 << 22  # multiplicities (draws times rows) held at once
_PRINTED: Mapping[str, tuple[str, str]] = MappingProxyType(  # unit of a difference, name
    {
        "mase": ("%", "MASE"),
        "auroc": ("points", "AUROC"),
        "auprc": ("points", "AUPRC"),
        "accuracy": ("points", "accuracy"),
        "balanced_accuracy": ("points", "balanced accuracy"),
        "macro_f1": ("points", "macro F1"),
    }
)


def compare(
    adapted: ForecastErrors,
    reference: ForecastErrors,
    scale: FloatArray,
    block: int,
    seed: int = 0,
    steps: int | None = None,
) -> Comparison:
    """The relative difference in overall MASE with a 95 % interval.

    See `intervals.compared` for how the interval is made.

    Args:
        adapted: errors on some windows, in the order of time.
        reference: the other model's on the same windows.
        scale: (C,) MASE scale.
        block: consecutive windows that share samples.
        seed: of the resampling.
        steps: pool the steps 1..steps; None = all.
    """
    assert np.array_equal(adapted.scored, reference.scored)
    ours, theirs = kept_forecasts(adapted.until(steps)), kept_forecasts(reference.until(steps))
    return compared(forecast_pair(ours, theirs, scale), block, seed)


def kept_forecasts(errors: ForecastErrors) -> dict[str, NDArray[Any]]:
    """What a comparison needs: subjects (W,), sums of absolute errors and counts, (W, C)."""
    absolute, count = errors.sums()
    return {"subjects": np.array(errors.subjects), "absolute": absolute, "count": count}


def forecast_pair(
    ours: Mapping[str, NDArray[Any]], theirs: Mapping[str, NDArray[Any]], scale: FloatArray
) -> Pair:
    """Two models by overall MASE, from what `kept_forecasts` gave; positive = ours is better."""
    assert np.array_equal(ours["subjects"], theirs["subjects"])
    assert np.array_equal(ours["count"], theirs["count"])
    some = ours["count"].any(axis=1)  # a patient without a scored target is none
    subject = _numbered(ours["subjects"][some])
    absolute, count = (ours["absolute"][some], theirs["absolute"][some]), ours["count"][some]
    return _Forecasts(subject, *absolute, count, scale)


def compare_classes(
    adapted: ClassErrors, reference: ClassErrors, metric: Metric, block: int, seed: int = 0
) -> Comparison:
    """The difference in a score of classification, in points, with a 95 % interval.

    The interval is that of `intervals.compared`. Draws and subjects in which the score is
    undefined, as AUROC is without a row of each class, are skipped; where most draws or all but
    one of a few subjects are, there is no interval.

    Args:
        adapted: of some rows, in the order of time.
        reference: the other model's of the same rows.
        metric: which score.
        block: consecutive rows that share samples; 1 for rows that are recordings.
        seed: of the resampling.
    """
    return compared(class_pair(adapted, reference, metric), block, seed)


def class_pair(ours: ClassErrors, theirs: ClassErrors, metric: Metric) -> Pair:
    """Two models by a score of classification; positive = ours is better."""
    assert ours.subjects == theirs.subjects
    assert np.array_equal(ours.target, theirs.target)
    return _Classes(_numbered(np.array(ours.subjects)), ours, theirs, metric)


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


def class_verdict(
    errors: Mapping[str, ClassErrors], metric: Metric, block: int, seed: int = 0
) -> dict[str, Any]:
    """The adapted model against a probe on the frozen backbone and the best of the other models.

    A backbone that was not adapted names no classes, so that nothing is compared with zero-shot.

    Args:
        errors: by model: `adapted`, baselines, and perhaps `frozen_probe`.
        metric: which score.
        block: consecutive rows that share samples.
        seed: of the resampling.
    """

    def score(name: str) -> float:
        once = np.ones((1, len(errors[name].target)))
        found = float(weighted(errors[name], metric, once)[0])
        return found if np.isfinite(found) else -np.inf

    best = max((name for name in errors if name not in ("adapted", "frozen_probe")), key=score)
    against = {
        name: compare_classes(errors["adapted"], errors[name], metric, block, seed)
        for name in ("frozen_probe", best)
        if name in errors
    }
    probe = against.get("frozen_probe")
    return {
        "metric": metric,
        "better": "higher",
        "interval": against[best].interval,
        "vs_zero_shot": None,
        "vs_frozen_probe": None if probe is None else _json(probe),
        "vs_best_baseline": {"name": best, **_json(against[best])},
    }


def sentence(verdict: Mapping[str, Any]) -> str:
    """The verdict in words; being worse, too, is *not shown* where the interval holds 0."""
    kind, baseline = verdict["interval"], verdict["vs_best_baseline"]
    named = {
        "zero-shot": verdict["vs_zero_shot"],
        "the frozen probe": verdict.get("vs_frozen_probe"),  # verdicts on forecasts have none
        f"the best baseline ({baseline['name']})": baseline,
    }
    unit, metric = _PRINTED[verdict["metric"]]
    clauses: list[str] = []
    for other, result in named.items():
        if result is not None:
            measure = unit if clauses else f"{unit} {metric}"
            clauses.append(_clause(other, result, measure, kind))
    label = f" ({kind})" if kind != "subjects" else ""
    return f"adapted {'; '.join(clauses)}{label}"


def _clause(other: str, result: Mapping[str, Any], measure: str, kind: Interval) -> str:
    difference, low, high = result["difference"], result["low"], result["high"]
    if difference is None:
        return f"cannot be compared with {other}: the test part has too few classes"
    interval = "without an interval" if low is None else f"[{low:.1f}, {high:.1f}]"
    worse = kind != "within one patient" and high is not None and high < 0
    doubt = "" if result["shown"] or worse else ": not shown"
    if difference == 0:
        return f"is level with {other} {interval}{doubt}"
    verb = "beats" if difference > 0 else "is worse than"
    return f"{verb} {other} by {abs(difference):.1f} {measure} {interval}{doubt}"


def _json(comparison: Comparison) -> dict[str, Any]:
    difference = comparison.difference
    return {
        "difference": difference if np.isfinite(difference) else None,
        "low": comparison.low,
        "high": comparison.high,
        "shown": comparison.shown,
    }


@dataclass(frozen=True)
class _Forecasts(Pair):
    subject: IntArray
    ours: FloatArray  # (W, C) sums of absolute errors
    theirs: FloatArray  # (W, C)
    count: FloatArray  # (W, C)
    scale: FloatArray  # (C,)

    def pooled(self) -> float:
        return float(self._gain(lambda values: values.sum(axis=0)))

    def each(self) -> FloatArray:
        return self._gain(self._per_subject)

    def of_subjects(self, times: IntArray) -> FloatArray:
        return self._gain(lambda values: times @ self._per_subject(values))

    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        def drawn(values: FloatArray) -> FloatArray:
            running = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)])
            total: FloatArray = (running[first + length] - running[first]).sum(axis=1)
            return total

        return self._gain(drawn)

    def _per_subject(self, values: FloatArray) -> FloatArray:
        """Sums (S, C) of (W, C) by subject."""
        sums = np.zeros((int(self.subject.max()) + 1, values.shape[1]))
        np.add.at(sums, self.subject, values)
        return sums

    def _gain(self, summed: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """100 (reference - adapted) / reference of sums (..., C), in percent, (...)."""
        ours, theirs, count = (summed(values) for values in (self.ours, self.theirs, self.count))
        reference = mase(theirs, count, self.scale)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain: FloatArray = 100 * (reference - mase(ours, count, self.scale)) / reference
        return np.where(reference > 0, gain, 0.0)


@dataclass(frozen=True)
class _Classes(Pair):
    subject: IntArray
    adapted: ClassErrors
    reference: ClassErrors
    metric: Metric

    def pooled(self) -> float:
        return float(self._gain(np.ones((1, len(self.subject))))[0])

    def each(self) -> FloatArray:
        return self.of_subjects(np.eye(int(self.subject.max()) + 1, dtype=np.int64))

    def of_subjects(self, times: IntArray) -> FloatArray:
        parts = [self._gain(some[:, self.subject].astype(float)) for some in self._at_once(times)]
        return np.concatenate(parts)

    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        def drawn(some: IntArray) -> FloatArray:
            steps = np.zeros((len(some), len(self.subject) + 1))  # +1 where a block begins
            draw = np.arange(len(some))[:, None]
            np.add.at(steps, (draw, some), 1.0)
            np.add.at(steps, (draw, some + length), -1.0)
            times: FloatArray = np.cumsum(steps, axis=1)[:, :-1]
            return times

        return np.concatenate([self._gain(drawn(some)) for some in self._at_once(first)])

    def _at_once(self, draws: IntArray) -> Iterator[IntArray]:
        """Draws in pieces whose multiplicities of rows fit into memory."""
        size = max(1, _AT_ONCE // len(self.subject))
        return (draws[first : first + size] for first in range(0, len(draws), size))

    def _gain(self, times: FloatArray) -> FloatArray:
        """100 (adapted - reference) of rows that count (D, W) times, (D,)."""
        ours, theirs = (
            weighted(errors, self.metric, times) for errors in (self.adapted, self.reference)
        )
        return 100 * (ours - theirs)


def _numbered(names: NDArray[np.str_]) -> IntArray:
    """Names as numbers from 0 on."""
    return np.unique(names, return_inverse=True)[1].astype(np.int64)
