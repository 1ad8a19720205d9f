"""Lag-Llama of the package's own network, in upstream's names, at about 1 M parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import CorpusBatch
from networks._batches import rows

from tsfm_adapt.backbones._nets.lag_llama import LAGS, LagLlamaNet
from tsfm_adapt.backbones.lag_llama import LagLlama

CONTEXT = 32  # tokens, as upstream trains

LOADS_WITH = "`tsfm-adapt`; upstream's class takes the weights by `load_state_dict`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; the published lags."""

    head_width: int = 32
    heads: int = 4
    layers: int = 4


def build(size: Size, seed: int) -> LagLlama:
    """An untrained Lag-Llama."""
    torch.manual_seed(seed)
    settings = {
        "n_layer": size.layers,
        "n_head": size.heads,
        "n_embd_per_head": size.head_width,
        "lags_seq": LAGS,
    }
    return LagLlama(LagLlamaNet(settings), "untrained", context=CONTEXT, samples=20)


def loss(backbone: LagLlama, batch: CorpusBatch) -> torch.Tensor:
    """Negative log-likelihood of the future, teacher-forced."""
    return backbone.loss(rows(batch))


def save(backbone: LagLlama, folder: Path) -> None:
    """config.json and model.safetensors, under upstream's names."""
    backbone.model.save_pretrained(folder)
