"""Baseline imputers that every imputation is compared with.

All are point estimates in data units, from what is visible in the window; a channel of which a
window shows nothing gets its mean over the training and validation recordings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from tsfm_adapt.baselines.forecasters import at_once, channel_means
from tsfm_adapt.signals.recording import BoolArray, FloatArray
from tsfm_adapt.signals.windows import Windows

_FIT_WINDOWS = 8_000  # at most, evenly spaced
_CHUNK = 256  # windows gathered at once
_FOLDS = 5
_PENALTIES = tuple(10.0 ** np.arange(-6, 4.01, 0.5))


class Imputer(Protocol):
    """A fitted imputer."""

    def fill(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """An estimate (B, C, T) of every sample from those observed (B, C, T)."""


def default_imputers(fit: Windows) -> dict[str, Imputer]:
    """Fits the baseline imputers, by name.

    Args:
        fit: windows of train and validation, with hidden values as their target.
    """
    fallback = channel_means(fit)
    imputers: dict[str, Imputer] = {
        "linear": Linear(fallback),
        "carry_forward": CarryForward(fallback),
        "mean_of_window": MeanOfWindow(fallback),
    }
    if len(fallback) > 1:
        imputers["ridge"] = fit_ridge(fit, fallback)
    return imputers


@dataclass(frozen=True)
class Linear:
    """Linear interpolation across a gap; at the window's edges the nearest value."""

    fallback: FloatArray  # (C,) where the window shows none

    def fill(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """See `Imputer`."""
        return np.where(observed.any(-1, keepdims=True), _lines(values, observed), _rows(self))


@dataclass(frozen=True)
class CarryForward:
    """The last value before a gap; at the window's start the first one behind it."""

    fallback: FloatArray

    def fill(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """See `Imputer`."""
        position = np.where(observed, np.arange(values.shape[-1]), -1)
        before = np.maximum.accumulate(position, axis=-1)
        first = np.argmax(observed, axis=-1)[..., None]
        carried = np.take_along_axis(values, np.where(before < 0, first, before), axis=-1)
        return np.where(observed.any(-1, keepdims=True), carried, _rows(self))


@dataclass(frozen=True)
class MeanOfWindow:
    """The mean of the channel's observed values in the window."""

    fallback: FloatArray

    def fill(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """See `Imputer`."""
        mean = np.where(observed.any(-1, keepdims=True), _means(values, observed), _rows(self))
        return np.broadcast_to(mean, values.shape)


@dataclass(frozen=True)
class Ridge:
    """Linear regression of each channel on the others at the same sample.

    Channels are taken less their mean over what the window shows; the others' own gaps are
    straight lines. A channel that the window does not show gets its fallback.
    """

    fallback: FloatArray  # (C,)
    weights: FloatArray = field(repr=False)  # (C, C) of channel, on channel; 0 on itself

    def fill(self, values: FloatArray, observed: BoolArray) -> FloatArray:
        """See `Imputer`."""
        shown = observed.any(-1, keepdims=True)
        mean = np.where(shown, _means(values, observed), _rows(self))
        filled: FloatArray = mean + np.einsum(
            "bct,dc->bdt", _centred(values, observed), self.weights
        )
        return filled


def fit_ridge(fit: Windows, fallback: FloatArray) -> Ridge:
    """Ridge regression at the hidden values, its penalty chosen by blocked cross-validation."""
    some = fit.evenly_spaced(_FIT_WINDOWS)
    channels = len(fallback)
    cross = np.zeros((_FOLDS, channels, channels, channels))  # (F, C, C, C) X'X of each channel
    product = np.zeros((_FOLDS, channels, channels))  # (F, C, C) X'y
    square = np.zeros((_FOLDS, channels))  # (F, C) y'y
    for fold, indices in enumerate(np.array_split(np.arange(len(some)), _FOLDS)):
        size = at_once(some, _CHUNK)
        for first in range(0, len(indices), size):
            arrays = some.gather(indices[first : first + size])
            assert arrays.target is not None
            assert arrays.target_observed is not None
            x = _centred(arrays.values, arrays.observed)  # (B, C, T)
            shown = arrays.observed.any(-1, keepdims=True)
            mean = np.where(shown, _means(arrays.values, arrays.observed), fallback[:, None])
            y, learned = arrays.target - mean, arrays.target_observed
            for c in range(channels):
                others = np.moveaxis(x, 1, -1)[learned[:, c]]  # (N, C)
                others[:, c] = 0.0
                own = y[:, c][learned[:, c]]
                cross[fold, c] += others.T @ others
                product[fold, c] += others.T @ own
                square[fold, c] += own @ own
    weights = np.zeros((channels, channels))
    for c in range(channels):
        weights[c] = _solved(cross[:, c], product[:, c], square[:, c])
    return Ridge(fallback, weights)


def _solved(cross: FloatArray, product: FloatArray, square: FloatArray) -> FloatArray:
    """Weights (C,) with the penalty that predicts left-out folds best."""
    error = np.zeros(len(_PENALTIES))
    for fold in range(_FOLDS):
        rest_cross, rest = cross.sum(0) - cross[fold], product.sum(0) - product[fold]
        for number, penalty in enumerate(_PENALTIES):
            w = _ridge(rest_cross, rest, penalty)
            error[number] += square[fold] - 2 * w @ product[fold] + w @ cross[fold] @ w
    return _ridge(cross.sum(0), product.sum(0), _PENALTIES[int(np.argmin(error))])


def _ridge(cross: FloatArray, product: FloatArray, penalty: float) -> FloatArray:
    """Weights (C,); the penalty is a share of each feature's own variance."""
    own = np.diag(cross)
    solution: FloatArray = np.linalg.solve(
        cross + np.diag(np.where(own > 0, penalty * own, 1.0)), product
    )
    return solution


def _lines(values: FloatArray, observed: BoolArray) -> FloatArray:
    """Linear interpolation (B, C, T) of observed values; 0 where nothing is observed."""
    time = np.arange(values.shape[-1])
    position = np.where(observed, time, -1)
    before = np.maximum.accumulate(position, axis=-1)
    position = np.where(observed, time, len(time))
    behind = np.minimum.accumulate(position[..., ::-1], axis=-1)[..., ::-1]
    left = np.where(before < 0, behind, before)
    right = np.where(behind == len(time), before, behind)
    none = ~observed.any(-1, keepdims=True)
    left, right = (np.where(none, 0, side) for side in (left, right))
    start = np.take_along_axis(values, left, axis=-1).astype(np.float64)
    stop = np.take_along_axis(values, right, axis=-1).astype(np.float64)
    share = (time - left) / np.maximum(right - left, 1)
    lines: FloatArray = np.where(none, 0.0, start + share * (stop - start))
    return lines


def _means(values: FloatArray, observed: BoolArray) -> FloatArray:
    """Means (B, C, 1) of what is observed; 0 where nothing is."""
    total = np.where(observed, values, 0.0).sum(-1, keepdims=True, dtype=np.float64)
    mean: FloatArray = total / np.maximum(observed.sum(-1, keepdims=True), 1)
    return mean


def _centred(values: FloatArray, observed: BoolArray) -> FloatArray:
    """Interpolated values less their mean (B, C, T); 0 where nothing is observed."""
    return _lines(values, observed) - _means(values, observed)


def _rows(imputer: Linear | CarryForward | MeanOfWindow | Ridge) -> FloatArray:
    """The fallbacks, (C, 1)."""
    return imputer.fallback[:, None]
