"""scores.json as version 0.1 wrote it (format 1, without a number) in today's form."""

from __future__ import annotations

from typing import Any  # JSON that was not checked yet

from tsfm_adapt.evaluation.metric import metric

Tree = dict[str, Any]

_ROLES = ("adapted", "zero_shot", "frozen_probe")  # were names; all others are baselines
_COSTS = (
    "trainable_parameters",
    "total_parameters",
    "best_step",
    "train_seconds",
    "seconds_per_step",
    "peak_memory_mb",
)
_KEPT = (
    "task",
    "checkpoint",
    "smoke",
    "synthetic",
    "windows",
    "subjects",
    "left_out",
    "missingness",
    "events",
    "rows",
    "reasons",
    "subgroups",
    "sentences",
)


def upgraded(tree: Tree) -> Tree:
    """A tree of format 1 as one of format 2.

    Raises:
        KeyError, TypeError, AttributeError: it is not of format 1.
    """
    ranked_by = tree.get("ranked_by", {"metric": "mase", "better": "lower"})
    new: Tree = {key: tree[key] for key in _KEPT if tree.get(key) is not None}
    new |= {
        "checkpoint": tree["checkpoint"],
        "metric": ranked_by["metric"],
        "better": ranked_by["better"],
        "protocol": _renamed(tree["protocol"]),
        "audit": _audit(tree["audit"]),
        "models": _models(tree["models"]),
        "verdict": _verdict(tree.get("verdict")),
        "calibration": _calibration(tree.get("calibration")),
        "costs": {key: tree.get(key) for key in _COSTS},
    }
    for key in ("horizons", "gaps"):
        new[key] = {name: _models(own) for name, own in tree.get(key, {}).items()}
    return new


def _models(models: Tree) -> Tree:
    """Models with their roles, without those that were not scored."""
    return {
        name: own | {"role": name if name in _ROLES else "baseline"}
        for name, own in models.items()
        if own is not None
    }


def _renamed(tree: Tree) -> Tree:
    return {key.replace("_by_part", "_by_split"): value for key, value in tree.items()}


def _audit(audit: Tree) -> Tree:
    findings = [
        {("splits" if key == "parts" else key): value for key, value in finding.items()}
        for finding in audit["findings"]
    ]
    return audit | {"findings": findings}


def _calibration(calibration: Tree | None) -> Tree | None:
    if calibration is None:
        return None
    return {("split" if key == "part" else key): value for key, value in calibration.items()}


def _verdict(verdict: Tree | None) -> Tree | None:
    if not verdict:
        return None
    comparisons = [
        verdict[f"vs_{name}"] | {"against": name, "role": name}
        for name in ("zero_shot", "frozen_probe")
        if verdict.get(f"vs_{name}") is not None
    ]
    baseline = dict(verdict["vs_best_baseline"])
    comparisons.append(baseline | {"against": baseline.pop("name"), "role": "baseline"})
    for each in comparisons:
        each.pop("name", None)
    return {
        "metric": metric(verdict["metric"]).name,
        "interval": verdict["interval"],
        "comparisons": comparisons,
    }
