"""Scores of classification: of windows, or of recordings once their windows are averaged.

One class of two (binary), one of K, or any of K labels (multilabel). Every score that a verdict
may rest on is computed from row multiplicities, so that a resampled score and a printed one are
the same function. For rows counted once they are those of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from tsfm_adapt.errors import DivergedError
from tsfm_adapt.evaluation.scores import ByName, ModelScores
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

ClassMetric = Literal["auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1"]

_BINS = 15  # of the calibration error, equally wide


@dataclass(frozen=True)
class ClassErrors:
    """Probabilities, decisions and true classes of W rows (windows or recordings)."""

    subjects: tuple[str, ...]  # (W,)
    target: BoolArray  # (W, K) exactly one True a row, unless multilabel
    probability: FloatArray  # (W, K)
    decision: BoolArray  # (W, K)
    threshold: FloatArray  # (K,) from which a class is decided; NaN where the largest wins
    multilabel: bool
    n_windows: int  # behind the rows

    @property
    def scored(self) -> BoolArray:
        """Every row counts, (W, 1)."""
        return np.ones((len(self.target), 1), dtype=bool)

    def where(self, some: BoolArray) -> ClassErrors:
        """The errors of some rows (W,)."""
        return replace(
            self,
            subjects=tuple(np.array(self.subjects)[some].tolist()),
            target=self.target[some],
            probability=self.probability[some],
            decision=self.decision[some],
        )

    @property
    def ranked_classes(self) -> range:
        """The classes that AUROC and AUPRC are means over; of two classes only the second."""
        classes = self.target.shape[1]
        return range(1, 2) if _binary(classes, self.multilabel) else range(classes)


def class_errors(
    probability: FloatArray,
    target: FloatArray | BoolArray,
    subjects: Sequence[str],
    multilabel: bool,
    threshold: FloatArray,
    n_windows: int | None = None,
) -> ClassErrors:
    """Decides classes from probabilities, and keeps them beside the true ones.

    Args:
        probability: (W, K).
        target: (W, K) of 0 and 1.
        subjects: (W,).
        multilabel: any of the K classes may hold, each decided by its own threshold.
        threshold: (K,) as `choose_threshold` gives; of one class of two only the second is used,
            of more none is.
        n_windows: behind the rows; None = a row is a window.

    Raises:
        DivergedError: a probability is not finite.
    """
    broken = int((~np.isfinite(probability).all(axis=1)).sum())
    if broken:
        raise DivergedError(
            f"Scores need finite probabilities; those of {broken} of {len(probability)} rows are "
            "not. Train again with a lower train.lr, or score another checkpoint."
        )
    classes = probability.shape[1]
    if multilabel:
        decision = probability >= threshold
    elif classes == 2:
        second = probability[:, 1] >= threshold[1]
        decision = np.stack([~second, second], axis=1)
    else:
        decision = np.arange(classes) == probability.argmax(axis=1)[:, None]
    return ClassErrors(
        subjects=tuple(subjects),
        target=np.asarray(target, dtype=bool),
        probability=probability,
        decision=decision,
        threshold=np.asarray(threshold, dtype=np.float64),
        multilabel=multilabel,
        n_windows=len(probability) if n_windows is None else n_windows,
    )


def aggregated(
    probability: FloatArray,
    target: FloatArray | BoolArray,
    subjects: Sequence[str],
    groups: IntArray,
) -> tuple[FloatArray, BoolArray, tuple[str, ...]]:
    """Averages the probabilities of each group of windows, such as a recording's.

    Args:
        probability: (W, K).
        target: (W, K) of 0 and 1; the same for all windows of a group.
        subjects: (W,).
        groups: (W,) which recording a window is of.

    Returns:
        Probability (G, K), target (G, K) and subjects (G,), groups in increasing order.
    """
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    called = np.asarray(target, dtype=bool)
    assert np.array_equal(called, called[first][group]), "windows of one group differ in class"
    total = np.zeros((len(first), probability.shape[1]))
    np.add.at(total, group, probability)
    mean: FloatArray = total / np.bincount(group)[:, None]
    return mean, called[first], tuple(subjects[index] for index in first)


def choose_threshold(
    probability: FloatArray, target: FloatArray | BoolArray, multilabel: bool
) -> FloatArray:
    """The thresholds (K,) of largest balanced accuracy (Youden 1950), for validation data.

    A threshold lies halfway between neighbouring probabilities; of equally good ones it is that
    nearest to 0.5, and 0.5 where no row is or every row is of the class. NaN where none is used:
    for the first of two classes, and for one class of more than two.

    Args:
        probability: (W, K).
        target: (W, K) of 0 and 1.
        multilabel: each of the K classes has a threshold.
    """
    classes = probability.shape[1]
    threshold = np.full(classes, np.nan)
    if multilabel or _binary(classes, multilabel):
        for k in range(classes) if multilabel else (1,):
            threshold[k] = _youden(probability[:, k], np.asarray(target, dtype=bool)[:, k])
    return threshold


def weighted(errors: ClassErrors, metric: ClassMetric, times: FloatArray) -> FloatArray:
    """A score of D resamples of the rows, (D,); NaN where the score is undefined.

    Args:
        errors: of W rows.
        metric: which score. AUROC, AUPRC (average precision) and F1 are unweighted means over the
            classes where they are defined, except that AUROC and AUPRC of one class of two are
            those of the second. Accuracy is over rows; of labels, over rows and labels.
        times: (D, W) how often each row is drawn.
    """
    return _METRICS[metric](errors, times)


def summarise_classes(
    errors: ClassErrors, classes: Sequence[str], by_subject: bool
) -> ModelScores:
    """The scores of one model; None where undefined.

    Args:
        errors: of one model.
        classes: K names.
        by_subject: also the overall scores of each subject's own rows.

    Returns:
        `overall` has the metrics of `weighted`, `ece` (expected calibration error in 15 equally
        wide bins, of the largest probability; of class 1 where there are two; mean over labels)
        and `brier` (summed over more than two classes; mean over labels). `confusion` has a row a
        true and a column a decided class; null for labels.
    """
    once = np.ones((1, len(errors.target)))
    true, wrong, missed = (counts[0] for counts in _counts(errors, once))
    by_class: dict[str, ByName] = {
        name: {
            "n": int(errors.target[:, k].sum()),
            "auroc": _plain(_auroc(errors.probability[:, k], errors.target[:, k], once)[0]),
            "auprc": _plain(_auprc(errors.probability[:, k], errors.target[:, k], once)[0]),
            "precision": _plain(_share(true[k], true[k] + wrong[k])),
            "recall": _plain(_share(true[k], true[k] + missed[k])),
            "f1": _plain(_share(2 * true[k], 2 * true[k] + wrong[k] + missed[k])),
            "threshold": _plain(errors.threshold[k]),
        }
        for k, name in enumerate(classes)
    }
    overall = {name: _plain(score(errors, once)[0]) for name, score in _METRICS.items()}
    confusion = errors.target.T.astype(np.int64) @ errors.decision
    return ModelScores(
        overall=overall | {"ece": _calibration_error(errors), "brier": _brier(errors)},
        by_subject=_by_subject(errors) if by_subject else {},
        classes=by_class,
        confusion=None if errors.multilabel else confusion.tolist(),
    )


def _by_subject(errors: ClassErrors) -> dict[str, ByName]:
    """The scores of each subject's own rows."""
    subjects = np.array(errors.subjects)
    names = np.unique(subjects)
    own = (names[:, None] == subjects).astype(np.float64)  # (S, W)
    scores = {name: score(errors, own) for name, score in _METRICS.items()}
    return {
        str(subject): {name: _plain(of[index]) for name, of in scores.items()}
        for index, subject in enumerate(names)
    }


