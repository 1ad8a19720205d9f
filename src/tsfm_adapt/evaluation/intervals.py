"""The interval around the difference of two models, whatever their score.

The unit of resampling is the subject: windows of one patient are not independent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tsfm_adapt.signals.recording import FloatArray, IntArray

Interval = Literal["subjects", "few subjects", "within one patient"]

DRAWS = 2000
_LEVEL = 0.95
_MANY = 8  # subjects from which a bootstrap over them is used


@dataclass(frozen=True)
class Comparison:
    """How much better the adapted model is than the reference.

    Of forecasts: how much lower its MASE is, in percent of the reference's. Of classes: how much
    higher its score is, in points (hundredths).
    """

    difference: float  # positive = adapted is better; NaN where undefined
    low: float | None  # None where an interval cannot be had
    high: float | None
    shown: bool  # low > 0, and several subjects
    interval: Interval
    p: float | None = None  # two-sided, of no difference; None = within one patient, or unknown


class Pair(ABC):
    """Two models' results on the same rows, resampled by subjects or by blocks."""

    subject: IntArray  # (W,) numbers from 0 on

    @abstractmethod
    def pooled(self) -> float:
        """The difference over all rows."""

    @abstractmethod
    def each(self) -> FloatArray:
        """The difference within each subject, (S,)."""

    @abstractmethod
    def of_subjects(self, times: IntArray) -> FloatArray:
        """Differences (D,) of resamples in which subjects are drawn (D, S) times."""

    @abstractmethod
    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        """Differences (D,) of blocks of `length` rows that begin at rows (D, blocks)."""


@dataclass(frozen=True)
class Mean(Pair):
    """The mean difference of several pairs on the same rows: those of one recipe's seeds."""

    subject: IntArray
    pairs: Sequence[Pair]

    def pooled(self) -> float:
        """See `Pair`."""
        return float(np.mean([pair.pooled() for pair in self.pairs]))

    def each(self) -> FloatArray:
        """See `Pair`."""
        return self._mean([pair.each() for pair in self.pairs])

    def of_subjects(self, times: IntArray) -> FloatArray:
        """See `Pair`."""
        return self._mean([pair.of_subjects(times) for pair in self.pairs])

    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        """See `Pair`."""
        return self._mean([pair.of_blocks(first, length) for pair in self.pairs])

    @staticmethod
    def _mean(each: Sequence[FloatArray]) -> FloatArray:
        mean: FloatArray = np.mean(each, axis=0)
        return mean


def compared(pair: Pair, block: int, seed: int) -> Comparison:
    """The difference over all rows with the 95 % interval that the number of subjects allows.

    From eight subjects on, a percentile bootstrap over subjects. Below, a t interval from the
    subjects' own differences around the pooled one. For one subject, a moving-block bootstrap
    over its rows, which never counts as shown.

    Args:
        pair: rows in the order of time.
        block: consecutive rows that share samples.
        seed: of the resampling.
    """
    pooled, rng = pair.pooled(), np.random.default_rng(seed)
    subjects = len(np.unique(pair.subject))
    low: float | None
    high: float | None
    if subjects <= 1:
        low, high = _over_blocks(pair, block, rng)
        return Comparison(pooled, low, high, False, "within one patient")
    if subjects >= _MANY:
        times = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=DRAWS)
        draws = pair.of_subjects(times)  # (draws,)
        low, high = _percentiles(draws)
        p = None if low is None else _crossing(draws)
        return Comparison(pooled, low, high, low is not None and low > 0, "subjects", p)
    low, high, p = _t_interval(pooled, pair.each())
    return Comparison(pooled, low, high, low is not None and low > 0, "few subjects", p)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """P values adjusted for their number (Holm 1979), in their order; None stays None.

    The smallest of n is multiplied by n, the next by n - 1 and so on, and none is below one
    before it. What is below .05 then holds for all of them together.
    """
    known = sorted((value, index) for index, value in enumerate(p) if value is not None)
    adjusted: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, index) in enumerate(known):
        highest = max(highest, min(1.0, value * (len(known) - rank)))
        adjusted[index] = highest
    return adjusted


def _over_blocks(
    pair: Pair, block: int, rng: np.random.Generator
) -> tuple[float | None, float | None]:
    """Kuensch's moving blocks, at least two of them; None where the rows are too few."""
    rows = len(pair.subject)
    length = max(block, int(np.ceil(np.sqrt(rows))))
    if rows < 2 * length:
        return None, None
    blocks = -(-rows // length)
    return _percentiles(
        pair.of_blocks(rng.integers(0, rows - length + 1, size=(DRAWS, blocks)), length)
    )


def _t_interval(
    pooled: float, gains: FloatArray
) -> tuple[float | None, float | None, float | None]:
    """Low, high, and p."""
    from scipy import stats

    known = gains[np.isfinite(gains)]
    if len(known) < 2:
        return None, None, None
    error = float(known.std(ddof=1) / np.sqrt(len(known)))
    freedom = len(known) - 1
    reach = float(stats.t.ppf((1 + _LEVEL) / 2, freedom)) * error
    p = 1.0 if pooled == 0 else 2 * float(stats.t.sf(abs(pooled) / max(error, 1e-300), freedom))
    return pooled - reach, pooled + reach, p


def _crossing(draws: FloatArray) -> float:
    """Two-sided p: twice the share of draws beyond no difference, counting one more draw there."""
    known = draws[np.isfinite(draws)]
    beyond = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (len(known) + 1))


def _percentiles(draws: FloatArray) -> tuple[float | None, float | None]:
    """The middle 95 % of the draws that are defined; None where most are not."""
    known = draws[np.isfinite(draws)]
    if 2 * len(known) < len(draws):
        return None, None
    tail = 100 * (1 - _LEVEL) / 2
    low, high = np.percentile(known, [tail, 100 - tail])
    return float(low), float(high)
