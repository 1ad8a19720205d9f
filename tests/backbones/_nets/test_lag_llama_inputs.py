"""Lag-Llama's scale and calendar against upstream's and gluonts'."""

import numpy as np
import pytest
import torch

from tsfm_adapt.backbones._nets.lag_llama_inputs import robust_scale, time_features


@pytest.mark.parametrize(
    "start_s", [0, -2_000_000_000, 951_782_399, 4_107_542_399, 29_247_222_685]
)
def test_time_features_are_those_of_gluonts(start_s):
    """Before the epoch, leap days of 2000 and none of 2100, and a de-identified 2896."""
    import pandas as pd
    from gluonts.time_feature import time_features_from_frequency_str

    step, count = 7_261, 3000  # every day of 252
    index = pd.PeriodIndex([pd.Period(ordinal=start_s + step * i, freq="s") for i in range(count)])
    expected = np.stack([f(index) for f in time_features_from_frequency_str("s")], axis=-1)
    start = torch.tensor([float(start_s)], dtype=torch.float64)
    actual = time_features(start, 0, count, 1 / step)[0].numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-7)
    np.testing.assert_array_equal(time_features(start, 40, 5, 1 / step)[0], actual[40:45])


def test_minutes_stay_whole_at_a_rate_that_floats_cannot_hold():
    start = torch.tensor([0.0, 29_247_222_660.0], dtype=torch.float64)
    second = time_features(start, 0, 100_000, 1 / 60)[..., 0]
    assert second.unique().tolist() == [-0.5]


@pytest.mark.parametrize("samples", [1, 2, 3, 70, 71])
def test_the_scale_is_upstreams_median_and_interquartile_range(samples):
    values = torch.randn(50, samples, generator=torch.Generator().manual_seed(3)).cumsum(-1)
    observed = torch.rand(50, samples, generator=torch.Generator().manual_seed(4)) < 0.7
    observed[0] = False
    seen = values.masked_fill(~observed, torch.nan)
    loc, scale = robust_scale(values, observed)
    median = seen.nanmedian(-1, keepdim=True).values
    low, high = (seen.nanquantile(level, dim=-1, keepdim=True) for level in (0.25, 0.75))
    assert torch.equal(loc, median.nan_to_num(0.0))
    expected = (high - low).clamp(min=1e-10).nan_to_num(1.0)
    torch.testing.assert_close(scale, expected, rtol=1e-5, atol=1e-12)


def test_the_scale_of_repeated_values_is_their_deviation_and_of_constants_the_smallest():
    values = torch.tensor([[98.0] * 9 + [95.0], [36.6] * 10, [0.0] * 10])
    loc, scale = robust_scale(values, torch.ones_like(values, dtype=torch.bool))
    assert torch.equal(loc, values[:, :1])
    torch.testing.assert_close(scale[:, 0], torch.tensor([0.9**0.5, 1e-10, 1e-10]))
