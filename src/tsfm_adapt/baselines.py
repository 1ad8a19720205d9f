"""Simple forecasters that every run is compared with.

All are point forecasts in data units; a channel that a context does not show gets its mean over
the fit parts.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.windows import Windows

_FIT_WINDOWS = 20_000  # at most, evenly spaced: enough for some hundred coefficients
_CHUNK = 1024  # windows gathered at once
_FOLDS = 5
_PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # shares of the lags' mean variance


class Baseline(Protocol):
    """A fitted forecaster."""

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """The next samples (B, C, H) after contexts (B, C, T)."""


def default_baselines(fit: Windows, season: int | None = None) -> dict[str, Baseline]:
    """What a forecast is compared with, fitted and by name.

    Args:
        fit: windows of the fit parts.
        season: samples of a period; adds the seasonal naive forecast.
    """
    level = channel_means(fit)
    found: dict[str, Baseline] = {
        "last_value": LastValue(level),
        "mean_of_context": MeanOfLast(level, None),
        "mean_of_last_15": MeanOfLast(level, 15),
        "ridge": fit_ridge(fit, level),
    }
    if season is not None:
        found["seasonal_naive"] = SeasonalNaive(level, season)
    return found


def channel_means(fit: Windows) -> FloatArray:
    """Mean of each channel over the recordings behind the windows, (C,); 0 for never measured."""
    total = np.zeros(len(fit.recordings[0].channels))
    count = np.zeros_like(total)
    for recording in fit.recordings:
        measured = np.isfinite(recording.values)
        total += np.where(measured, recording.values, 0.0).sum(1, dtype=np.float64)
        count += measured.sum(1)
    mean: FloatArray = total / np.maximum(count, 1)
    return mean


@dataclass(frozen=True)
class LastValue:
    """The last measured value of the context, held."""

    level: FloatArray  # (C,) where the context holds none

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`."""
        return _held(_last(values, observed, self.level), horizon)


@dataclass(frozen=True)
class MeanOfLast:
    """The mean of the measured values among the last `samples`, held; None = of the context.

    Where none of those was measured, the last value before them.
    """

    level: FloatArray
    samples: int | None

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`."""
        recent = slice(None if self.samples is None else -self.samples, None)
        count = observed[..., recent].sum(-1)
        total = np.where(observed, values, 0.0)[..., recent].sum(-1, dtype=np.float64)
        mean = total / np.maximum(count, 1)
        return _held(np.where(count > 0, mean, _last(values, observed, self.level)), horizon)


@dataclass(frozen=True)
class SeasonalNaive:
    """The value one season before, or as many seasons back as it takes to find one measured."""

    level: FloatArray
    season: int  # samples

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`."""
        length = values.shape[-1]
        steps = np.arange(horizon)
        forecast = _held(_last(values, observed, self.level), horizon)
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

    Contexts are filled forward (backward before the first value) and centred on their mean.
    """

    level: FloatArray  # (C,)
    weights: FloatArray = field(repr=False)  # (C, T + 1, H), the last row is the intercept

    def predict(self, values: FloatArray, observed: BoolArray, horizon: int) -> FloatArray:
        """See `Baseline`; the horizon is at most the one fitted."""
        lags, mean = _lags(values, observed)
        deviation = np.einsum("bct,cth->bch", lags, self.weights[..., :horizon])
        empty = ~observed.any(-1, keepdims=True)
        return np.where(empty, self.level[:, None], mean + deviation)


def fit_ridge(fit: Windows, level: FloatArray) -> Ridge:
    """Ridge regression of every channel, its penalty chosen by blocked cross-validation.

    Only measured targets count, after contexts with a measured value. The windows are kept as
    normal equations, by fold; a fold is a run of consecutive windows, so that few patients and
    little time are shared between folds.
    """
    some = fit.evenly_spaced(_FIT_WINDOWS)
    folds = [
        _normal_equations(some, part) for part in np.array_split(np.arange(len(some)), _FOLDS)
    ]
    channels = len(level)
    return Ridge(level, np.stack([_solve([fold[c] for fold in folds]) for c in range(channels)]))


