import copy

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import SETTING, AdapterContract, quantiles, train
from contracts.batch import random_batch, reversed_in_time, roughened, select
from tsfm_adapt.adapters import channel_mixer
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel

FORMS = ("attention", "mlp")


class TestAttention(AdapterContract):
    config = channel_mixer.Config(width=8, heads=2)
    merges = False


class TestPerceptron(AdapterContract):
    config = channel_mixer.Config(form="mlp", width=8)
    merges = False


class TestAttentionInAnIndependentModel(AdapterContract):
    config = channel_mixer.Config(width=8, heads=2, blocks="last")
    backbone_class = ChronosBolt
    merges = False


def adapted(backbone=None, setting=SETTING, **settings):
    torch.manual_seed(0)
    config = channel_mixer.Config(**{"width": 8, "heads": 2} | settings)
    backbone = roughened(ChronosBolt.tiny()) if backbone is None else backbone
    return AdaptedModel(backbone, [config.build()], setting=setting)


def batch_of(windows=2):
    return random_batch(windows=windows, channels=3, samples=40, horizon=16)


@pytest.mark.parametrize("form", FORMS)
def test_untrained_it_is_the_base_bit_by_bit(form):
    backbone, batch = roughened(ChronosBolt.tiny()), batch_of()
    bare = AdaptedModel(copy.deepcopy(backbone))
    assert torch.equal(quantiles(adapted(backbone, form=form), batch), quantiles(bare, batch))


@pytest.mark.parametrize("form", FORMS)
def test_trained_it_carries_one_channel_into_another_and_no_window_into_another(form):
    batch = batch_of()
    turned = reversed_in_time(batch, windows=0, channels=0)
    model = adapted(form=form)

    def influence():
        return (quantiles(model, turned) - quantiles(model, batch)).abs().amax((2, 3))

    before = influence()
    assert before[0, 0] > 0
    assert not before[0, 1:].any()
    train(model, batch, steps=4)
    after = influence()
    assert (after[0] > 0).all()
    assert not after[1].any()


@pytest.mark.parametrize(
    ("chosen", "blocks"),
    [
        ("all", ["0", "1"]),
        ("last", ["1"]),
        ((0,), ["0"]),
        ((1, 0), ["0", "1"]),
        ({"from": 0, "to": 1}, ["0", "1"]),
    ],
)
def test_it_stands_before_the_chosen_blocks(chosen, blocks):
    model = adapted(blocks=chosen)
    assert list(model.adapters[0].module) == blocks
    attention = 2 * 32 * 8 + 3 * 8 * 8 + 3 * 8
    assert sum(p.numel() for p in model.trainable().values()) == attention * len(blocks)
    asked = torch.randn(1, 3, 2, 32)
    for layer in (0, 1):
        same = model.adapters[0].tokens(asked, layer) is asked
        assert same == (str(layer) not in blocks)


def test_a_block_that_the_backbone_lacks_is_refused():
    with pytest.raises(RecipeError, match=r"\[0, 2, 7\] asks for .* has blocks 0 to 1\."):
        adapted(blocks=(0, 2, 7))


@pytest.mark.parametrize("channels", [(), ("HR",)])
def test_one_channel_has_nothing_to_mix_with(channels):
    with pytest.raises(RecipeError, match=rf"at least 2 channels, .* there are {len(channels)}"):
        adapted(setting=Setting(channels))


@pytest.mark.parametrize("form", FORMS)
def test_another_number_of_channels_is_refused(form):
    model, batch = adapted(form=form), batch_of()
    with pytest.raises(RecipeError, match=r"made for 3 channels \(c0, c1, c2\); 2 arrive"):
        model.forecast(select(batch, channels=[0, 1]), 4)
    other = adapted(form=form, setting=Setting(("HR", "SpO2")))
    with pytest.raises(RecipeError, match="do not fit this model"):
        other.load_trainable(model.trainable())


def test_a_joint_model_may_be_mixed_too():
    batch = batch_of()
    model = adapted(roughened(Chronos2.tiny()), blocks=(1,))
    losses = train(model, batch)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"heads": 3}, "width 32 does not divide into 3 heads"),
        ({"blocks": ()}, "names no blocks"),
        ({"blocks": (-1,)}, "names no blocks"),
        ({"blocks": "first"}, "names no blocks"),
        ({"form": "conv"}, "form"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused_by_name(settings, told):
    with pytest.raises(ValidationError, match=told):
        channel_mixer.Config(**settings)
    channel_mixer.Config(form="mlp", heads=3)
