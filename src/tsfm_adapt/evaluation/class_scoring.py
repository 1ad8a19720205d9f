"""How class probabilities are scored, summarised and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np

from tsfm_adapt.evaluation.base import Kept, Predicted, Predictor, Scale, Scoring
from tsfm_adapt.evaluation.class_errors import (
    ClassErrors,
    ClassMetric,
    aggregated,
    choose_threshold,
    class_errors,
    summarise_classes,
    weighted,
)
from tsfm_adapt.evaluation.forecast_scoring import numbered
from tsfm_adapt.evaluation.intervals import Comparison, Pair, compared
from tsfm_adapt.evaluation.metric import METRICS, OF_CLASSES
from tsfm_adapt.evaluation.scores import Summary
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.windows import Windows

_AT_ONCE = 1 << 22  # multiplicities (draws times rows) held at once


class ClassScoring(Scoring[ClassErrors]):
    """Probabilities of windows, or of recordings by the mean over their windows.

    Args:
        metric: that models are ranked and compared by.
        by_recording: a row is a recording, not a window.
        classes: K names.
    """

    shown = OF_CLASSES

    def __init__(
        self, metric: ClassMetric, by_recording: bool = False, classes: tuple[str, ...] = ()
    ) -> None:
        self.metric = METRICS[metric]
        self.by_recording = by_recording
        self.classes = classes
        self._name: ClassMetric = metric

    def steps(self, windows: Windows) -> int:  # noqa: ARG002
        """A class has none."""
        return 0

    def rated(
        self, batches: Iterable[Predicted], predictor: Predictor, windows: Windows
    ) -> ClassErrors:
        """Probabilities of every window or recording, and what is decided from them."""
        assert isinstance(windows, LabelledWindows)
        assert predictor.thresholds is not None
        probability, target, subjects = self._rows(batches, windows)
        return class_errors(
            probability=probability,
            target=target,
            subjects=subjects,
            multilabel=windows.labelling.multilabel,
            threshold=predictor.thresholds,
            n_windows=len(windows),
        )

    def thresholds(
        self, predictor: Predictor, val: LabelledWindows, batch_size: int
    ) -> FloatArray:
        """The thresholds (K,) of best balanced accuracy on validation; 0.5 without any window."""
        if len(val) == 0:
            return np.full(len(val.labelling.classes), 0.5)
        batches = self.predicted(predictor, val, batch_size, lambda _: None)
        probability, target, _ = self._rows(batches, val)
        return choose_threshold(probability, target, val.labelling.multilabel)

    def summary(
        self,
        errors: Mapping[str, ClassErrors],
        scale: Scale,  # noqa: ARG002
    ) -> Summary:
        """Scores over all classes and of each."""
        return Summary(
            models={
                name: summarise_classes(e, self.classes, by_subject=False)
                for name, e in errors.items()
            },
            rows="recordings" if self.by_recording else "windows",
        )

    def headline(self, errors: ClassErrors, scale: Scale) -> float | None:  # noqa: ARG002
        """By the ranked metric."""
        score = float(weighted(errors, self._name, np.ones((1, len(errors.target))))[0])
        return score if np.isfinite(score) else None

    def block(self, windows: Windows) -> int:
        """Recordings share no samples."""
        return 1 if self.by_recording else windows.overlap

    def kept(self, errors: ClassErrors) -> Kept:
        """All of it."""
        return {one.name: np.array(getattr(errors, one.name)) for one in fields(errors)}

    def pair(self, ours: Kept, theirs: Kept, mase: FloatArray) -> Pair:  # noqa: ARG002
        """By the ranked metric, in points."""
        return class_pair(_restored(ours), _restored(theirs), self._name)

    def _rows(
        self, batches: Iterable[Predicted], windows: LabelledWindows
    ) -> tuple[FloatArray, BoolArray, tuple[str, ...]]:
        """Probabilities (W, K), classes (W, K) and subjects (W,) of what is scored."""
        pieces = [batch.values for batch in batches]
        probability, target = np.concatenate(pieces), windows.classes_of
        subjects = tuple(windows.subject_names[index] for index in windows.subjects)
        if not self.by_recording:
            return probability, target, subjects
        return aggregated(probability, target, subjects, windows.recording)


def compare_classes(
    adapted: ClassErrors, reference: ClassErrors, metric: ClassMetric, block: int, seed: int = 0
) -> Comparison:
    """The difference in a score of classification, in points, with a 95 % interval.

    The interval is that of `intervals.compared`. Draws and subjects in which the score is
    undefined, as AUROC is without a row of each class, are skipped; where most draws or all but
    one of a few subjects are, there is no interval.

    Args:
        adapted: of some rows, in the order of time.
        reference: the other model's of the same rows.
        metric: which score.
        block: consecutive rows that share samples; 1 for rows that are recordings.
        seed: of the resampling.
    """
    return compared(class_pair(adapted, reference, metric), block, seed)


def class_pair(ours: ClassErrors, theirs: ClassErrors, metric: ClassMetric) -> Pair:
    """Two models by a score of classification; positive = ours is better."""
    assert ours.subjects == theirs.subjects
    assert np.array_equal(ours.target, theirs.target)
    return _ClassPair(numbered(np.array(ours.subjects)), ours, theirs, metric)


def _restored(kept: Kept) -> ClassErrors:
    """What `ClassScoring.kept` was given."""
    return ClassErrors(
        subjects=tuple(kept["subjects"].tolist()),
        target=kept["target"],
        probability=kept["probability"],
        decision=kept["decision"],
        threshold=kept["threshold"],
        multilabel=bool(kept["multilabel"]),
        n_windows=int(kept["n_windows"]),
    )


@dataclass(frozen=True)
class _ClassPair(Pair):
    subject: IntArray
    adapted: ClassErrors
    reference: ClassErrors
    metric: ClassMetric

    def pooled(self) -> float:
        return float(self._gain(np.ones((1, len(self.subject))))[0])

    def each(self) -> FloatArray:
        return self.of_subjects(np.eye(int(self.subject.max()) + 1, dtype=np.int64))

    def of_subjects(self, times: IntArray) -> FloatArray:
        pieces = [self._gain(some[:, self.subject].astype(float)) for some in self._at_once(times)]
        return np.concatenate(pieces)

    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        def drawn(some: IntArray) -> FloatArray:
            steps = np.zeros((len(some), len(self.subject) + 1))  # +1 where a block begins
            draw = np.arange(len(some))[:, None]
            np.add.at(steps, (draw, some), 1.0)
            np.add.at(steps, (draw, some + length), -1.0)
            times: FloatArray = np.cumsum(steps, axis=1)[:, :-1]
            return times

        return np.concatenate([self._gain(drawn(some)) for some in self._at_once(first)])

    def _at_once(self, draws: IntArray) -> Iterator[IntArray]:
        """Draws in pieces whose multiplicities of rows fit into memory."""
        size = max(1, _AT_ONCE // len(self.subject))
        return (draws[first : first + size] for first in range(0, len(draws), size))

    def _gain(self, times: FloatArray) -> FloatArray:
        """100 (adapted - reference) of rows that count (D, W) times, (D,)."""
        ours, theirs = (
            weighted(errors, self.metric, times) for errors in (self.adapted, self.reference)
        )
        return 100 * (ours - theirs)
