"""The head that fills: what it may depend on, what trains, what is saved, and that it learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.adapter import train
from contracts.batch import LEVELS, assert_near, with_garbage
from contracts.fitted import card, recording, train_windows
from contracts.headed import BACKBONES, CONTEXT, few_windows, headed, hidden
from tsfm_adapt.adapters import channel_projector, lora
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.lag_llama import LagLlama
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Scale
from tsfm_adapt.heads.reconstruction import Config
from tsfm_adapt.model import AdaptedModel, Outputs
from tsfm_adapt.runs.bundle import restore, write
from tsfm_adapt.tasks import impute

every_backbone = pytest.mark.parametrize("backbone", BACKBONES)


def filled(model, batch):
    with torch.no_grad():
        return model.reconstruct(batch).quantiles(LEVELS)


@every_backbone
def test_unobserved_values_change_neither_estimate_nor_loss(backbone):
    model, batch = headed(Config(), backbone), hidden(few_windows())
    expected = filled(model, batch)
    assert expected.shape == (2, 3, 3, CONTEXT)
    assert expected.isfinite().all()
    garbage = with_garbage(batch)
    assert torch.equal(filled(model, garbage), expected)
    assert torch.equal(model(garbage), model(batch))


@every_backbone
def test_every_tensor_of_the_head_and_none_of_the_backbone_learns(backbone):
    model = headed(Config(), backbone)
    model(hidden(few_windows())).backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == name.startswith("module_of_head."), name
    assert [n for n, p in model.trainable().items() if not p.grad.any()] == []


@every_backbone
def test_a_bundle_restores_the_same_estimates(backbone, tmp_path):
    adapters = [lora.Config(rank=2).build()]
    model, batch = headed(Config(), backbone, adapters), hidden(few_windows())
    model.fit(train_windows())
    train(model, batch, steps=2)
    write(tmp_path, model, card(model), {})
    fresh = headed(Config(), backbone, [lora.Config(rank=2).build()], seed=1)
    assert not torch.equal(filled(fresh, batch), filled(model, batch))
    restore(tmp_path, fresh)
    assert torch.equal(filled(fresh, batch), filled(model, batch))


@every_backbone
def test_the_last_token_ends_where_the_window_ends(backbone):
    """A token that shows nothing has another estimate, and with attention off no other token."""
    model, batch = headed(Config(), backbone), few_windows()
    patch, tokens = model.backbone.spec.patch, model.features(batch).shape[2]
    with torch.no_grad():
        features = model.features(batch)
        model.module_of_head.out.weight.zero_()
        before = model.head.reconstruct(features, batch).values
        features[:, :, -1] = 0.0
        after = model.head.reconstruct(features, batch).values
    same = (before == after).all(2).all(1).all(0)
    assert same[:-patch].all()
    assert not same[-patch:].any()
    assert tokens * patch >= CONTEXT


def test_a_hidden_channel_is_told_by_the_others_and_by_nothing_else():
    """Not by garbage of its own, and not by another window."""
    model, batch = headed(Config()), hidden(few_windows())
    before = filled(model, batch)[0, 2]
    other = replace(batch, values=batch.values.clone())
    other.values[0, 1] = 2 * torch.arange(CONTEXT)
    assert (filled(model, other)[0, 2] - before).abs().max() > 1e-4
    other = replace(batch, values=batch.values.clone())
    other.values[1] += 100
    assert torch.equal(filled(model, other)[0, 2], before)


def test_a_hidden_channel_is_in_the_scale_of_train():
    model, batch = headed(Config()), hidden(few_windows())
    model.fit(train_windows())
    in_train = np.concatenate([r.values for r in train_windows().recordings], axis=1)
    level, spread = np.nanmean(in_train, axis=1), np.nanstd(in_train, axis=1)
    net = model.module_of_head
    np.testing.assert_allclose(net.level, level, rtol=1e-5)
    np.testing.assert_allclose(net.deviation, spread, rtol=1e-4)
    with torch.no_grad():
        net.samples.weight.zero_()
        net.samples.bias.fill_(2.0)
    np.testing.assert_allclose(filled(model, batch)[0, 2], level[2] + 2 * spread[2], rtol=1e-4)
    seen = batch.values[0, 0][batch.observed[0, 0]]
    expected = seen.mean() + 2 * seen.std(correction=0)
    np.testing.assert_allclose(filled(model, batch)[0, 0], expected, rtol=1e-4)


def test_an_error_in_a_hidden_channel_costs_in_units_of_train():
    """One deviation of train off costs 1 at the median."""
    model, batch = headed(Config(quantiles=(0.5,))), hidden(few_windows())
    model.fit(train_windows())
    net = model.module_of_head
    with torch.no_grad():
        net.samples.weight.zero_()
        net.samples.bias.fill_(0.0)
    only = torch.zeros_like(batch.target_observed)
    only[0, 2, :10] = True
    target = batch.target.clone()
    target[0, 2] = net.level[2] + 0.4  # the model's own deviation in train is 0.4
    loss = model(replace(batch, target=target, target_observed=only))
    assert loss.item() == pytest.approx(1, rel=1e-4)


def test_channels_of_an_adapter_keep_the_scale_of_nothing():
    model = headed(Config(), adapters=[channel_projector.Config(latents=2).build()])
    model.fit(train_windows())
    assert not model.module_of_head.level.any()
    assert filled(model, hidden(few_windows())).isfinite().all()


def test_a_window_that_shows_nothing_has_finite_estimates():
    model, batch = headed(Config()), few_windows()
    nothing = replace(batch, observed=torch.zeros_like(batch.observed))
    assert filled(model, nothing).isfinite().all()


def test_estimates_scale_and_shift_with_the_data():
    model, batch = headed(Config()), few_windows()
    moved = replace(batch, values=(3 * batch.values + 50).where(batch.observed, 0.0))
    assert_near(filled(model, moved), 3 * filled(model, batch) + 50, relative=1e-3)


def test_it_learns_to_read_a_hidden_channel_from_the_others():
    """c2 is the sum of the others and hidden; only their tokens can tell."""
    generator = torch.Generator().manual_seed(3)
    phase = 6.28 * torch.rand((12, 2, 1), generator=generator)
    values = torch.sin(torch.arange(CONTEXT) / 4 + phase)
    values = torch.cat([values, values.sum(1, keepdim=True) / 2**0.5], dim=1)
    observed = torch.ones_like(values, dtype=torch.bool)
    observed[:, 2] = False
    batch = replace(
        few_windows(windows=12),
        values=values.where(observed, 0.0),
        observed=observed,
        target=values,
        target_observed=~observed,
    )
    model = headed(Config(dropout=0))
    model.fit(_of(values))
    model.deviation.fill_(0.7)
    losses = train(model, batch, steps=100, learning_rate=0.01)
    assert losses[-1] < 0.3 * losses[0]


def _of(values):
    from tsfm_adapt.signals.windows import Windows, WindowSpec

    whole = [recording(v, f"p{i}") for i, v in enumerate(values.numpy())]
    return Windows(whole, WindowSpec(context=CONTEXT, horizon=0))


def test_tokens_that_do_not_cover_the_window_are_refused():
    backbone = LagLlama.tiny()
    with pytest.raises(RecipeError, match=r"tokens of 1 cover \d+ of the window's 72 samples"):
        AdaptedModel(
            backbone,
            setting=Setting(("c0",), ()),
            head=Config().build(),
            outputs=Outputs(CONTEXT, 1 / 60),
        )


def test_a_width_that_does_not_divide_is_refused():
    with pytest.raises(RecipeError, match="30 does not divide over 4 heads"):
        headed(Config(width=30))
    assert headed(Config(width=12)).module_of_head.query.out_features == 12


def test_with_a_head_the_route_is_auto():
    spec = headed(Config()).backbone.spec
    for route in ("native", "two_sided"):
        task = impute.Config(
            context_s=1920, missingness=[{"pattern": "point"}], route=route
        ).build()
        with pytest.raises(RecipeError, match="Use route: auto"):
            task.check(spec, 1 / 60, headed=True)
        task.check(spec, 1 / 60)


def test_scores_say_that_a_head_filled_and_without_one_how():
    task = impute.Config(
        context_s=60 * CONTEXT, missingness=[{"pattern": "channel", "rate": 0.4}], min_context=0
    ).build()
    some = task.windows(train_windows().recordings, 1 / 60, "test").take(range(2))
    fit = some.recordings
    scale = Scale(("c0", "c1", "c2"), ("1",) * 3, np.ones(3))
    model = headed(Config())
    model.fit(some)
    routes, means = [], []
    for one in (model, AdaptedModel(model.backbone)):
        predictor = task.with_fallback(task.predictor(one), fit)
        routes.append(
            task.scoring(1 / 60)
            .summary(_scored(task, predictor, some), scale)
            .missingness.model_dump()
        )
        arrays = some.gather([0, 1])
        hidden_whole = ~arrays.observed.any(-1)
        assert hidden_whole.sum() == 2
        predicted = predictor.predict(arrays, CONTEXT)
        means.append(np.ptp(predicted[hidden_whole], axis=-1))
        assert task.table(some, predicted, scale.units).column("q0.5").null_count == 0
    assert [route["route"] for route in routes] == ["head", "auto"]
    assert (means[0] > 0).all()
    assert (means[1] == 0).all()  # the mean of the recordings


def _scored(task, predictor, some):
    return {"model": task.scoring(1 / 60).errors(predictor, some, 2, lambda _: None)}