def _mean_auroc(errors: ClassErrors, times: FloatArray) -> FloatArray:
    return _mean_ranked(_auroc, errors, times)


def _mean_auprc(errors: ClassErrors, times: FloatArray) -> FloatArray:
    return _mean_ranked(_auprc, errors, times)


def _accuracy(errors: ClassErrors, times: FloatArray) -> FloatArray:
    right = errors.decision == errors.target
    hit = right.mean(axis=1) if errors.multilabel else right.all(axis=1)
    return _share(times @ hit, times.sum(axis=1))


def _balanced_accuracy(errors: ClassErrors, times: FloatArray) -> FloatArray:
    """Mean recall over the classes that occur, at least two; of labels, over their two sides."""
    true, wrong, missed = _counts(errors, times)
    recall = _share(true, true + missed)
    if not errors.multilabel:
        several = np.isfinite(recall).sum(axis=1) > 1
        return np.where(several, _mean(recall), np.nan)
    rest = times.sum(axis=1)[:, None] - true - missed
    return _mean((recall + _share(rest - wrong, rest)) / 2)


def _macro_f1(errors: ClassErrors, times: FloatArray) -> FloatArray:
    """Over the classes that occur or are decided."""
    true, wrong, missed = _counts(errors, times)
    return _mean(_share(2 * true, 2 * true + wrong + missed))


_METRICS: Mapping[ClassMetric, Callable[[ClassErrors, FloatArray], FloatArray]] = MappingProxyType(
    {
        "auroc": _mean_auroc,
        "auprc": _mean_auprc,
        "accuracy": _accuracy,
        "balanced_accuracy": _balanced_accuracy,
        "macro_f1": _macro_f1,
    }
)

