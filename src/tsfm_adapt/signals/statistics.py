"""Mean and standard deviation of each channel over recordings, in one pass.

Blocks of at most 65 536 samples are read one at a time, so that memory-mapped recordings of any
length fit. Each block is centred on its own mean in double precision, and blocks are put together
by the update of Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances" (1979). No difference of large sums is taken, so that a small standard deviation
of values far from zero keeps its digits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from tsfm_adapt.signals.recording import FloatArray, Recording

# A standard deviation below this share of the mean is what float32 rounding makes of a constant.
_CONSTANT = 1e-6


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squares of the observed samples of C channels, (C,) each, float64."""

    count: FloatArray
    mean: FloatArray  # 0 where nothing was observed
    squares: FloatArray  # sum of squared distances from the mean

    @property
    def standard_deviation(self) -> FloatArray:
        """The population standard deviation (C,), data units; NaN where nothing was observed."""
        with np.errstate(invalid="ignore", divide="ignore"):
            std: FloatArray = np.sqrt(self.squares / self.count)
        return std

    @property
    def scale(self) -> FloatArray:
        """The divisor (C,) for standardising: the standard deviation, 1 for a constant channel."""
        std = self.standard_deviation
        return np.where(std > _CONSTANT * np.abs(self.mean), std, 1.0)

    def merged(self, other: Moments) -> Moments:
        """The moments of both sets of samples together."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        step = other.mean - self.mean
        return Moments(
            count,
            self.mean + step * share,
            self.squares + other.squares + np.square(step) * self.count * share,
        )


def moments(recordings: Iterable[Recording]) -> Moments:
    """The moments of each channel over all observed samples.

    Args:
        recordings: of the same channels. For no recordings, C is 0.
    """
    by_block = [_of_block(block) for recording in recordings for block in recording.blocks()]
    if not by_block:
        return Moments(*np.zeros((3, 0)))
    return reduce(Moments.merged, by_block)


def _of_block(block: FloatArray) -> Moments:
    """The moments of values (C, T); NaN = not observed."""
    observed = np.isfinite(block)
    count = observed.sum(1).astype(np.float64)
    values = np.where(observed, block, 0.0).astype(np.float64)
    # About the first observed value, so that a constant has no rounding at all.
    first = np.take_along_axis(values, observed.argmax(1)[:, None], axis=1)
    shifted = np.where(observed, values - first, 0.0)
    offset = shifted.sum(1) / np.maximum(count, 1)
    centred = np.where(observed, shifted - offset[:, None], 0.0)
    return Moments(count, first[:, 0] + offset, np.square(centred).sum(1))
