"""What adapters are fitted on and saved with, for the three channels of the contract batch."""

import numpy as np

from tsfm_adapt.runs.bundle import Card
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


def card(model):
    """The bundle card of a model of c0, c1 and c2, minute by minute."""
    return Card(
        channels=("c0", "c1", "c2"),
        units=("1",) * 3,
        rate_hz=1 / 60,
        context=40,
        horizon=16,
        quantiles=(0.1, 0.5, 0.9),
        backbone=model.backbone.spec.name,
        checkpoint="tiny",
        revision=None,
        base_sha256=model.base_sha256,
        licence="unknown",
        synthetic=True,
        versions={},
    )
