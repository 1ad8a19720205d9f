"""Small prompt generators, and tokens for them."""

import torch
from torch import nn

from tsfm_adapt.adapters._nets.generated_prompt import PromptGenerator

D, K = 12, 3  # of the generators below


def generator(aggregator, spans=8, seed=0):
    torch.manual_seed(seed)
    return PromptGenerator(
        inner=D, width=8, heads=2, prompts=K, aggregator=aggregator, spans=spans, std=0.5
    )


def tokens(windows=2, channels=4, places=6, missing=0.3):
    observed = torch.rand(windows, channels, places) >= missing
    return torch.randn(windows, channels, places, D), observed


def padded(series, places, value):
    """With so many more at the beginning of the last dimension."""
    return nn.functional.pad(series, (places, 0), value=value)
