"""Errors of two models on the same windows, to be compared."""

import numpy as np

from tsfm_adapt.evaluation.class_errors import ClassErrors, class_errors
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors, forecast_errors

SCALE = np.array([1.0, 2.0])


def model(error, subjects, observed=None) -> ForecastErrors:
    """A point forecast with absolute errors (W, C, H)."""
    error = np.asarray(error, dtype=float)
    observed = np.ones(error.shape, bool) if observed is None else observed
    return forecast_errors(
        error[:, :, None], (0.5,), np.zeros(error.shape), observed, observed.any(-1), subjects
    )


def cohort(subjects=12, windows=10, gain=0.1, spread=0.05, seed=0, channels=2, steps=3):
    """The adapted and the reference model; each subject's own gain is normal(gain, spread)."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i:03d}" for i in range(subjects)], windows)
    theirs = rng.gamma(4.0, 1.0, size=(len(names), channels, steps))
    own = np.repeat(rng.normal(gain, spread, size=subjects), windows)
    ours = theirs * (1 - own[:, None, None])
    return model(ours, names), model(theirs, names)


def classified(sure, target, subjects) -> ClassErrors:
    """What a model said of W rows of two classes: how sure it is of the second."""
    sure = np.asarray(sure, dtype=float)
    both = np.stack([1 - sure, sure], axis=1)
    return class_errors(both, np.eye(2)[target], subjects, False, np.array([np.nan, 0.5]))


def patients(subjects=12, windows=20, better=0.5, seed=0):
    """The adapted and the reference model; the adapted one adds `better` to what is known."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i:03d}" for i in range(subjects)], windows)
    target = rng.integers(0, 2, len(names))
    known = 0.5 * (2 * target - 1) + np.repeat(rng.normal(0, 0.5, subjects), windows)
    noise = rng.normal(size=(2, len(names)))
    gains = (known + better * (2 * target - 1) + noise[0], known + noise[1])
    return tuple(classified(1 / (1 + np.exp(-gain)), target, names) for gain in gains)
