"""Moirai 2 of upstream's own class at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import PATCH, CorpusBatch
from networks._batches import windows

from tsfm_adapt.backbones.moirai2 import Moirai2

LOADS_WITH = "`uni2ts.model.moirai2.Moirai2Module.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network."""

    width: int = 128  # a multiple of 64, the width of a head
    feed_forward: int = 256
    layers: int = 4
    patch: int = PATCH
    tokens: int = 64  # of one channel
    ahead: int = 4  # patches that a token predicts


def build(size: Size, seed: int) -> Moirai2:
    """An untrained Moirai 2."""
    from uni2ts.model.moirai2.module import Moirai2Module

    torch.manual_seed(seed)
    model = Moirai2Module(
        d_model=size.width,
        d_ff=size.feed_forward,
        num_layers=size.layers,
        patch_size=size.patch,
        max_seq_len=size.tokens,
        attn_dropout_p=0.0,
        dropout_p=0.0,
        num_predict_token=size.ahead,
    )
    return Moirai2(model, checkpoint="untrained")


def loss(backbone: Moirai2, batch: CorpusBatch) -> torch.Tensor:
    """Pinball loss of what each channel's last token predicts."""
    return backbone.loss(windows(batch))


def save(backbone: Moirai2, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
