from dataclasses import replace

import pytest
import torch

from contracts.adapter import SETTING, AdapterContract, quantiles
from contracts.batch import LEVELS, assert_near, random_batch, roughened
from contracts.fitted import train_windows
from tsfm_adapt.adapters import surrogate_pair
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.forecasts import QuantileForecast, SampleForecast
from tsfm_adapt.model import AdaptedModel


class PairContract(AdapterContract):
    merges = False

    def model(self, backbone, adapters, seed=0):
        model = super().model(backbone, adapters, seed)
        model.fit(train_windows())
        return model


class TestSurrogatePair(PairContract):
    config = surrogate_pair.Config()


class TestSurrogatePairOfAnIndependentModel(PairContract):
    config = surrogate_pair.Config(width=5)
    backbone_class = ChronosBolt


def fitted(backbone=None, **settings):
    adapter = surrogate_pair.Config(**settings).build()
    adapter.attach(backbone or ChronosBolt.tiny(), SETTING)
    adapter.fit(train_windows())
    return adapter


def scrambled(adapter, seed=3):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.module.parameters():
            parameter.add_(0.7 * torch.randn(parameter.shape, generator=generator))
    return adapter


def batch_of(missing=0.0):
    return random_batch(windows=2, channels=3, samples=40, horizon=16, missing=missing)


def test_whatever_the_mixture_a_model_that_repeats_its_context_is_recovered_exactly():
    adapter, batch = scrambled(fitted()), batch_of()
    seen = adapter.signal(batch)
    last = batch.values[..., -7:]
    for forecast in (
        QuantileForecast(seen.values[:, :, None, -7:], (0.5,)),
        SampleForecast(seen.values[None, ..., -7:]),
    ):
        recovered = adapter.restore(forecast, batch).quantiles((0.5,))[:, :, 0]
        assert ((recovered - last) / adapter.module.deviation[:, None]).abs().max() < 1e-5
    mixed = seen.values[:, :3] - fitted().signal(batch).values[:, :3]
    assert mixed.abs().max() > 0.1


def test_the_surrogates_are_a_x_plus_g_and_minus_b_x_plus_g_each_scaled():
    adapter, batch = scrambled(fitted()), batch_of()
    module = adapter.module
    x = (batch.values - module.mean[:, None]) / module.deviation[:, None]
    hidden = x.mT @ module.enter.weight.T + module.enter.bias
    g = ((hidden * hidden.sigmoid()) @ module.leave.weight.T + module.leave.bias).mT
    a, b = module.log_a.exp()[:, None], module.log_b.exp()[:, None]
    expected = torch.cat([a * x + g, -b * x + g], dim=1)
    expected -= expected.mean(-1, keepdim=True)
    expected /= expected.square().mean(-1, keepdim=True).sqrt()
    seen = adapter.signal(batch)
    assert_near(seen.values, expected, relative=1e-4)
    assert seen.channels == ("c0 1", "c1 1", "c2 1", "c0 2", "c1 2", "c2 2")


def test_a_surrogate_is_observed_where_its_channel_is():
    batch = batch_of(missing=0.3)
    seen = fitted().signal(batch)
    assert torch.equal(seen.observed, torch.cat([batch.observed, batch.observed], dim=1))
    assert seen.target is None


def test_untrained_it_forecasts_the_odd_part_of_the_base():
    backbone = roughened(ChronosBolt.tiny())
    model = AdaptedModel(backbone, [surrogate_pair.Config().build()], setting=SETTING)
    model.fit(train_windows())
    batch, module = batch_of(), model.adapters[0].module
    standard = (batch.values - module.mean[:, None]) / module.deviation[:, None]
    forth = backbone.forecast(replace(batch, values=standard), 20)
    back = backbone.forecast(replace(batch, values=-standard), 20)
    odd = (forth.quantiles(LEVELS) - back.quantiles([1 - level for level in LEVELS])) / 2
    expected = odd * module.deviation[:, None, None] + module.mean[:, None, None]
    assert_near(quantiles(model, batch), expected, relative=1e-4)


def test_quantiles_are_exact_while_the_mixture_adds_no_doubt():
    adapter, batch = fitted(), batch_of()
    with torch.no_grad():
        adapter.module.log_a.copy_(torch.tensor([0.3, 0.0, -1.0]))
        adapter.module.log_b.copy_(torch.tensor([0.0, 0.5, 0.2]))
    levels = (0.1, 0.3, 0.5, 0.9)
    x = torch.randn(2, 3, 4, 9).sort(2).values  # the context's deviations from its mean
    mirror = QuantileForecast(x, levels).quantiles([1 - level for level in levels])
    forecast = QuantileForecast(torch.cat([x, -mirror], dim=1), levels)
    restored = adapter.restore(forecast, batch).quantiles((0.1, 0.5, 0.9))
    mean = batch.values.mean(-1)[..., None, None]
    unit = batch.values.std(-1, correction=0)[..., None, None]
    # 0.1 and 0.9 mirror each other; 0.3 has no mirror, 0.7 lies between
    assert_near(restored, mean + unit * x[:, :, [0, 2, 3]], relative=1e-4)


def test_samples_are_paired_by_rank():
    adapter, batch = fitted(), batch_of()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((500, 2, 3, 4), generator=generator)
    shuffled = x[torch.randperm(500, generator=generator)]
    restored = adapter.restore(SampleForecast(torch.cat([x, -shuffled], dim=2)), batch)
    mean, unit = batch.values.mean(-1)[..., None], batch.values.std(-1, correction=0)[..., None]
    exact = SampleForecast(mean + unit * x).quantiles(LEVELS)
    assert_near(restored.quantiles(LEVELS), exact, relative=1e-4)


@pytest.mark.parametrize(("channels", "width"), [(1, 32), (16, 32), (40, 64), (600, 512)])
def test_the_mixture_is_as_wide_as_the_paper_has_it(channels, width):
    adapter = surrogate_pair.Config().build()
    adapter.attach(ChronosBolt.tiny(), Setting(tuple(f"c{i}" for i in range(channels))))
    assert adapter.module.enter.weight.shape == (width, channels)


def test_a_model_that_passes_no_gradients_to_its_context_is_refused():
    with pytest.raises(RecipeError, match=r"forecasts of chronos_t5 carry no gradient to it\. Us"):
        fitted(ChronosT5.tiny())


def test_channels_must_be_known():
    with pytest.raises(RecipeError, match="needs at least 1 channels"):
        surrogate_pair.Config().build().attach(Chronos2.tiny(), Setting())
