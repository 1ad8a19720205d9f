"""Our TimesFM 3 says what upstream's `decode` and `forward` say with the same weights; float32."""

import copy
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones.timesfm3 import Config, TimesFM3


@pytest.fixture(scope="module")
def backbone():
    return roughened(TimesFM3.tiny(seed=3))


def variant(backbone, **settings):
    """The same weights with other switches of upstream's class."""
    model = copy.deepcopy(backbone.model)
    for name, value in settings.items():
        setattr(model, name, value)
    return TimesFM3(model, checkpoint="tiny")


def near_zero(batch):
    """Without the level, which costs upstream's statistics digits that ours keep."""
    level = batch.values.gather(2, batch.observed.int().argmax(2, keepdim=True))
    return replace(batch, values=batch.values - level, target=batch.target - level)


def with_trends(batch):
    """Two of the channels with a trend that is most of them."""
    time = torch.arange(batch.values.shape[-1]) / batch.values.shape[-1]
    values = batch.values.clone()
    values[:, 0] += 60 * time
    values[:, 1] -= 900 * time
    return replace(batch, values=values)


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=(-1, -2), keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


def both(backbone, batch, steps):
    """Our quantiles and upstream's, (B, C, Q, H) each."""
    values = torch.where(batch.observed, batch.values, 0.0)
    expected = backbone.model.decode(values, steps, target_mask=~batch.observed)
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).values
    return actual, expected.transpose(-1, -2)


@pytest.mark.parametrize("steps", [1, 32, 64, 65, 96, 97, 250])
@pytest.mark.parametrize("samples", [1, 5, 70, 300])  # a patch is 32
def test_forecasts_equal_those_of_upstream(backbone, samples, steps):
    batch = random_batch(windows=2, samples=samples, missing=0.3, seed=samples)
    assert relative_error(*both(backbone, near_zero(batch), steps)) <= 1e-5


@pytest.mark.parametrize("steps", [16, 100])
def test_forecasts_equal_those_of_upstream_at_the_levels_of_vital_signs(backbone, steps):
    assert relative_error(*both(backbone, random_batch(), steps)) <= 1e-5


@pytest.mark.parametrize("steps", [16, 100])
def test_forecasts_equal_those_of_upstream_where_channels_are_missing_or_constant(backbone, steps):
    batch = near_zero(random_batch(seed=1))
    batch.observed[0, 1] = False
    batch.observed[1] = False
    batch.values[2, 0] = 36.5  # upstream scales up what it rounds off a constant; here nothing
    batch.observed[2, :, 16:48] = False
    batch.observed[2, 2, 50:] = False
    assert relative_error(*both(backbone, batch, steps)) <= 1e-5


@pytest.mark.parametrize("samples", [64, 100])
def test_forecasts_of_series_with_a_trend_equal_those_of_upstream(backbone, samples):
    batch = with_trends(near_zero(random_batch(samples=samples)))
    assert relative_error(*both(backbone, batch, 100)) <= 1e-5


