from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch.distributions import Normal, kl_divergence

from contracts.adapter import SETTING, AdapterContract, quantiles
from contracts.batch import LEVELS, assert_near, random_batch, roughened, with_garbage
from contracts.fitted import LEVEL, SPREAD, recording, train_windows
from tsfm_adapt.adapters import channel_projector
from tsfm_adapt.adapters._mixing import standardised
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.forecasts import QuantileForecast, SampleForecast
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.signals.windows import Windows, WindowSpec


class ProjectorContract(AdapterContract):
    merges = False

    def model(self, backbone, adapters, seed=0):
        model = super().model(backbone, adapters, seed)
        model.fit(train_windows())
        return model


class TestPca(ProjectorContract):
    config = channel_projector.Config(form="pca", latents=2)


class TestLinear(ProjectorContract):
    config = channel_projector.Config(latents=2)


class TestVariational(ProjectorContract):
    config = channel_projector.Config(form="variational", kl=0.1)

    def model(self, backbone, adapters, seed=0):
        """Variances learn in training only; the latents are not drawn all the same."""
        model = super().model(backbone, adapters, seed)
        model.training = True  # and not its modules
        return model


def fitted(backbone=None, windows=None, **settings):
    adapter = channel_projector.Config(**settings).build()
    adapter.attach(backbone or ChronosBolt.tiny(), SETTING)
    adapter.fit(windows or train_windows())
    return adapter


def adapted(backbone, **settings):
    adapter = channel_projector.Config(**settings).build()
    model = AdaptedModel(backbone, [adapter], setting=SETTING)
    model.fit(train_windows())
    return model, adapter


def set_to(adapter, encoder=None, decoder=None):
    """Weights of the encoder (K, C) and decoder (C, K), whatever was fitted."""
    module = adapter.module
    with torch.no_grad():
        if encoder is not None:
            module.encoder.copy_(encoder - module.directions)
        if decoder is not None:
            module.decoder.copy_(decoder - module.directions.mT)


def batch_of(missing=0.0, **changes):
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16, missing=missing)
    return replace(batch, **changes)


# What is fitted


def test_it_starts_at_the_principal_directions_of_train():
    module = fitted(windows=train_windows(samples=20_000)).module
    # c0 and c1 are correlated by 0.28, c2 with none: variances 1.28, 1, 0.72
    half = 0.5**0.5
    expected = torch.tensor([[half, half, 0.0], [0.0, 0.0, 1.0], [half, -half, 0.0]])
    assert (module.directions.abs() - expected.abs()).abs().max() < 0.05
    assert (module.directions @ module.directions.mT - torch.eye(3)).abs().max() < 1e-6
    largest = module.directions.abs().argmax(1, keepdim=True)
    assert (module.directions.gather(1, largest) > 0).all()
    assert module.mean.numpy() == pytest.approx(LEVEL, rel=0.01)
    assert module.deviation.numpy() == pytest.approx(SPREAD, rel=0.02)


def test_directions_are_those_of_numpy_where_nothing_is_missing():
    windows = train_windows(missing=0.0)
    values = np.concatenate([r.values for r in windows.recordings], axis=1)
    scaled = (values - values.mean(1, keepdims=True)) / values.std(1, keepdims=True)
    left, _, _ = np.linalg.svd(scaled, full_matrices=False)
    found = fitted(windows=windows, latents=2).module.directions.double().numpy()
    assert np.abs((found * left.T[:2]).sum(1)) == pytest.approx([1, 1], abs=1e-5)


def test_a_channel_that_never_moves_or_was_never_measured_does_no_harm():
    values = np.stack([np.random.default_rng(0).normal(5, 2, 60), np.full(60, 7.0)])
    values = np.concatenate([values, np.full((1, 60), np.nan)])
    module = fitted(windows=Windows([recording(values)], WindowSpec(40, 16))).module
    assert all(tensor.isfinite().all() for tensor in module.buffers())
    assert module.deviation[1:].tolist() == [1.0, 1.0]


# The way there


def test_latents_are_the_encoders_mixtures_each_scaled_in_its_context():
    adapter, batch = fitted(latents=2), batch_of()
    weight = torch.tensor([[0.5, -1.0, 0.2], [0.0, 1.0, 3.0]])
    set_to(adapter, encoder=weight)
    x = (batch.values - adapter.module.mean[:, None]) / adapter.module.deviation[:, None]
    latent = torch.einsum("kc,bct->bkt", weight, x)
    centred = latent - latent.mean(-1, keepdim=True)
    seen = adapter.signal(batch)
    expected = centred / centred.square().mean(-1, keepdim=True).sqrt()
    assert_near(seen.values, expected, relative=1e-4)
    assert seen.channels == ("latent0", "latent1")
    assert seen.target is None


