"""Units, principal directions, gaps and forecasts as adapters of channels need them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.batch import assert_near, random_batch
from contracts.fitted import recording, train_windows
from tsfm_adapt.adapters._mixing import (
    channels_of,
    directions,
    level,
    middle,
    mirrored,
    moments,
    needs_input_gradients,
    rescaled,
    seen_as,
    standardised,
)
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.forecasts import QuantileForecast, SampleForecast
from tsfm_adapt.signals.windows import Windows, WindowSpec


def batch_of(missing=0.0, **changes):
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16, missing=missing)
    return replace(batch, **changes)


def test_what_fills_a_gap_was_measured_before_it():
    batch, units = batch_of(missing=0.4), (torch.zeros(3), torch.ones(3))
    batch.observed[..., 0] = True
    later = replace(batch, values=batch.values.clone())
    later.values[..., 25:] += 100.0
    before, after = standardised(batch, *units), standardised(later, *units)
    assert torch.equal(before[..., :25], after[..., :25])
    assert torch.equal(before[batch.observed], batch.values[batch.observed])


def test_gaps_hold_the_last_observed_value_in_units_of_train():
    values = torch.tensor([[[9.0, 14.0, 9.0, 9.0, 18.0], [9.0] * 5]])
    observed = torch.tensor([[[False, True, False, False, True], [False] * 5]])
    batch = replace(batch_of(), values=values, observed=observed)
    found = standardised(batch, torch.tensor([10.0, 5.0]), torch.tensor([2.0, 1.0]))
    assert found.tolist() == [[[2.0, 2.0, 2.0, 2.0, 4.0], [0.0] * 5]]


def test_moments_are_those_of_observed_samples_of_train():
    windows = train_windows()
    values = np.concatenate([r.values for r in windows.recordings], axis=1)
    mean, deviation = moments(windows)
    np.testing.assert_allclose(mean, np.nanmean(values, axis=1), rtol=1e-6)
    np.testing.assert_allclose(deviation, np.nanstd(values, axis=1), rtol=1e-5)


def test_moments_of_what_never_varies_or_was_never_measured_are_harmless():
    values = np.stack([np.full(60, 7.0), np.full(60, np.nan)])
    mean, deviation = moments(Windows([recording(values)], WindowSpec(40, 16)))
    assert (mean.tolist(), deviation.tolist()) == ([7.0, 0.0], [1.0, 1.0])


def test_directions_are_eigenvectors_of_correlations_over_shared_samples():
    windows = train_windows()
    mean, deviation = moments(windows)
    values = np.concatenate([r.values for r in windows.recordings], axis=1)
    scaled = (values - mean.numpy()[:, None]) / deviation.numpy()[:, None]
    known = np.isfinite(scaled)
    filled = np.where(known, scaled, 0.0)
    correlation = (filled @ filled.T) / (known.astype(float) @ known.T)
    found = directions(windows, mean, deviation, 2).double().numpy()
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-6)
    along = np.diag(found @ correlation @ found.T)
    np.testing.assert_allclose(along, np.linalg.eigvalsh(correlation)[::-1][:2], rtol=1e-5)
    assert (found[np.arange(2), np.abs(found).argmax(1)] > 0).all()


def test_the_level_is_of_observed_samples_and_a_flat_series_is_not_divided():
    values = torch.tensor([[[1.0, 3.0, 99.0], [5.0, 5.0, 99.0], [99.0, 99.0, 99.0]]])
    observed = torch.tensor([[[True, True, False], [True, True, False], [False] * 3]])
    mean, deviation = level(values, observed)
    assert mean.flatten().tolist() == [2.0, 5.0, 0.0]
    assert deviation.flatten().tolist() == [1.0, 1.0, 1.0]
    flat = torch.full((1, 1, 4), 7.0, requires_grad=True)
    sum(level(flat, torch.ones(1, 1, 4, dtype=torch.bool))).sum().backward()
    assert flat.grad.isfinite().all()


def test_what_the_backbone_sees_is_shifted_scaled_and_0_in_gaps():
    batch = batch_of(missing=0.3)
    shift, scale = torch.full((2, 3, 1), 4.0), torch.full((2, 3, 1), 2.0)
    names = ("x", "y", "z")
    seen = seen_as(batch, batch.values, batch.observed, shift=shift, scale=scale, names=names)
    assert torch.equal(seen.values[batch.observed], (batch.values[batch.observed] - 4) / 2)
    assert not seen.values[~batch.observed].any()
    assert (seen.channels, seen.target, seen.rate_hz) == (names, None, batch.rate_hz)


@pytest.mark.parametrize("kind", ["samples", "quantiles"])
def test_a_rescaled_forecast_has_rescaled_quantiles(kind):
    values = torch.randn(2, 3, 3, 5).sort(2).values
    forecast = QuantileForecast(values, (0.1, 0.5, 0.9))
    if kind == "samples":
        forecast = SampleForecast(values.movedim(2, 0))
    shift, scale = torch.randn(2, 3, 1), torch.rand(2, 3, 1) + 0.5
    expected = forecast.quantiles((0.1, 0.5, 0.9)) * scale[..., None] + shift[..., None]
    assert_near(rescaled(forecast, shift, scale).quantiles((0.1, 0.5, 0.9)), expected)


def test_mirrored_quantiles_are_the_negatives_of_those_of_the_negative():
    values = torch.randn(2, 3, 5, 4).sort(2).values
    forecast = QuantileForecast(values, (0.1, 0.3, 0.5, 0.7, 0.9))
    assert_near(mirrored(forecast), values.flip(2))
    negative = QuantileForecast((-values).sort(2).values, forecast.levels)
    assert_near(mirrored(forecast), -negative.values)
    assert torch.equal(middle(forecast), values[:, :, 2:3])


def test_channels_that_are_unknown_or_too_few_are_refused_by_the_adapters_name():
    assert channels_of(("HR", "MAP"), "affine", 2) == ("HR", "MAP")
    for channels in ((), ("HR",)):
        with pytest.raises(RecipeError, match=r"adapters\.affine: needs at least 2 channels"):
            channels_of(channels, "affine", 2)


def test_what_cannot_learn_through_the_context_is_refused_with_the_way_out():
    needs_input_gradients(ChronosBolt.tiny(), "it", "Use pca.")
    with pytest.raises(RecipeError, match=r"forecasts of chronos_t5 carry no gradient.*Use pca\."):
        needs_input_gradients(ChronosT5.tiny(), "it", "Use pca.")
