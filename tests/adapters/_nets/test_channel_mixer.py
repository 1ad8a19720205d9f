"""The mixers' own arithmetic: places apart, channels by their vectors, attention by hand."""

import pytest
import torch

from contracts.batch import assert_near
from tsfm_adapt.adapters._nets.channel_mixer import AttentionMixer, MlpMixer

FORMS = ("attention", "mlp")
CPU = torch.device("cpu")


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
