"""Toy shift: one learned vector is added to every token before the first block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoder


class Config(AdapterConfig):
    """`adapters: [{name: toy_shift}]`."""

    name: Literal["toy_shift"] = "toy_shift"

    def build(self) -> ToyShift:
        """A shift has no settings."""
        return ToyShift()


class ToyShift(Adapter):
    """A shift of all tokens; zero, and so the identity, at the start."""

    name = "toy_shift"

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """Creates the vector (D,)."""
        import torch
        from torch import nn

        device = next(backbone.network.parameters()).device
        self.module = nn.Module()
        self.module.shift = nn.Parameter(torch.zeros(backbone.spec.width, device=device))

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """Tokens (B, C, P, D), shifted before block 0."""
        return tokens if layer else tokens + self.module.shift.to(tokens.dtype)
