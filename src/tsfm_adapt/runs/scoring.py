"""Scores of a model beside zero-shot and baselines, on the same test windows, looked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt.evaluation import paired
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.training.building import reference, unadapted
from tsfm_adapt.evaluation.conformal import MIN_SUBJECTS, Conformal, fit, pairs
from tsfm_adapt.training.feature_cache import remembered
from tsfm_adapt.evaluation.forecast_errors import summarise
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.evaluation.tables import write
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.recipe.parts import Parts, scale_of
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import WindowArrays, Windows
from tsfm_adapt.evaluation.verdict import sentence
from tsfm_adapt.evaluation.subgroups import by_subgroup
from tsfm_adapt.tasks.base import Errors, Predictor, Scale, Task, samples

_CALIBRATED = 512  # validation windows, evenly spaced


def score(
    recipe: Recipe,
    parts: Parts,
    model: AdaptedModel,
    folder: Path,
    progress: Progress,
    smoke: bool,
    alone: bool = False,
) -> tuple[dict[str, Any], Conformal | None]:
    """The content of scores.json, and the calibration of the bands where there is one.

    Writes predictions and paired errors into `folder`.

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
    scale = scale_of(recipe, parts)
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
    conformal = None
    if recipe.adapts and recipe.evaluate.conformal and pairs(task.levels):
        ours = replace(rivals[main], predictor=collected.inner)
        conformal, scores["calibration"] = _conformal(recipe, task, ours, progress)
        if conformal is not None:
            again = _Repeated(ours.predictor, collected.quantiles).predictor.calibrated(conformal)
            size = recipe.evaluate.batch_size
            calibrated = task.score(again, ours.test, size, lambda _: None)
            scores["calibration"] |= _bands(calibrated, scale)
    model.to("cpu")
    quantiles = np.concatenate(collected.quantiles)
    rows = task.table(windows, quantiles, scale.units)
    write(folder / "predictions" / "test.parquet", rows)
    _keep(task, errors, scale, windows, folder)
    return scores, conformal


def score_baselines(
    recipe: Recipe, parts: Parts, folder: Path, progress: Progress, smoke: bool
) -> dict[str, Any]:
    """The simple models alone, once for all models that are scored alone; see `score`."""
    task = recipe.task.build()
    errors = _errors(recipe, task, _baselines(recipe, parts, task, progress), progress)
    scale = scale_of(recipe, parts)
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
        self.inner = inner
        self.predictor = replace(inner, predict=self._predict)

    def _predict(self, arrays: WindowArrays, steps: int) -> FloatArray:
        self.quantiles.append(self.inner.predict(arrays, steps))
        return self.quantiles[-1]


class _Repeated:
    """A predictor that says again, batch by batch, what was predicted before."""

    def __init__(self, inner: Predictor, quantiles: Sequence[FloatArray]) -> None:
        self._left = iter(quantiles)
        self.predictor = replace(inner, predict=self._predict)

    def _predict(self, arrays: WindowArrays, steps: int) -> FloatArray:
        found = next(self._left)
        assert len(found) == len(arrays.subjects)
        assert found.shape[-1] == steps
        return found


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


def _conformal(
    recipe: Recipe, task: Task, rival: _Rival, progress: Progress
) -> tuple[Conformal | None, dict[str, Any]]:
    """The calibration, fitted on validation windows, and what scores.json says of it."""
    windows = rival.val.evenly_spaced(_CALIBRATED)
    subjects = len(np.unique(windows.subjects))
    said: dict[str, Any] = {"part": "val", "windows": len(windows), "subjects": subjects}
    others = recipe.data.split.by != "time"  # by time, the subjects of val are those of test
    if len(windows) == 0 or (others and subjects < MIN_SUBJECTS):
        needed = f"{MIN_SUBJECTS} are needed" if others else "windows are needed"
        reason = f"the val part has windows of {subjects} subjects, {needed}"
        return None, said | {"reason": reason}
    collected = _Collected(rival.predictor)
    with progress.work("calibrate", len(windows)) as meter:
        errors: Any = task.score(  # Any: forecasts or filled gaps, which have levels
            collected.predictor, windows, recipe.evaluate.batch_size, meter.advance
        )
    quantiles = np.concatenate(collected.quantiles)
    found = fit(quantiles, task.levels, errors.target, errors.scored, errors.subjects)
    channels = tuple(recipe.data.channels)
    factors = {
        channel: {
            f"{100 * nominal:g}": float(of[low]) if np.isfinite(of[low]) else None
            for low, _, nominal in pairs(task.levels)
        }
        for channel, of in zip(channels, found.factors, strict=True)
    }
    problems = {
        name: why for name, why in zip(channels, found.problems, strict=True) if why is not None
    }
    said |= {"factors": factors, "not_calibrated": problems}
    if not found.fitted:
        first = next(iter(problems.items()))
        return None, said | {"reason": f"no channel can be calibrated; {first[0]}: {first[1]}"}
    return found, said


def _bands(errors: Any, scale: Scale) -> dict[str, Any]:
    """How wide calibrated bands are, and what they cover, overall and by channel."""
    scores = summarise(errors, scale.channels, scale.units, scale.mase)
    names = ("coverage80", "width80", "wql", "crps_scaled")
    return {
        "overall": {name: scores["overall"][name] for name in names},
        "channels": {
            channel: {name: of[name] for name in names}
            for channel, of in scores["channels"].items()
        },
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
            "fitted_on": "train and val: MASE scale, baselines; train: the adapter; "
            "val: calibration of bands",
        },
        "audit": parts.audit.summary(),
    }


def _costs(model: AdaptedModel, folder: Path) -> dict[str, Any]:
    """Parameters, time and memory."""
    from tsfm_adapt.training import checkpoints

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
