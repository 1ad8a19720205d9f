"""From latent series to what a monitor shows: coupled channels, noise, artefacts, gaps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from stochastic import Array, first_order, log_uniform, unit

MAX_LAG = 32  # samples by which a channel may follow another of its group

Groups = npt.NDArray[np.int64]  # (R,) ascending; rows of one group are channels of one recording


def couple(rng: np.random.Generator, series: Array, groups: Groups) -> Array:
    """Lets channels follow another one of their group; drops the first `MAX_LAG` samples.

    In half of the groups every channel but the first becomes a mixture of itself and an earlier
    one, of either sign, delayed by 0 to `MAX_LAG` samples. Some copies are almost exact, as pulse
    and heart rate are.
    """
    rows, length = len(series), series.shape[1] - MAX_LAG
    first = np.searchsorted(groups, groups)
    position = np.arange(rows) - first
    leader = first + np.floor(rng.random(rows) * position).astype(np.int64)
    coupled = rng.random(int(groups[-1]) + 1)[groups] < 0.5
    strength = np.where(coupled & (position > 0), rng.beta(1.2, 0.8, rows), 0)
    sign = np.where(rng.random(rows) < 0.75, 1, -1)
    lag = np.where(rng.random(rows) < 0.5, 0, np.floor(log_uniform(rng, 1, MAX_LAG + 0.9, rows)))
    at = MAX_LAG - lag.astype(np.int64)[:, None] + np.arange(length)
    led = series[leader[:, None], at]
    own = series[:, MAX_LAG:]
    mixed = np.sqrt(1 - strength**2)[:, None] * own + (sign * strength)[:, None] * led
    return mixed.astype(np.float32)


def disturb(rng: np.random.Generator, series: Array) -> Array:
    """Adds measurement noise to 45 % of the rows, artefacts to some, a grid to 40 %.

    Noise is white, heavy-tailed or of short memory, .02 to 3 times the signal. The grid models
    devices that report whole numbers; a few rows saturate, as oxygen saturation does at 100 %.
    """
    rows, length = series.shape
    signal = unit(series)
    noise = rng.standard_normal((rows, length), dtype=np.float32)
    kind = rng.integers(0, 3, rows)
    heavy = np.flatnonzero(kind == 1)
    noise[heavy] /= np.sqrt(rng.gamma(1.5, 1 / 1.5, (len(heavy), length)) + 0.02)
    memory = np.flatnonzero(kind == 2)
    noise[memory] = first_order(
        noise[memory], np.exp(-1 / log_uniform(rng, 0.3, 4, len(memory))).astype(np.float32)
    )
    ratio = log_uniform(rng, 0.02, 3, rows) * (rng.random(rows) < 0.45)
    signal = signal + ratio[:, None] * unit(noise)
    signal = signal + _artefacts(rng, rows, length)
    signal = _saturate(rng, signal)
    gridded = np.flatnonzero(rng.random(rows) < 0.4)
    grid = log_uniform(rng, 0.01, 1, len(gridded))[:, None]
    signal[gridded] = np.round(signal[gridded] / grid + rng.random((len(gridded), 1))) * grid
    return signal.astype(np.float32)


def hide(rng: np.random.Generator, values: Array, groups: Groups, context: int) -> Array:
    """Puts NaN where a device measured nothing, in context and target alike.

    Four of seven rows lose nothing; the others single samples, blocks, or all but every 2nd to
    10th one (charted by hand). On top: drop-outs of whole groups, silence before the forecast,
    channels without any context, contexts shorter than the batch (left padding).
    """
    rows, length = values.shape
    time = np.arange(length)
    kind = rng.integers(0, 7, rows)[:, None]
    uniform = rng.random((rows, length), dtype=np.float32)
    points = uniform < log_uniform(rng, 0.01, 0.6, rows)[:, None]
    blocks = _blocks(rng, rows, length)
    every = rng.integers(2, 11, (rows, 1))
    regular = (time + rng.integers(0, 10, (rows, 1))) % every != 0
    charted = np.where(rng.random((rows, 1)) < 0.5, regular, uniform > 1 / every)
    missing = np.where(kind == 0, points, np.where(kind == 1, blocks, charted & (kind == 2)))
    number = int(groups[-1]) + 1
    missing |= (_blocks(rng, number, length) & (rng.random((number, 1)) < 0.1))[groups]
    silent = log_uniform(rng, 1, context / 3, rows) * (rng.random(rows) < 0.08)
    missing |= (time < context) & (time >= context - np.floor(silent)[:, None])
    shortest = min(16, context)
    kept = np.floor(log_uniform(rng, shortest, context + 1, number))
    kept[rng.random(number) < 0.7] = context
    missing |= (time < context - kept[:, None])[groups]
    missing |= (time < context) & (rng.random((rows, 1)) < 0.02)
    return np.where(missing, np.float32(np.nan), values)


def learnable(context: Array, target: Array, limit: float = 25.0) -> npt.NDArray[np.bool_]:
    """Rows whose target lies within `limit` context deviations of the context's mean.

    The model divides by the context's deviation: where that is nearly 0 and the target moves,
    one row would outweigh the whole batch. Rows without any context value are not learnable.
    """
    seen = np.isfinite(context)
    count = np.maximum(seen.sum(axis=1, keepdims=True), 1)
    mean = np.where(seen, context, 0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt(np.where(seen, (context - mean) ** 2, 0).sum(axis=1, keepdims=True) / count)
    distance = np.abs(np.where(np.isfinite(target), target - mean, 0)).max(axis=1)
    return seen.any(axis=1) & (distance <= limit * spread[:, 0])


def _blocks(rng: np.random.Generator, rows: int, length: int) -> npt.NDArray[np.bool_]:
    """True in one to three stretches of each row, each 2 samples to a third of it long."""
    time = np.arange(length)
    inside = np.zeros((rows, length), bool)
    for chance in (1.0, 0.5, 0.3):
        size = log_uniform(rng, 2, max(3, length / 3), rows)[:, None]
        start = rng.uniform(-0.1, 1, (rows, 1)) * length
        inside |= (time >= start) & (time < start + size) & (rng.random((rows, 1)) < chance)
    return inside


def _artefacts(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Spikes of 1-4 samples, 2 to 10 signal deviations high, in an eighth of the rows."""
    rate = log_uniform(rng, 0.002, 0.04, rows) * (rng.random(rows) < 1 / 8)
    hit = rng.random((rows, length), dtype=np.float32) < rate[:, None]
    hit[:, 1:] |= hit[:, :-1] & (rng.random((rows, length - 1), dtype=np.float32) < 0.5)
    height = log_uniform(rng, 2, 10, rows) * np.where(rng.random(rows) < 0.5, 1, -1)
    size = height[:, None] * (0.5 + rng.random((rows, length), dtype=np.float32))
    return np.where(hit, size, 0).astype(np.float32)


def _saturate(rng: np.random.Generator, signal: Array) -> Array:
    """Clips a tenth of the rows from above at a level that they often reach."""
    ceiling = np.where(rng.random(len(signal)) < 0.1, rng.uniform(-0.5, 2, len(signal)), np.inf)
    return np.minimum(signal, ceiling[:, None].astype(np.float32))
