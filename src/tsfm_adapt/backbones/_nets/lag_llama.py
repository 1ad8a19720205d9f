"""Lag-Llama's network: a causal transformer whose tokens are lagged values of one series.

Rasul et al., "Lag-Llama: Towards Foundation Models for Probabilistic Time Series Forecasting",
arXiv 2310.08278. Upstream is not a package; the names in the state dict are those of its
`LagLlamaModel`.

Rows **R** are series, **L** tokens (one a sample), **S** continuations of a series.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

# Upstream computes them with gluonts from the frequencies Q, M, W, D, H, T, S; later gluonts adds
# 1 to 6, so they are written down here.
# fmt: off
LAGS: tuple[int, ...] = (
    0, 7, 8, 10, 11, 12, 13, 14, 19, 20, 21, 22, 23, 24, 26, 27, 28, 29, 30, 34, 35, 36, 46, 47,
    48, 50, 51, 52, 55, 57, 58, 59, 60, 61, 70, 71, 72, 83, 94, 95, 96, 102, 103, 104, 117, 118,
    119, 120, 121, 142, 143, 144, 154, 155, 156, 166, 167, 168, 177, 178, 179, 180, 181, 334, 335,
    336, 362, 363, 364, 502, 503, 504, 670, 671, 672, 718, 719, 720, 726, 727, 728, 1090, 1091,
    1092,
)
# fmt: on
TIME_FEATURES = 6

# Settings that `config.json` or the `model_kwargs` of upstream's checkpoint must have.
REQUIRED = ("n_layer", "n_head", "n_embd_per_head", "lags_seq")
# Settings that either may have, with the only value that this network supports.
FIXED: Mapping[str, object] = {"scaling": "robust", "input_size": 1, "dropout": 0.0}


class Memory(NamedTuple):
    """Keys and values of a block's earlier tokens."""

    keys: Tensor  # (R, heads, L, d) of a context; (R, S, heads, L, d) of its continuations
    values: Tensor


class StudentT(NamedTuple):
    """Parameters of a predicted distribution, in scaled space, float32."""

    df: Tensor
    loc: Tensor
    scale: Tensor

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of `value`, in scaled space."""
        deviation = (value - self.loc) / self.scale
        half = 0.5 * (self.df + 1)
        normaliser = torch.lgamma(half) - torch.lgamma(0.5 * self.df)
        normaliser = normaliser - 0.5 * torch.log(torch.pi * self.df) - torch.log(self.scale)
        return normaliser - half * torch.log1p(deviation.square() / self.df)

    def draw(self, uniforms: Tensor) -> Tensor:
        """One value a pair of uniform numbers (2, ...), differentiable in all parameters.

        Bailey, "Polar generation of random variates with the t-distribution", 1994.
        """
        radius = (self.df * torch.expm1(-2 / self.df * uniforms[0].log())).sqrt()
        return self.loc + self.scale * radius * torch.cos(2 * torch.pi * uniforms[1])


class RMSNorm(nn.Module):
    """Root mean square norm, computed in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, tokens: Tensor) -> Tensor:
        square = tokens.float().square().mean(-1, keepdim=True)
        return (self.scale * (tokens * torch.rsqrt(square + 1e-5))).type_as(tokens)


