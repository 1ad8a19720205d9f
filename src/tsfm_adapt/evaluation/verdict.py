"""The verdict: the adapted model against its reference and against the best baseline.

All models predicted the same windows. The unit of resampling is the subject: windows of one
patient are not independent. See `intervals.compared`.
"""

from __future__ import annotations

from collections.abc import Mapping

from tsfm_adapt.evaluation.base import E, Scale, Scoring
from tsfm_adapt.evaluation.intervals import Interval, compared
from tsfm_adapt.evaluation.metric import Metric, metric
from tsfm_adapt.evaluation.scores import REFERENCES, Compared, Difference, Role, Verdict


def verdict(
    scoring: Scoring[E],
    errors: Mapping[str, E],
    roles: Mapping[str, Role],
    scale: Scale,
    block: int,
    seed: int = 0,
) -> Verdict:
    """The adapted model against zero-shot or the frozen probe, and against the best baseline.

    Args:
        scoring: of the errors.
        errors: by model, on the same windows in the order of time; one adapted, one baseline or
            more.
        roles: of the models.
        scale: see there.
        block: consecutive rows that share samples.
        seed: of the resampling.
    """
    ours = next(name for name in errors if roles[name] == Role.ADAPTED)

    def key(name: str) -> tuple[bool, float]:
        return scoring.metric.key(scoring.headline(errors[name], scale))

    best = min((name for name in errors if roles[name] == Role.BASELINE), key=key)
    others = [*(name for name in errors if roles[name] in REFERENCES), best]
    kept = scoring.kept(errors[ours])
    results = {
        name: compared(scoring.pair(kept, scoring.kept(errors[name]), scale.mase), block, seed)
        for name in sorted(others, key=lambda name: list(Role).index(roles[name]))
    }
    return Verdict(
        metric=scoring.metric.name,
        interval=results[best].interval,
        subjects=len(set(errors[ours].subjects)),
        comparisons=tuple(
            Compared(against=name, role=roles[name], **dict(Difference.of(result)))
            for name, result in results.items()
        ),
    )


def sentence(verdict: Verdict, by: Metric | None = None) -> str:
    """The verdict in words, a clause a comparison.

    Such as `against zero-shot: MASE 8.6 % lower (95 % CI 6.5 to 10.7 % lower), better`.

    Args:
        verdict: see there.
        by: the verdict's metric; None = the one that is known under its name.
    """
    by = by or metric(verdict.metric)
    clauses = [clause(each, by, verdict.interval) for each in verdict.comparisons]
    return f"adapted model {'; '.join(clauses)}{_subjects(verdict)}"


def clause(result: Compared, by: Metric, interval: Interval) -> str:
    """One comparison in words."""
    other = result.label
    if result.difference is None:
        return f"against {other}: no comparison, the test set has too few classes"
    amount = f"{by.label} {_directed(result.difference, by)}"
    return f"against {other}: {amount}{_interval(result, by)}, {_conclusion(result, interval)}"


def _conclusion(result: Difference, interval: Interval) -> str:
    if interval == "within one patient":
        return "inconclusive"
    if result.shown:
        return "better"
    worse = result.high is not None and result.high < 0
    return "worse" if worse else "inconclusive"


def _interval(result: Difference, by: Metric) -> str:
    if result.low is None or result.high is None:
        return " (no interval)"
    if result.low == result.high:
        return f" (95 % CI {_directed(result.low, by)})"
    low, high = sorted((result.low, result.high), key=abs)
    if (low < 0) == (high < 0):
        return f" (95 % CI {abs(low):.1f} to {_directed(high, by)})"
    ends = (result.low, result.high) if by.better == "higher" else (result.high, result.low)
    return f" (95 % CI {_directed(ends[0], by)} to {_directed(ends[1], by)})"


def _directed(gain: float, by: Metric) -> str:
    """A gain as what happened to the metric: `8.6 % lower`."""
    if gain == 0:
        return "equal"
    up = (gain > 0) == (by.better == "higher")
    return f"{abs(gain):.1f} {by.unit} {'higher' if up else 'lower'}"


def _subjects(verdict: Verdict) -> str:
    if verdict.interval == "within one patient":
        return "; one test subject, so this is never evidence for other patients"
    if verdict.subjects is None:
        return ""
    few = ", few" if verdict.interval == "few subjects" else ""
    return f"; {verdict.subjects} test subjects{few}"
