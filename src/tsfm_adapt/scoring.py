"""Scores of a model beside zero-shot and baselines, on the same test windows, looked at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
from tsfm_adapt.tasks.base import Errors, Predictor, Scale, Task, samples


def score(
    recipe: Recipe,
    parts: Parts,
    model: AdaptedModel,
    folder: Path,
    progress: Progress,
    smoke: bool,
) -> dict[str, Any]:
    """The content of scores.json; writes the model's predictions into `folder`.

    Args:
        recipe: what was run.
        parts: its recordings and windows.
        model: adapted, at its best checkpoint; where nothing is adapted, the zero-shot model.
        folder: the run's.
        progress: where progress is shown.
        smoke: the run was cut down, so that there is no verdict.
    """
    task, windows = recipe.task.build(), parts.windows["test"]
    rivals = _rivals(recipe, parts, model, task, progress)
    main = next(iter(rivals))
    collected = _Collected(rivals[main].predictor)
    rivals[main] = replace(rivals[main], predictor=collected.predictor)
    errors: dict[str, Errors] = {}
    with progress.work("score", len(windows) * len(rivals)) as meter:
        for name, rival in rivals.items():
            errors[name] = task.score(
                rival.predictor, rival.test, recipe.evaluate.batch_size, meter.advance
            )
    units = tuple(plan.unit for plan in cleaning_plan(recipe.data).channels)
    scale = Scale(tuple(recipe.data.channels), units, mase_scale(parts.fit), parts.deviation)
    scores = _protocol(recipe, parts, smoke, errors[main]) | task.summary(
        errors, scale, recipe.data.rate_hz
    )
    compared = None
    if recipe.adapts and not smoke:
        compared = task.verdict(errors, scale, windows.overlap, recipe.seed)
    reason = task.no_zero_shot(model.backbone.spec)
    if reason is not None:
        scores["models"] |= {"zero_shot": None}
        scores["reasons"] = {"zero_shot": reason}
    scores |= {
        "verdict": compared,
        "sentences": [sentence(compared)] if compared else [_no_verdict(recipe, smoke)],
        **_costs(model, folder),
    }
    model.to("cpu")
    quantiles = np.concatenate(collected.quantiles)
    rows = task.table(windows, quantiles, units)
    write(folder / "predictions" / "test.parquet", rows)
    return scores


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
    recipe: Recipe, parts: Parts, model: AdaptedModel, task: Task, progress: Progress
) -> dict[str, _Rival]:
    """The model first, then what it is compared with."""
    device = device_for(recipe.train.accelerator)
    models = {"adapted" if recipe.adapts else "zero_shot": (model, recipe)}
    head = task.reference_head(recipe.head)
    if head is not None:
        probe = reference(recipe, parts, head, progress)
        models["frozen_probe"] = (probe, unadapted(recipe))
    if recipe.adapts and task.no_zero_shot(model.backbone.spec) is None:
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
    with progress.step("fitting baselines"):
        rate_hz, season_s = recipe.data.rate_hz, recipe.evaluate.season_s
        season = None if season_s is None else samples(season_s, rate_hz, "season_s")
        baselines = task.baselines(parts.fit, rate_hz, season)
        found |= {name: _Rival(own, val, test) for name, own in baselines.items()}
    size = recipe.evaluate.batch_size
    return {
        name: replace(own, predictor=task.decided(own.predictor, own.val, size))
        for name, own in found.items()
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
            "origins_sha256": windows.origins_sha256(),
            "fitted_on": "train and val: MASE scale, baselines; train: the adapter",
        },
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


def _no_verdict(recipe: Recipe, smoke: bool) -> str:
    if smoke:
        return "smoke run: everything fits; the scores mean nothing"
    return f"zero-shot {recipe.backbone.name}: nothing was adapted, so there is no verdict"
