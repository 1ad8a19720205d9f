"""Split-conformal calibration of prediction intervals, on the validation split.

For every pair of symmetric levels (0.1 and 0.9, ...) and every channel, one factor multiplies the
quantiles' distances from the median: conformalised quantile regression (Romano, Patterson &
Candes, NeurIPS 2019) with the score of Kivaranovic, Johnson & Leeb (AISTATS 2020). A factor, and
not the classic offset in the channel's unit, since one number serves all lead times and all
patients: near forecasts have narrow intervals and far ones wide intervals, a quiet heart rate
another interval than a restless one, and all keep their shape.

The windows of a patient are no independent draws. Each subject has the same weight, whatever its
number of windows, and the pooled distribution of scores is read (Dunn, Wasserman & Ramdas, JASA
2022, "pooling CDFs"), with the finite-sample correction of as many draws as the weights are worth
(Kish's effective number of windows). The coverage is therefore nominal on average over new
subjects like those of validation, and approximately: it is no promise for one patient or one
hour, and training chose its checkpoint on the same split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

MIN_SUBJECTS = 5  # of validation, where those of test are others
MIN_WINDOWS = 20  # effective ones of a channel
_WIDEST = 10.0  # a larger factor makes intervals that are no longer the model's


@dataclass(frozen=True)
class Conformal:
    """The factors that widen or narrow a model's quantiles around their median."""

    levels: tuple[float, ...]  # Q, increasing, 0.5 among them
    factors: FloatArray  # (C, Q), equal for both levels of a pair; NaN = as the model has it
    problems: tuple[str | None, ...]  # (C,) why pairs of a channel have no factor

    def __call__(self, quantiles: FloatArray) -> FloatArray:
        """The calibrated quantiles (B, C, Q, H): the same median, and levels in order."""
        middle = _median(self.levels)
        factors = np.nan_to_num(self.factors, nan=1.0)[None, :, :, None]
        median = quantiles[:, :, middle : middle + 1]
        moved = (median + factors * (quantiles - median)).astype(quantiles.dtype)
        calibrated = np.where(factors == 1, quantiles, moved)
        calibrated[:, :, middle:] = np.maximum.accumulate(calibrated[:, :, middle:], axis=2)
        below = np.minimum.accumulate(calibrated[:, :, middle::-1], axis=2)
        calibrated[:, :, : middle + 1] = below[:, :, ::-1]
        return calibrated

    @property
    def fitted(self) -> tuple[float, ...]:
        """Nominal coverages that some channel has a factor for, like 0.8."""
        return tuple(
            nominal
            for low, _, nominal in pairs(self.levels)
            if np.isfinite(self.factors[:, low]).any()
        )


def pairs(levels: Sequence[float]) -> list[tuple[int, int, float]]:
    """Symmetric levels: the indices of both and the nominal coverage; the widest pair first."""
    symmetric = []
    for low, level in enumerate(levels):
        high = np.flatnonzero(np.isclose(levels, 1 - level))
        if level < 0.5 and len(high):
            symmetric.append((low, int(high[0]), round(1 - 2 * level, 6)))
    return symmetric


def fit(
    quantiles: FloatArray,
    levels: Sequence[float],
    target: FloatArray,
    scored: BoolArray,
    subjects: Sequence[str],
) -> Conformal:
    """Fits the factors with which prediction intervals cover their share of the targets.

    Args:
        quantiles: (N, C, Q, H) of validation windows, data units.
        levels: Q, increasing, 0.5 among them.
        target: (N, C, H); arbitrary where not scored.
        scored: (N, C, H).
        subjects: (N,).
    """
    middle = _median(levels)
    channels = quantiles.shape[1]
    factors = np.full((channels, len(levels)), np.nan)
    factors[:, middle] = 1.0
    problems: list[str | None] = [None] * channels
    number = np.unique(np.array(subjects), return_inverse=True)[1]
    for c in range(channels):
        weights = _weights(scored[:, c], number)  # (N, H)
        effective = _effective(weights.sum(-1))
        if effective < MIN_WINDOWS:
            problems[c] = (
                f"it is measured in {effective:.0f} effective validation windows, "
                f"{MIN_WINDOWS} are needed"
            )
            continue
        median = quantiles[:, c, middle]
        for low, high, nominal in pairs(levels):
            scores = _scores(target[:, c], median, quantiles[:, c, low], quantiles[:, c, high])
            share = nominal * (effective + 1) / effective
            factor = _quantile(scores[scored[:, c]], weights[scored[:, c]], share)
            if factor <= _WIDEST:
                factors[c, [low, high]] = factor
            else:
                problems[c] = (
                    f"its {100 * nominal:g} % prediction interval would need more than "
                    f"{_WIDEST:g} times its width"
                )
    return Conformal(tuple(levels), factors, tuple(problems))


def _median(levels: Sequence[float]) -> int:
    return int(np.flatnonzero(np.isclose(levels, 0.5))[0])


def _scores(
    target: FloatArray, median: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """Distance of targets from the median, in half-widths of the interval on their side."""
    away = target.astype(np.float64) - median
    half = np.where(away < 0, median - low, high - median)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: FloatArray = np.abs(away) / np.maximum(half, 0.0)
    return np.where(away == 0, 0.0, ratio)


def _weights(scored: BoolArray, number: IntArray) -> FloatArray:
    """Weights of the targets (N, H): equal sums per subject, together 1; 0 where not scored."""
    of_subject = np.bincount(number, weights=scored.sum(-1))
    measured = of_subject > 0
    with np.errstate(divide="ignore"):
        each = np.where(measured, 1 / of_subject, 0.0) / max(int(measured.sum()), 1)
    weights: FloatArray = scored * each[number][:, None]
    return weights


def _effective(weights: FloatArray) -> float:
    """How many equal draws weights (N,) are worth (Kish 1965)."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _quantile(values: FloatArray, weights: FloatArray, share: float) -> float:
    """The smallest value that at least `share` of the weight does not exceed; inf for none."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= share * (1 - 1e-9)
    return float(values[order][int(reached.argmax())]) if reached.any() else float("inf")
