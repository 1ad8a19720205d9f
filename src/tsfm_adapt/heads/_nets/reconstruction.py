"""Tokens of a window, some of them hidden, to all of its samples: one block of attention."""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SLOWEST = 10_000.0  # patches, the longest period of a position divided by 2 pi


def positions(patches: int, width: int, device: torch.device) -> Tensor:
    """Sines and cosines (P, W) of the place of a patch."""
    place = torch.arange(patches, dtype=torch.float32, device=device)[:, None]
    every = torch.arange(0, width, 2, dtype=torch.float32, device=device)
    angle = place * (-log(_SLOWEST) / width * every).exp()
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]


class Reconstruction(nn.Module):
    """Scaled quantiles (B, C, Q, P*L) of tokens (B, C, P, D).

    Every token, hidden or not, attends to the observed tokens of all channels of its window. A
    hidden one enters with its position and its channel only.

    Args:
        inputs: D.
        width: W inside, a multiple of `heads`.
        heads: of the attention.
        channels: C.
        patch: L samples a token.
        quantiles: Q.
        dropout: behind the attention and inside the feed-forward, in training.
    """

    level: Tensor  # (C,) mean in train, for channels without observed samples; data units
    deviation: Tensor  # (C,)

    def __init__(
        self,
        *,
        inputs: int,
        width: int,
        heads: int,
        channels: int,
        patch: int,
        quantiles: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.register_buffer("level", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.heads = heads
        self.quantiles = quantiles
        self.norm_of_tokens = nn.LayerNorm(inputs)
        self.project = nn.Linear(inputs, width)
        self.channel = nn.Parameter(0.02 * torch.randn(channels, width))
        self.norm_of_attention = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        # No bias on keys: it would move all scores of a query alike, and never learn.
        self.key = nn.Linear(width, width, bias=False)
        # Equal at first: a token then asks those of its own place most, whatever their channel.
        nn.init.orthogonal_(self.query.weight, gain=2.0)
        with torch.no_grad():
            self.key.weight.copy_(self.query.weight)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
        )
        self.norm_of_samples = nn.LayerNorm(width)
        self.samples = nn.Linear(width, quantiles * patch)

    def forward(self, tokens: Tensor, observed: Tensor) -> Tensor:
        """(B, C, Q, P*L).

        Args:
            tokens: (B, C, P, D), 0 where not observed.
            observed: (B, C, P) bool.
        """
        states = self.project(self.norm_of_tokens(tokens))  # (B, C, P, W)
        places = positions(tokens.shape[2], states.shape[-1], tokens.device)
        states = (states + places + self.channel[:, None]).flatten(1, 2)  # (B, C*P, W)
        states = states + self.dropout(self._attended(states, observed.flatten(1)))
        states = states + self.feed_forward(states)
        samples = self.samples(self.norm_of_samples(states))  # (B, C*P, Q*L)
        by_token = samples.unflatten(1, tokens.shape[1:3]).unflatten(-1, (self.quantiles, -1))
        scaled: Tensor = by_token.transpose(2, 3).flatten(3)
        return scaled

    def _attended(self, states: Tensor, observed: Tensor) -> Tensor:
        """Attention to the observed tokens, (B, N, W) of N = C*P."""
        normed = self.norm_of_attention(states)
        query, key, value = (
            layer(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        # A window without observed tokens attends to all: without a key attention has no value.
        keys = observed | ~observed.any(-1, keepdim=True)
        values = F.scaled_dot_product_attention(query, key, value, attn_mask=keys[:, None, None])
        attended: Tensor = self.out(values.transpose(1, 2).flatten(2))
        return attended
