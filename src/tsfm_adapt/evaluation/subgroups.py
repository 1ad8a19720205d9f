"""Scores of subgroups of subjects: is adapting better in each of them?

Groups are described, not tested: of many intervals some miss 0 by chance, and no group is said to
be *shown* to gain.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tsfm_adapt.evaluation.base import E, Scale, Scoring
from tsfm_adapt.evaluation.intervals import compared
from tsfm_adapt.evaluation.scores import (
    REFERENCES,
    Role,
    Subgroup,
    SubgroupDifference,
    SubgroupTable,
)
from tsfm_adapt.signals.attributes import grouped
from tsfm_adapt.signals.windows import Windows

# Of smaller groups only the number of subjects is given: their score would not describe the group,
# and would describe single subjects.
MIN_SUBJECTS = 5


def by_subgroup(
    scoring: Scoring[E],
    errors: Mapping[str, E],
    roles: Mapping[str, Role],
    windows: Windows,
    scale: Scale,
    grouping: Mapping[str, Sequence[float] | None],
    seed: int = 0,
) -> dict[str, SubgroupTable]:
    """Each model's score in each group; None where undefined.

    Args:
        scoring: of the errors.
        errors: by model, on the same windows.
        roles: of the models.
        windows: those that were scored.
        scale: see there.
        grouping: attributes, with their edges; see `signals.attributes.grouped`.
        seed: of the resampling.
    """
    subjects = np.array(next(iter(errors.values())).subjects)
    of_windows = np.array(windows.subject_names)[windows.subjects]
    tables = {}
    for attribute, edges in grouping.items():
        of = grouped(windows.recordings, attribute, edges)
        groups = {}
        for group in dict.fromkeys(of.values()):
            members = [subject for subject, name in of.items() if name == group]
            some = np.isin(subjects, members)
            number = len(np.unique(subjects[some]))
            own = {name: each.where(some) for name, each in errors.items()}
            enough = number >= MIN_SUBJECTS
            groups[group] = Subgroup(
                subjects=number,
                windows=int(np.isin(of_windows, members).sum()),
                models={n: scoring.headline(each, scale) for n, each in own.items()}
                if enough
                else None,
                difference=_difference(scoring, own, roles, scale, scoring.block(windows), seed)
                if enough
                else None,
            )
        tables[attribute] = SubgroupTable(
            metric=scoring.metric.name,
            better=scoring.metric.better,
            unit=scoring.metric.unit,
            min_subjects=MIN_SUBJECTS,
            groups=groups,
        )
    return tables


def _difference(
    scoring: Scoring[E],
    errors: Mapping[str, E],
    roles: Mapping[str, Role],
    scale: Scale,
    block: int,
    seed: int,
) -> SubgroupDifference | None:
    """The adapted model against zero-shot or the frozen probe; None without one of them."""
    adapted = next((name for name in errors if roles[name] == Role.ADAPTED), None)
    reference = next((name for name in errors if roles[name] in REFERENCES), None)
    if adapted is None or reference is None:
        return None
    ours, theirs = scoring.kept(errors[adapted]), scoring.kept(errors[reference])
    result = compared(scoring.pair(ours, theirs, scale.mase), block, seed)
    return SubgroupDifference(
        versus=reference,
        difference=result.difference if math.isfinite(result.difference) else None,
        low=result.low,
        high=result.high,
        interval=result.interval,
    )
