from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import SETTING, AdapterContract, quantiles, train
from contracts.batch import assert_near, outputs, random_batch, roughened, select
from contracts.through import entering
from tsfm_adapt.adapters import prompt
from tsfm_adapt.adapters._prompts import token_sizes
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.lag_llama import LagLlama
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.backbones.timesfm import TimesFM
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel


class TestPrompt(AdapterContract):
    config = prompt.Config(tokens=3)
    merges = False  # nothing in the base weights stands for more tokens


class TestDeepPromptsOfEachChannel(AdapterContract):
    config = prompt.Config(tokens=2, per="channel", depth="deep")
    merges = False


def prompted(backbone, seed=0, **settings):
    torch.manual_seed(seed)
    return AdaptedModel(backbone, [prompt.Config(**settings).build()], setting=SETTING)


def small_batch(**changes):
    return random_batch(**({"windows": 2, "channels": 3, "samples": 40} | changes))


def prompts_of(model):
    (parameter,) = model.trainable().values()
    return parameter


def padded(batch, samples):
    """The same measurements behind so many samples that were not measured."""

    def pad(series, value):
        return torch.nn.functional.pad(series, (samples, 0), value=value)

    return replace(batch, values=pad(batch.values, 99.0), observed=pad(batch.observed, False))


# What trains


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"tokens": 4}, (1, 4, 32)),
        ({"tokens": 4, "depth": "deep"}, (2, 4, 32)),
        ({"tokens": 4, "per": "channel"}, (1, 3, 4, 32)),
        ({"tokens": 4, "per": "channel", "depth": "deep"}, (2, 3, 4, 32)),
    ],
    ids=str,
)
def test_its_size_is_tokens_times_width_for_each_channel_and_layer(settings, shape):
    assert prompts_of(prompted(Chronos2.tiny(), **settings)).shape == shape


@pytest.mark.parametrize("factor", [1.0, 50.0])
def test_fresh_prompts_are_a_share_of_the_size_of_the_tokens_beside_them(factor):
    backbone, batch = Chronos2.tiny(), small_batch(missing=0.0)
    with torch.no_grad():
        for weight in backbone.model.input_patch_embedding.parameters():
            weight.mul_(factor)
    model = prompted(backbone, tokens=200, init_std=0.5)
    tokens = entering(backbone, batch)
    size = tokens.square().mean().sqrt().item()
    assert model.prefix(batch, 0, tokens).std().item() == pytest.approx(0.5 * size, rel=0.5)


def test_each_layer_has_prompts_in_units_of_its_own_tokens():
    sizes = token_sizes(roughened(Moment.tiny()))
    assert sizes.shape == (2,)
    assert (sizes > 0).all()
    model = prompted(roughened(Moment.tiny()), depth="deep")
    assert torch.equal(model.fitted()["modules_of_adapters.0.sizes"], sizes)  # saved with it
    for layer in (0, 1):
        expected = sizes[layer] * prompts_of(model)[layer]
        assert torch.equal(model.prefix(small_batch(), layer, torch.zeros(2, 3, 5, 32)), expected)


# Channels


def test_equal_prompts_for_each_channel_are_shared_prompts():
    batch = small_batch()
    shared = prompted(roughened(Chronos2.tiny()), depth="deep")
    each = prompted(roughened(Chronos2.tiny()), depth="deep", per="channel")
    with torch.no_grad():
        prompts_of(each).copy_(prompts_of(shared)[:, None])
    assert torch.equal(quantiles(each, batch), quantiles(shared, batch))


def test_prompts_of_a_channel_act_on_that_channel_alone():
    model, batch = prompted(roughened(ChronosBolt.tiny()), per="channel"), small_batch()
    before = quantiles(model, batch)
    with torch.no_grad():
        prompts_of(model)[:, 1] += 1
    gap = (quantiles(model, batch) - before).abs().amax(dim=(0, 2, 3))
    assert gap[1] > 1e-3
    assert gap[0] == gap[2] == 0


