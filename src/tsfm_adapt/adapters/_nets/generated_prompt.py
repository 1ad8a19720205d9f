"""The network that makes prompts of the tokens of a window.

Shapes: B windows, C channels, P tokens, D the backbone's width, W the width in here, K prompts of
each channel. What was not observed reaches no prompt.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Aggregator = Literal["mlp", "rnn", "attention"]


class PromptGenerator(nn.Module):
    """Tokens (B, C, P, D) to prompts (B, C*K, D), a channel's K after another's.

    Attention across the channels at each place in time, an aggregator over time, and on the way a
    bottleneck of width W. What it makes is added to K trainable prompts that all channels share.

    Args:
        inner: D.
        width: W.
        heads: of every attention; divides W.
        prompts: K.
        aggregator: what makes K tokens of P.
        spans: places of the aggregator 'mlp'.
        std: standard deviation of untrained prompts.
    """

    def __init__(
        self,
        *,
        inner: int,
        width: int,
        heads: int,
        prompts: int,
        aggregator: Aggregator,
        spans: int,
        std: float,
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(inner, width)
        self.across = _Attention(width, heads)
        self.aggregate: nn.Module
        if aggregator == "mlp":
            self.aggregate = _Spans(spans, prompts)
        elif aggregator == "rnn":
            self.aggregate = _LastState(width, prompts)
        else:
            self.aggregate = _Largest(width, heads, prompts)
        self.leave = nn.Linear(width, inner, bias=False)
        nn.init.normal_(self.leave.weight, std=std * width**-0.5)
        self.base = nn.Parameter(std * torch.randn(prompts, inner))

    def forward(self, tokens: Tensor, observed: Tensor) -> Tensor:
        """Prompts (B, C*K, D) of tokens (B, C, P, D), of which `observed` (B, C, P) count."""
        known = tokens.masked_fill(~observed[..., None], 0.0)
        states = self.enter(F.layer_norm(known, known.shape[-1:]))  # (B, C, P, W)
        places = states.transpose(1, 2)
        places = places + self.across(places, observed.transpose(1, 2))
        each = self.aggregate(places.transpose(1, 2), observed)  # (B, C, K, W)
        prompts: Tensor = self.base + self.leave(each)
        return prompts.flatten(1, 2)


class _Attention(nn.Module):
    """Tokens (..., L, W) attend to those that are seen, and each to itself."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, seen: Tensor) -> Tensor:
        leading, length = tokens.shape[:-2], tokens.shape[-2]
        rows = self.qkv(tokens.flatten(0, -3)).unflatten(-1, (3, self.heads, -1))
        query, key, value = rows.permute(2, 0, 3, 1, 4)  # (rows, heads, L, W / heads)
        itself = torch.eye(length, dtype=torch.bool, device=tokens.device)
        mask = seen.flatten(0, -2)[:, None, None] | itself
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        result: Tensor = self.out(attended.transpose(1, 2).flatten(2)).unflatten(0, leading)
        return result


class _Spans(nn.Module):
    """Time cut into spans that end with the context, and linear maps of their means.

    Up to as many tokens as there are spans, a span is a token, and earlier ones are 0; of more
    tokens, each span takes equally many.
    """

    def __init__(self, spans: int, prompts: int) -> None:
        super().__init__()
        self.spans = spans
        self.map = nn.Linear(spans, prompts)

    def forward(self, states: Tensor, observed: Tensor) -> Tensor:
        length = -(-states.shape[2] // self.spans) * self.spans
        missing = length - states.shape[2]
        seen = F.pad(observed, (missing, 0), value=False).unflatten(2, (self.spans, -1))
        shown = F.pad(states.masked_fill(~observed[..., None], 0.0), (0, 0, missing, 0))
        total = shown.unflatten(2, (self.spans, -1)).sum(3)  # (B, C, spans, W)
        mean = total / seen.sum(3).clamp(min=1)[..., None]
        mapped: Tensor = self.map(mean.transpose(2, 3)).transpose(2, 3)
        return mapped


class _LastState(nn.Module):
    """The state of a recurrent network after the last observed token."""

    def __init__(self, width: int, prompts: int) -> None:
        super().__init__()
        self.prompts = prompts
        self.rnn = nn.RNN(width, width * prompts, batch_first=True)

    def forward(self, states: Tensor, observed: Tensor) -> Tensor:
        # Observed tokens first, in their order: states after the last of them are not read.
        order = torch.argsort((~observed).int(), dim=2, stable=True)
        sorted_states = states.gather(2, order[..., None].expand_as(states))
        read, _ = self.rnn(sorted_states.flatten(0, 1))  # (B*C, P, W*K)
        count = observed.sum(2).flatten()
        last = read[torch.arange(len(read), device=read.device), (count - 1).clamp(min=0)]
        last = torch.where(count[:, None] > 0, last, 0.0)
        by_prompt: Tensor = last.unflatten(0, states.shape[:2]).unflatten(-1, (self.prompts, -1))
        return by_prompt


class _Largest(nn.Module):
    """Attention over time, then the largest of each feature over observed tokens."""

    def __init__(self, width: int, heads: int, prompts: int) -> None:
        super().__init__()
        self.prompts = prompts
        self.over_time = _Attention(width, heads)
        self.map = nn.Linear(width, width * prompts)

    def forward(self, states: Tensor, observed: Tensor) -> Tensor:
        mapped = self.map(states + self.over_time(states, observed))  # (B, C, P, W*K)
        lowest = torch.finfo(mapped.dtype).min
        largest = mapped.masked_fill(~observed[..., None], lowest).amax(2)
        largest = torch.where(observed.any(2)[..., None], largest, 0.0)
        by_prompt: Tensor = largest.unflatten(-1, (self.prompts, -1))
        return by_prompt
