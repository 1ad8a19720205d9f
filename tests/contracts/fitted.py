"""Windows to fit adapters on, like the contract batch: three channels of different units."""

import numpy as np

from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

LEVEL = np.array([80.0, 120.0, 36.6])
SPREAD = np.array([4.0, 40.0, 0.4])


def recording(values, subject="p0", units=None):
    """A recording of channels c0, c1, ... at one sample a minute."""
    values = np.asarray(values, dtype=float)
    channels = tuple(f"c{i}" for i in range(len(values)))
    return Recording(
        id=subject,
        subject=subject,
        values=values,
        channels=channels,
        units=units or ("1",) * len(channels),
        rate_hz=1 / 60,
    )


def train_windows(samples=400, missing=0.2, seed=0):
    """Two subjects; c0 and c1 move together, c2 for itself."""
    generator = np.random.default_rng(seed)
    recordings = []
    for subject in ("p0", "p1"):
        own = generator.standard_normal((3, samples))
        mixing = np.array([[0.8, 0.6, 0.0], [0.8, -0.6, 0.0], [0.0, 0.0, 1.0]])
        values = LEVEL[:, None] + SPREAD[:, None] * (mixing @ own)
        values[generator.random(values.shape) < missing] = np.nan
        recordings.append(recording(values, subject))
    return Windows(recordings, WindowSpec(context=40, horizon=16))
