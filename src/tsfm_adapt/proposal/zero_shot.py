"""Candidates for a forecast or for filled gaps: backbones as they are, on validation windows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import JsonValue

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import TsfmAdaptError
from tsfm_adapt.evaluation.base import Predicted, Predictor
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.proposal.outcome import Row, Trial
from tsfm_adapt.runs.rivals import ScoringContext, baselines
from tsfm_adapt.signals.recording import IntArray
from tsfm_adapt.signals.windows import Windows

_ROUNDS = 8
_FEW = 20  # windows
# Seconds for each channel and cubed sample of the context to fit them, on a busy computer.
_BASELINES_S = 4e-8


class ZeroShot:
    """Backbones without adapters on the same validation windows, a share of them each round."""

    def __init__(self, context: ScoringContext) -> None:
        task = context.recipe.task
        self._context = context
        self._windows = context.val.evenly_spaced(task.trial_windows)
        self.rounds = min(_ROUNDS, len(self._windows))
        self._candidates = task.candidates
        self._predictors: dict[str, Predictor] = {}
        self._problems: dict[str, str] = {}
        for name, sections in self._candidates.items():
            try:
                self._predictors[name] = self._predictor(sections)
            except TsfmAdaptError as problem:
                self._problems[name] = str(problem)
        self.names = tuple(self._predictors)
        self._predicted: dict[str, list[list[Predicted]]] = {name: [] for name in self.names}

    def piece(self, number: int, name: str) -> None:
        """Predicts a share of the windows."""
        share = self._windows.take(self._share(number))
        batches = self._context.scoring.predicted(
            self._predictors[name], share, self._context.batch_size, lambda _: None
        )
        self._predicted[name].append(list(batches))

    def finished(self, rounds: int, left_s: float) -> Trial:
        """The scores on the windows of whole rounds, and that of the best baseline there."""
        context = self._context
        windows = self._windows.take(np.concatenate([self._share(n) for n in range(rounds)]))
        rows = [Row(name, None, problem=why) for name, why in self._problems.items()]
        for name, predictor in self._predictors.items():
            batches = (batch for share in self._predicted[name][:rounds] for batch in share)
            errors = context.scoring.rated(batches, predictor, windows)
            rows.append(Row(name, context.scoring.headline(errors, context.scale)))
        metric = context.scoring.metric
        rows.sort(key=lambda row: metric.key(row.score))
        best = next((row.name for row in rows if row.score is not None), None)
        subjects = len(np.unique(windows.subjects))
        return Trial(
            on=f"zero-shot on {len(windows)} validation windows of {subjects} "
            f"subject{'s' if subjects != 1 else ''}"
            + (": so few that chance may order them" if len(windows) < _FEW else ""),
            metric=metric,
            rows=(*rows, self._baseline(windows, left_s)),
            sections={} if best is None else self._candidates[best],
        )

    def _share(self, number: int) -> IntArray:
        """The windows of a round, spread over all of them."""
        return np.arange(number, len(self._windows), self.rounds)

    def _predictor(self, sections: Mapping[str, JsonValue]) -> Predictor:
        """A backbone as it is.

        Raises:
            TsfmAdaptError: it cannot do the task, or has no weights here.
        """
        context = self._context
        recipe = context.recipe.override(dict(sections))
        model = AdaptedModel(recipe.backbone.build())
        context.task.check(model.backbone.spec, recipe.data.rate_hz)
        predictor = context.task.predictor(model.to(device_for(recipe.train.accelerator)))
        return context.task.with_fallback(predictor, context.prepared.fit)

    def _baseline(self, windows: Windows, left_s: float) -> Row:
        """The best of the simple models, fitted on train."""
        context = self._context
        channels, length = len(context.scale.channels), windows.spec.context
        if channels * length**3 * _BASELINES_S > left_s:
            return Row("baselines", None, network=False, problem="no time was left to fit them")
        fitted = baselines(context, Progress(quiet=True))
        rows = []
        for name, own in fitted.items():
            errors = context.scoring.errors(
                own.predictor, windows, context.batch_size, lambda _: None
            )
            score = context.scoring.headline(errors, context.scale)
            rows.append(Row(name, score, network=False))
        return min(rows, key=lambda row: context.scoring.metric.key(row.score))