class Attention(nn.Module):
    """Causal self-attention with rotary positions."""

    def __init__(self, heads: int, head_width: int, rope_factor: float) -> None:
        super().__init__()
        width = heads * head_width
        self.q_proj = nn.Linear(width, width, bias=False)
        self.kv_proj = nn.Linear(width, 2 * width, bias=False)
        self.c_proj = nn.Linear(width, width, bias=False)
        self.heads, self.rope_factor = heads, rope_factor

    def forward(self, tokens: Tensor) -> tuple[Tensor, Memory]:
        """Attends over a context (R, L, D); returns its keys and values too."""
        queries, own = self._project(tokens, first=0)
        mixed = F.scaled_dot_product_attention(queries, own.keys, own.values, is_causal=True)
        return self._join(mixed), own

    def extend(
        self, tokens: Tensor, context: Memory, earlier: Memory | None
    ) -> tuple[Tensor, Memory]:
        """New tokens (R, S, L, D) of S continuations; each sees the context and its own past.

        The context is not repeated: the queries of all continuations meet it as one long row.

        Args:
            tokens: those that come next.
            context: of the tokens before the first continuation.
            earlier: of the continuations' own tokens so far.
        """
        before = 0 if earlier is None else earlier.keys.shape[-2]
        after, first = tokens.shape[2], context.keys.shape[-2] + before
        queries, own = self._project(tokens, first)
        if earlier is not None:
            own = Memory(*(torch.cat(pair, dim=-2) for pair in zip(earlier, own, strict=True)))
        queries = queries / queries.shape[-1] ** 0.5
        long = queries.transpose(1, 2).flatten(2, 3)  # (R, heads, S*L, d)
        to_context = (long @ context.keys.mT).unflatten(2, (-1, after)).transpose(1, 2)
        seen = torch.ones(after, before + after, dtype=torch.bool, device=tokens.device)
        to_own = (queries @ own.keys.mT).masked_fill(~seen.tril(before), -torch.inf)
        weights = torch.cat([to_context, to_own], dim=-1).softmax(-1).type_as(own.values)
        of_context, of_own = weights.tensor_split([context.keys.shape[-2]], dim=-1)
        read = of_context.transpose(1, 2).flatten(2, 3) @ context.values
        mixed = read.unflatten(2, (-1, after)).transpose(1, 2) + of_own @ own.values
        return self._join(mixed), own

    def _project(self, tokens: Tensor, first: int) -> tuple[Tensor, Memory]:
        """Rotated queries, and keys and values (..., heads, L, d)."""
        queries = self.q_proj(tokens)
        keys, values = self.kv_proj(tokens).chunk(2, dim=-1)
        queries, keys, values = (
            each.unflatten(-1, (self.heads, -1)).transpose(-2, -3)
            for each in (queries, keys, values)
        )
        return self._rotate(queries, first), Memory(self._rotate(keys, first), values)

    def _rotate(self, vectors: Tensor, first: int) -> Tensor:
        """Rotary positions `first`, `first` + 1, ...; the halves of a head are the two axes."""
        half, length = vectors.shape[-1] // 2, vectors.shape[-2]
        arange = torch.arange(half, device=vectors.device, dtype=torch.float32)
        position = torch.arange(first, first + length, device=vectors.device) / self.rope_factor
        angle = position[:, None] * 10000 ** (-arange / half)
        cos, sin = angle.cos(), angle.sin()
        x, y = vectors[..., :half], vectors[..., half:]
        return torch.cat([x * cos - y * sin, y * cos + x * sin], dim=-1).type_as(vectors)

    def _join(self, mixed: Tensor) -> Tensor:
        """Concatenates the heads and projects them."""
        out: Tensor = self.c_proj(mixed.transpose(-2, -3).flatten(-2))
        return out


class GatedMlp(nn.Module):
    """Feed-forward with a SiLU gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = -(-(8 * width // 3) // 256) * 256  # two thirds of 4 D, up to a multiple of 256
        self.c_fc1 = nn.Linear(width, hidden, bias=False)
        self.c_fc2 = nn.Linear(width, hidden, bias=False)
        self.c_proj = nn.Linear(hidden, width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.c_proj(F.silu(self.c_fc1(tokens)) * self.c_fc2(tokens))
        return out


class Block(nn.Module):
    """Attention and feed-forward, each after a norm and around it."""

    def __init__(self, heads: int, head_width: int, rope_factor: float) -> None:
        super().__init__()
        self.rms_1 = RMSNorm(heads * head_width)
        self.attn = Attention(heads, head_width, rope_factor)
        self.rms_2 = RMSNorm(heads * head_width)
        self.mlp = GatedMlp(heads * head_width)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Memory]:
        """Tokens (R, L, D) of a context."""
        mixed, own = self.attn(self.rms_1(tokens))
        return self._feed_forward(tokens + mixed), own

    def extend(
        self, tokens: Tensor, context: Memory, earlier: Memory | None
    ) -> tuple[Tensor, Memory]:
        """Tokens (R, S, L, D) of continuations."""
        mixed, own = self.attn.extend(self.rms_1(tokens), context, earlier)
        return self._feed_forward(tokens + mixed), own

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = tokens + self.mlp(self.rms_2(tokens))
        return out


class Projection(nn.Module):
    """Tokens to the parameters of a Student-t, one linear map each: df, loc, scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList(nn.Linear(width, 1) for _ in range(3))

    def forward(self, tokens: Tensor) -> StudentT:
        df, loc, scale = (each(tokens).squeeze(-1).float() for each in self.proj)
        smallest = torch.finfo(torch.float32).eps
        return StudentT(2 + F.softplus(df), loc, F.softplus(scale).clamp(min=smallest))


