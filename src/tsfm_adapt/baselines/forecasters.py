"""Baseline forecasters that every forecast is compared with.

All are point forecasts in data units. A channel that a context does not show gets its mean over
the training and validation recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np

from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.statistics import moments
from tsfm_adapt.signals.windows import Windows

_FIT_WINDOWS = 8_000  # at most, evenly spaced; on glucose 18 656 are 0.5 % better
_CHUNK = 1024  # windows gathered at once,
_CHUNK_VALUES = 1 << 23  # of at most so many values together
_FOLDS = 5
_PENALTIES = tuple(10.0 ** np.arange(-4, 4.01, 0.25))


class Baseline(Protocol):
    """A fitted forecaster."""

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """The next samples (B, C, H) after contexts (B, C, T)."""


def default_baselines(fit: Windows, season: int | None = None) -> dict[str, Baseline]:
    """Fits the baseline forecasters, by name.

    Args:
        fit: windows of train and validation.
        season: samples of a period; adds the seasonal naive forecast.
    """
    fallback = channel_means(fit)
    baselines: dict[str, Baseline] = {
        "last_value": LastValue(fallback),
        "mean_of_context": MeanOfLast(fallback, None),
        "mean_of_last_15": MeanOfLast(fallback, 15),
        "ridge": fit_ridge(fit, fallback),
    }
    if season is not None:
        baselines["seasonal_naive"] = SeasonalNaive(fallback, season)
    return baselines


def channel_means(fit: Windows) -> FloatArray:
    """Mean of each channel over the windows' recordings, (C,); 0 where never measured."""
    return moments(fit.recordings).mean


