"""The network of MOMENT and its scaling.

Goswami et al., "MOMENT: A Family of Open Time-series Foundation Models", arXiv 2402.03885. One
series is cut into patches; a T5 encoder sees one token a patch, and what is hidden is a learnt
mask token. Parameters have upstream's names, so that weights go either way.

Shapes: R series (rows), P patches, L samples a patch, D width.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import log
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Stack

# d_model, d_ff, num_layers, num_heads of the published text models; heads are 64 wide in each.
FLAN_T5: Mapping[str, tuple[int, int, int, int]] = {
    "google/flan-t5-small": (512, 1024, 8, 6),
    "google/flan-t5-base": (768, 2048, 12, 12),
    "google/flan-t5-large": (1024, 2816, 24, 16),
}

_POSITIONS = 5000  # of upstream's table

_OF_A_CONSTANT = 1e-5  # data units, upstream's
_ROUNDING = 1e-6  # of the largest value: apparent standard deviation of a constant in float32


def statistics(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (..., 1) over observed samples, detached, float32.

    Upstream adds 1e-5 to every deviation, in the data's units, which would make volts of
    microvolts; here deviations below float32's rounding of the values are raised to it instead,
    and that of zeros alone is 1e-5. A series without an observed sample has mean 0, deviation 1.
    """
    # float32 under autocast too: sums are not among the operations that it changes.
    values = torch.where(observed, values.detach().float(), 0.0)
    count = observed.sum(-1, keepdim=True).clamp(min=1)
    mean = values.sum(-1, keepdim=True) / count
    squares = torch.where(observed, values - mean, 0.0).square().sum(-1, keepdim=True)
    rounding = _ROUNDING * values.abs().amax(-1, keepdim=True)
    deviation = torch.maximum((squares / count).sqrt(), rounding)
    deviation = torch.where(deviation > 0, deviation, _OF_A_CONSTANT)
    return mean, torch.where(observed.any(-1, keepdim=True), deviation, 1.0)


def carried(values: Tensor, observed: Tensor) -> Tensor:
    """Fills gaps (..., T) with the last observed value, and those at the start with the next.

    0 where nothing was observed.
    """
    places = torch.arange(values.shape[-1], device=values.device).expand(values.shape)
    last = torch.where(observed, places, -1).cummax(-1).values
    first = observed.int().argmax(-1, keepdim=True)
    source = torch.where(last < 0, first, last)
    return torch.where(observed, values, 0.0).gather(-1, source)


def complete_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Upstream's config.json, completed by the settings of its text model.

    Raises:
        ValueError: not a MOMENT, or one that was never published and is not implemented here.
    """
    lacking = [key for key in ("seq_len", "patch_len") if not isinstance(config.get(key), int)]
    if lacking:
        raise ValueError(f"its config.json has no whole number {' and '.join(lacking)}")
    t5, text_model = config.get("t5_config"), str(config.get("transformer_backbone"))
    if t5 is None:
        if text_model not in FLAN_T5:
            raise ValueError(
                f"its config.json has no t5_config and its transformer_backbone is {text_model}, "
                f"not one of {', '.join(FLAN_T5)}"
            )
        width, inner, layers, heads = FLAN_T5[text_model]
        t5 = {
            "d_model": width,
            "d_kv": 64,
            "d_ff": inner,
            "num_layers": layers,
            "num_heads": heads,
            "vocab_size": 32128,
            "feed_forward_proj": "gated-gelu",
        }
    settings = {
        "task_name": "reconstruction",
        "model_name": "MOMENT",
        "transformer_type": "encoder_only",
        "patch_stride_len": config["patch_len"],
        "transformer_backbone": "t5",  # upstream reads it for a log line
        **config,
        "t5_config": dict(t5),
        "d_model": config.get("d_model") or t5.get("d_model"),
    }
    patch, window = settings["patch_len"], settings["seq_len"]
    expected = {
        "transformer_type": "encoder_only",
        "patch_stride_len": patch,
        "d_model": t5.get("d_model"),
        "revin_affine": False,
        "add_positional_embedding": True,
    }
    for key, value in expected.items():
        if settings.get(key, value) != value:
            raise ValueError(f"its config.json has {key} {settings[key]}, only {value} is known")
    if patch < 1 or window % patch or not 2 * patch <= window <= _POSITIONS * patch:
        raise ValueError(f"its config.json has seq_len {window} and patch_len {patch}")
    return settings


def positions(width: int) -> Tensor:
    """Sines and cosines (1, 5000, D) of the position of a patch in the window."""
    place = torch.arange(_POSITIONS, dtype=torch.float32)[:, None]
    frequency = (torch.arange(0, width, 2, dtype=torch.float32) * (-log(10000.0) / width)).exp()
    angle = place * frequency
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2)[None]


class _Positions(nn.Module):
    """The table of positions, under upstream's name."""

    pe: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("pe", positions(width))