def test_a_gap_holds_the_last_measured_value_and_a_latent_is_observed_where_any_channel_is():
    adapter, batch = fitted(), batch_of()
    set_to(adapter, encoder=torch.eye(3))
    batch.observed[0, 0, 10:15] = False
    batch.observed[0, 1, :4] = False
    batch.observed[1, 2] = False
    batch.observed[1, :, 30:33] = False
    seen = adapter.signal(with_garbage(batch))
    assert torch.equal(seen.observed, batch.observed.any(1, keepdim=True).expand(-1, 3, -1))
    assert (seen.values[0, 0, 10:15] == seen.values[0, 0, 9]).all()
    assert seen.values[0, 0].unique().numel() == 35  # those measured
    assert (seen.values[0, 1, :4] == seen.values[0, 1, 4]).all()
    assert not seen.values[1, 2].any()  # never measured: the mean of train


def test_a_constant_context_is_passed_on_as_a_constant_one():
    adapter, batch = fitted(), batch_of()
    batch.values[:] = torch.tensor([80.0, 120.0, 36.6])[:, None]
    seen = adapter.signal(batch)
    assert seen.values.abs().max() < 1e-4
    forecast = QuantileForecast(torch.zeros(2, 3, 1, 5), (0.5,))
    restored = adapter.restore(forecast, batch).values[:, :, 0]
    assert_near(restored, batch.values[..., :5], relative=1e-5)


# The way back


@pytest.mark.parametrize("form", ["pca", "linear", "variational"])
def test_with_as_many_latents_a_model_that_repeats_its_context_is_recovered(form):
    adapter, batch = fitted(form=form), batch_of(missing=0.0)
    adapter.module.eval()
    seen = adapter.signal(batch).values[..., -7:]
    expected = batch.values[..., -7:]
    unit = adapter.module.deviation[:, None]
    for forecast in (
        QuantileForecast(seen[:, :, None].repeat(1, 1, 3, 1), LEVELS),
        QuantileForecast(seen[:, :, None], (0.5,)),
        SampleForecast(seen[None]),
    ):
        restored = adapter.restore(forecast, batch).quantiles((0.5,))[:, :, 0]
        assert ((restored - expected) / unit).abs().max() < 1e-5


def test_sampled_paths_are_decoded_one_by_one():
    adapter, batch = fitted(latents=2), batch_of()
    weight = torch.tensor([[1.0, -2.0], [0.3, 0.0], [-1.0, 0.5]])
    set_to(adapter, decoder=weight)
    with torch.no_grad():
        adapter.module.bias.copy_(torch.tensor([0.0, 1.0, 0.0]))
    paths = torch.randn(5, 2, 2, 6)
    module = adapter.module
    x = (batch.values - module.mean[:, None]) / module.deviation[:, None]
    latent = torch.einsum("kc,bct->bkt", module.directions, x)
    in_units = paths * latent.std(-1, correction=0)[..., None] + latent.mean(-1)[..., None]
    standard = torch.einsum("ck,sbkh->sbch", weight, in_units) + module.bias[:, None]
    expected = standard * module.deviation[:, None] + module.mean[:, None]
    restored = adapter.restore(SampleForecast(paths), batch)
    assert (restored.values - expected).abs().max() < 1e-3


def normals(adapter, spread, levels, steps=1):
    """A forecast of latents that are normal with the given deviations, in the model's space."""
    at = Normal(0.0, 1.0).icdf(torch.tensor(levels))
    values = torch.tensor(spread)[:, None, None] * at[:, None]  # (K, Q, 1)
    return QuantileForecast(values.expand(2, -1, -1, steps), levels)


def test_quantiles_of_independent_normal_latents_are_exact():
    adapter, batch = fitted(latents=2), batch_of()
    weight = torch.tensor([[1.0, -2.0], [0.3, 0.0], [-1.0, -0.5]])
    set_to(adapter, decoder=weight)
    levels, spread = (0.1, 0.25, 0.5, 0.75, 0.9), (0.7, 1.3)
    restored = adapter.restore(normals(adapter, spread, levels), batch).values[..., 0]
    module = adapter.module
    x = (batch.values - module.mean[:, None]) / module.deviation[:, None]
    latent = torch.einsum("kc,bct->bkt", module.directions, x)
    scale = latent.std(-1, correction=0) * torch.tensor(spread)  # (B, K)
    deviation = (weight.square() @ scale.square().mT).sqrt().mT * module.deviation  # (B, C)
    mean = torch.einsum("ck,bk->bc", weight, latent.mean(-1)) * module.deviation + module.mean
    expected = torch.stack([Normal(mean, deviation).icdf(torch.tensor(q)) for q in levels], dim=2)
    assert_near(restored, expected, relative=1e-4)