def at_once(windows: Windows, most: int) -> int:
    """The batch size for gathering windows: at most `most`, fewer where windows are large."""
    channels, spec = len(windows.recordings[0].channels), windows.spec
    return max(1, min(most, _CHUNK_VALUES // (channels * (spec.context + spec.horizon))))


@dataclass(frozen=True)
class LastValue:
    """Repeats the last measured value of the context."""

    fallback: FloatArray  # (C,) where the context holds none

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`."""
        return _held(_last(values, observed, self.fallback), horizon)


@dataclass(frozen=True)
class MeanOfLast:
    """Repeats the mean of the measured values among the last `samples`; None = of the context.

    Where none of those was measured, the last value before them.
    """

    fallback: FloatArray
    samples: int | None

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`."""
        recent = slice(None if self.samples is None else -self.samples, None)
        count = observed[..., recent].sum(-1)
        total = np.where(observed, values, 0.0)[..., recent].sum(-1, dtype=np.float64)
        mean = total / np.maximum(count, 1)
        return _held(np.where(count > 0, mean, _last(values, observed, self.fallback)), horizon)


@dataclass(frozen=True)
class SeasonalNaive:
    """The value one season before, or several seasons before where that was not measured."""

    fallback: FloatArray
    season: int  # samples

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`."""
        length = values.shape[-1]
        steps = np.arange(horizon)
        forecast = _held(_last(values, observed, self.fallback), horizon)
        missing = np.ones(forecast.shape, dtype=bool)
        for back in range(1, length // self.season + 1):
            at = length + steps % self.season - back * self.season
            fill: BoolArray = missing & observed[..., at]
            forecast = np.where(fill, values[..., at], forecast)
            missing &= ~fill
        return forecast


@dataclass(frozen=True)
class Ridge:
    """Linear autoregression of each channel on its own context, one equation a step.

    Contexts are centred on their mean and filled forward, with the mean before the first value.
    """

    fallback: FloatArray  # (C,)
    weights: FloatArray = field(repr=False)  # (C, T, H)
    intercept: FloatArray = field(repr=False)  # (C, H)

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`; the horizon is at most the one fitted."""
        assert horizon <= self.intercept.shape[1], (horizon, self.intercept.shape)
        lags, mean = _lags(values, observed)
        offset = np.einsum("bct,cth->bch", lags, self.weights[..., :horizon])
        empty = ~observed.any(-1, keepdims=True)
        forecast = mean + offset + self.intercept[:, :horizon]
        return np.where(empty, self.fallback[:, None], forecast)


def fit_ridge(fit: Windows, fallback: FloatArray) -> Ridge:
    """Ridge regression of every channel, its penalty chosen by blocked cross-validation.

    Learns from windows whose targets are all measured. Only sums over windows are kept. A fold is
    a run of consecutive windows; those of other folds that share samples with it are not learned
    from while it is left out.
    """
    some = fit.evenly_spaced(_FIT_WINDOWS)
    folds = np.array_split(np.arange(len(some)), _FOLDS)
    own = [_sums(some, fold) for fold in folds]
    near = [_sums(some, _overlapping(some, fold)) for fold in folds]
    solved = [
        _solve(o, n) for o, n in zip(zip(*own, strict=True), zip(*near, strict=True), strict=True)
    ]
    return Ridge(fallback, np.stack([w for w, _ in solved]), np.stack([i for _, i in solved]))


@dataclass(frozen=True)
class _Sums:
    """Sums over windows of lags x (T,) and targets y (H,)."""

    n: float
    x: FloatArray  # (T,)
    y: FloatArray  # (H,)
    xx: FloatArray  # (T, T)
    xy: FloatArray  # (T, H)
    yy: FloatArray  # (H,)

    def plus(self, other: _Sums, sign: float = 1.0) -> _Sums:
        """The sums over both sets of windows; `sign` -1 takes the other's out."""
        return _Sums(
            *(getattr(self, f.name) + sign * getattr(other, f.name) for f in fields(self))
        )

    def solve(self, penalties: Sequence[float]) -> list[tuple[FloatArray, FloatArray]]:
        """Weights (T, H) and intercept (H,) for each penalty, a share of the lags' variance."""
        mean_x, mean_y = self.x / max(self.n, 1), self.y / max(self.n, 1)
        variance, axes = np.linalg.eigh(self.xx - np.outer(self.x, mean_x))
        variance = np.maximum(variance, 0.0)
        projected = axes.T @ (self.xy - np.outer(self.x, mean_y))
        shrunk = [p * variance.mean() + variance + 1e-12 for p in penalties]
        weights = [axes @ (projected / s[:, None]) for s in shrunk]
        return [(w, mean_y - mean_x @ w) for w in weights]

    def squared_error(self, weights: FloatArray, intercept: FloatArray) -> float:
        """Of predictions with given weights, summed over windows and steps."""
        fitted = np.einsum("th,tu,uh->h", weights, self.xx, weights, optimize=True)
        cross = self.yy - 2 * (weights * self.xy).sum(0) + fitted
        offset = self.n * intercept**2 - 2 * intercept * (self.y - self.x @ weights)
        return float((cross + offset).sum())


def _sums(windows: Windows, indices: IntArray) -> list[_Sums]:
    """The sums of each channel over some windows."""
    context, horizon = windows.spec.context, windows.spec.horizon
    totals = [
        _Sums(
            0.0,
            np.zeros(context),
            np.zeros(horizon),
            np.zeros((context, context)),
            np.zeros((context, horizon)),
            np.zeros(horizon),
        )
        for _ in windows.recordings[0].channels
    ]
    size = at_once(windows, _CHUNK)
    for first in range(0, len(indices), size):
        arrays = windows.gather(indices[first : first + size])
        assert arrays.target is not None
        assert arrays.target_observed is not None
        lags, mean = _lags(arrays.values, arrays.observed)
        whole, shown = arrays.target_observed.all(-1), arrays.observed.any(-1)
        learned = np.logical_and(whole, shown)  # (B, C)
        for c, total in enumerate(totals):
            x = lags[learned[:, c], c]
            y = (arrays.target - mean)[learned[:, c], c]
            added = _Sums(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y, np.square(y).sum(0))
            totals[c] = total.plus(added)
    return totals


def _overlapping(windows: Windows, fold: IntArray) -> IntArray:
    """The windows outside a fold of consecutive ones that share samples with it."""
    reach = windows.spec.context + windows.spec.horizon
    # Recordings laid one after another, further apart than a window reaches.
    length = max(r.samples for r in windows.recordings) + reach
    at = windows.recording * length + windows.start
    near = (at > at[fold[0]] - reach) & (at < at[fold[-1]] + reach) if len(fold) else at < 0
    near[fold] = False
    return np.flatnonzero(near)


def _solve(own: Sequence[_Sums], near: Sequence[_Sums]) -> tuple[FloatArray, FloatArray]:
    """Weights and intercept with the penalty that predicts left-out folds best."""
    whole = own[0]
    for fold in own[1:]:
        whole = whole.plus(fold)
    error = np.zeros(len(_PENALTIES))
    for fold, neighbours in zip(own, near, strict=True):
        rest = whole.plus(fold, -1.0).plus(neighbours, -1.0)
        if rest.n > 1:
            error += [fold.squared_error(*solution) for solution in rest.solve(_PENALTIES)]
    return whole.solve([_PENALTIES[int(np.argmin(error))]])[0]


def _lags(values: FloatArray, observed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Contexts less their mean, filled forward (B, C, T), and the means (B, C, 1)."""
    count = np.maximum(observed.sum(-1, keepdims=True), 1)
    mean: FloatArray = np.where(observed, values, 0.0).sum(-1, keepdims=True, dtype=float) / count
    position = np.where(observed, np.arange(values.shape[-1]), -1)
    before = np.maximum.accumulate(position, axis=-1)
    filled = np.take_along_axis(values, np.maximum(before, 0), axis=-1)
    return np.where(before >= 0, filled - mean, 0.0), mean


def _last(values: FloatArray, observed: BoolArray, fallback: FloatArray) -> FloatArray:
    """The last measured value (B, C) of each context, `fallback` where there is none."""
    back = np.argmax(observed[..., ::-1], axis=-1)
    last = np.take_along_axis(values, (values.shape[-1] - 1 - back)[..., None], axis=-1)[..., 0]
    return np.where(observed.any(-1), last, fallback)


def _held(value: FloatArray, horizon: int) -> FloatArray:
    return np.repeat(value[..., None], horizon, axis=-1)
