"""Baseline classifiers that every adapted one is compared with.

They take values in data units and which of them are observed. Penalties are chosen by
cross-validation over subjects, or over windows where there are too few subjects.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

_FIT_WINDOWS = 4_000  # at most, evenly spaced
_CHUNK = 128  # windows at once
_FOLDS = 5
_STRENGTHS = tuple(10.0 ** np.arange(-4, 1.1, 1.0))  # of logistic regression, the inverse penalty
_PENALTIES = tuple(10.0 ** np.arange(-1, 3.1, 1.0))  # of ridge; up to the paper's largest
_KERNELS = 2_000
_LENGTHS = (7, 9, 11)  # of kernels, where the window is as long


class Classifier(Protocol):
    """A fitted classifier."""

    def predict(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """Probabilities (B, K) of windows (B, C, T)."""


def default_classifiers(fit: LabelledWindows, seed: int = 0) -> dict[str, Classifier]:
    """Fits the baseline classifiers, by name.

    Args:
        fit: windows of train and validation; of more than 4000, 4000 evenly spaced are used.
        seed: of the random kernels.
    """
    some = fit.evenly_spaced(_FIT_WINDOWS)
    assert isinstance(some, LabelledWindows)
    return {
        "majority": Majority(fit.classes_of.mean(axis=0)),
        "statistics_logistic": fit_statistics(some),
        "random_convolutions": fit_convolutions(some, seed),
    }


@dataclass(frozen=True)
class Majority:
    """Predicts the share of each class, whatever the window."""

    share: FloatArray  # (K,)

    def predict(self, values: FloatArray, observed: BoolArray) -> FloatArray:  # noqa: ARG002
        """See `Classifier`."""
        return np.tile(self.share, (len(values), 1))


@dataclass(frozen=True)
class StatisticsLogistic:
    """Logistic regression on nine statistics of each channel; one regression a label."""

    classes: int
    models: tuple[ClassifierMixin, ...] = field(repr=False)  # one, or K of labels

    def predict(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """See `Classifier`."""
        x = _statistics(values, observed)
        if len(self.models) == 1:
            return _probabilities(self.models[0], x, self.classes)
        return np.stack([_probabilities(model, x, 2)[:, 1] for model in self.models], axis=1)


@dataclass(frozen=True)
class RandomConvolutions:
    """Ridge regression on features of random convolutions (ROCKET; Dempster et al. 2020).

    Its outputs estimate -1 and 1 and are pressed into probabilities: they rank windows, but are
    not calibrated.
    """

    kernels: tuple[_Kernels, ...] = field(repr=False)
    centre: FloatArray = field(repr=False)  # (F,) of features
    weights: FloatArray = field(repr=False)  # (F, K)
    intercept: FloatArray  # (K,)
    multilabel: bool

    def predict(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """See `Classifier`."""
        x = _convolved(values, observed, self.kernels)
        score = (x - self.centre) @ self.weights + self.intercept
        if self.multilabel:
            return 1 / (1 + np.exp(-2 * score))
        power = np.exp(score - score.max(axis=1, keepdims=True))
        share: FloatArray = power / power.sum(axis=1, keepdims=True)
        return share


def fit_statistics(fit: LabelledWindows) -> StatisticsLogistic:
    """Standardised statistics, a missing one at its median; penalty by log likelihood."""
    x = _features(fit, _statistics)
    classes = fit.classes_of
    labels = classes.T if fit.labelling.multilabel else [classes.argmax(axis=1)]
    models = tuple(_logistic(x, np.asarray(y, np.int64), fit.subjects) for y in labels)
    return StatisticsLogistic(classes.shape[1], models)


def fit_convolutions(fit: LabelledWindows, seed: int = 0) -> RandomConvolutions:
    """Ridge regression of each class, in its dual form; penalty by squared error."""
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV

    drawn = _drawn(len(fit.recordings[0].channels), fit.spec.context, _KERNELS, seed)
    x = _features(fit, lambda values, observed: _convolved(values, observed, drawn))
    centre, spread = x.mean(axis=0), x.std(axis=0)
    scale = np.where(spread > 1e-6, 1 / np.maximum(spread, 1e-6), 0.0)
    x = (x - centre) * scale
    y = 2.0 * fit.classes_of - 1
    intercept = y.mean(axis=0)
    _, together = np.unique(fit.classes_of, axis=0, return_inverse=True)
    folds = _folds(together.ravel(), fit.subjects)
    products = (x @ x.T).astype(np.float64)
    ridge = KernelRidge(alpha=_PENALTIES[len(_PENALTIES) // 2], kernel="precomputed")
    if folds:
        # Of equal score is the stronger penalty, which comes first.
        grid = {"alpha": _PENALTIES[::-1]}
        ridge = GridSearchCV(ridge, grid, scoring="neg_mean_squared_error", cv=folds)
        ridge = ridge.fit(products, y - intercept).best_estimator_
    dual = ridge.fit(products, y - intercept).dual_coef_
    weights = scale[:, None] * (x.T @ dual)
    return RandomConvolutions(drawn, centre, weights, intercept, fit.labelling.multilabel)


_Extract = Callable[[FloatArray, BoolArray], FloatArray]


def _features(fit: LabelledWindows, extract: _Extract) -> FloatArray:
    """Features (N, F) of windows, some at a time."""
    pieces = []
    for index in fit.batches(_CHUNK):
        arrays = fit.gather(index)
        pieces.append(extract(arrays.values, arrays.observed))
    return np.concatenate(pieces)


def _statistics(values: FloatArray, observed: BoolArray) -> FloatArray:
    """Nine statistics of each channel, (B, 9 C); NaN where a window shows too little of it."""
    count = observed.sum(axis=-1)  # (B, C)
    some = np.maximum(count, 1)
    time = np.arange(values.shape[-1]) / values.shape[-1]
    ranked = np.sort(np.where(observed, values, np.inf), axis=-1)
    held = np.where(observed, values, 0).astype(np.float64)
    mean = held.sum(axis=-1) / some
    off = np.where(observed, values - mean[..., None], 0.0)
    from_middle = time - (observed * time).sum(axis=-1, keepdims=True) / some[..., None]
    spread = np.where(observed, from_middle**2, 0.0).sum(axis=-1)
    last = values.shape[-1] - 1 - np.argmax(observed[..., ::-1], axis=-1)

    def at(array: FloatArray, index: IntArray) -> FloatArray:
        return np.take_along_axis(array, index[..., None], axis=-1)[..., 0]

    of_values = [
        mean,
        np.sqrt((off**2).sum(axis=-1) / some),
        ranked[..., 0],
        at(ranked, some - 1),
        (at(ranked, (some - 1) // 2) + at(ranked, some // 2)) / 2,
        at(held, np.argmax(observed, axis=-1)),
        at(held, last),
    ]
    slope = (off * from_middle).sum(axis=-1) / np.where(count > 1, spread, 1.0)
    columns = [np.where(count > 0, column, np.nan) for column in of_values]
    columns += [np.where(count > 1, slope, np.nan), count / values.shape[-1]]
    return np.concatenate(columns, axis=1)


def _logistic(x: FloatArray, y: IntArray, subject: IntArray) -> ClassifierMixin:
    """A regression on (N, F) of classes (N,); where all are of one class, that class."""
    from sklearn.dummy import DummyClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(y)) < 2:
        return DummyClassifier(strategy="prior").fit(x, y)
    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )
    folds = [(own, other) for own, other in _folds(y, subject) if len(np.unique(y[own])) > 1]
    if folds:
        grid = {"logisticregression__C": _STRENGTHS}
        model = GridSearchCV(model, grid, scoring=_log_likelihood, cv=folds)
    with warnings.catch_warnings():
        # A weak penalty that has not converged is judged by its folds like any other.
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")
        return model.fit(x, y)


def _log_likelihood(model: ClassifierMixin, x: FloatArray, y: IntArray) -> float:
    """Mean over windows; a class that was not learned has a small probability, not none."""
    probability = _probabilities(model, x, int(max(y.max(), model.classes_.max())) + 1)
    own = probability[np.arange(len(y)), y]
    return float(np.log(np.maximum(own, 1e-6)).mean())


def _probabilities(model: ClassifierMixin, x: FloatArray, classes: int) -> FloatArray:
    """(N, classes), 0 for classes that were not learned."""
    spread = np.zeros((len(x), classes))
    spread[:, model.classes_] = model.predict_proba(x)
    return spread


def _folds(y: IntArray, subject: IntArray) -> list[tuple[IntArray, IntArray]]:
    """Training and validation rows of each fold; none where rows are too few.

    Subjects are kept together where there are as many as folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if np.bincount(y).max() < _FOLDS:
        return []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        if len(np.unique(subject)) < _FOLDS:
            return list(StratifiedKFold(_FOLDS).split(y, y))
        return list(StratifiedGroupKFold(_FOLDS).split(y, y, subject))


