"""Small networks that mix the tokens of all channels at each place of the context."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AttentionMixer(nn.Module):
    """Attention between channels in a narrow space; its output starts at zero.

    Biases are left out: a bias of the keys changes no attention.
    """

    def __init__(
        self, *, channels: int, size: int, width: int, heads: int, device: torch.device
    ) -> None:
        super().__init__()
        self.heads = heads
        self.down = nn.Linear(size, width, bias=False, device=device)
        self.channel = nn.Parameter(0.02 * torch.randn(channels, width, device=device))
        self.query = nn.Linear(width, width, bias=False, device=device)
        self.key = nn.Linear(width, width, bias=False, device=device)
        self.value = nn.Linear(width, width, bias=False, device=device)
        self.up = nn.Linear(width, size, bias=False, device=device)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """What to add to tokens (B, C, P, D)."""
        query, key, value = self._projected(tokens)
        mixed = F.scaled_dot_product_attention(query, key, value)
        changes: Tensor = self.up(mixed.transpose(2, 3).flatten(3))  # (B, P, C, D)
        return changes.transpose(1, 2)

    def attention(self, tokens: Tensor) -> Tensor:
        """How much each channel attends to each, (B, P, C, C), rows sum to 1; mean over heads."""
        query, key, _ = self._projected(tokens)
        weights: Tensor = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
        return weights.mean(2)

    def _projected(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, P, heads, C, w / heads)."""
        narrow = self.down(F.layer_norm(tokens, tokens.shape[-1:]))
        narrow = (narrow + self.channel[:, None]).transpose(1, 2)  # (B, P, C, w)
        query, key, value = (
            layer(narrow).unflatten(-1, (self.heads, -1)).transpose(2, 3)
            for layer in (self.query, self.key, self.value)
        )
        return query, key, value


class MlpMixer(nn.Module):
    """A perceptron over the channels of each feature of a narrow space; it starts at zero."""

    def __init__(self, *, channels: int, size: int, width: int, device: torch.device) -> None:
        super().__init__()
        self.down = nn.Linear(size, width, bias=False, device=device)
        self.enter = nn.Linear(channels, 2 * channels, device=device)
        self.leave = nn.Linear(2 * channels, channels, device=device)
        self.up = nn.Linear(width, size, bias=False, device=device)
        nn.init.zeros_(self.up.weight)

    def forward(self, tokens: Tensor) -> Tensor:
        """What to add to tokens (B, C, P, D)."""
        narrow = self.down(F.layer_norm(tokens, tokens.shape[-1:])).movedim(1, -1)  # (B, P, w, C)
        mixed = self.leave(F.gelu(self.enter(narrow)))
        changes: Tensor = self.up(mixed.movedim(-1, 1))
        return changes
