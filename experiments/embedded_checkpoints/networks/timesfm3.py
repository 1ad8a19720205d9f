"""TimesFM 3 of upstream's own class at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import CorpusBatch
from networks._batches import windows

from tsfm_adapt.backbones.timesfm3 import TimesFM3

LOADS_WITH = "`timesfm3.torch.TimesFM3Torch.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; patches are 32 samples and predict 64, as upstream fixes them."""

    width: int = 128
    feed_forward: int = 256
    heads: int = 4
    layers: int = 4  # time and channel attention each


def build(size: Size, seed: int) -> TimesFM3:
    """An untrained TimesFM 3."""
    from timesfm3.torch import TimesFM3Torch
    from timesfm3.torch.configs import (
        ResidualBlockConfig,
        StackedTransformersConfig,
        TransformerConfig,
    )

    layer = TransformerConfig(
        model_dims=size.width,
        hidden_dims=size.feed_forward,
        num_heads=size.heads,
        attention_norm="rms",
        feedforward_norm="rms",
        qk_norm="rms",
        use_bias=False,
        use_rope_seq=True,
        use_rope_var=False,  # the order of channels means nothing
        ff_activation="relu",
        deterministic=True,
    )
    torch.manual_seed(seed)
    model = TimesFM3Torch(
        residual_block_config=ResidualBlockConfig(
            hidden_dims=size.width, output_dims=size.width, use_bias=False, activation="relu"
        ),
        transformer_config=StackedTransformersConfig(size.layers, layer),
    )
    return TimesFM3(model, checkpoint="untrained")


def loss(backbone: TimesFM3, batch: CorpusBatch) -> torch.Tensor:
    """Pinball loss of the stitched forecast."""
    return backbone.loss(windows(batch))


def save(backbone: TimesFM3, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
