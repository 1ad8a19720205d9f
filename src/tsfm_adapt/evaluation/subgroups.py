"""Scores apart for groups of subjects: does it help everyone?

Groups are looked at, not tested: of many intervals some miss 0 by chance, and no group is said to
be *shown* to gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tsfm_adapt.evaluation.intervals import compared
from tsfm_adapt.signals.attributes import grouped
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import Errors, Scale, Task

# Of fewer subjects only their number is given: a score of theirs says little of the group, and
# much of them.
MIN_SUBJECTS = 5


def by_subgroup(
    task: Task,
    errors: Mapping[str, Errors],
    windows: Windows,
    scale: Scale,
    grouping: Mapping[str, Sequence[float] | None],
    seed: int = 0,
) -> dict[str, Any]:
    """Each model's score in each group, as scores.json holds it; null where undefined.

    Args:
        task: what the errors are of.
        errors: by model, on the same windows.
        windows: those that were scored.
        scale: see there.
        grouping: attributes, with their edges; see `signals.attributes.grouped`.
        seed: of the resampling.
    """
    subjects = np.array(next(iter(errors.values())).subjects)
    of_windows = np.array(windows.subject_names)[windows.subjects]
    table: dict[str, Any] = {}
    for attribute, edges in grouping.items():
        of = grouped(windows.recordings, attribute, edges)
        groups: dict[str, Any] = {}
        for group in dict.fromkeys(of.values()):
            members = [subject for subject, name in of.items() if name == group]
            some = np.isin(subjects, members)
            number = len(np.unique(subjects[some]))
            groups[group] = {
                "subjects": number,
                "windows": int(np.isin(of_windows, members).sum()),
                "models": None,
                "difference": None,
            }
            if number >= MIN_SUBJECTS:
                own = {name: each.where(some) for name, each in errors.items()}
                groups[group]["models"] = {
                    name: task.headline(each, scale) for name, each in own.items()
                }
                block = task.block(windows)
                groups[group]["difference"] = _difference(task, own, scale.mase, block, seed)
        table[attribute] = {
            "metric": task.metric,
            "better": task.better,
            "min_subjects": MIN_SUBJECTS,
            "groups": groups,
        }
    return table


def _difference(
    task: Task, errors: Mapping[str, Errors], mase: FloatArray, block: int, seed: int
) -> dict[str, Any] | None:
    """The adapted model against zero-shot, or what stands for it; None without one of them."""
    reference = next((name for name in ("zero_shot", "frozen_probe") if name in errors), None)
    if "adapted" not in errors or reference is None:
        return None
    ours, theirs = task.kept(errors["adapted"]), task.kept(errors[reference])
    found = compared(task.pair(ours, theirs, mase), block, seed)
    return {
        "versus": reference,
        "difference": found.difference if np.isfinite(found.difference) else None,
        "low": found.low,
        "high": found.high,
        "interval": found.interval,
    }
