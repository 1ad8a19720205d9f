import copy

import pytest
import torch
from pydantic import ValidationError

from contracts.adapter import SETTING, AdapterContract, quantiles, train
from contracts.batch import assert_near, random_batch, reversed_in_time, roughened, select
from tsfm_adapt.adapters import channel_mixer
from tsfm_adapt.adapters._nets.channel_mixer import AttentionMixer, MlpMixer
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel

FORMS = ("attention", "mlp")
CPU = torch.device("cpu")


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


def opened(form, channels=3):
    """A mixer that was trained: its output is not zero any more."""
    torch.manual_seed(1)
    made = (
        AttentionMixer(channels=channels, size=32, width=8, heads=2, device=CPU)
        if form == "attention"
        else MlpMixer(channels=channels, size=32, width=8, device=CPU)
    )
    torch.nn.init.normal_(made.up.weight)
    return made


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


@pytest.mark.parametrize("form", FORMS)
def test_each_place_is_mixed_apart(form):
    mixer, tokens = opened(form), torch.randn(2, 3, 5, 32)
    changed = tokens.clone()
    changed[0, 1, 3] += torch.randn(32)
    differs = (mixer(changed) - mixer(tokens)).abs().amax((1, 3))  # (B, P)
    assert (differs > 1e-6).nonzero().tolist() == [[0, 3]]


def test_attention_knows_channels_by_their_vectors_only():
    mixer, tokens, order = opened("attention"), torch.randn(2, 3, 5, 32), [2, 0, 1]
    expected = mixer(tokens)[:, order]
    assert (mixer(tokens[:, order]) - expected).abs().max() > 1e-3
    with torch.no_grad():
        mixer.channel.copy_(mixer.channel[order])
    assert_near(mixer(tokens[:, order]), expected, relative=1e-5)


def test_attention_is_softmax_of_queries_and_keys_of_all_channels():
    mixer, tokens = opened("attention"), torch.randn(1, 3, 1, 32)
    centred = tokens - tokens.mean(-1, keepdim=True)
    normal = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    narrow = normal[0, :, 0] @ mixer.down.weight.T + mixer.channel  # (C, w)
    query, key, value = (
        (narrow @ layer.weight.T).unflatten(1, (2, 4)).transpose(0, 1)
        for layer in (mixer.query, mixer.key, mixer.value)
    )
    weights = torch.softmax(query @ key.mT / 2.0, dim=-1)  # (heads, C, C)
    mixed = (weights @ value).transpose(0, 1).flatten(1)
    assert_near(mixer(tokens)[0, :, 0], mixed @ mixer.up.weight.T, relative=1e-5)


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
