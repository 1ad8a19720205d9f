"""Latent series with a drawn shape: kernel mixtures, waveforms, seasons, steps.

The same signature and conventions as `stochastic.py`.
"""

from __future__ import annotations

import numpy as np
from stochastic import Array, first_order, log_uniform, unit


def kernel_mixture(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Gaussian processes with composed kernels, by random Fourier features.

    In the manner of KernelSynth (Ansari et al. 2024): sums of RBF, heavy-tailed (rational
    quadratic) and periodic kernels, products (frequencies add) and a linear trend.
    """
    features = 24
    shape = (rows, features)
    time = np.arange(length, dtype=np.float32)
    kinds = rng.integers(0, 4, (rows, 2))  # each row mixes two kernels
    kind = np.take_along_axis(kinds, rng.integers(0, 2, shape), axis=1)
    smooth_hz = rng.standard_normal(shape) / (2 * np.pi * log_uniform(rng, 4, 500, rows)[:, None])
    heavy_hz = smooth_hz / np.sqrt(rng.gamma(1.0, size=shape) + 1e-3)
    harmonic = 1 + np.floor(rng.exponential(0.7, shape))
    periodic_hz = harmonic / log_uniform(rng, 4, 250, rows)[:, None]
    frequency = np.choose(kind, [smooth_hz, heavy_hz, periodic_hz, periodic_hz + smooth_hz])
    amplitude = rng.standard_normal(shape) / np.where(kind >= 2, harmonic, 1)
    angle = (
        2
        * np.pi
        * (
            frequency[..., None].astype(np.float32) * time
            + rng.random((rows, features, 1), dtype=np.float32)
        )
    )
    series = np.einsum("rf,rfl->rl", amplitude.astype(np.float32), np.cos(angle))
    return unit(series) + _trend(rng, rows, length, share=0.2)


def waveform(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Quasi-periodic: beats and pulses (narrow bumps), breaths (few harmonics); period 6-200.

    Period and amplitude wander slowly, the shape stays.
    """
    jitter = log_uniform(rng, 0.003, 0.15, rows)[:, None] * _wander(rng, rows, length)
    cycles = np.cumsum((1 + jitter) / log_uniform(rng, 6, 200, rows)[:, None], axis=1)
    phase = 2 * np.pi * (cycles + rng.random((rows, 1))).astype(np.float32)
    series = np.zeros((rows, length), np.float32)
    bumps = rng.random((rows, 1)) < 0.5
    for harmonic in range(1, 5):
        weight = rng.standard_normal((rows, 1), dtype=np.float32)
        centre = 2 * np.pi * rng.random((rows, 1), dtype=np.float32)
        sharpness = log_uniform(rng, 2, 80, rows)[:, None]
        bump = np.exp(sharpness * (np.cos(phase - centre) - 1))
        wave = np.cos(harmonic * phase - centre) / harmonic
        series += weight * np.where(bumps, bump, wave)
    loudness = log_uniform(rng, 0.01, 0.4, rows)[:, None] * _wander(rng, rows, length)
    baseline = log_uniform(rng, 0.01, 0.7, rows)[:, None] * _wander(rng, rows, length)
    return unit(series) * (1 + loudness) + baseline


def seasonal(rng: np.random.Generator, rows: int, length: int) -> Array:
    """One to three exact periods of 5-500 samples, their first overtones, a trend."""
    time = np.arange(length, dtype=np.float32)
    series = np.zeros((rows, length), np.float32)
    for chance in (1.0, 0.5, 0.25):
        angle = (
            2
            * np.pi
            * (
                time / log_uniform(rng, 5, 500, rows)[:, None]
                + rng.random((rows, 1), dtype=np.float32)
            )
        )
        weight = rng.standard_normal((rows, 2, 1), dtype=np.float32)
        season = weight[:, 0] * np.sin(angle) + 0.5 * weight[:, 1] * np.sin(2 * angle)
        series += season * (rng.random((rows, 1)) < chance)
    return unit(series) + _trend(rng, rows, length, share=0.6)


def steps(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Levels that change abruptly or relax to the next one, with ramps and a trend."""
    rate = 1 / log_uniform(rng, 25, 600, rows)[:, None]
    jumps = rng.standard_normal((rows, length), dtype=np.float32)
    jumps *= rng.random((rows, length), dtype=np.float32) < rate
    jumps[:, 0] = 1
    relaxation = log_uniform(rng, 1, 40, rows) * (rng.random(rows) < 0.5)
    decay = np.exp(-1 / (relaxation + 1e-2)).astype(np.float32)
    returning = np.exp(-1 / log_uniform(rng, 30, 5000, rows)).astype(np.float32)
    levels = first_order(first_order(jumps * (1 - decay)[:, None], decay), returning)
    return unit(levels) + _trend(rng, rows, length, share=0.3)


def _trend(rng: np.random.Generator, rows: int, length: int, share: float) -> Array:
    """A straight line of random slope in `share` of the rows, 0 elsewhere."""
    slope = 2 * rng.standard_normal((rows, 1), dtype=np.float32) * (rng.random((rows, 1)) < share)
    return slope * np.linspace(-1, 1, length, dtype=np.float32)


def _wander(rng: np.random.Generator, rows: int, length: int) -> Array:
    """Slow drift of unit size: three sines of 50-800 samples."""
    time = np.arange(length, dtype=np.float32)
    frequency = 1 / log_uniform(rng, 50, 800, rows * 3).reshape(rows, 3, 1)
    angle = 2 * np.pi * (frequency * time + rng.random((rows, 3, 1), dtype=np.float32))
    return np.sin(angle).sum(axis=1) / np.float32(np.sqrt(1.5))