def test_of_one_latent_quantiles_are_exact_and_change_sides_where_the_weight_is_negative():
    adapter, batch = fitted(latents=1), batch_of()
    set_to(adapter, decoder=torch.tensor([[1.0], [-1.0], [0.0]]))
    forecast = QuantileForecast(torch.tensor([-0.2, 0.0, 3.0])[:, None].expand(2, 1, 3, 1), LEVELS)
    restored = adapter.restore(forecast, batch).values[..., 0]
    per_unit = (restored - restored[:, :, 1:2]) / adapter.module.deviation[:, None]
    upper = per_unit[:, 0, 2:]  # (B, 1)
    assert (upper > 0).all()
    shape = torch.tensor([[-0.2, 0.0, 3.0], [-3.0, 0.0, 0.2], [0.0, 0.0, 0.0]]) / 3.0
    assert (per_unit - shape * upper[..., None]).abs().max() < 1e-4


# Training


@pytest.mark.parametrize("family", [ChronosBolt, Chronos2, Moment])
@pytest.mark.parametrize("kind", ["encoder", "decoder", "bias"])
def test_gradients_are_the_slope_of_the_loss(family, kind):
    """Past the backbone's own scaling too, of which it passes no gradients."""
    batch = batch_of(missing=0.2)
    model, adapter = adapted(roughened(family.tiny()), latents=2)
    parameter = getattr(adapter.module, kind)
    (gradient,) = torch.autograd.grad(model(batch), parameter)
    generator = torch.Generator().manual_seed(0)
    direction = gradient / gradient.norm() + 0.3 * torch.randn(gradient.shape, generator=generator)
    plain = parameter.detach().clone()
    ends = []
    with torch.no_grad():
        for step in (1e-3, -1e-3):
            parameter.copy_(plain + step * direction)
            ends.append(model(batch).item())
    slope = (ends[0] - ends[1]) / 2e-3
    assert (gradient * direction).sum().item() == pytest.approx(slope, rel=0.1)


def test_latents_are_drawn_in_training_only_and_from_the_seed():
    model, adapter = adapted(roughened(ChronosBolt.tiny()), form="variational")
    batch = batch_of()
    assert torch.equal(quantiles(model, batch), quantiles(model, batch))

    def drawn(seed):
        torch.manual_seed(seed)
        return adapter.signal(batch).values

    assert torch.equal(drawn(0), drawn(1))
    model.train()
    assert torch.equal(drawn(0), drawn(0))
    assert (drawn(0) - drawn(1)).abs().max() > 0.01
    model.eval()
    assert torch.equal(drawn(0), drawn(1))


def test_the_penalty_is_the_divergence_from_a_standard_normal():
    adapter, batch = fitted(form="variational", latents=2, kl=0.5), batch_of(missing=0.3)
    batch.observed[0, :, 5:9] = False
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        adapter.module.log_variance.copy_(torch.randn(2, 3, generator=generator))
    x = standardised(batch, adapter.module.mean, adapter.module.deviation)
    mean = adapter.module.directions @ x
    deviation = (0.5 * (adapter.module.log_variance @ x - 4.0)).exp()
    each = kl_divergence(Normal(mean, deviation), Normal(0.0, 1.0)).sum(1)
    expected = 0.5 * each[batch.observed.any(1)].mean()
    assert adapter.penalty(batch).item() == pytest.approx(expected.item(), rel=1e-5)
    assert adapter.penalty(batch.without_target()).item() == pytest.approx(expected.item())
    one_taught = replace(batch, target_observed=batch.target_observed.clone())
    one_taught.target_observed[0] = False
    alone = 0.5 * each[1][batch.observed[1].any(0)].mean()
    assert adapter.penalty(one_taught).item() == pytest.approx(alone.item(), rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"form": "pca"}, {"form": "variational", "kl": 0.0}])
def test_the_others_have_no_penalty(settings):
    assert fitted(**settings).penalty(batch_of()) is None


@pytest.mark.parametrize(
    ("form", "size"), [("pca", 2 * 3 + 3), ("linear", 2 * 6 + 3), ("variational", 3 * 6 + 3 + 2)]
)
def test_its_size(form, size):
    model, _ = adapted(ChronosBolt.tiny(), form=form, latents=2)
    assert sum(p.numel() for p in model.trainable().values()) == size


# Refusals


@pytest.mark.parametrize("form", ["linear", "variational"])
def test_an_encoder_cannot_learn_in_front_of_a_model_that_passes_no_gradients(form):
    with pytest.raises(RecipeError, match=r"form: \w+ learns .* chronos_t5 .*Use form: pca"):
        fitted(ChronosT5.tiny(), form=form)


def test_a_fitted_encoder_works_there():
    model, adapter = adapted(roughened(ChronosT5.tiny()), form="pca", latents=2)
    model(batch_of()).backward()
    assert adapter.module.decoder.grad.any()


def test_more_latents_than_channels_are_refused():
    with pytest.raises(RecipeError, match=r"4 latents of 3 channels \(c0, c1, c2\) would repeat"):
        fitted(latents=4)


def test_channels_must_be_known():
    with pytest.raises(RecipeError, match="needs at least 1 channels"):
        channel_projector.Config().build().attach(Chronos2.tiny(), Setting())


@pytest.mark.parametrize("settings", [{"latents": 0}, {"kl": -1}, {"form": "ica"}], ids=str)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        channel_projector.Config(**settings)
