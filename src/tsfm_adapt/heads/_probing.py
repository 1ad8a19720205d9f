"""Linear classifiers in closed form or to convergence; their penalty from held-out subjects.

A penalty is chosen by cross-validation with at most five folds. Where there are three subjects or
more, and fewer than windows, folds keep a subject's windows together: otherwise windows of one
subject lie on both sides, and a probe that has memorised the subjects looks best. With
fewer subjects the folds are contiguous pieces of each class. Either way classes are spread evenly.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from collections.abc import Iterator

Kind = Literal["logistic", "ridge"]

# In units of the summed loss: sum over windows + penalty * |weight|^2 (half of it for logistic).
# Strongest first, so that a fit starts from the one before, and ties go to the stronger.
LOGISTIC_PENALTIES: tuple[float, ...] = tuple(10.0**power for power in range(5, -4, -1))
RIDGE_PENALTIES: tuple[float, ...] = tuple(10.0 ** (half / 2) for half in range(14, -5, -1))

_FOLDS = 5
_WORSE = 2  # so many penalties in a row without gain end the search: the rest fit still closer
_ITERATIONS = 10_000
# Of the gradient: folds only rank penalties, and do it in single precision too; the classifier
# itself is kept.
_ROUGH, _EXACT = 1e-3, 1e-7


def fit_probe(
    features: FloatArray,
    classes: BoolArray,
    subjects: IntArray,
    *,
    kind: Kind,
    multilabel: bool,
    class_weights: Sequence[float] = (),
) -> tuple[FloatArray, FloatArray, float]:
    """A linear classifier of standardised features.

    Args:
        features: (N, F).
        classes: (N, K), exactly one a window unless `multilabel`.
        subjects: (N,).
        kind: logistic: multinomial, or one a label, its penalty by held-out log loss. ridge:
            least squares on targets of +-1, its penalty by held-out error.
        multilabel: any of the classes, instead of exactly one.
        class_weights: (K,) of logistic, as in `ClassHead.loss`; () = all 1.

    Returns:
        weight (K, F), bias (K,), penalty.
    """
    folds = _folds(classes, subjects, multilabel)
    if kind == "ridge":
        return _ridge(features.astype(np.float64), classes, folds)
    return _logistic(features.astype(np.float64), classes, multilabel, class_weights, folds)


def _folds(
    classes: BoolArray, subjects: IntArray, multilabel: bool
) -> list[tuple[IntArray, IntArray]]:
    """Windows to learn from and windows to judge by; none where there are too few windows."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    stratum = classes.argmax(1)
    if multilabel:  # the rarest class that a window has
        held = np.where(classes, classes.sum(0), len(classes) + 1)
        stratum = np.where(classes.any(1), held.argmin(1), classes.shape[1])
    number = len(np.unique(subjects))
    grouped = 3 <= number < len(subjects)
    folds = min(_FOLDS, int(np.bincount(stratum).max()), number if grouped else _FOLDS)
    if folds < 2:
        return []
    splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(folds)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes rarer than folds
        pairs = list(splitter.split(stratum, stratum, subjects))
    return [(learned, judged) for learned, judged in pairs if len(learned) and len(judged)]


def _ridge(
    features: FloatArray, classes: BoolArray, folds: Sequence[tuple[IntArray, IntArray]]
) -> tuple[FloatArray, FloatArray, float]:
    from sklearn.linear_model import Ridge

    target = np.where(classes, 1.0, -1.0)
    rough, rough_target = features.astype(np.float32), target.astype(np.float32)
    errors = np.zeros(len(RIDGE_PENALTIES))
    for learned, judged in folds:
        for number, (weight, bias) in enumerate(
            _ridge_path(rough[learned], rough_target[learned])
        ):
            missed = rough[judged] @ weight.T + bias - rough_target[judged]
            errors[number] += np.square(missed).sum()
    best = int(errors.argmin()) if folds else len(RIDGE_PENALTIES) // 2
    model = Ridge(RIDGE_PENALTIES[best], solver="cholesky").fit(features, target)
    return model.coef_, model.intercept_, RIDGE_PENALTIES[best]


