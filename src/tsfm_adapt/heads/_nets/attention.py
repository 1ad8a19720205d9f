"""Attention over observed tokens: by one query that pools, or by queries that stand for classes.

Tokens come as `_pooling.flagged` gives them: (B, C, P, D + 1), last whether they are observed.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tsfm_adapt.heads._nets.channels import merged


class AttentionPool(nn.Module):
    """One vector a window; each channel's is a mean of its observed tokens, weighted by a query.

    Weights are a softmax of the query's products with normalised tokens. The query starts at zero,
    where the pool is the plain mean.

    Args:
        width: D, of the numbers that are weighed; a token may hold more, which are only pooled.
        merge: of channels, see `merged`.
    """

    def __init__(self, width: int, merge: Literal["concat", "mean"]) -> None:
        super().__init__()
        self.merge = merge
        self.query = nn.Parameter(torch.zeros(width))

    def forward(self, flagged: Tensor) -> Tensor:
        """(B, C * F) or (B, F) of (B, C, P, F + 1)."""
        tokens, seen = flagged[..., :-1], flagged[..., -1] > 0
        width = len(self.query)
        keys = F.layer_norm(tokens[..., :width], (width,))
        scores = (keys @ self.query) / width**0.5  # (B, C, P)
        lowest = torch.finfo(scores.dtype).min  # finite: a channel may have no observed token
        weights = scores.masked_fill(~seen, lowest).softmax(-1).to(tokens.dtype)
        parts = (weights[..., None] * tokens).sum(2)  # 0 of a channel without observed tokens
        return merged(parts, seen.any(-1), self.merge)


class SharedBlock(nn.Module):
    """A number for each query: cross-attention to tokens, then a small network.

    Its size depends on the backbone's width only, not on channels, tokens or classes.

    Args:
        width: D.
        heads: of the attention; divides D.
        dropout: on what attention gives and inside the network, in training.
    """

    heads: Tensor  # a number; a buffer, so that bundles hold it

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("heads", torch.tensor(heads))
        self.split = (heads, width // heads)
        self.norm_query = nn.LayerNorm(width)
        self.norm_token = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width, bias=False)  # a bias of the keys changes no attention
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, width)
        self.leave = nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, tokens: Tensor, seen: Tensor) -> Tensor:
        """(B, Q) of queries (Q, D) and tokens (B, N, D), of which `seen` (B, N) take part."""
        query = self.query(self.norm_query(queries)).unflatten(-1, self.split).transpose(0, 1)
        normal = self.norm_token(tokens)
        key, value = (
            layer(normal).unflatten(-1, self.split).transpose(1, 2)
            for layer in (self.key, self.value)
        )  # (B, heads, N, D / heads)
        any_seen = seen.any(-1)[:, None, None]  # (B, 1, 1)
        attended = F.scaled_dot_product_attention(
            query.expand(len(tokens), -1, -1, -1),
            key,
            value,
            attn_mask=(seen[:, None] | ~any_seen)[:, None],  # a softmax over nothing is no number
        )
        attended = self.out(attended.transpose(1, 2).flatten(2))  # (B, Q, D)
        mixed = queries + self.dropout(torch.where(any_seen, attended, 0.0))
        hidden = self.dropout(F.relu(self.enter(self.norm(mixed))))
        result: Tensor = self.leave(hidden).squeeze(-1)
        return result


class LabelQueries(nn.Module):
    """Logits (B, K): the mean of the shared block's outputs over the probes of a class.

    Args:
        channels: C.
        width: D.
        classes: K.
        probes: k a class.
        heads: of the block.
        dropout: of the block.
        scale: of the channels' embeddings and of the queries at the start.
    """

    def __init__(
        self,
        *,
        channels: int,
        width: int,
        classes: int,
        probes: int,
        heads: int,
        dropout: float,
        scale: float,
    ) -> None:
        super().__init__()
        self.channel = nn.Parameter(scale * torch.randn(channels, width))
        self.queries = nn.Parameter(scale * torch.randn(classes, probes, width))
        self.block = SharedBlock(width, heads, dropout)

    def freeze(self) -> None:
        """Makes buffers of the block's parameters: they do not train, and are saved."""
        for part in self.block.modules():
            for name, parameter in list(part.named_parameters(recurse=False)):
                delattr(part, name)
                part.register_buffer(name, parameter.detach())

    def forward(self, flagged: Tensor) -> Tensor:
        """(B, K) of (B, C, P, D + 1)."""
        tokens, seen = flagged[..., :-1], flagged[..., -1] > 0
        # Encoders' tokens differ in size by orders of magnitude, and the embeddings do not.
        tokens = F.layer_norm(tokens, tokens.shape[-1:]) + self.channel[:, None]
        answers = self.block(self.queries.flatten(0, 1), tokens.flatten(1, 2), seen.flatten(1))
        logits: Tensor = answers.unflatten(1, self.queries.shape[:2]).mean(-1)
        return logits
