"""The linear forecast: what it may depend on, what trains, what is saved, and that it learns."""

from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import quantiles, train
from contracts.batch import assert_near, with_garbage
from contracts.fitted import card
from contracts.headed import BACKBONES, HORIZON, few_windows, headed
from tsfm_adapt.adapters import lora
from tsfm_adapt.heads.linear_forecast import Config
from tsfm_adapt.runs.bundle import restore, write

every_backbone = pytest.mark.parametrize("backbone", BACKBONES)


@every_backbone
def test_unobserved_values_change_neither_forecast_nor_loss(backbone):
    model, batch = headed(Config(), backbone), few_windows()
    garbage = with_garbage(batch)
    assert torch.equal(quantiles(model, garbage), quantiles(model, batch))
    assert torch.equal(model(garbage), model(batch))


@every_backbone
def test_every_tensor_of_the_head_and_none_of_the_backbone_learns(backbone):
    model = headed(Config(), backbone)
    model(few_windows()).backward()
    assert {n for n, p in model.named_parameters() if p.grad is not None} == {
        "module_of_head.linear.weight",
        "module_of_head.linear.bias",
    }
    assert all(p.grad.any() for p in model.trainable().values())
    assert model.frozen_before_head


@every_backbone
def test_a_bundle_restores_the_same_forecast(backbone, tmp_path):
    adapters = [lora.Config(rank=2).build()]
    model, batch = headed(Config(), backbone, adapters), few_windows()
    train(model, batch, steps=2)
    write(tmp_path, model, card(model), {})
    fresh = headed(Config(), backbone, [lora.Config(rank=2).build()], seed=1)
    assert not torch.equal(quantiles(fresh, batch), quantiles(model, batch))
    restore(tmp_path, fresh)
    assert torch.equal(quantiles(fresh, batch), quantiles(model, batch))


def test_a_shorter_forecast_is_the_beginning_of_a_longer_one():
    model, batch = headed(Config()), few_windows()
    whole = quantiles(model, batch, HORIZON)
    assert_near(quantiles(model, batch, 7), whole[..., :7])
    with pytest.raises(AssertionError):
        quantiles(model, batch, HORIZON + 1)


def test_forecasts_scale_and_shift_with_the_data():
    model, batch = headed(Config()), few_windows()
    moved = replace(batch, values=(3 * batch.values + 50).where(batch.observed, 0.0))
    expected = 3 * quantiles(model, batch) + 50
    assert_near(quantiles(model, moved), expected, relative=1e-3)


def test_a_channel_that_shows_nothing_is_forecast_around_zero():
    model, batch = headed(Config()), few_windows()
    batch.observed[:, 0] = False
    forecast = quantiles(model, batch)
    assert forecast.isfinite().all()
    assert forecast[:, 0].abs().max() < 10


@pytest.mark.parametrize("levels", [(0.5,), (0.1, 0.5, 0.9)])
def test_a_point_forecast_learns_by_absolute_error_and_quantiles_by_pinball(levels):
    model, batch = headed(Config(quantiles=levels, dropout=0)), few_windows()
    said = model.forecast(batch, HORIZON)
    assert said.levels == levels
    deviation = torch.stack(
        [
            torch.stack([v[o].std(correction=0) for v, o in zip(values, seen, strict=True)])
            for values, seen in zip(batch.values, batch.observed, strict=True)
        ]
    )
    error = (batch.target[:, :, None] - said.values) / deviation[..., None, None]
    at = torch.tensor(levels)[:, None]
    pinball = (2 * torch.maximum(at * error, (at - 1) * error)).sum(2)
    expected = pinball[batch.target_observed].mean()
    assert model(batch).item() == pytest.approx(expected.item(), rel=1e-4)
    if levels == (0.5,):
        absolute = error[:, :, 0].abs()[batch.target_observed].mean()
        assert expected.item() == pytest.approx(absolute.item(), rel=1e-5)


def test_it_learns_what_the_next_samples_are():
    """Sines of random phase: the context says all."""
    generator = torch.Generator().manual_seed(3)
    batch = few_windows(windows=16)
    phase = 6.28 * torch.rand((16, 3, 1), generator=generator)
    wave = torch.sin(torch.arange(92) / 4 + phase)
    seen = torch.ones_like(batch.observed)
    batch = replace(
        batch,
        values=wave[..., :72].contiguous(),
        target=wave[..., 72:].contiguous(),
        observed=seen,
        target_observed=torch.ones_like(batch.target_observed),
    )
    losses = train(headed(Config(dropout=0)), batch, steps=50, learning_rate=0.003)
    assert losses[-1] < 0.2 * losses[0]


@pytest.mark.parametrize("levels", [(), (0.1, 0.9), (0.5, 0.1), (0.5, 0.5), (0.0, 0.5)], ids=str)
def test_levels_that_make_no_sense_are_refused(levels):
    with pytest.raises(ValidationError, match="quantiles"):
        Config(quantiles=levels)
