"""MOMENT of the package's own network, in upstream's layout, at about 0.7 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import CorpusBatch
from networks._batches import absolute_error, cut, deviation, rows

from tsfm_adapt.backbones._nets.moment import MomentNet
from tsfm_adapt.backbones.moment import Moment

HIDDEN = 0.3  # share of the patches, where reconstruction is learnt

LOADS_WITH = "`momentfm.MOMENTPipeline.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; the table of positions takes half of its 5 MB."""

    width: int = 128
    head_width: int = 32
    heads: int = 4
    feed_forward: int = 256
    layers: int = 4
    window: int = 512  # samples, the horizon among them
    patch: int = 8
    initial_scale: float = 0.15  # of every linear map of a block


def build(size: Size, seed: int) -> Moment:
    """An untrained MOMENT without dropout."""
    torch.manual_seed(seed)
    t5 = {
        "d_model": size.width,
        "d_kv": size.head_width,
        "d_ff": size.feed_forward,
        "num_layers": size.layers,
        "num_heads": size.heads,
        "vocab_size": 8,
        "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
        "initializer_factor": size.initial_scale,
    }
    config = {
        "seq_len": size.window,
        "patch_len": size.patch,
        "patch_dropout": 0.0,
        "head_dropout": 0.0,
        "t5_config": t5,
    }
    return Moment(MomentNet(config), checkpoint="untrained")


def loss(backbone: Moment, batch: CorpusBatch) -> torch.Tensor:
    """Absolute error of the forecast and of hidden patches, in the context's deviations.

    Upstream hides 30 % of the patches and takes squares; with the corpus's heavy tails absolute
    errors train more steadily, and they are what zero-shot forecasts are scored by.
    """
    series = rows(batch)
    horizon = min(batch.target.shape[1], backbone.spec.max_context // 2)
    ahead = absolute_error(backbone.forecast(series, horizon), cut(series, horizon))
    patch, samples = backbone.spec.patch, series.values.shape[-1]
    chance = torch.rand(len(series.values), 1, -(-samples // patch))
    secret = (chance < HIDDEN).repeat_interleave(patch, -1)[..., -samples:]
    estimate = backbone.reconstruct(series, secret)
    within = estimate.loss(series.values, series.observed & secret, deviation(series))
    return ahead + within


def save(backbone: Moment, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
