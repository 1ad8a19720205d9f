"""scores.json as version 0.1 wrote it (format 1, without a number) in today's form."""

from __future__ import annotations

from pydantic import JsonValue

from tsfm_adapt.evaluation.metric import metric

Tree = dict[str, JsonValue]

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
    ranked_by = _mapping(tree.get("ranked_by", {"metric": "mase", "better": "lower"}))
    new: Tree = {key: tree[key] for key in _KEPT if tree.get(key) is not None}
    new |= {
        "checkpoint": tree["checkpoint"],
        "metric": ranked_by["metric"],
        "better": ranked_by["better"],
        "protocol": _renamed(_mapping(tree["protocol"])),
        "audit": _audit(_mapping(tree["audit"])),
        "models": _models(_mapping(tree["models"])),
        "verdict": _verdict(tree.get("verdict")),
        "calibration": _calibration(tree.get("calibration")),
        "costs": {key: tree.get(key) for key in _COSTS},
    }
    for key in ("horizons", "gaps"):
        groups = _mapping(tree.get(key, {}))
        new[key] = {name: _models(_mapping(own)) for name, own in groups.items()}
    return new


def _mapping(value: JsonValue) -> Tree:
    """A value that is a mapping in format 1.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(value, dict):
        raise TypeError(f"a mapping is expected, not {value!r:.60}")
    return value


def _models(models: Tree) -> Tree:
    """Models with their roles, without those that were not scored."""
    return {
        name: _mapping(own) | {"role": name if name in _ROLES else "baseline"}
        for name, own in models.items()
        if own is not None
    }


def _renamed(tree: Tree) -> Tree:
    return {key.replace("_by_part", "_by_split"): value for key, value in tree.items()}


def _audit(audit: Tree) -> Tree:
    findings = audit["findings"]
    if not isinstance(findings, list):
        raise TypeError(f"audit.findings: a list is expected, not {findings!r:.60}")
    renamed: list[JsonValue] = [
        {("splits" if key == "parts" else key): value for key, value in _mapping(each).items()}
        for each in findings
    ]
    return audit | {"findings": renamed}


def _calibration(calibration: JsonValue) -> JsonValue:
    if calibration is None:
        return None
    items = _mapping(calibration).items()
    return {("split" if key == "part" else key): value for key, value in items}


def _verdict(verdict: JsonValue) -> JsonValue:
    if not verdict:
        return None
    known = _mapping(verdict)
    comparisons: list[JsonValue] = [
        _against(_mapping(known[f"vs_{name}"]), name, name)
        for name in ("zero_shot", "frozen_probe")
        if known.get(f"vs_{name}") is not None
    ]
    baseline = _mapping(known["vs_best_baseline"])
    comparisons.append(_against(baseline, baseline["name"], "baseline"))
    return {
        "metric": metric(str(known["metric"])).name,
        "interval": known["interval"],
        "comparisons": comparisons,
    }


def _against(comparison: Tree, against: JsonValue, role: str) -> Tree:
    numbers = {key: value for key, value in comparison.items() if key != "name"}
    return numbers | {"against": against, "role": role}
