import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from contracts.adapter import quantiles, train
from contracts.batch import assert_near, assert_same, random_batch, roughened, select
from tsfm_adapt.adapters import affine, full, lora
from tsfm_adapt.adapters.base import Adapter, Setting
from tsfm_adapt.backbones.base import weights_sha256
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import CannotMerge, RecipeError
from tsfm_adapt.forecasts import QuantileForecast
from tsfm_adapt.model import AdaptedModel, device_for


@pytest.fixture
def backbone():
    return roughened(Chronos2.tiny())


TOKENS = torch.zeros(3, 4, 5, 32)  # data tokens that the prompts below do not look at


class Prompt(Adapter):
    """N trainable prompts in front of the first block."""

    name = "prompt"
    identity_at_start = False

    def __init__(self, n, value=1.0):
        self.n, self.value = n, value

    def attach(self, backbone, setting):
        width = backbone.spec.width
        self.module = nn.ParameterList([torch.full((self.n, width), self.value)])

    def prefix(self, batch, layer, tokens):
        return self.module[0] if layer == 0 else None


class Norms(Adapter):
    """Trains the norms of the base."""

    name = "norms"

    def attach(self, backbone, setting):
        for name, parameter in backbone.network.named_parameters():
            if "layer_norm" in name:
                parameter.requires_grad_(True)


class Scaling(Adapter):
    """Multiplies data tokens, and notes who comes when."""

    name = "scaling"

    def __init__(self, factor, log):
        self.factor, self.log = factor, log

    def attach(self, backbone, setting):
        self.log.append(f"attach {self.factor}")
        self.module = nn.ParameterList([torch.ones(())])

    def signal(self, batch):
        self.log.append(f"signal {self.factor}")
        return batch

    def tokens(self, tokens, layer):
        self.log.append(f"tokens {self.factor} at {layer}")
        return tokens * self.factor * self.module[0]

    def restore(self, forecast, batch):
        self.log.append(f"restore {self.factor}")
        return forecast


class Projector(Adapter):
    """C channels to two sums of channels and back, by a trainable matrix on the way back."""

    name = "projector"
    changes_channels = True

    def attach(self, backbone, setting):
        self.forth = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.5, 0.5]])  # (C', C)
        back = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.1, 0.9], [0.0, 1.0]])  # (C, C')
        self.module = nn.ParameterList([back])

    def signal(self, batch):
        return replace(
            batch,
            values=torch.einsum("dc,bct->bdt", self.forth, batch.values),
            observed=batch.observed.unflatten(1, (2, 2)).all(2),
            target=None,
            target_observed=None,
            channels=("sum0", "sum1"),
        )

    def restore(self, forecast, batch):
        values = torch.einsum("cd,bdqh->bcqh", self.module[0], forecast.values)
        return QuantileForecast(values, forecast.levels)


class Nothing(Adapter):
    """Attaches and trains nothing."""

    name = "nothing"

    def attach(self, backbone, setting):
        """There is nothing to put in place."""


# Order and state


def test_without_adapters_it_is_the_backbone_zero_shot(backbone):
    batch, bare = random_batch(), copy.deepcopy(backbone)
    model = AdaptedModel(backbone)
    assert model.trainable() == {}
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.modules())
    # Near, not equal: torch 2.13 multiplies by another kernel where a weight may have a gradient.
    assert_near(quantiles(model, batch), bare.forecast(batch, 20).quantiles((0.1, 0.5, 0.9)), 1e-6)
    assert_near(model(batch), bare.loss(batch), 1e-6)


def test_adapters_act_in_the_order_of_the_recipe_and_are_undone_in_reverse(backbone):
    log = []
    model = AdaptedModel(backbone, [Scaling(2, log), Scaling(3, log)])
    log.clear()
    model.forecast(random_batch(), 4)
    assert log == [
        "signal 2",
        "signal 3",
        "tokens 2 at 0",
        "tokens 3 at 0",
        "tokens 2 at 1",
        "tokens 3 at 1",
        "restore 3",
        "restore 2",
    ]


def test_injection_runs_first_so_that_it_freezes_no_other_adapter(backbone):
    adapters = [Norms(), Prompt(3), lora.Config(rank=2).build()]
    model = AdaptedModel(backbone, adapters)
    names = list(model.trainable())
    assert sum("layer_norm" in name for name in names) == 7
    assert sum("lora_" in name for name in names) == 16
    assert "modules_of_adapters.0.0" in names
    assert len(names) == 7 + 16 + 1
    assert model.adapters == tuple(adapters)
    model(random_batch()).backward()
    assert [n for n, p in model.trainable().items() if p.grad is None] == []


