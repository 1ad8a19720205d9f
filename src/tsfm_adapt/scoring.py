"""Scores of a model beside zero-shot and baselines, on the same test windows, looked at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt import paired
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.building import reference, unadapted
from tsfm_adapt.features import remembered
from tsfm_adapt.metrics import mase_scale
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.predictions import write
from tsfm_adapt.progress import Progress
from tsfm_adapt.recipe.parts import Parts, cleaning_plan
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import WindowArrays, Windows
from tsfm_adapt.statistics import sentence
from tsfm_adapt.subgroups import by_subgroup
from tsfm_adapt.tasks.base import Errors, Predictor, Scale, Task, samples


def score(
    recipe: Recipe,
    parts: Parts,
    model: AdaptedModel,
    folder: Path,
    progress: Progress,
    smoke: bool,
    alone: bool = False,
) -> dict[str, Any]:
    """The content of scores.json; writes predictions and paired errors into `folder`.

    Args:
        recipe: what was run.
        parts: its recordings and windows.
        model: adapted, at its best checkpoint; where nothing is adapted, the zero-shot model.
        folder: the run's.
        progress: where progress is shown.
        smoke: the run was cut down, so that there is no verdict.
        alone: without zero-shot and baselines, which are scored elsewhere; no verdict.
    """
    task, windows = recipe.task.build(), parts.windows["test"]
    rivals = _rivals(recipe, parts, model, task, progress, alone)
    main = next(iter(rivals))
    collected = _Collected(rivals[main].predictor)
    rivals[main] = replace(rivals[main], predictor=collected.predictor)
    errors = _errors(recipe, task, rivals, progress)
    scale = _scale(recipe, parts)
    scores = _protocol(recipe, parts, smoke, errors[main]) | task.summary(
        errors, scale, recipe.data.rate_hz
    )
    if recipe.evaluate.subgroups:
        grouping = recipe.evaluate.grouping
        scores["subgroups"] = by_subgroup(task, errors, windows, scale, grouping, recipe.seed)
    compared = None
    if recipe.adapts and not smoke and not alone:
        compared = task.verdict(errors, scale, task.block(windows), recipe.seed)
    reason = task.no_zero_shot(model.backbone.spec)
    if reason is not None:
        scores["models"] |= {"zero_shot": None}
        scores["reasons"] = {"zero_shot": reason}
    warning = [RANDOM] if model.backbone.spec.random_weights else []
    verdict = sentence(compared) if compared else _no_verdict(recipe, smoke, alone)
    scores |= {
        "verdict": compared,
        "sentences": [*warning, verdict],
        **_costs(model, folder),
    }
    model.to("cpu")
    quantiles = np.concatenate(collected.quantiles)
    rows = task.table(windows, quantiles, scale.units)
    write(folder / "predictions" / "test.parquet", rows)
    _keep(task, errors, scale, windows, folder)
    return scores


def score_baselines(
    recipe: Recipe, parts: Parts, folder: Path, progress: Progress, smoke: bool
) -> dict[str, Any]:
    """The simple models alone, once for all models that are scored alone; see `score`."""
    task = recipe.task.build()
    errors = _errors(recipe, task, _baselines(recipe, parts, task, progress), progress)
    scale = _scale(recipe, parts)
    _keep(task, errors, scale, parts.windows["test"], folder)
    first = next(iter(errors.values()))
    summary = task.summary(errors, scale, recipe.data.rate_hz)
    return _protocol(recipe, parts, smoke, first) | summary


def _errors(
    recipe: Recipe, task: Task, rivals: Mapping[str, _Rival], progress: Progress
) -> dict[str, Errors]:
    """The errors of every rival on its test windows."""
    errors: dict[str, Errors] = {}
    total = sum(len(rival.test) for rival in rivals.values())
    with progress.work("score", total) as meter:
        for name, rival in rivals.items():
            errors[name] = task.score(
                rival.predictor, rival.test, recipe.evaluate.batch_size, meter.advance
            )
    return errors


def _scale(recipe: Recipe, parts: Parts) -> Scale:
    units = tuple(plan.unit for plan in cleaning_plan(recipe.data).channels)
    return Scale(tuple(recipe.data.channels), units, mase_scale(parts.fit), parts.deviation)


def _keep(
    task: Task, errors: Mapping[str, Errors], scale: Scale, windows: Windows, folder: Path
) -> None:
    models = {name: task.kept(each) for name, each in errors.items()}
    kept = paired.Paired(scale.mase, task.block(windows), models)
    paired.write(folder / "predictions" / "paired.npz", kept)


class _Collected:
    """A predictor that keeps what it predicts."""

    def __init__(self, inner: Predictor) -> None:
        self.quantiles: list[FloatArray] = []  # or probabilities
        self._inner = inner
        self.predictor = replace(inner, predict=self._predict)

    def _predict(self, arrays: WindowArrays, steps: int) -> FloatArray:
        self.quantiles.append(self._inner.predict(arrays, steps))
        return self.quantiles[-1]


@dataclass(frozen=True)
class _Rival:
    """A predictor, and the windows with what is known of them for it alone."""

    predictor: Predictor
    val: Windows
    test: Windows


def _rivals(
    recipe: Recipe, parts: Parts, model: AdaptedModel, task: Task, progress: Progress, alone: bool
) -> dict[str, _Rival]:
    """The model first, then, unless it is alone, what it is compared with."""
    device = device_for(recipe.train.accelerator)
    models = {"adapted" if recipe.adapts else "zero_shot": (model, recipe)}
    head = None if alone else task.reference_head(recipe.head)
    if head is not None:
        probe = reference(recipe, parts, head, progress)
        models["frozen_probe"] = (probe, unadapted(recipe))
    if recipe.adapts and not alone and task.no_zero_shot(model.backbone.spec) is None:
        models["zero_shot"] = (AdaptedModel(recipe.backbone.build()), unadapted(recipe))
    val, test = parts.windows["val"], parts.windows["test"]
    found = {
        name: _Rival(
            task.grounded(task.predictor(own.to(device)), parts.fit),
            remembered(own, its_recipe, val, progress),
            remembered(own, its_recipe, test, progress),
        )
        for name, (own, its_recipe) in models.items()
    }
    size = recipe.evaluate.batch_size
    decided = {
        name: replace(own, predictor=task.decided(own.predictor, own.val, size))
        for name, own in found.items()
    }
    return decided if alone else decided | _baselines(recipe, parts, task, progress)


def _baselines(recipe: Recipe, parts: Parts, task: Task, progress: Progress) -> dict[str, _Rival]:
    """The simple models, fitted."""
    val, test = parts.windows["val"], parts.windows["test"]
    with progress.step("fitting baselines"):
        rate_hz, season_s = recipe.data.rate_hz, recipe.evaluate.season_s
        season = None if season_s is None else samples(season_s, rate_hz, "season_s")
        fitted = task.baselines(parts.fit, rate_hz, season)
        size = recipe.evaluate.batch_size
        return {
            name: _Rival(task.decided(own, val, size), val, test) for name, own in fitted.items()
        }


def _protocol(recipe: Recipe, parts: Parts, smoke: bool, errors: Errors) -> dict[str, Any]:
    """What was scored, and what was not."""
    windows = parts.windows["test"]
    scored = errors.scored.any(-1)  # (W, C)
    return {
        "part": "test",
        "task": recipe.task.name,
        "checkpoint": "best" if recipe.adapts else None,
        "smoke": smoke,
        "synthetic": recipe.data.reader.synthetic,
        "windows": len(windows),
        "subjects": len(np.unique(windows.subjects)),
        "left_out": {
            "windows": int((~scored.any(-1)).sum()),
            "pairs": int((~scored).sum()),  # of a window and a channel
            "recordings": dict(parts.left_out),
        },
        "protocol": {
            "split": recipe.data.split.model_dump(mode="json"),
            "stride_s": windows.spec.stride / recipe.data.rate_hz,
            "windows_by_part": {part: len(w) for part, w in parts.windows.items()},
            "recordings_by_part": {part: len(r) for part, r in parts.recordings.items()},
            "subjects_by_part": {part: parts.subjects(part) for part in parts.recordings},
            "origins_sha256": windows.origins_sha256(),
            "fitted_on": "train and val: MASE scale, baselines; train: the adapter",
        },
        "audit": parts.audit.summary(),
    }


def _costs(model: AdaptedModel, folder: Path) -> dict[str, Any]:
    """Parameters, time and memory."""
    from tsfm_adapt import checkpoints

    fitted = checkpoints.how_it_went(folder)
    return {
        "trainable_parameters": sum(p.numel() for p in model.trainable().values()),
        "total_parameters": sum(p.numel() for p in model.network.parameters()),
        "best_step": fitted.best_step if fitted else None,
        "train_seconds": fitted.train_seconds if fitted else 0.0,
        "seconds_per_step": fitted.train_seconds / fitted.step if fitted else None,
        "peak_memory_mb": fitted.peak_memory_mb if fitted else None,
    }


def _no_verdict(recipe: Recipe, smoke: bool, alone: bool) -> str:
    if smoke:
        return "smoke run: everything fits; the scores mean nothing"
    if alone:
        return "scored alone: what it is compared with was scored elsewhere"
    return f"zero-shot {recipe.backbone.name}: nothing was adapted, so there is no verdict"