@dataclass(frozen=True)
class _Normal:
    """Sums over windows with lags x (T + 1) and target y, at each of H steps."""

    xx: FloatArray  # (H, T + 1, T + 1)
    xy: FloatArray  # (H, T + 1)
    yy: FloatArray  # (H,)

    def __add__(self, other: _Normal) -> _Normal:
        return _Normal(self.xx + other.xx, self.xy + other.xy, self.yy + other.yy)

    def weights(self, penalty: float) -> FloatArray:
        """The ridge solution (H, T + 1); the intercept is not penalised."""
        diagonal = np.full(self.xx.shape[-1], penalty * np.trace(self.xx[0]) / self.xx.shape[-1])
        diagonal[-1] = 0.0
        ridge = self.xx + np.diag(diagonal + 1e-9)
        solved: FloatArray = np.linalg.solve(ridge, self.xy[..., None])[..., 0]
        return solved

    def squared_error(self, weights: FloatArray) -> float:
        """Of predictions with other sums' weights."""
        fitted = np.einsum("ht,htu,hu->h", weights, self.xx, weights)
        return float((self.yy - 2 * (weights * self.xy).sum(-1) + fitted).sum())


def _normal_equations(windows: Windows, indices: IntArray) -> list[_Normal]:
    """The sums of each channel over some windows."""
    spec, channels = windows.spec, len(windows.recordings[0].channels)
    size, steps = spec.context + 1, spec.horizon
    xx = np.zeros((channels, steps, size, size))
    xy = np.zeros((channels, steps, size))
    yy = np.zeros((channels, steps))
    for first in range(0, len(indices), _CHUNK):
        arrays = windows.gather(indices[first : first + _CHUNK])
        assert arrays.target is not None
        assert arrays.target_observed is not None
        lags, mean = _lags(arrays.values, arrays.observed)
        known = arrays.target_observed & arrays.observed.any(-1, keepdims=True)
        target = np.where(known, arrays.target - mean, 0.0)
        for c in range(channels):
            x, y, o = lags[:, c], target[:, c], known[:, c]
            whole = o.all(-1)
            xx[c] += x[whole].T @ x[whole]
            xy[c] += y.T @ x
            yy[c] += np.square(y).sum(0)
            partly = np.flatnonzero(o.any(-1) & ~whole)
            for step in range(steps if len(partly) else 0):
                some = x[partly[o[partly, step]]]
                xx[c, step] += some.T @ some
    return [_Normal(xx[c], xy[c], yy[c]) for c in range(channels)]


def _solve(folds: list[_Normal]) -> FloatArray:
    """Weights (T + 1, H) with the penalty that predicts left-out folds best."""
    whole = folds[0]
    for fold in folds[1:]:
        whole = whole + fold

    others = [_Normal(whole.xx - f.xx, whole.xy - f.xy, whole.yy - f.yy) for f in folds]

    def left_out(penalty: float) -> float:
        return sum(f.squared_error(o.weights(penalty)) for f, o in zip(folds, others, strict=True))

    return whole.weights(min(_PENALTIES, key=left_out)).T


def _lags(values: FloatArray, observed: BoolArray) -> tuple[FloatArray, FloatArray]:
    """Filled and centred contexts with a 1 behind (B, C, T + 1), and their means (B, C, 1)."""
    length = values.shape[-1]
    position = np.where(observed, np.arange(length), -1)
    before = np.maximum.accumulate(position, axis=-1)
    first = np.argmax(observed, axis=-1)[..., None]
    filled = np.take_along_axis(values, np.where(before >= 0, before, first), axis=-1)
    mean = filled.mean(-1, keepdims=True, dtype=np.float64)
    ones = np.ones((*values.shape[:-1], 1))
    return np.concatenate([filled - mean, ones], axis=-1), mean


def _last(values: FloatArray, observed: BoolArray, level: FloatArray) -> FloatArray:
    """The last measured value (B, C) of each context, `level` where there is none."""
    back = np.argmax(observed[..., ::-1], axis=-1)
    last = np.take_along_axis(values, (values.shape[-1] - 1 - back)[..., None], axis=-1)[..., 0]
    return np.where(observed.any(-1), last, level)


def _held(value: FloatArray, horizon: int) -> FloatArray:
    return np.repeat(value[..., None], horizon, axis=-1)
