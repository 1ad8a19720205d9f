"""Our Moirai 2 says what uni2ts's own classes say with the same weights; float32."""

from dataclasses import replace

import pytest

pytest.importorskip("uni2ts", reason="needs the extra moirai")

import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones._packing import Context
from tsfm_adapt.backbones.moirai2 import Moirai2

# GluonTS divides by a count of zero in the first place and then overwrites it.
pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered in divide")

KNOWN = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.fixture(scope="module")
def backbone():
    return roughened(Moirai2.tiny(seed=3))


def series(samples=64, horizon=20, **settings):
    """Walks from 0 with deviations far above upstream's smallest, which it adds to all.

    Around another level upstream's own float32 differences round by up to 1e-5.
    """
    batch = random_batch(samples=samples, horizon=horizon, **settings)
    level = torch.tensor([80.0, 120.0, 36.6, 0.0])[: batch.values.shape[1], None]
    return replace(batch, values=100 * (batch.values - level), target=100 * (batch.target - level))


def imputed(batch):
    """Each series as upstream's predictor hands it to the model: GluonTS fills the gaps."""
    from gluonts.transform import CausalMeanValueImputation

    gaps = batch.values.double().masked_fill(~batch.observed, float("nan")).numpy()
    for row in gaps.reshape(-1, gaps.shape[-1]):
        row[:] = CausalMeanValueImputation()(row.copy())
    return torch.from_numpy(gaps).float()


def upstream(backbone, batch, steps):
    """`Moirai2Forecast` around the same weights: quantiles (B, C, Q, H)."""
    from uni2ts.model.moirai2 import Moirai2Forecast

    channels = batch.values.shape[1]
    forecast = Moirai2Forecast(
        prediction_length=steps,
        target_dim=channels,
        feat_dynamic_real_dim=0,
        past_feat_dynamic_real_dim=0,
        context_length=batch.values.shape[-1],
        module=backbone.model,
    )
    with torch.no_grad():
        quantiles = forecast(
            past_target=imputed(batch).transpose(1, 2),
            past_observed_target=batch.observed.transpose(1, 2),
            past_is_pad=torch.zeros(batch.size, batch.values.shape[-1], dtype=torch.bool),
        )
    if channels == 1:
        quantiles = quantiles[..., None]
    return quantiles.permute(0, 3, 1, 2)


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=(-1, -2), keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


@pytest.mark.parametrize("steps", [1, 50, 64])  # a pass is 64
@pytest.mark.parametrize("samples", [16, 64, 256])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_forecasts_of_several_channels_equal_those_of_upstream(backbone, samples, steps, missing):
    batch = series(samples, windows=2, channels=3, missing=missing, seed=samples)
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).quantiles(KNOWN)
    assert relative_error(actual, upstream(backbone, batch, steps)) <= 1e-5


@pytest.mark.parametrize("steps", [65, 128, 150])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_forecasts_of_one_channel_equal_those_of_upstream_beyond_one_pass(
    backbone, steps, missing
):
    batch = series(64, windows=3, channels=1, missing=missing)
    with torch.no_grad():
        actual = backbone.forecast(batch, steps).quantiles(KNOWN)
    assert relative_error(actual, upstream(backbone, batch, steps)) <= 1e-5


def test_several_channels_are_unrolled_as_upstream_unrolls_one(backbone):
    """Upstream fails beyond one pass for several, so here its passes are joined by hand."""
    batch = series(64, windows=2, channels=3, missing=0.2)
    first = upstream(backbone, batch, 64)
    levels = torch.tensor(KNOWN)

    def continued(values, observed, quantiles):
        paths = quantiles.transpose(1, 2).flatten(0, 1)
        return torch.cat([values, paths], -1), torch.nn.functional.pad(observed, (0, 64), value=1)

    values = batch.values.repeat_interleave(9, dim=0)
    observed = batch.observed.repeat_interleave(9, dim=0)
    expected = [first]
    for _ in range(2):
        values, observed = continued(values, observed, expected[-1])
        of_paths = upstream(backbone, replace(batch, values=values, observed=observed), 64)
        samples = of_paths.unflatten(0, (2, 9)).transpose(1, 2).flatten(2, 3)
        expected.append(torch.quantile(samples, levels, dim=2).movedim(0, 2))
    with torch.no_grad():
        actual = backbone.forecast(batch, 192).values
    assert relative_error(actual, torch.cat(expected, -1)) <= 1e-5


@pytest.mark.parametrize("horizon", [1, 20, 64])
def test_the_loss_is_upstreams_quantile_loss_of_the_last_tokens(backbone, horizon):
    """In training mode upstream returns the prediction scaled, and scales by what it may see."""
    from uni2ts.loss.packed import PackedQuantileMAELoss

    batch = series(64, horizon=horizon, missing=0.0)
    chance = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(2))
    batch.target_observed[:] = chance >= 0.3
    windows, channels, tokens = *batch.values.shape[:2], 4
    shape = (windows, channels * tokens)
    with torch.no_grad():
        predicted, _ = backbone.model(
            target=batch.values.unflatten(-1, (tokens, 16)).flatten(1, 2),
            observed_mask=batch.observed.unflatten(-1, (tokens, 16)).flatten(1, 2),
            sample_id=torch.ones(shape, dtype=torch.long),
            time_id=torch.arange(tokens).repeat(channels).expand(shape),
            variate_id=torch.arange(channels).repeat_interleave(tokens).expand(shape),
            prediction_mask=torch.zeros(shape, dtype=torch.bool),
            training_mode=True,
        )
    patches = -(-horizon // 16)
    last = predicted.unflatten(1, (channels, tokens))[:, :, -1]
    last = last.unflatten(-1, (4, 9 * 16))[:, :, :patches].flatten(1, 2)
    scaling = Context.of(batch, batch.observed, backbone.spec).scaling
    target = torch.nn.functional.pad(
        scaling.scaled(batch.target, batch.target_observed), (0, 16 * patches - horizon)
    )
    observed = torch.nn.functional.pad(batch.target_observed, (0, 16 * patches - horizon))
    ids = torch.arange(channels).repeat_interleave(patches).expand(windows, -1)
    expected = PackedQuantileMAELoss()(
        pred=last,
        target=target.unflatten(-1, (patches, 16)).flatten(1, 2),
        prediction_mask=torch.ones_like(ids, dtype=torch.bool),
        observed_mask=observed.unflatten(-1, (patches, 16)).flatten(1, 2),
        sample_id=torch.ones_like(ids),
        variate_id=ids,
    )
    assert backbone.loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_tokens_equal_those_of_upstreams_module(backbone):
    seen = []
    batch = series(64, missing=0.2)
    hook = backbone.model.encoder.register_forward_hook(lambda m, a, out: seen.append(out))
    try:
        upstream(backbone, batch, 16)
    finally:
        hook.remove()
    expected = seen[0][:, : 4 * 4].unflatten(1, (4, 4))  # without the masked future
    encoded = backbone.encode(batch)
    shown = encoded.token_observed
    assert relative_error(encoded.tokens.detach()[shown], expected[shown]) <= 1e-5
