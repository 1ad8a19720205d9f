"""The objective of a study: trains a changed recipe on train and scores it on validation.

The test set is removed before the first trial, so that no trial can use it.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import DivergedError, RecipeError, TsfmAdaptError
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.recipe import space
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.recipe.parts import PreparedData, scale_of
from tsfm_adapt.recipe.search import Search
from tsfm_adapt.studies.tally import root
from tsfm_adapt.training.building import build
from tsfm_adapt.training.feature_cache import with_cached_features

if TYPE_CHECKING:
    import optuna

    from tsfm_adapt.recipe.schema import Recipe

_LINE_EVERY_S = 10.0


class FailedTrial(TsfmAdaptError):
    """A trial failed; the study continues."""


def blind(prepared: PreparedData) -> PreparedData:
    """The prepared data without the test set.

    Raises:
        RecipeError: there are no validation windows.
    """
    if len(prepared.windows["val"]) == 0:
        raise RecipeError(
            "search: trials are compared on the validation windows, and there are none. Give "
            "data.split.val some subjects."
        )
    return replace(
        prepared,
        windows={
            split_name: w for split_name, w in prepared.windows.items() if split_name != "test"
        },
        recordings={
            split_name: r for split_name, r in prepared.recordings.items() if split_name != "test"
        },
    )


class Objective:
    """Trains a trial and returns its loss or score on the validation windows.

    Args:
        recipe: of the study, with its search.
        prepared: `blind`.
        folder: of the study; a trial trains in `trials/<number>`.
        always: changes that every trial makes after its own, such as those of a smoke run.
        progress: shows a line for long trials.
    """

    def __init__(
        self,
        recipe: Recipe,
        prepared: PreparedData,
        folder: Path,
        always: Mapping[str, JsonValue],
        progress: Progress,
    ) -> None:
        assert recipe.search is not None
        self.search: Search = recipe.search
        self.progress = progress
        self._plain = recipe.without_search()
        self._prepared = prepared
        self._folder = folder
        self._always = always

    def __call__(self, trial: optuna.Trial) -> float:
        """Trains and scores one trial.

        Raises:
            FailedTrial: the recipe is not valid, or its training diverged.
            optuna.TrialPruned: other trials were better at the same step.
            KeyboardInterrupt: stopped; the trial's folder holds its checkpoint.
        """
        import optuna
        import torch

        changes = space.draw(self.search, trial)
        trial.set_user_attr("changes", changes)
        folder = self._folder / "trials" / str(root(trial))
        try:
            value = self._value(trial, changes, folder)
        except optuna.TrialPruned:
            _clear(folder)
            raise
        except (RecipeError, DivergedError, torch.OutOfMemoryError) as error:
            reason = " ".join(str(error).split())
            trial.set_user_attr("reason", reason)
            _clear(folder)
            raise FailedTrial(reason) from error
        _clear(folder)
        if not math.isfinite(value):
            reason = "its value is not a number: nothing could be scored"
            trial.set_user_attr("reason", reason)
            raise FailedTrial(reason)
        return value

    def _value(self, trial: optuna.Trial, changes: Mapping[str, JsonValue], folder: Path) -> float:
        from tsfm_adapt.training import checkpoints
        from tsfm_adapt.training import loop as training

        recipe = self._plain.override(changes).override(self._always)
        quiet = Progress(quiet=True)
        atomic.write_text(folder / "recipe.yaml", dumps(recipe))
        model = build(recipe, self._prepared, quiet)
        if not model.trainable():
            if self.search.metric == "loss":
                raise RecipeError("search.metric: a trial that trains nothing has no loss.")
            return self.score(recipe, model)
        fitted = training.fit(
            model,
            train=with_cached_features(model, recipe, self._prepared.windows["train"], quiet),
            val=with_cached_features(model, recipe, self._prepared.windows["val"], quiet),
            settings=recipe.train,
            seed=recipe.seed,
            folder=folder,
            progress=quiet,
            on_validation=_Watch(self, trial, recipe, model),
        )
        if self.search.metric == "loss":
            return fitted.best_loss
        checkpoints.load_best(model, folder)
        return self.score(recipe, model)

    def score(self, recipe: Recipe, model: AdaptedModel) -> float:
        """The task's own score on at most `train.val_windows` validation windows."""
        prepared, task = self._prepared, recipe.task.build()
        was_training, device = model.training, next(model.parameters()).device
        model.to(device_for(recipe.train.accelerator)).eval()
        windows = prepared.windows["val"].evenly_spaced(recipe.train.val_windows)
        val = with_cached_features(model, recipe, windows, Progress(quiet=True))
        size = recipe.evaluate.batch_size
        predictor = task.with_fallback(task.predictor(model), prepared.fit)
        predictor = task.with_thresholds(predictor, val, size)
        scoring = task.scoring(recipe.data.rate_hz)
        errors = scoring.errors(predictor, val, size, lambda _: None)
        value = scoring.headline(errors, scale_of(recipe, prepared))
        model.to(device).train(was_training)
        return math.nan if value is None else value


def _clear(folder: Path) -> None:
    """Removes checkpoints and events of a finished trial; the best recipe is trained anew."""
    for spent in ("checkpoints", "tensorboard"):
        shutil.rmtree(folder / spent, ignore_errors=True)


class _Watch:
    """Reports each validation to the study, which may prune the trial."""

    def __init__(
        self, objective: Objective, trial: optuna.Trial, recipe: Recipe, model: AdaptedModel
    ) -> None:
        self._objective = objective
        self._trial = trial
        self._recipe = recipe
        self._model = model
        self._last_line_s = time.monotonic()

    def __call__(self, step: int, loss: float) -> None:
        import optuna

        search, steps = self._objective.search, self._recipe.train.steps
        if time.monotonic() - self._last_line_s > _LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            self._objective.progress.say(
                f"trial {self._trial.number}: step {step}/{steps}, val loss {loss:.4f}"
            )
        if step == 0 or step == steps or search.pruner == "none":
            return  # before training all are alike; after it there is nothing to save
        value = loss
        if search.metric == "score":
            value = self._objective.score(self._recipe, self._model)
        self._trial.report(value, step)
        if self._trial.should_prune():
            reason = f"pruned at step {step} of {steps}: others were better there"
            self._trial.set_user_attr("reason", reason)
            raise optuna.TrialPruned(reason)
