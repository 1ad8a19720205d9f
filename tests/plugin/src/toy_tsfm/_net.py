"""The network of the toy encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """An embedding of patches and its blocks."""

    def __init__(self, patch: int, width: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Linear(2 * patch, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))


class Block(nn.Module):
    """Attention of one head over the tokens of a channel, and a layer that grows and shrinks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.grow, self.shrink = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, prompts: Tensor, tokens: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Prompts (B, C, N, D) and tokens (B, C, P, D), of which some show something."""
        count = prompts.shape[2]
        hidden = torch.cat([prompts.to(tokens.dtype), tokens], dim=2)
        keys = torch.cat([seen.new_ones(prompts.shape[:3]), seen], dim=2)
        allowed = keys[..., None, :] | torch.eye(
            keys.shape[-1], dtype=torch.bool, device=keys.device
        )
        normed = self.norm(hidden)
        mixed = nn.functional.scaled_dot_product_attention(
            self.q(normed), self.k(normed), self.v(normed), attn_mask=allowed
        )
        hidden = hidden + self.out(mixed)
        hidden = hidden + self.shrink(nn.functional.gelu(self.grow(hidden)))
        return hidden[:, :, :count], hidden[:, :, count:]