def test_prompts_of_several_adapters_stand_one_after_another(backbone):
    batch, other = random_batch(), copy.deepcopy(backbone)
    model = AdaptedModel(backbone, [Prompt(2, 1.0), Nothing(), Prompt(1, -2.0)])
    prompts = model.prefix(batch, 0, TOKENS)
    assert prompts.shape == (3, 4, 3, 32)
    assert torch.equal(prompts[0, 0, :, 0], torch.tensor([1.0, 1.0, -2.0]))
    assert model.prefix(batch, 1, TOKENS) is None
    one = AdaptedModel(other, [Prompt(3)])
    one.load_trainable({"modules_of_adapters.0.0": prompts[0, 0].detach()})
    assert_near(quantiles(model, batch), quantiles(one, batch), relative=1e-6)


class Renewed(Prompt):
    """N trainable prompts, the same again before every block."""

    name = "renewed"
    renews_prompts = True

    def prefix(self, batch, layer, tokens):
        return self.module[0]


def test_prompts_that_are_renewed_leave_those_of_other_adapters_to_flow_on(backbone):
    """Whatever the order of the recipe, and as if each kind knew of the other."""
    batch, shallow, deep = random_batch(), Prompt(2, 1.5), Renewed(1, -2.0)
    model = AdaptedModel(backbone, [shallow, deep])
    assert torch.equal(model.prefix(batch, 0, TOKENS)[0, 0, :, 0], torch.tensor([-2.0, 1.5, 1.5]))
    assert model.prefix(batch, 1, TOKENS).shape == (1, 32)
    both = quantiles(model, batch)
    turned = copy.deepcopy(model)
    turned.adapters = turned.adapters[::-1]
    assert torch.equal(quantiles(turned, batch), both)
    for kept in ([shallow], [deep]):
        alone = copy.deepcopy(model)
        alone.adapters = tuple(a for a in alone.adapters if a.name == kept[0].name)
        assert (quantiles(alone, batch) - both).abs().max() > 1e-3
    model(batch).backward()
    assert all(adapter.module[0].grad.any(dim=1).all() for adapter in model.adapters)


def test_the_forecast_does_not_look_at_the_target(backbone):
    model, batch = AdaptedModel(backbone, [Prompt(2)]), random_batch()
    wrong = replace(batch, target=batch.target + 1e6)
    for other in (wrong, batch.without_target()):
        assert torch.equal(quantiles(model, other), quantiles(model, batch))


def test_a_forecast_shows_the_target_to_no_adapter(backbone):
    model, seen = AdaptedModel(backbone, [Prompt(2)]), []
    model.adapters[0].signal = lambda batch: seen.append(batch) or batch
    model.forecast(random_batch(), 4)
    model(random_batch())
    assert [batch.target is None for batch in seen] == [True, False]


def test_a_copy_uses_its_own_prompts(backbone):
    batch = random_batch()
    model = AdaptedModel(backbone, [Prompt(2)])
    before = quantiles(model, batch)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.trainable().values():
            parameter.mul_(-3)
    assert torch.equal(quantiles(model, batch), before)
    assert not torch.equal(quantiles(twin, batch), before)


def test_adapters_that_train_nothing_are_refused_by_name(backbone):
    with pytest.raises(RecipeError, match=r"\[nothing, nothing\] trains zero parameters of chron"):
        AdaptedModel(backbone, [Nothing(), Nothing()])


def test_what_acts_on_activations_cannot_be_merged(backbone):
    adapter = Prompt(2)
    AdaptedModel(backbone, [adapter])
    with pytest.raises(CannotMerge, match="adapter 'prompt' acts on activations"):
        adapter.merge(backbone)


# Saved weights


def test_saved_weights_of_another_shape_or_name_are_refused(backbone):
    model = AdaptedModel(backbone, [Prompt(2)])
    name = "modules_of_adapters.0.0"
    before = model.trainable()[name].detach().clone()
    for state in (
        {},
        {name: torch.zeros(3, 32)},
        {"other": torch.zeros(2, 32)},
        {name: torch.zeros(2, 32), "other": torch.zeros(1)},
    ):
        with pytest.raises(RecipeError, match="the saved weights do not fit this model"):
            model.load_trainable(state)
    assert torch.equal(model.trainable()[name], before)
    model.load_trainable({name: torch.zeros(2, 32)})
    assert not model.trainable()[name].any()
    assert model.trainable()[name].requires_grad


