"""Chronos-Bolt of upstream's own class at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import PATCH, CorpusBatch

from tsfm_adapt.backbones.chronos_bolt import ChronosBolt

LOADS_WITH = "`chronos.ChronosBoltPipeline.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; the defaults make 1.3 M parameters, 5 MB in float32."""

    width: int = 128
    head_width: int = 32
    heads: int = 4
    feed_forward: int = 384
    encoder_layers: int = 4
    decoder_layers: int = 2
    context: int = 512
    horizon: int = 64  # samples a pass
    initial_scale: float = 0.15  # of every linear map and norm
    quantiles: tuple[float, ...] = tuple(round(0.1 * i, 1) for i in range(1, 10))


def build(size: Size, seed: int) -> ChronosBolt:
    """An untrained Chronos-Bolt of upstream's own class."""
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    torch.manual_seed(seed)
    config = T5Config(
        d_model=size.width,
        d_kv=size.head_width,
        d_ff=size.feed_forward,
        num_layers=size.encoder_layers,
        num_decoder_layers=size.decoder_layers,
        num_heads=size.heads,
        dropout_rate=0.0,
        initializer_factor=size.initial_scale,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        architectures=["ChronosBoltModelForForecasting"],
    )
    config.chronos_pipeline_class = "ChronosBoltPipeline"
    config.chronos_config = {
        "context_length": size.context,
        "prediction_length": size.horizon,
        "input_patch_size": PATCH,
        "input_patch_stride": PATCH,
        "quantiles": list(size.quantiles),
        "use_reg_token": True,
    }
    return ChronosBolt(ChronosBoltModelForForecasting(config), checkpoint="untrained")


def loss(backbone: ChronosBolt, batch: CorpusBatch) -> torch.Tensor:
    """Upstream's pinball loss, a sample of the horizon, so that long ones weigh no more."""
    horizon = min(batch.target.shape[1], backbone.model.chronos_config.prediction_length)
    target = torch.from_numpy(batch.target[:, :horizon])
    value: torch.Tensor = backbone.model(
        context=torch.from_numpy(batch.context), target=target
    ).loss
    return value / horizon


def save(backbone: ChronosBolt, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
