"""Mean and standard deviation of a context over its observed samples."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.batch import assert_near, random_batch, with_garbage
from tsfm_adapt.heads._nets.scaling import shown


def series(values, observed=None):
    batch = random_batch(windows=1, channels=1, samples=len(values))
    seen = torch.ones(1, 1, len(values), dtype=torch.bool)
    if observed is not None:
        seen[0, 0] = torch.tensor(observed)
    return replace(batch, values=torch.tensor(values)[None, None], observed=seen)


def test_they_are_numpys_over_observed_samples():
    batch = random_batch(missing=0.4)
    scale = shown(with_garbage(batch))
    values = np.where(batch.observed, batch.values.double(), np.nan)
    np.testing.assert_allclose(scale.mean[..., 0], np.nanmean(values, -1), rtol=1e-5)
    np.testing.assert_allclose(scale.deviation[..., 0], np.nanstd(values, -1), rtol=1e-5)


@pytest.mark.parametrize(
    ("values", "observed", "mean", "deviation"),
    [
        ([1.0, 3.0, 9.0], [True, True, False], 2.0, 1.0),
        ([5.0, 5.0, 5.0], [False, False, False], 0.0, 1.0),  # nothing observed
        ([1000.0, 1000.0], None, 1000.0, 1e-3),  # a constant: float32 knows it to 1e-6
        ([0.0, 0.0], None, 0.0, 1e-5),
    ],
)
def test_hard_cases_have_a_positive_finite_deviation(values, observed, mean, deviation):
    scale = shown(series(values, observed))
    assert scale.mean.item() == mean
    assert scale.deviation.item() == pytest.approx(deviation)


def test_restoring_undoes_the_scaling_quantile_by_quantile():
    batch = random_batch(missing=0.0)
    scale = shown(batch)
    scaled = (batch.values - scale.mean) / scale.deviation
    quantiles = torch.stack([scaled, scaled + 1], dim=2)  # (B, C, Q, H)
    restored = scale.restored(quantiles)
    assert_near(restored[:, :, 0], batch.values, relative=1e-5)
    expected = scale.deviation.expand_as(batch.values)
    assert_near(restored[:, :, 1] - restored[:, :, 0], expected, relative=1e-3)
