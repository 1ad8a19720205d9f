"""Our Chronos-Bolt says what `ChronosBoltPipeline` says with the same weights; float32."""

import numpy as np
import pytest
import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt, Config
from tsfm_adapt.backbones.embedded import FOLDER as EMBEDDED

# Upstream's advice about forecasts beyond one pass.
pytestmark = pytest.mark.filterwarnings("ignore:We recommend keeping prediction length")

KNOWN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.fixture(scope="module", params=["random", "embedded"])
def pair(request):
    """Our backbone and upstream's pipeline with the same weights."""
    from chronos import ChronosBoltPipeline

    if request.param == "embedded":
        folder = EMBEDDED / "chronos_bolt"
        return Config().build(), ChronosBoltPipeline.from_pretrained(str(folder))
    backbone = roughened(ChronosBolt.tiny(seed=3))
    return backbone, ChronosBoltPipeline(backbone.model)


@pytest.fixture(scope="module")
def backbone(pair):
    return pair[0]


@pytest.fixture(scope="module")
def pipeline(pair):
    return pair[1]


def with_nan(batch):
    return batch.values.masked_fill(~batch.observed, float("nan"))


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=(-1, -2), keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


def both(backbone, pipeline, batch, steps):
    """Our quantiles and the pipeline's, (B, C, Q, H) each."""
    expected, _ = pipeline.predict_quantiles(
        with_nan(batch).flatten(0, 1), prediction_length=steps, quantile_levels=KNOWN
    )
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).quantiles(KNOWN)
    return actual, expected.transpose(-1, -2).unflatten(0, batch.values.shape[:2])


@pytest.mark.parametrize("steps", [1, 50, 64, 65, 200])  # a pass is 64
@pytest.mark.parametrize("samples", [1, 5, 70, 300])  # a patch is 16, the longest context 256
def test_forecasts_equal_those_of_the_pipeline(backbone, pipeline, samples, steps):
    batch = random_batch(windows=2, channels=3, samples=samples, missing=0.3, seed=samples)
    assert relative_error(*both(backbone, pipeline, batch, steps)) <= 1e-5


@pytest.mark.parametrize("steps", [16, 100])
def test_forecasts_equal_those_of_the_pipeline_where_channels_are_missing_or_constant(
    backbone, pipeline, steps
):
    batch = random_batch()
    batch.observed[0, 1] = False
    batch.observed[1] = False
    batch.values[2, 0] = 36.6
    batch.observed[2, :, 16:48] = False
    assert relative_error(*both(backbone, pipeline, batch, steps)) <= 1e-5


@pytest.mark.parametrize("samples", [5, 70, 300])
def test_tokens_equal_the_embeddings_of_the_pipeline(backbone, pipeline, samples):
    batch = random_batch(samples=samples)
    embeddings, _ = pipeline.embed(with_nan(batch).flatten(0, 1))
    encoded = backbone.encode(batch)
    expected = embeddings[:, :-1].unflatten(0, (3, 4))  # without the register
    assert expected.shape == encoded.tokens.shape
    seen = encoded.token_observed
    assert relative_error(encoded.tokens.detach()[seen], expected[seen]) <= 1e-5


@pytest.mark.parametrize("horizon", [1, 20, 64])
def test_the_loss_is_the_pinball_loss_of_the_pipelines_quantiles_in_scaled_space(
    backbone, pipeline, horizon
):
    """Numpy's own arithmetic on z-scores: mean over levels and series, sum over the horizon."""
    batch = random_batch(horizon=horizon)
    context = with_nan(batch).double().numpy()
    forecast, _ = pipeline.predict_quantiles(
        with_nan(batch).flatten(0, 1), prediction_length=horizon, quantile_levels=KNOWN
    )
    mean = np.nanmean(context, axis=-1, keepdims=True)
    deviation = np.nanstd(context, axis=-1, keepdims=True)
    target = (batch.target.double().numpy() - mean) / deviation
    losses = np.zeros((3, 4, horizon))
    for position, level in enumerate(KNOWN):
        predicted = forecast[..., position].double().numpy().reshape(3, 4, horizon)
        error = target - (predicted - mean) / deviation
        pinball = 2 * np.maximum(level * error, (level - 1) * error)
        losses += np.where(batch.target_observed.numpy(), pinball, 0.0) / len(KNOWN)
    assert backbone.loss(batch).item() == pytest.approx(losses.sum(-1).mean(), rel=1e-5)


def test_the_loss_equals_upstreams_own(backbone):
    batch = random_batch(horizon=40)
    target = batch.target.masked_fill(~batch.target_observed, float("nan"))
    upstream = backbone.model(
        context=with_nan(batch).flatten(0, 1), target=target.flatten(0, 1)
    ).loss
    assert backbone.loss(batch).item() == pytest.approx(upstream.item(), rel=1e-6)