def test_training_on_leaves_the_saved_weights_as_they_were(backbone):
    model = AdaptedModel(backbone, [Prompt(2)])
    state = {"modules_of_adapters.0.0": torch.ones(2, 32)}
    model.load_trainable(state)
    train(model, random_batch(), steps=1)
    assert torch.equal(state["modules_of_adapters.0.0"], torch.ones(2, 32))


def test_the_base_is_known_by_its_weights_and_not_by_its_adapters(backbone):
    before = weights_sha256(backbone.network)
    again = roughened(Chronos2.tiny())
    adapted = AdaptedModel(backbone, [lora.Config(rank=2).build()])
    assert adapted.base_sha256 == before == AdaptedModel(again).base_sha256
    assert len(before) == 64
    train(adapted, random_batch(), steps=1)
    assert adapted.base_sha256 == before


# Flat contexts


@pytest.mark.parametrize("level", [0.0, 36.6, 97.0, -1234.567])
@pytest.mark.parametrize("deviation", [None, float("nan"), 0.0, 1.0])
def test_a_constant_context_is_flat_whatever_its_level(backbone, level, deviation):
    """The mean of equal numbers is rounded, so that their deviation is not exactly zero."""
    batch = random_batch()
    batch.values[:] = level
    known = None if deviation is None else torch.full((4,), deviation)
    model = AdaptedModel(backbone, [Prompt(2)], known)
    loss = model(batch)
    loss.backward()
    assert loss == 0
    assert not any(p.grad.any() for p in model.trainable().values())


def test_flat_means_less_than_a_thousandth_of_the_deviation_in_train(backbone):
    batch = random_batch(channels=1, missing=0.0)
    wave = torch.sin(torch.arange(70.0))
    wave = (wave - wave.mean()) / wave.std(correction=0)
    model = AdaptedModel(backbone, [Prompt(2)], torch.tensor([2.0]))

    def loss_at(deviation):
        batch.values[:] = 5.0 + deviation * wave
        return model(batch).item()

    assert loss_at(0.0019) == 0
    assert loss_at(0.0021) > 0


def test_a_flat_series_counts_as_if_its_target_were_unobserved(backbone):
    batch = random_batch()
    batch.values[1, 2] = 0.0
    blind = select(batch)
    blind.target_observed[1, 2] = False
    model = AdaptedModel(backbone, [Prompt(2)])
    assert torch.equal(model(batch), model(blind))
    assert not torch.equal(model(batch), backbone.loss(batch, model))


def test_a_flat_context_is_forecast_all_the_same(backbone):
    batch = random_batch()
    batch.values[:] = 36.6
    forecast = quantiles(AdaptedModel(backbone, [Prompt(2)]), batch)
    assert forecast.isfinite().all()
    assert (forecast - 36.6).abs().max() < 0.01


# Adapters that change the channels


def test_where_channels_change_the_restored_forecast_is_scored_in_context_deviations(backbone):
    batch, adapter = random_batch(horizon=20), Projector()
    model = AdaptedModel(backbone, [adapter])
    loss = model(batch)

    restored = model.forecast(batch, 20)
    assert restored.values.shape == (3, 4, 9, 20)
    visible = batch.values.double().where(batch.observed, torch.nan)
    mean = visible.nanmean(-1, keepdim=True)
    deviation = (visible - mean).square().nanmean(-1, keepdim=True).sqrt()
    error = (batch.target[:, :, None] - restored.values).double() / deviation[:, :, None]
    levels = torch.tensor(restored.levels, dtype=torch.float64)[:, None]
    pinball = 2 * torch.maximum(levels * error, (levels - 1) * error).sum(2)
    assert loss.item() == pytest.approx(pinball[batch.target_observed].mean().item(), rel=1e-5)

    loss.backward()
    assert adapter.module[0].grad.abs().amax(1).all()