def _ridge_path(
    features: FloatArray, target: FloatArray
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Weight (K, F) and bias (K,) for each penalty, from one decomposition."""
    mean, level = features.mean(0), target.mean(0)
    power, directions = _principal(features - mean)
    along = directions.T @ ((features - mean).T @ (target - level))  # (q, K)
    for penalty in RIDGE_PENALTIES:
        weight = (directions @ (along / (power + penalty)[:, None])).T
        yield weight, level - weight @ mean


def _principal(centred: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The squared singular values (q,) that are not 0 and their directions (F, q).

    From the smaller one of the two products of (N, F) with itself.
    """
    wide = centred.shape[1] > centred.shape[0]
    power, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    floor = len(power) * np.finfo(power.dtype).eps * power.max(initial=0.0)
    kept = power > max(floor, np.finfo(power.dtype).tiny)
    power, vectors = power[kept], vectors[:, kept]
    return power, centred.T @ vectors / np.sqrt(power) if wide else vectors


@dataclass(frozen=True)
class _Question:
    """One logistic regression: which class it is, or whether one label holds."""

    answer: IntArray  # (N,)
    weight: FloatArray  # (N,)


def _logistic(
    features: FloatArray,
    classes: BoolArray,
    multilabel: bool,
    class_weights: Sequence[float],
    folds: Sequence[tuple[IntArray, IntArray]],
) -> tuple[FloatArray, FloatArray, float]:
    mean = features.mean(0)
    directions: FloatArray | None = None
    rotated = features - mean
    if features.shape[1] > 2 * len(features):  # exact: the weight is a sum of windows
        directions = _principal(rotated)[1]
        rotated = rotated @ directions
    questions = _questions(classes, multilabel, class_weights)
    penalty = _best_penalty(rotated.astype(np.float32), questions, folds)
    weight = np.zeros((classes.shape[1], rotated.shape[1]))
    bias = np.zeros(classes.shape[1])
    rare = np.log(len(features) + 1.0)  # for classes that train does not have
    for number, question in enumerate(questions):
        present = np.unique(question.answer)
        own = slice(number, number + 1) if multilabel else present
        if len(present) == 1:
            bias[own] = (rare if present[0] else -rare) if multilabel else 0.0
            continue
        model = _estimator(_EXACT)
        _fit(model, rotated, question, penalty)
        slope, shift = model.coef_, model.intercept_
        if not multilabel and len(present) == 2:  # one slope, for the second against the first
            slope, shift = np.concatenate([-slope, slope]) / 2, np.append(-shift, shift) / 2
        weight[own], bias[own] = slope, shift
    if not multilabel:
        bias[~classes.any(0)] = bias[classes.any(0)].min() - rare
    if directions is not None:
        weight = weight @ directions.T
    return weight, bias - weight @ mean, penalty


def _questions(
    classes: BoolArray, multilabel: bool, class_weights: Sequence[float]
) -> list[_Question]:
    weights = np.array(class_weights or [1.0] * classes.shape[1])
    if not multilabel:
        answer = classes.argmax(1)
        return [_Question(answer, weights[answer])]
    return [
        _Question(has.astype(np.int64), np.where(has, weight, 1.0))
        for has, weight in zip(classes.T, weights, strict=True)
    ]


def _best_penalty(
    features: FloatArray,
    questions: Sequence[_Question],
    folds: Sequence[tuple[IntArray, IntArray]],
) -> float:
    """The penalty with the lowest held-out log loss, of all questions together.

    Windows of a class that a fold did not learn from are not judged by it.
    """
    tried: list[tuple[Any, _Question, IntArray, IntArray]] = []  # sklearn is untyped
    for learned, judged in folds:
        for question in questions:
            known = np.unique(question.answer[learned])
            scored = judged[np.isin(question.answer[judged], known)]
            if len(known) > 1 and len(scored):
                tried.append((_estimator(_ROUGH), question, learned, scored))
    best, lowest, worse = len(LOGISTIC_PENALTIES) // 2, np.inf, 0
    if not tried:
        return LOGISTIC_PENALTIES[best]
    for number, penalty in enumerate(LOGISTIC_PENALTIES):
        loss = 0.0
        for model, question, learned, scored in tried:
            part = _Question(question.answer[learned], question.weight[learned])
            _fit(model, features[learned], part, penalty)
            chances = model.predict_proba(features[scored])
            column = np.searchsorted(model.classes_, question.answer[scored])
            chance = chances[np.arange(len(scored)), column].clip(1e-15)
            loss -= float(question.weight[scored] @ np.log(chance))
        if loss < lowest:
            best, lowest, worse = number, loss, 0
        else:
            worse += 1
        if worse == _WORSE:
            break
    return LOGISTIC_PENALTIES[best]


def _estimator(tolerance: float) -> Any:  # sklearn is untyped
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(tol=tolerance, max_iter=_ITERATIONS, warm_start=True)


def _fit(model: Any, features: FloatArray, question: _Question, penalty: float) -> None:
    model.set_params(C=1 / penalty)
    model.fit(features, question.answer, sample_weight=question.weight)
