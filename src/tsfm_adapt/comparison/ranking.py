"""Runs under one protocol as rows of one table, each beside zero-shot and the best baseline.

Runs that differ in their seed only are one row: the mean of their scores, the mean of their
differences. An interval is over subjects; p values are adjusted for the number of rows (Holm).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation import paired
from tsfm_adapt.evaluation.base import Kept, Scoring
from tsfm_adapt.evaluation.intervals import Comparison, Mean, compared, holm
from tsfm_adapt.evaluation.metric import Metric
from tsfm_adapt.evaluation.scores import (
    AuditSummary,
    Costs,
    ModelScores,
    Protocol,
    Role,
    Scores,
)
from tsfm_adapt.recipe.parts import cleaning_plan
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.run import Run
from tsfm_adapt.signals.recording import FloatArray

_SURE = 0.05  # adjusted p below which a row is called better or worse

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True)
class Against:
    """The comparison of a row with another model."""

    name: str
    comparison: Comparison
    p_holm: float | None = None  # None = no interval could be had

    @property
    def verdict(self) -> str:
        """`better`, `worse` or `inconclusive`, after Holm's adjustment."""
        if self.p_holm is None or self.p_holm >= _SURE:
            return "inconclusive"
        return "better" if self.comparison.difference > 0 else "worse"


@dataclass(frozen=True)
class Row:
    """A model of the table: an adapted backbone, an unadapted one, or a baseline."""

    name: str
    backbone: str | None = None  # None = a baseline
    checkpoint: str | None = None
    adapters: str | None = None  # joined by +; '' = none
    seeds: int = 1
    scores: ModelScores | None = None  # mean over seeds; None = it failed
    costs: Costs = field(default_factory=Costs)
    vs_reference: Against | None = None  # the same backbone, unadapted
    vs_baseline: Against | None = None  # the best of the baselines
    folders: tuple[Path, ...] = ()
    failure: str | None = None  # why there are no scores

    @property
    def overall(self) -> Mapping[str, float | None]:
        """Scores over all channels."""
        return self.scores.overall if self.scores else {}


@dataclass(frozen=True)
class Ranking:
    """Rows from best to worst, failed ones last, and what they have in common."""

    rows: tuple[Row, ...]
    metric: Metric
    shown: tuple[Metric, ...]  # columns of tables, that metric first
    interval: str | None  # what intervals are over; None = nothing was compared
    recipe: Recipe  # of the first run
    protocol: Protocol
    audit: AuditSummary  # of the first run
    subjects: int
    windows: int
    synthetic: bool
    smoke: bool

    @property
    def scored(self) -> list[Row]:
        """The rows that did not fail."""
        return [row for row in self.rows if row.scores is not None]


@dataclass(frozen=True)
class _Model:
    """One model of one run's scores.json."""

    name: str
    scores: ModelScores
    kept: Kept
    costs: Costs = field(default_factory=Costs)
    recipe: Recipe | None = None  # None = a baseline
    folder: Path | None = None


def rank(folders: Sequence[Path], failures: Mapping[str, str] | None = None) -> Ranking:
    """The table of runs that were scored on the same windows.

    Args:
        folders: of runs, scored with or without baselines.
        failures: rows without scores by name, with the reason.

    Raises:
        DataError: a folder is no scored run, or the runs' protocols differ.
    """
    runs = [Run(folder) for folder in folders]
    scores = [run.scores for run in runs]
    files = [paired.read(run.folder / "predictions" / "paired.npz") for run in runs]
    recipes = [run.recipe for run in runs]
    _require_one_protocol(runs, recipes, scores, files)
    scoring = recipes[0].task.build().scoring(recipes[0].data.rate_hz)
    metric = scores[0].ranked_by

    models = [m for each in zip(runs, recipes, scores, files, strict=True) for m in _models(*each)]
    groups = _grouped(models)

    def key(group: Sequence[_Model]) -> tuple[bool, float]:
        values = [model.scores.overall[metric.name] for model in group]
        known = [value for value in values if value is not None]
        return metric.key(float(np.mean(known)) if len(known) == len(values) else None)

    groups.sort(key=key)
    beside = _Beside(recipes[0], scoring, files[0].mase, files[0].block)
    best = next((group for group in groups if group[0].recipe is None), None)
    rows = [beside.row(group, _reference(group, groups), best) for group in groups]
    rows = _adjusted(_distinguished(rows, groups))
    failed = [Row(name, failure=reason) for name, reason in (failures or {}).items()]
    kinds = {row.vs_baseline.comparison.interval for row in rows if row.vs_baseline}
    first = scores[0]
    return Ranking(
        rows=(*rows, *failed),
        metric=metric,
        shown=(metric, *(m for m in scoring.shown if m.name != metric.name)),
        interval=kinds.pop() if kinds else None,
        recipe=recipes[0],
        protocol=first.protocol,
        audit=first.audit,
        subjects=first.subjects,
        windows=first.windows,
        synthetic=first.synthetic,
        smoke=first.smoke,
    )


