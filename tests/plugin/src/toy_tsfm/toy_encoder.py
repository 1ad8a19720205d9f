"""Toy encoder: two blocks of attention over patches of eight samples; it forecasts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tsfm_adapt.backbones.base import (
    PLAIN,
    TINY,
    BackboneConfig,
    BackboneSpec,
    Encoded,
    Encoder,
    Role,
    Through,
    overwritten,
    per_series,
)
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.batches import Batch

LICENCES: Mapping[str, str] = {}

PATCH, WIDTH, BLOCKS = 8, 16, 2


class Config(BackboneConfig):
    """`backbone: {name: toy_encoder, checkpoint: tiny}`."""

    name: Literal["toy_encoder"] = "toy_encoder"

    def _load(self, weights: bool) -> ToyEncoder:
        """The weights of a folder that `save` wrote."""
        from safetensors.torch import load_file

        file = Path(self.checkpoint).expanduser() / "model.safetensors"
        if not file.is_file():
            raise RecipeError(
                f"backbone.checkpoint: '{self.checkpoint}' holds no model.safetensors. Give a "
                "folder that has one, or 'tiny'."
            )
        encoder = ToyEncoder(self.checkpoint)
        encoder.network["model"].load_state_dict(load_file(file))
        return encoder if weights else encoder.on_meta()

    def _tiny(self) -> ToyEncoder:
        return ToyEncoder.tiny()


class ToyEncoder(Encoder):
    """Each channel by itself: standardised patches with their masks, then attention."""

    def __init__(self, checkpoint: str) -> None:
        from torch import nn

        from toy_tsfm._net import Net

        self.network = nn.ModuleDict({"model": Net(PATCH, WIDTH, BLOCKS)}).eval()
        self.spec = BackboneSpec(
            name="toy_encoder",
            checkpoint=checkpoint,
            licence="apache-2.0",
            width=WIDTH,
            layers=BLOCKS,
            patch=PATCH,
            max_context=4096,
            joint_channels=False,
            causal=False,
        )

    @classmethod
    def tiny(cls, seed: int = 0) -> ToyEncoder:
        """The only size there is."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls(TINY)

    def on_meta(self) -> ToyEncoder:
        """The same without memory."""
        self.network.to("meta")
        return self

    def sites(self) -> Mapping[Role, str]:
        """Single linear layers."""
        block = r"(?:model\.)?blocks\.\d+\."
        return {
            "attn.q": block + "q",
            "attn.k": block + "k",
            "attn.v": block + "v",
            "attn.out": block + "out",
            "mlp.in": block + "grow",
            "mlp.out": block + "shrink",
        }

    def encode(self, batch: Batch, through: Through = PLAIN) -> Encoded:
        """One token a patch and channel; 0 where a patch shows nothing."""
        import torch

        patches, shown = _patches(batch)
        seen = shown.any(-1)  # (B, C, P)
        net = self.network["model"]
        tokens = net.embed(torch.cat([patches, shown.to(patches.dtype)], dim=-1))
        prompts = tokens[:, :, :0]
        for layer, block in enumerate(net.blocks):
            given = through.prefix(batch, layer, tokens)
            if given is not None:
                own = per_series(given, batch)
                prompts = overwritten(prompts, own, layer) if layer else own
            tokens = through.tokens(tokens, layer)
            prompts, tokens = block(prompts, tokens, seen)
        return Encoded(tokens * seen[..., None], seen)

    def save(self, folder: Path) -> str:
        """One file of weights."""
        from safetensors.torch import save_file

        save_file(dict(self.network["model"].state_dict()), folder / "model.safetensors")
        return (
            "from toy_tsfm.toy_encoder import Config\n"
            'model = Config(checkpoint="FOLDER").build().network["model"]'
        )


def _patches(batch: Batch) -> tuple[Tensor, Tensor]:
    """Standardised values (B, C, P, patch), 0 where not observed, and what is observed."""
    import torch
    from torch.nn.functional import pad

    observed = batch.observed
    count = observed.sum(-1, keepdim=True).clamp(min=1)
    values = torch.where(observed, batch.values, 0.0)
    mean = values.sum(-1, keepdim=True) / count
    centred = torch.where(observed, batch.values - mean, 0.0)
    scale = (centred.square().sum(-1, keepdim=True) / count).sqrt().detach()
    scaled = centred / scale.clamp(min=1e-5)
    short = -observed.shape[-1] % PATCH
    shape = (*observed.shape[:2], -1, PATCH)
    return pad(scaled, (short, 0)).reshape(shape), pad(observed, (short, 0)).reshape(shape)