@pytest.mark.parametrize(
    "settings",
    [
        {"use_stitching": False},
        {"use_linear_detrending": False},
        {"use_iterative_cpm_revin": False},
        {"use_frozen_running_stats": True},
        {"linear_detrending_threshold": 0.9},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_other_switches_of_a_checkpoint_are_followed(backbone, settings):
    other = variant(backbone, **settings)
    batch = with_trends(near_zero(random_batch()))
    for steps in (30, 150):
        assert relative_error(*both(other, batch, steps)) <= 1e-5


def test_one_patch_a_prediction_may_overlap_more(backbone):
    """Patches that predict three: the first two are stitched."""
    from timesfm3.torch import TimesFM3Torch

    model = backbone.model
    torch.manual_seed(0)
    wider = TimesFM3Torch(
        output_patch_len=96,
        residual_block_config=model.residual_block_config,
        transformer_config=model.transformer_config,
    )
    other = roughened(TimesFM3(wider, checkpoint="tiny"))
    for steps in (30, 150):
        assert relative_error(*both(other, near_zero(random_batch()), steps)) <= 1e-5


@pytest.mark.parametrize("samples", [5, 70, 160])
def test_tokens_equal_those_of_upstreams_forward(backbone, samples):
    """Beside a horizon that is masked, which the context cannot see."""
    batch = near_zero(random_batch(samples=samples))
    values = torch.where(batch.observed, batch.values, 0.0)
    _, inside = backbone.model.decode(
        values, 100, target_mask=~batch.observed, return_aux_outputs=True
    )
    with torch.no_grad():
        encoded = backbone.encode(batch)
    seen = encoded.token_observed
    expected = inside["__call__:transformer_output"][:, :, : seen.shape[2]]
    assert relative_error(encoded.tokens[seen], expected[seen]) <= 1e-5


@pytest.mark.parametrize("horizon", [1, 20, 100])
def test_the_loss_is_the_pinball_loss_of_upstreams_forecast_in_deviations(backbone, horizon):
    """Numpy's own arithmetic on what `decode` returns."""
    batch = near_zero(random_batch(horizon=horizon))
    values = torch.where(batch.observed, batch.values, 0.0)
    forecast = backbone.model.decode(values, horizon, target_mask=~batch.observed)
    context = batch.values.masked_fill(~batch.observed, float("nan")).double().numpy()
    deviation = np.nanstd(context, axis=-1, keepdims=True)
    target, observed = batch.target.double().numpy(), batch.target_observed.numpy()
    losses = []
    for position, level in enumerate(backbone.model.quantiles):
        error = ((target - forecast[..., position].double().numpy()) / deviation)[observed]
        losses.append(2 * np.maximum(level * error, (level - 1) * error).mean())
    assert backbone.loss(batch).item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("steps", [10, 150])
def test_forecasts_equal_those_of_upstreams_forecaster_without_gaps(backbone, tmp_path, steps):
    """Its own way through a folder; it interpolates gaps, so none here.

    It rounds the horizon up to whole predictions, which blends the last samples asked for.
    """
    from timesfm3.torch.timesfm3_forecaster import TimesFM3Forecaster

    backbone.model.save_pretrained(tmp_path)
    forecaster = TimesFM3Forecaster.from_pretrained(str(tmp_path), device="cpu")
    batch = near_zero(random_batch(windows=1, missing=0.0))
    expected = forecaster.predict(
        batch.values[0].numpy(), steps, return_quantiles=True, sort_quantiles=False
    )
    loaded = Config(checkpoint=str(tmp_path)).build()
    with torch.no_grad():
        actual = loaded.forecast(batch, 64 * ceil(steps / 64)).values[0, ..., :steps]
    assert relative_error(actual, torch.from_numpy(expected.quantiles).transpose(1, 2)) <= 1e-5


@pytest.mark.slow
def test_the_published_size_loads_from_upstreams_folder_and_says_the_same(tmp_path):
    """331 M random parameters, in the sizes that are the defaults of upstream's class."""
    from timesfm3.torch import TimesFM3Torch

    torch.manual_seed(0)
    upstream = TimesFM3Torch().eval()
    upstream.save_pretrained(tmp_path)
    backbone = Config(checkpoint=str(tmp_path)).build()
    (tmp_path / "model.safetensors").unlink()  # more than a gigabyte
    assert 330_000_000 < sum(p.numel() for p in backbone.network.parameters()) < 331_000_000
    batch = near_zero(random_batch(windows=1, channels=2, samples=100))
    values = torch.where(batch.observed, batch.values, 0.0)
    expected = upstream.decode(values, 200, target_mask=~batch.observed).transpose(-1, -2)
    with torch.no_grad():
        actual = backbone.forecast(batch, 200).values
    assert relative_error(actual, expected) <= 1e-5