def _models(run: Run, recipe: Recipe, scores: Scores, file: paired.Paired) -> Iterable[_Model]:
    for name, own in scores.models.items():
        kept = file.models[name]
        if own.role == Role.ADAPTED:
            yield _Model(name, own, kept, scores.costs, recipe, run.folder)
        elif own.role == Role.ZERO_SHOT:
            plain = recipe.model_copy(update={"adapters": (), "head": None})
            folder = None if recipe.adapts else run.folder
            yield _Model(name, own, kept, recipe=plain, folder=folder)
        elif own.role == Role.FROZEN_PROBE:
            yield _Model(f"{recipe.backbone.name}, probe", own, kept)
        else:
            yield _Model(name, own, kept)


def _identity(model: _Model) -> str:
    """The key of a row: everything of the recipe that a model depends on but seeds."""
    if model.recipe is None:
        return model.name
    left_out: set[str] = {"name", "seed", "search"}
    if not model.recipe.adapts:
        left_out |= {"train"}
    plain = model.recipe.model_dump(mode="json", exclude=left_out)
    plain["data"]["split"].pop("seed", None)
    return json.dumps(plain, sort_keys=True)


def _grouped(models: Sequence[_Model]) -> list[list[_Model]]:
    """Models of one identity, of each seed once; what is scored again is dropped."""
    groups: dict[str, dict[int, _Model]] = {}
    for model in models:
        seed = model.recipe.seed if model.recipe is not None and model.recipe.adapts else 0
        groups.setdefault(_identity(model), {}).setdefault(seed, model)
    return [list(group.values()) for group in groups.values()]


def _reference(group: Sequence[_Model], groups: Sequence[Sequence[_Model]]) -> list[_Model] | None:
    """The same backbone without adapters: as it is, or under the same head."""
    recipe = group[0].recipe
    if recipe is None or not recipe.adapters:
        return None
    same = [
        list(other)
        for other in groups
        if (known := other[0].recipe) is not None
        and known.backbone == recipe.backbone
        and not known.adapters
    ]
    headed = [other for other in same if other[0].recipe.head == recipe.head]  # type: ignore[union-attr]
    return next(iter(headed or same), None)


@dataclass(frozen=True)
class _Beside:
    """Compares models of one protocol."""

    recipe: Recipe
    scoring: Scoring[Any]  # Any: the task knows what it keeps
    mase: FloatArray
    block: int

    def row(
        self,
        group: Sequence[_Model],
        reference: Sequence[_Model] | None,
        baseline: Sequence[_Model] | None,
    ) -> Row:
        first = group[0]
        recipe = first.recipe
        names = [] if recipe is None else [adapter.name for adapter in recipe.adapters]
        if recipe is not None and recipe.head is not None:
            names.append(recipe.head.name)
        adapters = "+".join(names)
        return Row(
            name=first.name if recipe is None else _label(recipe, adapters),
            backbone=None if recipe is None else recipe.backbone.name,
            checkpoint=None if recipe is None else recipe.backbone.checkpoint,
            adapters=None if recipe is None else adapters,
            seeds=len(group),
            scores=_mean(ModelScores, [model.scores for model in group]),
            costs=_mean(Costs, [model.costs for model in group]),
            vs_reference=self._against(group, reference, "zero-shot"),
            vs_baseline=None
            if recipe is None or baseline is None
            else self._against(group, baseline, baseline[0].name),
            folders=tuple(m.folder for m in group if m.folder is not None),
        )

    def _against(
        self, group: Sequence[_Model], other: Sequence[_Model] | None, name: str
    ) -> Against | None:
        if other is None:
            return None
        pairs = [
            self.scoring.pair(model.kept, other[number % len(other)].kept, self.mase)
            for number, model in enumerate(group)
        ]
        comparison = compared(Mean(pairs[0].subject, pairs), self.block, self.recipe.seed)
        recipe = other[0].recipe
        if recipe is not None and recipe.head is not None:
            name = f"{recipe.head.name} on the frozen backbone"
        return Against(name, comparison)


