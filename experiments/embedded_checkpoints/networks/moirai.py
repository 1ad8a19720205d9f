"""Moirai 1.x of upstream's own class at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import PATCH, CorpusBatch
from networks._batches import windows

from tsfm_adapt.backbones.moirai import Moirai

LOADS_WITH = "`uni2ts.model.moirai.MoiraiModule.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; one size of patches."""

    width: int = 128  # a multiple of 64, the width of a head
    layers: int = 4
    patch: int = PATCH
    tokens: int = 64  # of one channel


def build(size: Size, seed: int) -> Moirai:
    """An untrained Moirai with the published mixture."""
    from uni2ts.distribution import (
        LogNormalOutput,
        MixtureOutput,
        NegativeBinomialOutput,
        NormalFixedScaleOutput,
        StudentTOutput,
    )
    from uni2ts.model.moirai.module import MoiraiModule

    torch.manual_seed(seed)
    mixture = MixtureOutput(
        [StudentTOutput(), NormalFixedScaleOutput(), NegativeBinomialOutput(), LogNormalOutput()]
    )
    model = MoiraiModule(
        distr_output=mixture,
        d_model=size.width,
        num_layers=size.layers,
        patch_sizes=(size.patch,),
        max_seq_len=size.tokens,
        attn_dropout_p=0.0,
        dropout_p=0.0,
    )
    return Moirai(model, checkpoint="untrained")


def loss(backbone: Moirai, batch: CorpusBatch) -> torch.Tensor:
    """Upstream's negative log likelihood of the future."""
    return backbone.loss(windows(batch))


def save(backbone: Moirai, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
