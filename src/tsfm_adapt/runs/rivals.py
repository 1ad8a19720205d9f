"""A run's model and what it is compared with, as predictors on the same windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.evaluation.base import Errors, Predicted, Predictor, Scale, Scoring
from tsfm_adapt.evaluation.scores import Role
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.recipe.parts import PreparedData, scale_of
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import Task, samples
from tsfm_adapt.training.building import reference, unadapted
from tsfm_adapt.training.feature_cache import with_cached_features


@dataclass(frozen=True)
class ScoringContext:
    """What all models of a run are scored on, and by."""

    recipe: Recipe
    prepared: PreparedData
    task: Task
    scoring: Scoring[Any]  # Any: the task knows what it keeps
    scale: Scale
    smoke: bool

    @staticmethod
    def of(recipe: Recipe, prepared: PreparedData, smoke: bool) -> ScoringContext:
        """That of a recipe's prepared data."""
        task = recipe.task.build()
        scoring = task.scoring(recipe.data.rate_hz)
        return ScoringContext(recipe, prepared, task, scoring, scale_of(recipe, prepared), smoke)

    @property
    def val(self) -> Windows:
        """The validation windows."""
        return self.prepared.windows["val"]

    @property
    def test(self) -> Windows:
        """The test windows."""
        return self.prepared.windows["test"]

    @property
    def batch_size(self) -> int:
        """Windows at once."""
        return self.recipe.evaluate.batch_size


@dataclass(frozen=True)
class Rated:
    """A predictor, and its windows with cached features."""

    name: str
    role: Role
    predictor: Predictor
    val: Windows
    test: Windows


@dataclass(frozen=True)
class Recorded:
    """A model's predictions for windows, and their errors."""

    predictions: FloatArray  # (N, ...) in the order of the windows
    errors: Errors


def recorded(
    rated: Rated, windows: Windows, context: ScoringContext, tick: Callable[[int], None]
) -> Recorded:
    """Predicts windows and keeps the predictions beside their errors."""
    scoring, values = context.scoring, []

    def batches() -> Iterator[Predicted]:
        for batch in scoring.predicted(rated.predictor, windows, context.batch_size, tick):
            values.append(batch.values)
            yield batch

    errors = scoring.rated(batches(), rated.predictor, windows)
    return Recorded(np.concatenate(values), errors)


def rivals(
    context: ScoringContext, model: AdaptedModel, progress: Progress, without_baselines: bool
) -> tuple[Rated, dict[str, Rated]]:
    """The model, and what it is compared with, by name.

    Args:
        context: of the run.
        model: adapted, or the zero-shot model of a recipe that adapts nothing.
        progress: where progress is shown.
        without_baselines: only the model.
    """
    recipe = context.recipe
    role = Role.ADAPTED if recipe.adapts else Role.ZERO_SHOT
    main = _rated(context, role, model, recipe, progress)
    if without_baselines:
        return main, {}
    plain, others = unadapted(recipe), {}
    head = context.task.reference_head(recipe.head)
    if head is not None:
        probe = reference(recipe, context.prepared, head, progress)
        others[Role.FROZEN_PROBE] = _rated(context, Role.FROZEN_PROBE, probe, plain, progress)
    if recipe.adapts and context.task.no_zero_shot(model.backbone.spec) is None:
        zero_shot = AdaptedModel(recipe.backbone.build())
        others[Role.ZERO_SHOT] = _rated(context, Role.ZERO_SHOT, zero_shot, plain, progress)
    return main, {str(name): own for name, own in others.items()} | baselines(context, progress)


def _rated(
    context: ScoringContext, role: Role, model: AdaptedModel, recipe: Recipe, progress: Progress
) -> Rated:
    """A network's predictor with fallback and thresholds; its name is its role."""
    device = device_for(context.recipe.train.accelerator)
    predictor = context.task.predictor(model.to(device))
    predictor = context.task.with_fallback(predictor, context.prepared.fit)
    val = with_cached_features(model, recipe, context.val, progress)
    return Rated(
        name=str(role),
        role=role,
        predictor=context.task.with_thresholds(predictor, val, context.batch_size),
        val=val,
        test=with_cached_features(model, recipe, context.test, progress),
    )


def baselines(context: ScoringContext, progress: Progress) -> dict[str, Rated]:
    """The simple models, fitted."""
    rate_hz, season_s = context.recipe.data.rate_hz, context.recipe.evaluate.season_s
    season = None if season_s is None else samples(season_s, rate_hz, "season_s")
    with progress.step("fitting baselines"):
        fitted = context.task.baselines(context.prepared.fit, rate_hz, season)
        return {
            name: Rated(
                name=name,
                role=Role.BASELINE,
                predictor=context.task.with_thresholds(own, context.val, context.batch_size),
                val=context.val,
                test=context.test,
            )
            for name, own in fitted.items()
        }