def test_prompts_go_to_the_channel_of_their_name_wherever_it_stands():
    model, batch = prompted(roughened(ChronosBolt.tiny()), per="channel"), small_batch()
    turned = select(batch, channels=[2, 0])
    assert_near(quantiles(model, turned), quantiles(model, batch)[:, [2, 0]])


def test_channels_without_prompts_are_refused():
    with pytest.raises(RecipeError, match=r"'channel' needs the names of the channels"):
        prompt.Config(per="channel").build().attach(Chronos2.tiny(), Setting())
    model, batch = prompted(Chronos2.tiny(), per="channel"), small_batch()
    mixed = replace(batch, channels=("c0", "sum", "c2"))
    with pytest.raises(RecipeError, match=r"prompts for c0, c1, c2, but .* is given sum\. "):
        model.forecast(mixed, 4)


@pytest.mark.parametrize(
    "settings",
    [{"tokens": 0}, {"per": "window"}, {"depth": "middle"}, {"init_std": 0}, {"rank": 4}],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ValidationError, match=next(iter(settings))):
        prompt.Config(**settings)


# Inside the backbone


def hide_prompts(backbone):
    """Prompts are inserted as ever, but no token attends to them."""

    def extended(arguments, prompts):
        embeddings = arguments["inputs_embeds"]
        visible = arguments.get("attention_mask")
        if visible is None:
            visible = embeddings.new_ones(embeddings.shape[:2])
        hidden = visible.new_zeros(len(visible), prompts)
        return arguments | {"attention_mask": torch.cat([hidden, visible], dim=1)}

    backbone._site._extend = extended


@pytest.mark.parametrize("backbone_class", [Chronos2, ChronosBolt, Moment])
@pytest.mark.parametrize("depth", ["shallow", "deep"])
@pytest.mark.parametrize(("samples", "padding"), [(5, 0), (70, 0), (40, 51)])
def test_prompts_that_no_token_attends_to_change_nothing(backbone_class, depth, samples, padding):
    batch = padded(small_batch(samples=samples), padding)
    expected = outputs(roughened(backbone_class.tiny()), batch)
    model = prompted(roughened(backbone_class.tiny()), depth=depth, init_std=3.0)
    seen = outputs(model.backbone, batch, through=model)
    hide_prompts(model.backbone)
    unseen = outputs(model.backbone, batch, through=model)
    for part in ("loss", "forecast", "tokens"):
        assert_near(unseen[part], expected[part], relative=2e-5)
        assert (seen[part] - expected[part]).abs().max() > 1e-3
    assert torch.equal(unseen["token_observed"], expected["token_observed"])


@pytest.mark.parametrize("depth", ["shallow", "deep"])
@pytest.mark.parametrize("backbone_class", [TimesFM, LagLlama])
def test_prompts_stand_behind_the_padding_where_positions_start_there(backbone_class, depth):
    """TimesFM 2.5 pads on the left and hides what it padded; Lag-Llama pads nothing."""
    model = prompted(roughened(backbone_class.tiny()), depth=depth, init_std=1.0)
    batch = small_batch()
    longer = padded(batch, 64)
    longer = replace(longer, start_s=batch.start_s - 64 / batch.rate_hz)
    assert_near(quantiles(model, longer), quantiles(model, batch), relative=1e-6)
    assert_near(model(longer), model(batch), relative=1e-6)


def test_a_shallow_and_a_deep_adapter_stand_side_by_side_in_either_order():
    batch, configs = small_batch(), [prompt.Config(tokens=2), prompt.Config(depth="deep")]
    models = []
    for order in (configs, configs[::-1]):
        adapters = [config.build() for config in order]
        models.append(AdaptedModel(roughened(Chronos2.tiny()), adapters, setting=SETTING))
    first, second = models
    tokens = torch.zeros(2, 3, 5, 32)
    assert first.prefix(batch, 0, tokens).shape[-2] == 10
    assert first.prefix(batch, 1, tokens).shape[-2] == 8
    losses = train(first, batch)
    assert losses[-1] < losses[0]
    shallow, deep = first.trainable().values()
    names = list(second.trainable())
    second.load_trainable({names[0]: deep, names[1]: shallow})
    assert torch.equal(quantiles(second, batch), quantiles(first, batch))