def _label(recipe: Recipe, adapters: str) -> str:
    checkpoint = recipe.backbone.checkpoint
    which = "" if checkpoint == "embedded" else f" ({checkpoint})"
    return f"{recipe.backbone.name}{which}, {adapters.replace('+', ' + ') or 'zero-shot'}"


def _distinguished(rows: Sequence[Row], groups: Sequence[Sequence[_Model]]) -> list[Row]:
    """Rows of the same name with the settings in which they differ."""
    named: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        named.setdefault(row.name, []).append(index)
    distinguished = list(rows)
    for alike in named.values():
        recipes = [groups[index][0].recipe for index in alike]
        if len(alike) == 1 or any(recipe is None for recipe in recipes):
            continue
        flat = [dict(_flat(recipe.model_dump(mode="json"))) for recipe in recipes if recipe]
        keys = sorted({k for each in flat for k in each} - {"name", "seed", "data.split.seed"})
        differing = [k for k in keys if len({json.dumps(each.get(k)) for each in flat}) > 1]
        for index, each in zip(alike, flat, strict=True):
            settings = ", ".join(f"{key.split('.', 1)[-1]} {each.get(key)}" for key in differing)
            distinguished[index] = replace(
                distinguished[index], name=f"{distinguished[index].name} ({settings})"
            )
    return distinguished


def _flat(tree: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Leaves of a recipe by dotted path."""
    entries: Iterable[tuple[Any, Any]]
    if isinstance(tree, dict):
        entries = tree.items()
    elif isinstance(tree, list):
        entries = enumerate(tree)
    else:
        yield path, tree
        return
    for key, value in entries:
        yield from _flat(value, f"{path}.{key}" if path else str(key))


def _adjusted(rows: Sequence[Row]) -> list[Row]:
    """Rows with p values adjusted over the whole table, each kind of comparison by itself."""
    adjusted = list(rows)
    for kind in ("vs_reference", "vs_baseline"):
        against = [getattr(row, kind) for row in rows]
        p = holm([None if each is None else each.comparison.p for each in against])
        for index, (each, value) in enumerate(zip(against, p, strict=True)):
            if each is not None:
                adjusted[index] = replace(adjusted[index], **{kind: replace(each, p_holm=value)})
    return adjusted


def _mean(kind: type[S], scores: Sequence[S]) -> S:
    """The mean of scores of one kind over seeds."""
    return kind.model_validate(mean_of([each.model_dump() for each in scores]))


def mean_of(trees: Sequence[Any]) -> Any:
    """The mean of numbers at the same places of trees; null where one of them is."""
    first = trees[0]
    if isinstance(first, Mapping):
        return {key: mean_of([tree.get(key) for tree in trees]) for key in first}
    if isinstance(first, list) and all(
        isinstance(t, list) and len(t) == len(first) for t in trees
    ):
        return [mean_of(values) for values in zip(*trees, strict=True)]
    numbers = all(isinstance(t, int | float) and not isinstance(t, bool) for t in trees)
    if numbers and len(trees) > 1:
        return float(np.mean(trees))
    return first if all(tree == first for tree in trees) else None


def _require_one_protocol(
    runs: Sequence[Run],
    recipes: Sequence[Recipe],
    scores: Sequence[Scores],
    files: Sequence[paired.Paired],
) -> None:
    def of(index: int) -> dict[str, JsonValue]:
        recipe, own = recipes[index], scores[index]
        channels = cleaning_plan(recipe.data).channels
        return {
            "task": recipe.task.model_dump(mode="json"),
            "channels and units": [(channel.name, channel.unit) for channel in channels],
            "test windows": (own.windows, own.protocol.origins_sha256),
            "what scales were fitted on": files[index].mase.round(9).tolist(),
        }

    first = of(0)
    for index in range(1, len(runs)):
        other = of(index)
        differing = [name for name in first if json.dumps(first[name]) != json.dumps(other[name])]
        if differing:
            raise DataError(
                f"'{runs[0].folder}' and '{runs[index].folder}' cannot be compared: they differ "
                f"in {', '.join(differing)}. Compare runs of one recipe's data, split and task."
            )