class _PatchEmbedding(nn.Module):
    """Patches (R, P, L) to tokens (R, P, D)."""

    def __init__(self, width: int, patch: int, bias: bool, dropout: float) -> None:
        super().__init__()
        self.value_embedding = nn.Linear(patch, width, bias=bias)
        nn.init.orthogonal_(self.value_embedding.weight, gain=1.41)
        self.mask_embedding = nn.Parameter(torch.zeros(width))
        self.position_embedding = _Positions(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, patches: Tensor, visible: Tensor, first: int) -> Tensor:
        values = self.value_embedding(patches)
        tokens = torch.where(visible[..., None], values, self.mask_embedding.to(values.dtype))
        positions = self.position_embedding.pe[:, first : first + patches.shape[1]]
        dropped: Tensor = self.dropout(tokens + positions)
        return dropped


class _Vocabulary(nn.Module):
    """The text model's word embedding, unused, kept because upstream's files hold it.

    A buffer, so that it is neither counted nor trained.
    """

    def __init__(self, embedding: nn.Embedding) -> None:
        super().__init__()
        self.register_buffer("weight", embedding.weight.detach())


class ReconstructionHead(nn.Module):
    """The pretrained head: tokens (..., P, D) to the samples of their patches (..., P, L)."""

    def __init__(self, width: int, patch: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, patch)
        nn.init.orthogonal_(self.linear.weight, gain=1.41)
        nn.init.zeros_(self.linear.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Samples in scaled space."""
        samples: Tensor = self.linear(self.dropout(tokens))
        return samples


class MomentNet(nn.Module):
    """Patch embedding, T5 encoder and reconstruction head.

    The last patch stands at the end of the window whatever their number: as if the rest of the
    window had been padded to the left and hidden from attention, without computing it.

    Args:
        config: upstream's config.json.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.settings = complete_settings(config)
        self.width = int(self.settings["d_model"])
        self.patch = int(self.settings["patch_len"])
        self.window = int(self.settings["seq_len"]) // self.patch  # patches
        self.patch_embedding = _PatchEmbedding(
            self.width,
            self.patch,
            bias=bool(self.settings.get("value_embedding_bias", False)),
            dropout=float(self.settings.get("patch_dropout", 0.1)),
        )
        t5 = T5Config.from_dict(self.settings["t5_config"])
        t5.use_cache = t5.is_encoder_decoder = t5.is_decoder = False
        self.encoder = T5Stack(t5)
        self.encoder.embed_tokens = _Vocabulary(self.encoder.embed_tokens)
        self.head = ReconstructionHead(
            self.width, self.patch, float(self.settings.get("head_dropout", 0.1))
        )

    def constants(self) -> dict[str, Tensor]:
        """Tensors that a weights file may lack: the position table, the vocabulary as zeros."""
        vocabulary = self.encoder.embed_tokens.weight
        return {
            "patch_embedding.position_embedding.pe": positions(self.width),
            "encoder.embed_tokens.weight": torch.zeros(vocabulary.shape),
        }

    def encode(self, patches: Tensor, visible: Tensor) -> Tensor:
        """Tokens (R, P, D) of scaled patches (R, P, L); hidden ones count as mask tokens.

        Args:
            patches: at most `window` of them, finite.
            visible: (R, P) bool; where False, the samples are not looked at.
        """
        first = self.window - patches.shape[1]
        assert first >= 0, (self.window, patches.shape)
        tokens = self.patch_embedding(patches, visible, first)
        states: Tensor = self.encoder(inputs_embeds=tokens).last_hidden_state
        return states

    def forward(self, patches: Tensor, visible: Tensor) -> Tensor:
        """The head's estimate (R, P, L) of every patch, in scaled space, float32."""
        samples: Tensor = self.head(self.encode(patches, visible))
        return samples.float()

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes the folder that `momentfm.MOMENTPipeline.from_pretrained` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.settings, indent=2) + "\n")
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