_Ranked = Callable[[FloatArray, BoolArray, FloatArray], FloatArray]


def _mean_ranked(score: _Ranked, errors: ClassErrors, times: FloatArray) -> FloatArray:
    of_classes = [
        score(errors.probability[:, k], errors.target[:, k], times) for k in errors.ranked_classes
    ]
    return _mean(np.stack(of_classes, axis=1))


def _auroc(probability: FloatArray, positive: BoolArray, times: FloatArray) -> FloatArray:
    """Area under the ROC curve (D,): how often a positive row is above a negative; ties halve."""
    above, below = _by_probability(probability, positive, times)
    lower = np.cumsum(below, axis=1) - below / 2
    return _share((above * lower).sum(axis=1), above.sum(axis=1) * below.sum(axis=1))


def _auprc(probability: FloatArray, positive: BoolArray, times: FloatArray) -> FloatArray:
    """Average precision (D,): precision at each probability, by the recall it adds."""
    true, wrong = (v[:, ::-1] for v in _by_probability(probability, positive, times))
    hits = np.cumsum(true, axis=1)
    precision = hits / np.maximum(hits + np.cumsum(wrong, axis=1), 1)
    total = true.sum(axis=1)
    defined = (total > 0) & (wrong.sum(axis=1) > 0)
    return np.where(defined, _share((true * precision).sum(axis=1), total), np.nan)


def _by_probability(
    probability: FloatArray, positive: BoolArray, times: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Positive and negative rows (D, U) at each distinct probability, in increasing order."""
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    first = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    drawn, called = times[:, order], positive[order]
    total = np.add.reduceat(drawn, first, axis=1)
    above = np.add.reduceat(drawn * called, first, axis=1)
    return above, total - above


def _counts(errors: ClassErrors, times: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rows decided rightly, wrongly, and missed, by class, (D, K) each."""
    target, decision = errors.target, errors.decision
    both = times @ (target & decision)
    return both, times @ (decision & ~target), times @ (target & ~decision)


def _youden(probability: FloatArray, positive: BoolArray) -> float:
    ranked, position = np.unique(probability.astype(np.float64), return_inverse=True)
    of_positive = np.bincount(position[positive], minlength=len(ranked))
    of_negative = np.bincount(position[~positive], minlength=len(ranked))
    if len(ranked) < 2 or of_positive.sum() == 0 or of_negative.sum() == 0:
        return 0.5
    missed = np.cumsum(of_positive)[:-1] / of_positive.sum()
    excluded = np.cumsum(of_negative)[:-1] / of_negative.sum()
    gain = excluded - missed
    between = (ranked[:-1] + ranked[1:]) / 2
    # Between two neighbouring floats there is no third: the upper one parts them as well.
    between = np.where(between > ranked[:-1], between, ranked[1:])
    best = between[gain >= gain.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def _calibration_error(errors: ClassErrors) -> float:
    if errors.multilabel or len(errors.ranked_classes) == 1:
        gaps = [_gap(errors.probability[:, k], errors.target[:, k]) for k in errors.ranked_classes]
        return float(np.mean(gaps))
    top = errors.probability.argmax(axis=1)[:, None]
    sure = np.take_along_axis(errors.probability, top, axis=1)[:, 0]
    return _gap(sure, np.take_along_axis(errors.target, top, axis=1)[:, 0])


def _gap(probability: FloatArray, right: BoolArray) -> float:
    """Mean |probability - frequency| over bins, weighted by their number of rows."""
    number = np.clip((probability * _BINS).astype(np.int64), 0, _BINS - 1)
    expected = np.bincount(number, weights=probability, minlength=_BINS)
    frequency = np.bincount(number, weights=right, minlength=_BINS)
    return float(np.abs(expected - frequency).sum() / len(probability))


def _brier(errors: ClassErrors) -> float:
    square = (errors.probability.astype(np.float64) - errors.target) ** 2
    several = not errors.multilabel and len(errors.ranked_classes) > 1
    return float(
        square.sum(axis=1).mean() if several else square[:, list(errors.ranked_classes)].mean()
    )


def _binary(classes: int, multilabel: bool) -> bool:
    return classes == 2 and not multilabel


def _share(amount: FloatArray, of: FloatArray) -> FloatArray:
    """NaN where `of` is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        share: FloatArray = np.where(of > 0, amount / of, np.nan)
    return share


def _mean(values: FloatArray) -> FloatArray:
    """Mean (D,) of (D, K) over what is defined, NaN for none."""
    defined = np.isfinite(values)
    return _share(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))


def _plain(value: float | FloatArray) -> float | None:
    return float(value) if np.isfinite(value) else None
