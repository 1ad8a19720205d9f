"""Chronos-2 of upstream's own class at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import PATCH, CorpusBatch

from tsfm_adapt.backbones.chronos2 import Chronos2

LOADS_WITH = "`chronos.Chronos2Pipeline.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; the defaults make 0.99 M parameters, 4 MB in float32."""

    width: int = 128
    head_width: int = 32
    heads: int = 4
    feed_forward: int = 256
    layers: int = 4
    context: int = 512
    patches: int = 8
    time_scale: int = 64  # samples a unit of the time feature: patches are a quarter apart
    initial_scale: float = 0.15  # of every linear map and norm
    quantiles: tuple[float, ...] = tuple(round(0.05 * i, 2) for i in range(1, 20))


def build(size: Size, seed: int) -> Chronos2:
    """An untrained Chronos-2 of upstream's own class."""
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    torch.manual_seed(seed)
    config = Chronos2CoreConfig(
        d_model=size.width,
        d_kv=size.head_width,
        d_ff=size.feed_forward,
        num_layers=size.layers,
        num_heads=size.heads,
        dropout_rate=0.0,
        initializer_factor=size.initial_scale,
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
        chronos_config={
            "context_length": size.context,
            "input_patch_size": PATCH,
            "input_patch_stride": PATCH,
            "output_patch_size": PATCH,
            "max_output_patches": size.patches,
            "quantiles": list(size.quantiles),
            "use_reg_token": True,
            "use_arcsinh": True,
            "time_encoding_scale": size.time_scale,
        },
    )
    return Chronos2(Chronos2Model(config), checkpoint="untrained")


def loss(backbone: Chronos2, batch: CorpusBatch) -> torch.Tensor:
    """Upstream's pinball loss; the channels of one recording are one group."""
    value: torch.Tensor = backbone.model(
        torch.from_numpy(batch.context),
        group_ids=torch.from_numpy(batch.groups),
        future_target=torch.from_numpy(batch.target),
        num_output_patches=batch.patches,
    ).loss
    return value


def save(backbone: Chronos2, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
