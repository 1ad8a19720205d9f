"""Latent series that noise drives: one memory or two, integrated, resonant, switching.

Every family is a function (generator, rows, length) -> (rows, length) float32. Offsets and scales
are arbitrary: the model normalises every context by itself. Time constants are in samples.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
BURN_IN = 192  # samples dropped, so that a filter that starts at rest is near its stationary state


def log_uniform(rng: np.random.Generator, low: float, high: float, size: int) -> Array:
    """`size` draws between `low` and `high`, each order of magnitude equally likely."""
    return np.exp(rng.uniform(np.log(low), np.log(high), size)).astype(np.float32)


def first_order(drive: Array, decay: Array) -> Array:
    """y_t = decay y_(t-1) + drive_t along the rows of `drive` (R, L); `decay` is (R,)."""
    steps = np.ascontiguousarray(drive.T)
    for t in range(1, len(steps)):
        steps[t] += decay * steps[t - 1]
    return steps.T


def second_order(drive: Array, damping: Array, period: Array) -> Array:
    """A resonator: poles of radius `damping` (R,) that turn once in `period` (R,) samples."""
    turn, squared = 2 * damping * np.cos(2 * np.pi / period), damping**2
    steps = np.ascontiguousarray(drive.T)
    for t in range(2, len(steps)):
        steps[t] += turn * steps[t - 1] - squared * steps[t - 2]
    return steps.T


def unit(series: Array) -> Array:
    """Rows with mean 0 and standard deviation 1; constant rows become 0."""
    centred = series - series.mean(axis=1, keepdims=True)
    return centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-6)


def mean_reverting(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Ornstein-Uhlenbeck: a level of 3-600 samples, in half of the rows a faster one on top."""
    slow = _ornstein_uhlenbeck(rng, log_uniform(rng, 3, 600, rows), length)
    fast = _ornstein_uhlenbeck(rng, log_uniform(rng, 0.5, 30, rows), length)
    share = rng.random((rows, 1), dtype=np.float32) * (rng.random((rows, 1)) < 0.5)
    return slow + 2 * share * fast


def smooth(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Two memories in a row: momentum of 1-20 samples on a level of 8-400, as glucose has."""
    drive = _drive(rng, rows, length + BURN_IN)
    velocity = first_order(drive, _decay(log_uniform(rng, 1, 20, rows)))
    return first_order(velocity, _decay(log_uniform(rng, 8, 400, rows)))[:, BURN_IN:]


def integrated(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Random walks, with white (a local level) or persistent (a damped trend) increments."""
    persistence = log_uniform(rng, 0.2, 40, rows) * (rng.random(rows) < 0.6)
    increments = first_order(_drive(rng, rows, length), _decay(persistence + 1e-3))
    return np.cumsum(increments, axis=1, dtype=np.float32)


def excursions(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Rises and slower returns after sparse impulses (meals, boluses) on a wandering baseline."""
    total = length + BURN_IN
    rate = log_uniform(rng, 1 / 200, 1 / 10, rows)[:, None]
    impulses = rng.standard_exponential((rows, total), dtype=np.float32)
    impulses *= rng.random((rows, total), dtype=np.float32) < rate
    rising = first_order(impulses, _decay(log_uniform(rng, 1, 15, rows)))
    response = first_order(rising, _decay(log_uniform(rng, 4, 80, rows)))[:, BURN_IN:]
    baseline = smooth(rng, rows, length)
    share = log_uniform(rng, 0.05, 1.0, rows)[:, None]
    return unit(response) + share * unit(baseline)


def resonant(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Autoregressive of order three: a noisy oscillation of wandering phase on a short memory."""
    drive = first_order(
        _drive(rng, rows, length + BURN_IN), _decay(log_uniform(rng, 0.3, 30, rows))
    )
    damping = 1 - log_uniform(rng, 0.005, 0.5, rows)
    return second_order(drive, damping, log_uniform(rng, 3, 150, rows))[:, BURN_IN:]


def switching(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Two to four regimes of own level and restlessness; dwell times of 8-300 samples."""
    change = (
        rng.random((rows, length), dtype=np.float32) < 1 / log_uniform(rng, 8, 300, rows)[:, None]
    )
    visit = np.cumsum(change, axis=1)
    regimes = rng.integers(0, rng.integers(2, 5, (rows, 1)), (rows, length))
    regime = np.take_along_axis(regimes, visit, axis=1)
    levels = rng.standard_normal((rows, 4), dtype=np.float32)
    restlessness = log_uniform(rng, 0.05, 1.0, rows * 4).reshape(rows, 4)
    wander = _ornstein_uhlenbeck(rng, log_uniform(rng, 0.5, 60, rows), length)
    return np.take_along_axis(levels, regime, 1) + wander * np.take_along_axis(
        restlessness, regime, 1
    )


def _decay(time_constant: Array) -> Array:
    return np.exp(-1 / time_constant).astype(np.float32)


def _ornstein_uhlenbeck(rng: np.random.Generator, time_constant: Array, length: int) -> Array:
    """Stationary, standard deviation 1."""
    decay = _decay(time_constant)
    drive = rng.standard_normal((len(decay), length), dtype=np.float32)
    drive[:, 1:] *= np.sqrt(1 - decay**2)[:, None]  # the first sample is the stationary draw
    return first_order(drive, decay)


def _drive(rng: np.random.Generator, rows: int, length: int) -> Array:
    """White noise; in a third of the rows its strength itself wanders by an order of magnitude."""
    white = rng.standard_normal((rows, length), dtype=np.float32)
    restless = np.flatnonzero(rng.random(rows) < 1 / 3)
    if len(restless):
        log_strength = _ornstein_uhlenbeck(rng, log_uniform(rng, 10, 200, len(restless)), length)
        white[restless] *= np.exp(0.7 * log_strength)
    return white
