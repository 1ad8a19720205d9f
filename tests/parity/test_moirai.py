"""Our Moirai says what uni2ts's own classes say with the same weights; float32."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("uni2ts", reason="needs the extra moirai")

import torch

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones._nets.mixture import log_likelihood
from tsfm_adapt.backbones._packing import Context
from tsfm_adapt.backbones.base import PLAIN
from tsfm_adapt.backbones.moirai import LEVELS, Moirai


@pytest.fixture(scope="module", params=[8, 16])
def backbone(request):
    model = roughened(Moirai.tiny(seed=3)).model
    return Moirai(model, checkpoint="tiny", patch_size=request.param)


def series(samples=64, horizon=20, **settings):
    """Walks from 0 with deviations far above upstream's smallest, which it adds to all.

    Around another level upstream's own float32 differences round by up to 1e-5.
    """
    batch = random_batch(samples=samples, horizon=horizon, **settings)
    level = torch.tensor([80.0, 120.0, 36.6, 0.0])[: batch.values.shape[1], None]
    return replace(batch, values=100 * (batch.values - level), target=100 * (batch.target - level))


def upstream_forecast(backbone, batch, steps):
    """`MoiraiForecast` around the same weights, and its inputs for the batch."""
    from uni2ts.model.moirai import MoiraiForecast

    forecast = MoiraiForecast(
        prediction_length=steps,
        target_dim=batch.values.shape[1],
        feat_dynamic_real_dim=0,
        past_feat_dynamic_real_dim=0,
        context_length=batch.values.shape[-1],
        module=backbone.model,
        patch_size=backbone.spec.patch,
        num_samples=4000,
    )
    inputs = {
        "past_target": batch.values.transpose(1, 2),
        "past_observed_target": batch.observed.transpose(1, 2),
        "past_is_pad": torch.zeros(batch.size, batch.values.shape[-1], dtype=torch.bool),
    }
    return forecast, inputs


def packed(forecast, inputs, batch, backbone):
    """Upstream's packed inputs with the target in them, and what its module predicts of them."""
    names = (
        "target",
        "observed_mask",
        "sample_id",
        "time_id",
        "variate_id",
        "prediction_mask",
    )
    horizon = batch.target.shape[-1]
    values = forecast._convert(
        backbone.spec.patch,
        **inputs,
        future_target=batch.target.transpose(1, 2),
        future_observed_target=batch.target_observed.transpose(1, 2),
        future_is_pad=torch.zeros(batch.size, horizon, dtype=torch.long),
    )
    arguments = dict(zip(names, values, strict=True))
    sizes = torch.full_like(arguments["time_id"], backbone.spec.patch)
    return arguments, backbone.model(**arguments, patch_size=sizes)


