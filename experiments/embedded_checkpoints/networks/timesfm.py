"""TimesFM 2.5 of upstream's own class at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import CorpusBatch
from networks._batches import rows

from tsfm_adapt.backbones._nets.timesfm import Sizes, untrained, write
from tsfm_adapt.backbones.timesfm import TimesFM

LOADS_WITH = (
    "`tsfm-adapt` alone: upstream's class has one size, ours stands in an extra key of config.json"
)


@dataclass(frozen=True)
class Size:
    """Sizes of the network; patches are 32 samples, as upstream fixes them."""

    width: int = 128
    heads: int = 4
    layers: int = 4
    output_patch: int = 64  # samples a pass
    quantile_steps: int = 128  # of the quantile head
    context: int = 512


def build(size: Size, seed: int) -> TimesFM:
    """An untrained TimesFM 2.5, its norms open."""
    sizes = Sizes(
        width=size.width,
        layers=size.layers,
        heads=size.heads,
        output_patch=size.output_patch,
        quantile_steps=size.quantile_steps,
        max_context=size.context,
    )
    torch.manual_seed(seed)
    return TimesFM(untrained(sizes), checkpoint="untrained")


def loss(backbone: TimesFM, batch: CorpusBatch) -> torch.Tensor:
    """Pinball loss of both heads after the last context patch."""
    return backbone.loss(rows(batch))


def save(backbone: TimesFM, folder: Path) -> None:
    """Upstream's weights file, the sizes in an extra key of config.json."""
    write(backbone.model, folder)
