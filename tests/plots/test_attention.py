"""Attention between channels is read from adapters that say they have it, whatever their name."""

import numpy as np
import torch
from torch import nn

from tsfm_adapt.adapters.base import Adapter, Setting
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.plots.attention import channel_attention
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec


class Ahead(nn.Module):
    """Every channel attends to the next one alone."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1))

    def attention(self, tokens):
        windows, channels, places, _ = tokens.shape
        ahead = torch.eye(channels).roll(1, dims=1)
        return ahead.expand(windows, places, channels, channels)

    def forward(self, tokens):
        return tokens + self.shift


class Toy(Adapter):
    name = "toy"

    def attach(self, backbone, setting):
        self.module = Ahead()

    def tokens(self, tokens, layer):
        return self.module(tokens) if layer == 1 else tokens

    def channel_attention(self):
        return {"in between": self.module}


def test_an_adapter_that_names_its_attention_is_shown_by_its_own_name():
    values = np.random.default_rng(1).normal(size=(3, 64)).astype(np.float32)
    one = Recording("r", "r", values, ("a", "b", "c"), ("1",) * 3, 1.0)
    model = AdaptedModel(ChronosBolt.tiny(), [Toy()], setting=Setting(("a", "b", "c")))
    found = channel_attention(model, Windows([one], WindowSpec(64, 0)))
    assert list(found) == ["toy, in between"]
    np.testing.assert_array_equal(found["toy, in between"], np.roll(np.eye(3), 1, axis=1))
