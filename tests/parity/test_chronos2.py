"""Our Chronos-2 says what `chronos.Chronos2Pipeline` says with the same weights; float32."""

from math import ceil

import numpy as np
import pytest
import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones.chronos2 import Chronos2, Config

# Upstream's advice about forecasts beyond one pass.
pytestmark = pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")

KNOWN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
RELEASED = [0.01, *(i / 20 for i in range(1, 20)), 0.99]
BETWEEN = [0.02, 0.1, 0.25, 0.33, 0.5, 0.875, 0.9, 0.99]


@pytest.fixture(scope="module", params=["random", "embedded"])
def backbone(request):
    """Random weights at the uneven levels of the released models, and the trained one we ship."""
    from chronos.chronos2 import Chronos2Model

    if request.param == "embedded":
        return Config().build()
    config = Chronos2.tiny().model.config
    config.chronos_config["quantiles"] = RELEASED
    torch.manual_seed(3)
    return roughened(Chronos2(Chronos2Model(config), checkpoint="random"))


@pytest.fixture(scope="module")
def pipeline(backbone):
    from chronos.chronos2 import Chronos2Pipeline

    return Chronos2Pipeline(backbone.model)


def with_nan(batch):
    return batch.values.masked_fill(~batch.observed, float("nan"))


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=(-1, -2), keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


@pytest.mark.parametrize("levels", [KNOWN, BETWEEN], ids=["known", "between"])
@pytest.mark.parametrize("steps", [1, 50, 64, 65, 200])  # a pass is 64 here, 128 in embedded
@pytest.mark.parametrize("samples", [1, 5, 70, 300])  # a patch is 16, the longest 256 and 512
def test_forecasts_equal_those_of_the_pipeline(backbone, pipeline, samples, steps, levels):
    batch = random_batch(windows=2, channels=3, samples=samples, missing=0.3, seed=samples)
    expected, _ = pipeline.predict_quantiles(
        with_nan(batch), prediction_length=steps, quantile_levels=levels
    )
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).quantiles(levels)
    assert relative_error(actual, torch.stack(expected).transpose(-1, -2)) <= 1e-5


@pytest.mark.parametrize("steps", [16, 100])
def test_forecasts_equal_those_of_the_pipeline_where_channels_are_missing_or_constant(
    backbone, pipeline, steps
):
    batch = random_batch()
    batch.observed[0, 1] = False
    batch.observed[1] = False
    batch.values[2, 0] = 36.6
    batch.observed[2, :, 16:48] = False
    expected, _ = pipeline.predict_quantiles(
        with_nan(batch), prediction_length=steps, quantile_levels=KNOWN
    )
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).quantiles(KNOWN)
    assert relative_error(actual, torch.stack(expected).transpose(-1, -2)) <= 1e-5


@pytest.mark.parametrize("samples", [5, 70, 300])
def test_tokens_equal_the_embeddings_of_the_pipeline(backbone, pipeline, samples):
    batch = random_batch(samples=samples)
    embeddings, _ = pipeline.embed(with_nan(batch))
    encoded = backbone.encode(batch)
    expected = torch.stack(embeddings)[:, :, : encoded.tokens.shape[2]]
    seen = encoded.token_observed
    assert relative_error(encoded.tokens.detach()[seen], expected[seen]) <= 1e-5


@pytest.mark.parametrize("horizon", [1, 16, 20, 64])
def test_the_loss_is_the_pinball_loss_of_the_pipelines_quantiles_in_scaled_space(
    backbone, pipeline, horizon
):
    """Numpy's own arithmetic: arcsinh of z-scores, summed over levels, averaged over the rest."""
    batch = random_batch(horizon=horizon)
    context = with_nan(batch).double().numpy()
    padded = 16 * ceil(horizon / 16)
    forecast, _ = pipeline.predict_quantiles(
        with_nan(batch), prediction_length=padded, quantile_levels=pipeline.quantiles
    )
    mean = np.nanmean(context, axis=-1, keepdims=True)
    deviation = np.nanstd(context, axis=-1, keepdims=True)

    def scaled(values):
        return np.arcsinh((values - mean) / deviation)

    losses = np.zeros((3, 4, padded))
    for position, level in enumerate(pipeline.quantiles):
        predicted = scaled(torch.stack(forecast)[..., position].double().numpy())[..., :horizon]
        error = scaled(batch.target.double().numpy()) - predicted
        pinball = 2 * np.maximum(level * error, (level - 1) * error)
        losses[..., :horizon] += np.where(batch.target_observed.numpy(), pinball, 0.0)
    assert backbone.loss(batch).item() == pytest.approx(losses.mean(), rel=1e-5)


def test_the_loss_equals_upstreams_own(backbone):
    batch = random_batch(horizon=40)
    target = batch.target.masked_fill(~batch.target_observed, float("nan"))
    upstream = backbone.model(
        context=with_nan(batch).reshape(12, -1),
        group_ids=torch.tensor([7] * 4 + [2] * 4 + [5] * 4),  # any three names of groups
        future_target=target.reshape(12, -1),
        num_output_patches=3,
    ).loss
    assert backbone.loss(batch).item() == pytest.approx(upstream.item(), rel=1e-6)
