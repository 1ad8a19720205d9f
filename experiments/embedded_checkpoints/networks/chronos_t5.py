"""Chronos-T5 of upstream's own class at about 0.4 M parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from corpus import CorpusBatch
from networks._batches import cut, deviation, rows

from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.batches import Batch

LOADS_WITH = "`chronos.ChronosPipeline.from_pretrained(folder)`"


@dataclass(frozen=True)
class Size:
    """Sizes of the network; the defaults make 0.5 M parameters, 2 MB in float32."""

    width: int = 64
    head_width: int = 16
    heads: int = 4
    feed_forward: int = 256
    layers: int = 2  # of the encoder and of the decoder
    tokens: int = 4096
    context: int = 512
    horizon: int = 64  # samples a pass
    initial_scale: float = 0.15  # of every linear map and norm


def build(size: Size, seed: int) -> ChronosT5:
    """An untrained T5 with upstream's tokenizer in its config."""
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=size.tokens,
        d_model=size.width,
        d_kv=size.head_width,
        d_ff=size.feed_forward,
        num_layers=size.layers,
        num_heads=size.heads,
        dropout_rate=0.0,
        initializer_factor=size.initial_scale,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        architectures=["T5ForConditionalGeneration"],
    )
    config.chronos_pipeline_class = "ChronosPipeline"
    config.chronos_config = {
        "tokenizer_class": "MeanScaleUniformBins",
        "tokenizer_kwargs": {"low_limit": -15.0, "high_limit": 15.0},
        "context_length": size.context,
        "prediction_length": size.horizon,
        "n_tokens": size.tokens,
        "n_special_tokens": 2,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "use_eos_token": True,
        "model_type": "seq2seq",
        "num_samples": 20,
        "temperature": 1.0,
        "top_k": 50,
        "top_p": 1.0,
    }
    return ChronosT5(T5ForConditionalGeneration(config), checkpoint="untrained")


def loss(backbone: ChronosT5, batch: CorpusBatch) -> torch.Tensor:
    """Upstream's cross-entropy, every series raised to a level as biosignals have one.

    The tokenizer divides by the mean absolute value and leaves the level in: series around zero
    alone would teach nothing of SpO2 at 97 %.
    """
    series = _raised(rows(batch))
    horizon = min(batch.target.shape[1], backbone.model.config.chronos_config["prediction_length"])
    return backbone.loss(cut(series, horizon))


def _raised(batch: Batch) -> Batch:
    """Four of five series at a level of 0.3 to 30 of their deviations."""
    assert batch.target is not None
    number = len(batch.values)
    ratio = 0.3 * 100 ** torch.rand(number, 1, 1)
    level = deviation(batch) * ratio * (torch.rand(number, 1, 1) < 0.8)
    return replace(batch, values=batch.values + level, target=batch.target + level)


def save(backbone: ChronosT5, folder: Path) -> None:
    """As upstream saves it."""
    backbone.model.save_pretrained(folder)
