"""Small recordings, and two of which one holds a copy of the other."""

import numpy as np

from tsfm_adapt.signals.recording import Recording


def recording(values, subject="a", id=None, start=None, rate_hz=1 / 60):
    values = np.atleast_2d(values)
    names = ("HR", "MAP")[: len(values)]
    units = ("bpm", "mmHg")[: len(values)]
    return Recording(id or subject, subject, values, names, units, rate_hz, start)


def wander(samples=400, seed=0, channels=2, dtype=np.float64):
    """Whole numbers that wander, as a monitor shows them."""
    steps = np.random.default_rng(seed).integers(-4, 5, (channels, samples))
    return (80 + np.cumsum(steps, axis=1)).astype(dtype)


def pair(samples, at=100, there=37, **changes):
    """Two subjects; the second holds a copy of so many of the first's heart rates."""
    one, other = wander(seed=1), wander(seed=2)
    other[0, there : there + samples] = one[0, at : at + samples]
    # Neighbours differ, so that the stretch is not longer by chance.
    other[0, there - 1] = one[0, at - 1] + 1
    other[0, there + samples] = one[0, at + samples] + 1
    return [recording(one, "a"), recording(other, "b")]