@dataclass(frozen=True)
class _Kernels:
    """Some random kernels of one length."""

    weights: FloatArray  # (M, C, L) float32; 0 on channels that a kernel does not see
    bias: FloatArray  # (M,) float32
    dilation: int
    padding: int  # zeros on either side


def _drawn(channels: int, context: int, count: int, seed: int) -> tuple[_Kernels, ...]:
    """Kernels as in the paper, but with dilations that are powers of two, to share work.

    A kernel sees some channels: few are likelier than many.
    """
    rng = np.random.default_rng(seed)
    lengths = [length for length in _LENGTHS if length <= context] or [context]
    groups: dict[tuple[int, int, int], list[tuple[FloatArray, float]]] = {}
    for _ in range(count):
        length = int(rng.choice(lengths))
        reach = max(1.0, (context - 1) / max(1, length - 1))  # dilation that fills the window
        dilation = int(2 ** np.floor(rng.uniform(0, np.log2(reach))))
        padding = int(rng.integers(2)) * ((length - 1) * dilation // 2)
        seen = int(2 ** rng.uniform(0, np.log2(min(channels, length) + 1)))
        weights = np.zeros((channels, length), dtype=np.float32)
        taps = rng.normal(size=(seen, length))
        weights[rng.choice(channels, seen, replace=False)] = taps - taps.mean(axis=1)[:, None]
        groups.setdefault((length, dilation, padding), []).append((weights, rng.uniform(-1, 1)))
    return tuple(
        _Kernels(
            np.stack([weights for weights, _ in of_group]),
            np.array([bias for _, bias in of_group], dtype=np.float32),
            dilation,
            padding,
        )
        for (_, dilation, padding), of_group in sorted(groups.items(), key=lambda item: item[0])
    )


def _convolved(
    values: FloatArray, observed: BoolArray, kernels: tuple[_Kernels, ...]
) -> FloatArray:
    """Largest output and share of positive outputs of each kernel, (B, 2 M) float32.

    Each channel is standardised over what the window shows of it; gaps are at its mean.
    """
    import torch
    from torch.nn.functional import conv1d

    held = np.where(observed, values, 0).astype(np.float64)
    some = np.maximum(observed.sum(axis=-1, keepdims=True), 1)
    off = np.where(observed, held - held.sum(axis=-1, keepdims=True) / some, 0.0)
    spread = np.sqrt((off**2).sum(axis=-1, keepdims=True) / some)
    x = torch.from_numpy((off / np.where(spread > 0, spread, 1.0)).astype(np.float32))
    rows = []
    with torch.inference_mode():
        for piece in x.split(_CHUNK):
            columns = []
            for group in kernels:
                weights, bias = torch.from_numpy(group.weights), torch.from_numpy(group.bias)
                out = conv1d(piece, weights, bias, dilation=group.dilation, padding=group.padding)
                columns += [out.amax(dim=-1), (out > 0).float().mean(dim=-1)]
            rows.append(torch.cat(columns, dim=1))
    convolved: FloatArray = torch.cat(rows).numpy()
    return convolved