class LagLlamaNet(nn.Module):
    """Maps the values of a series to the distribution of its next value.

    Args:
        settings: `n_layer`, `n_head`, `n_embd_per_head`, `lags_seq`, and upstream's other sizes.
        rope_factor: positions are divided by it; None = what `rope_scaling` in settings says.

    Raises:
        ValueError: a setting is missing or asks for what this network does not have.
    """

    def __init__(self, settings: Mapping[str, Any], rope_factor: float | None = None) -> None:
        super().__init__()
        self.settings = _checked(settings)
        heads, head_width = self.settings["n_head"], self.settings["n_embd_per_head"]
        own = (self.settings["rope_scaling"] or {"factor": 1.0})["factor"]
        self.rope_factor: float = rope_factor or own
        self.width: int = heads * head_width
        self.lags: tuple[int, ...] = tuple(self.settings["lags_seq"])
        self.reach = max(self.lags)  # samples before a token that it still sees
        self.time_feat: bool = self.settings["time_feat"]
        inputs = len(self.lags) + 2 + TIME_FEATURES * self.time_feat
        self.param_proj = Projection(self.width)
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Linear(inputs, self.width),
                "h": nn.ModuleList(
                    Block(heads, head_width, self.rope_factor)
                    for _ in range(self.settings["n_layer"])
                ),
                "ln_f": RMSNorm(self.width),
            }
        )

    def embed(self, series: Tensor, loc: Tensor, scale: Tensor, time: Tensor) -> Tensor:
        """Tokens (..., L, D) of the last L samples; the residual stream stays float32.

        Args:
            series: (..., reach + L) scaled values.
            loc: (..., 1) what was subtracted.
            scale: (..., 1) what was divided by.
            time: (..., L, 6) as of `time_features`.
        """
        length = series.shape[-1] - self.reach
        at = torch.arange(self.reach, self.reach + length, device=series.device)[:, None]
        lags = torch.tensor(self.lags, device=series.device)
        static = torch.stack([loc.abs().log1p(), scale.log()], dim=-1)  # (..., 1, 2)
        features = [series[..., at - lags], static.expand(*series.shape[:-1], length, 2)]
        if self.time_feat:
            features.append(time.expand(*series.shape[:-1], length, TIME_FEATURES))
        tokens: Tensor = self.transformer["wte"](torch.cat(features, dim=-1))
        return tokens.float()

    def context(
        self, tokens: Tensor, before: Callable[[Tensor, int], Tensor] = lambda tokens, _: tokens
    ) -> tuple[Tensor, list[Memory]]:
        """States (R, L, D) after the last norm, and keys and values of each block.

        Args:
            tokens: (R, L, D) as of `embed`.
            before: (tokens, layer) -> the tokens that enter the block.
        """
        memories = []
        for layer, block in enumerate(self._blocks()):
            tokens, memory = block(before(tokens, layer))
            memories.append(memory)
        states: Tensor = self.transformer["ln_f"](tokens)
        return states, memories

    def extend(
        self, tokens: Tensor, context: Sequence[Memory], earlier: Sequence[Memory | None]
    ) -> tuple[Tensor, list[Memory]]:
        """States (R, S, L, D) of new tokens, and keys and values of all forecast steps so far."""
        memories = []
        for block, given, own in zip(self._blocks(), context, earlier, strict=True):
            assert isinstance(block, Block)
            tokens, memory = block.extend(tokens, given, own)
            memories.append(memory)
        states: Tensor = self.transformer["ln_f"](tokens)
        return states, memories

    def forward(self, series: Tensor, loc: Tensor, scale: Tensor, time: Tensor) -> StudentT:
        """Distribution of the sample after each of the last L; arguments as of `embed`."""
        states, _ = self.context(self.embed(series, loc, scale, time))
        parameters: StudentT = self.param_proj(states)
        return parameters

    def _blocks(self) -> nn.ModuleList:
        blocks = self.transformer["h"]
        assert isinstance(blocks, nn.ModuleList)
        return blocks

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes config.json, with upstream's names of the sizes, and model.safetensors."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.settings, indent=1) + "\n")
        tensors = {name: tensor.contiguous() for name, tensor in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Validates settings and fills in defaults.

    Raises:
        ValueError: one is missing, or has a value that only upstream's class has.
    """
    missing = [name for name in REQUIRED if name not in settings]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    sizes, lags = [settings[name] for name in REQUIRED[:3]], settings["lags_seq"]
    whole = isinstance(lags, list | tuple) and all(isinstance(n, int) for n in (*sizes, *lags))
    if not whole or not lags:
        raise ValueError(f"has sizes that are not whole numbers: {', '.join(REQUIRED)}")
    if min(lags) < 0 or min(sizes) < 1 or settings["n_embd_per_head"] % 2:
        raise ValueError("has a negative lag, a size below 1, or an odd n_embd_per_head")
    for name, value in FIXED.items():
        if settings.get(name, value) != value:
            raise ValueError(f"has {name} {settings[name]!r}; only {value!r} is supported")
    rope = settings.get("rope_scaling")
    if rope is not None:
        stated = rope if isinstance(rope, dict) else {}
        if stated.get("type") != "linear" or not isinstance(stated.get("factor"), int | float):
            raise ValueError(
                f"has rope_scaling {rope!r}; only the type 'linear' with a factor is supported"
            )
    return {
        "architectures": ["LagLlamaModel"],
        **{name: settings[name] for name in REQUIRED[:3]},
        "context_length": int(settings.get("context_length", 32)),
        "max_context_length": int(settings.get("max_context_length", 2048)),
        "scaling": "robust",
        "input_size": 1,
        "time_feat": bool(settings.get("time_feat", True)),
        "rope_scaling": rope,
        "lags_seq": list(lags),
    }