def relative_error(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("samples", [16, 64, 128])
@pytest.mark.parametrize("steps", [1, 20, 300])
def test_the_mixture_of_the_future_equals_that_of_moirai_forecast(backbone, samples, steps):
    """Its log density at the truth, its mean where it has one, component by component."""
    batch = series(samples, horizon=steps, windows=2, channels=3, missing=0.0)
    patch = backbone.spec.patch
    forecast, inputs = upstream_forecast(backbone, batch, steps)
    with torch.no_grad():
        theirs = forecast._get_distr(patch, **inputs).base_dist
        context = Context.of(batch, batch.observed, backbone.spec)
        tokens = -(-steps // patch)
        _, states = backbone._states(batch, context, tokens, None, PLAIN)
        ours = backbone._mixture(states)
    start = 3 * (samples // patch)

    def future(parameter):
        return parameter[:, start:, :patch].unflatten(1, (3, tokens))

    for a, e in zip(ours.components, theirs.components, strict=True):
        for name in set(a.arg_constraints) & set(vars(a)):
            if getattr(a, name).ndim:  # the fixed deviation is a number
                assert relative_error(getattr(a, name), future(getattr(e, name))) <= 1e-5
    assert relative_error(ours.weights.probs, future(theirs.weights.probs)) <= 1e-5


@pytest.mark.parametrize("horizon", [1, 20, 40])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_the_loss_is_packed_nll_loss_without_the_logarithm_of_the_scale(
    backbone, horizon, missing
):
    from uni2ts.loss.packed import PackedNLLLoss

    batch = series(horizon=horizon, missing=0.0)
    chance = torch.rand(batch.target.shape, generator=torch.Generator().manual_seed(2))
    batch.target_observed[:] = chance >= missing
    forecast, inputs = upstream_forecast(backbone, batch, horizon)
    arguments, distribution = packed(forecast, inputs, batch, backbone)
    names = ("target", "prediction_mask", "observed_mask", "sample_id", "variate_id")
    given = {name: arguments[name] for name in names}
    expected = PackedNLLLoss()(pred=distribution, **given)
    scale = Context.of(batch, batch.observed, backbone.spec).scaling.scale[..., 0].log()
    counted = batch.target_observed.any(-1)
    assert backbone.loss(batch).item() == pytest.approx(
        expected.item() - (scale * counted).mean().item(), rel=1e-5
    )


def test_tokens_and_masked_patches_equal_those_of_upstreams_module(backbone):
    """In the middle too, and with gaps that are filled in the same way beforehand."""
    batch, patch = series(missing=0.2), backbone.spec.patch
    context = Context.of(batch, batch.observed, backbone.spec)
    windows, channels, tokens = context.shown.shape
    masked = torch.rand(context.shown.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    scaled = context.values
    shape = (windows, channels * tokens)
    seen = []
    hook = backbone.model.encoder.register_forward_hook(lambda m, a, out: seen.append(out))
    scaler = backbone.model.scaler
    try:
        from uni2ts.module.packed_scaler import PackedNOPScaler

        backbone.model.scaler = PackedNOPScaler()  # the inputs are scaled already
        width = max(backbone.model.patch_sizes) - patch
        distribution = backbone.model(
            target=torch.nn.functional.pad(scaled.flatten(1, 2), (0, width)),
            observed_mask=torch.nn.functional.pad(context.observed.flatten(1, 2), (0, width)),
            sample_id=torch.ones(shape, dtype=torch.long),
            time_id=torch.arange(tokens).repeat(channels).expand(shape),
            variate_id=torch.arange(channels).repeat_interleave(tokens).expand(shape),
            prediction_mask=masked.flatten(1, 2),
            patch_size=torch.full(shape, patch),
        )
    finally:
        hook.remove()
        backbone.model.scaler = scaler
    states, _ = backbone._states(batch, context, 0, masked, PLAIN)
    assert relative_error(states, seen[0].unflatten(1, (channels, tokens))) <= 1e-5
    points = torch.linspace(-3, 3, patch).expand(*states.shape[:3], -1)
    wide = torch.nn.functional.pad(points.flatten(1, 2), (0, width))
    expected = distribution.log_prob(wide)[..., :patch].unflatten(1, (channels, tokens))
    assert relative_error(log_likelihood(backbone._mixture(states), points), expected) <= 1e-5


def test_the_forecast_inverts_the_distribution_function_that_scipy_computes(backbone):
    """Component by component: Student's t, normal, negative binomial, log-normal."""
    from scipy import stats

    batch = series(windows=2, channels=3, missing=0.0)
    context = Context.of(batch, batch.observed, backbone.spec)
    with torch.no_grad():
        quantiles = backbone.forecast(batch, backbone.spec.patch).values
        _, states = backbone._states(batch, context, 1, None, PLAIN)
        mixture = backbone._mixture(states)
    loc, scale = (x[..., None].numpy() for x in (context.scaling.loc, context.scaling.scale))
    points = (quantiles.double().numpy() - loc) / scale  # (B, C, Q, p)

    def of(name, component):
        value = getattr(mixture.components[component], name)
        return np.broadcast_to(value.double().numpy(), (*states.shape[:3], backbone.spec.patch))

    def mass(at):
        probability = torch.sigmoid(mixture.components[2].logits).double().numpy()
        parts = [
            stats.t.cdf(at, of("df", 0), of("loc", 0), of("scale", 0)),
            stats.norm.cdf(at, of("loc", 1), of("scale", 1)),
            np.where(  # what lies beyond 64 deviations is put there
                at < 64, stats.nbinom.cdf(np.floor(at), of("total_count", 2), 1 - probability), 1
            ),
            stats.lognorm.cdf(at, of("scale", 3), 0, np.exp(of("loc", 3))),
        ]
        weights = mixture.weights.probs.double().numpy()
        return sum(weights[..., k] * part for k, part in enumerate(parts))

    near = 1e-5 * np.maximum(1, np.abs(points))
    levels = np.array(LEVELS)[:, None]
    assert (mass(points - near) <= levels + 1e-5).all()  # at least so far up,
    assert (mass(points + near) >= levels - 1e-5).all()  # and no farther


def test_quantiles_are_those_of_many_samples_of_moirai_forecast(backbone):
    """4000 samples: their share below each quantile has a deviation of at most 0.008."""
    batch = series(windows=2, channels=3, missing=0.0)
    forecast, inputs = upstream_forecast(backbone, batch, 8)
    torch.manual_seed(0)
    with torch.no_grad():
        samples = forecast(**inputs).permute(1, 0, 3, 2)  # (S, B, C, H)
        quantiles = backbone.forecast(batch, 8).values
    levels = torch.tensor(LEVELS)[:, None]
    width = 1e-4 * quantiles.abs().amax((2, 3), keepdim=True)
    below = (samples[:, :, :, None] < quantiles - width).float().mean(0)
    up_to = (samples[:, :, :, None] <= quantiles + width).float().mean(0)
    assert (below <= levels + 0.04).all()
    assert (up_to >= levels - 0.04).all()
