"""Lag-Llama's forecasts after an encoded context: by sampling, or along known values."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm_adapt.backbones._nets.lag_llama import LagLlamaNet, Memory, StudentT


@dataclass(frozen=True)
class Start:
    """The encoded context of R series, and all that forecasts of it need; scaled space."""

    series: Tensor  # (R, reach + P); 0 where not observed
    loc: Tensor  # (R, 1), data units
    scale: Tensor  # (R, 1), data units
    time: Tensor  # (R, P + h - 1, 6)
    tokens: int  # P
    states: Tensor  # (R, P, D)
    memory: list[Memory]  # one a block; prompts and context
    parameters: StudentT  # (R, 1) of the first forecast step


class Futures:
    """Forecasts step by step.

    Args:
        net: the network that encoded the contexts.
    """

    def __init__(self, net: LagLlamaNet) -> None:
        self._net = net
        self._blocks: int = net.settings["n_layer"]

    def sample(self, start: Start, steps: int, paths: int) -> tuple[Tensor, Tensor]:
        """Uniform numbers (2, R, S, h), and the scaled sample paths (R, S, h) drawn with them."""
        rows, reach = start.loc.shape[0], self._net.reach
        series = start.series.new_empty(rows, paths, reach + steps)
        series[..., :reach] = start.series[:, None, start.tokens :]
        memory: list[Memory | None] = [None] * self._blocks
        uniforms, parameters = [], _first(start.parameters, paths)
        for step in range(steps):
            if step:
                tokens = self._embedded(start, series[..., step - 1 : step + reach], step, 1)
                states, grown = self._net.extend(tokens, start.memory, memory)
                memory, parameters = [*grown], self._net.param_proj(states)
            uniforms.append(_uniforms((2, rows, paths, 1), start.loc))
            series[..., reach + step] = parameters.draw(uniforms[-1])[..., 0]
        return torch.cat(uniforms, dim=-1), series[..., reach:]

    def teacher_forced(self, start: Start, scaled: Tensor) -> StudentT:
        """Distributions (R, S, h) of each step of known paths (R, S, h), given earlier steps."""
        steps = scaled.shape[-1]
        first = _first(start.parameters, scaled.shape[1])
        if steps == 1:
            return first
        known = start.series[:, None, start.tokens :].expand(-1, scaled.shape[1], -1)
        series = torch.cat([known, scaled.detach()[..., :-1]], dim=-1)
        tokens = self._embedded(start, series, 1, steps - 1)
        states, _ = self._net.extend(tokens, start.memory, [None] * self._blocks)
        later = self._net.param_proj(states)
        pairs = zip(first, later, strict=True)
        return type(first)(*(torch.cat(pair, dim=-1) for pair in pairs))

    def _embedded(self, start: Start, series: Tensor, step: int, count: int) -> Tensor:
        """Tokens (R, S, count, D) of forecast steps from `step` on; 1 is the first."""
        at = start.tokens + step - 1
        time = start.time[:, None, at : at + count]
        return self._net.embed(series, start.loc[:, None], start.scale[:, None], time)


def _first(parameters: StudentT, paths: int) -> StudentT:
    """The distribution (R, 1) of the first forecast step, for every path (R, S, 1)."""
    return type(parameters)(*(each[:, None].expand(-1, paths, -1) for each in parameters))


def _uniforms(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Uniform numbers above 0 and below 1, separate for each series and path."""
    return torch.rand(shape, device=like.device).clamp(min=2**-25)