def test_where_channels_change_training_still_ignores_what_is_not_observed(backbone):
    batch = random_batch()
    model = AdaptedModel(backbone, [Projector()])
    hidden = replace(batch, target=batch.target.masked_fill(~batch.target_observed, 1e30))
    assert torch.equal(model(hidden), model(batch))
    gradients = [
        torch.autograd.grad(model(each), list(model.trainable().values()))
        for each in (batch, hidden)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_where_channels_change_a_flat_one_teaches_nothing(backbone):
    batch = random_batch()
    batch.values[:, 3] = 0.0
    model = AdaptedModel(backbone, [Projector()])
    model(batch).backward()
    gradient = model.trainable()["modules_of_adapters.0.0"].grad
    assert gradient[:3].any(1).all()
    assert not gradient[3].any()


def test_where_channels_change_training_lowers_the_loss(backbone):
    batch = random_batch()
    losses = train(AdaptedModel(backbone, [Projector()]), batch)
    assert losses[-1] < losses[0]


# Devices and workers


def test_calling_the_model_is_its_training_loss(backbone):
    model, batch = AdaptedModel(backbone, [full.Config().build()]), random_batch()
    assert model(batch).shape == ()
    assert torch.equal(model(batch), backbone.loss(batch, model))


def test_its_state_holds_the_base_once(backbone):
    """A checkpoint of the trainable part and the base together are the whole state."""
    plain = {f"network.{name}" for name in backbone.network.state_dict()}
    model = AdaptedModel(backbone, [Prompt(2)], torch.ones(4))
    assert set(model.state_dict()) == plain | set(model.trainable())
    assert_same(
        {n: w for n, w in model.state_dict().items() if n in plain},
        {f"network.{n}": w for n, w in backbone.network.state_dict().items()},
    )


@pytest.mark.parametrize(
    ("accelerator", "cuda", "expected"),
    [("auto", True, "cuda"), ("gpu", True, "cuda"), ("cpu", True, "cpu"), ("auto", False, "cpu")],
)
def test_models_score_where_they_train(monkeypatch, accelerator, cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device_for(accelerator).type == expected


def test_adapters_train_at_rates_of_their_own(backbone):
    model = AdaptedModel(backbone, [Prompt(2), Norms()], rates=[0.5, None])
    twin = copy.deepcopy(model)
    for each in (model, twin):
        by_rate = {group["lr"]: group["params"] for group in each.groups(0.01)}
        assert by_rate.keys() == {0.5, 0.01}
        assert [p.shape for p in by_rate[0.5]] == [(2, 32)]
        own = {id(p) for p in each.trainable().values()}
        assert {id(p) for group in by_rate.values() for p in group} == own


def test_two_adapters_that_replace_the_same_layers_are_refused(backbone):
    with pytest.raises(RecipeError, match="lora and lora both take the place"):
        AdaptedModel(backbone, [lora.Config().build(), lora.Config().build()])


def test_what_corrects_the_channels_of_the_data_stands_before_what_changes_them(backbone):
    setting = Setting(("c0", "c1", "c2", "c3"))

    def built(*adapters):
        return AdaptedModel(copy.deepcopy(backbone), adapters, setting=setting)

    assert built(affine.Config().build(), Projector())(random_batch()).isfinite()
    with pytest.raises(RecipeError, match=r"affine works .* behind projector, .* Put it before"):
        built(Projector(), affine.Config().build())
    with pytest.raises(RecipeError, match=r"projector works .* behind projector.* Keep one"):
        built(Projector(), Prompt(1), Projector())


class Centring(Adapter):
    """Subtracts a fitted level and adds it again; its penalty is its gain's square."""

    name = "centring"
    changes_channels = True

    def attach(self, backbone, setting):
        self.module = nn.Module()
        self.module.gain = nn.Parameter(torch.ones(()))
        self.module.register_buffer("level", torch.zeros(len(setting.channels), 1))

    def fit(self, train):
        self.module.level.fill_(float(len(train)))

    def signal(self, batch):
        return replace(batch, values=batch.values - self.module.level)

    def restore(self, forecast, batch):
        assert torch.isfinite(batch.values).all()
        values = forecast.values + self.module.level[:, None]
        return QuantileForecast(values * self.module.gain, forecast.levels)

    def penalty(self, batch):
        return 100 * self.module.gain.square()


def test_what_is_fitted_is_told_apart_from_what_is_trained(backbone):
    batch = random_batch()
    model = AdaptedModel(backbone, [Centring()], setting=Setting(batch.channels))
    model.fit(range(7))
    assert list(model.trainable()) == ["modules_of_adapters.0.gain"]
    fitted = model.fitted()
    assert fitted.keys() == {"deviation", "modules_of_adapters.0.level"}
    assert fitted["modules_of_adapters.0.level"].flatten().tolist() == [7.0] * 4


def test_penalties_are_part_of_the_loss_in_training_only(backbone):
    batch = random_batch()
    model = AdaptedModel(backbone, [Centring()], setting=Setting(batch.channels))
    alone = model(batch).item()  # as validation has it
    model.training = True  # and not the dropout of the base
    assert model(batch).item() - alone == pytest.approx(100, rel=1e-3)
