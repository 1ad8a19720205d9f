"""Candidates for classes: heads on a frozen backbone, cross-validated by subject of train."""

from __future__ import annotations

import warnings

import numpy as np

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.baselines.classifiers import Classifier, default_classifiers
from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.model import device_for
from tsfm_adapt.proposal.outcome import Row, Trial
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.rivals import ScoringContext
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import FloatArray, IntArray
from tsfm_adapt.signals.windows import WindowArrays, Windows
from tsfm_adapt.training.building import assembled, fit_head
from tsfm_adapt.training.feature_cache import with_cached_features

_FOLDS = 3
_BASELINES = "baselines"  # the piece of a round that fits all of them
_SHOWN = 2  # of them, the best


class CrossValidation:
    """Each round learns from some subjects of train and is scored on the others.

    Raises:
        DataError: there is one subject only, or one class.
    """

    def __init__(self, context: ScoringContext) -> None:
        task = context.recipe.task
        train = context.prepared.windows["train"].evenly_spaced(task.trial_windows)
        assert isinstance(train, LabelledWindows)
        self._context = context
        self._train = train
        self._candidates = task.candidates
        self._folds = _folds(train)
        self.rounds = len(self._folds)
        self.names = (*self._candidates, _BASELINES)
        self._scores: list[dict[str, float | None]] = [{} for _ in self._folds]

    def piece(self, number: int, name: str) -> None:
        """Fits one head, or the baselines, on a fold and scores it on the held-out subjects."""
        learned, held = (self._train.take(index) for index in self._folds[number])
        assert isinstance(learned, LabelledWindows)
        if name == _BASELINES:
            for own, classifier in default_classifiers(learned).items():
                self._score(number, own, _plain(classifier), learned, held)
            return
        recipe = self._context.recipe.override(dict(self._candidates[name]))
        self._score(number, name, *self._probed(recipe, learned, held))

    def finished(self, rounds: int, left_s: float) -> Trial:  # noqa: ARG002
        """The mean score over the folds, and those of the best baselines."""
        metric = self._context.scoring.metric
        rows = [Row(name, self._mean(name, rounds)) for name in self._candidates]
        rows.sort(key=lambda row: metric.key(row.score))
        others = [n for n in self._scores[0] if n not in self._candidates]
        simple = [Row(name, self._mean(name, rounds), network=False) for name in others]
        simple.sort(key=lambda row: metric.key(row.score))
        best = next((row.name for row in rows if row.score is not None), None)
        subjects = len(np.unique(self._train.subjects))
        return Trial(
            on=f"in {rounds} fold{'s' if rounds != 1 else ''} by subject over {len(self._train)} "
            f"training windows of {subjects} subjects",
            metric=metric,
            rows=(*rows, *simple[:_SHOWN]),
            sections={} if best is None else self._candidates[best],
        )

    def _probed(
        self, recipe: Recipe, learned: Windows, held: Windows
    ) -> tuple[Predictor, Windows, Windows]:
        """A head that is fitted on a fold, and the fold with features."""
        context, quiet = self._context, Progress(quiet=True)
        prepared = context.prepared
        model = assembled(recipe, prepared.deviation, prepared.shared_subjects, learned)
        model.to(device_for(recipe.train.accelerator))
        with_features = [with_cached_features(model, recipe, w, quiet) for w in (learned, held)]
        fit_head(model, with_features[0], context.batch_size, quiet)
        return context.task.predictor(model), with_features[0], with_features[1]

    def _score(
        self, number: int, name: str, predictor: Predictor, learned: Windows, held: Windows
    ) -> None:
        context = self._context
        predictor = context.task.with_thresholds(predictor, learned, context.batch_size)
        errors = context.scoring.errors(predictor, held, context.batch_size, lambda _: None)
        self._scores[number][name] = context.scoring.headline(errors, context.scale)

    def _mean(self, name: str, rounds: int) -> float | None:
        """Over the folds in which the score is defined."""
        known = [s for of in self._scores[:rounds] if (s := of.get(name)) is not None]
        return float(np.mean(known)) if known else None


def _folds(windows: LabelledWindows) -> list[tuple[IntArray, IntArray]]:
    """Windows to learn from and windows to score on, without a common subject.

    Raises:
        DataError: there is one subject only, or one class.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    classes = windows.classes_of.argmax(axis=1)
    subjects = len(np.unique(windows.subjects))
    if subjects < 2 or len(np.unique(classes)) < 2:
        raise DataError(
            f"cross-validation by subject needs two training subjects and two classes; there are "
            f"{subjects} and {len(np.unique(classes))}"
        )
    splitter = StratifiedGroupKFold(min(_FOLDS, subjects))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes rarer than folds
        pairs = list(splitter.split(classes, classes, windows.subjects))
    return [pair for pair in pairs if len(np.unique(classes[pair[0]])) > 1 and len(pair[1])]


def _plain(classifier: Classifier) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:  # noqa: ARG001
        return classifier.predict(arrays.values, arrays.observed)

    return Predictor(predict, ())
