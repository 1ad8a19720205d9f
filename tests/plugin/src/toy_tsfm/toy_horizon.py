"""Toy horizon: the mean token of a channel to its forecast, one value a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from tsfm_adapt.heads.base import ForecastHead, HeadConfig, Plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast


class Config(HeadConfig):
    """`head: {name: toy_horizon}`."""

    task: ClassVar[str] = "toy_next"
    name: Literal["toy_horizon"] = "toy_horizon"

    def build(self) -> ToyHorizon:
        """The head, not yet attached."""
        return ToyHorizon(self)


class ToyHorizon(ForecastHead):
    """Steps away from the last value that was measured, in standard deviations of the context."""

    name = "toy_horizon"
    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, plan: Plan, device: torch.device) -> None:
        """A linear layer from D to H; zero at the start: the last value."""
        from torch import nn

        self.module = nn.Linear(plan.width, plan.horizon).to(device)
        nn.init.zeros_(self.module.weight)
        nn.init.zeros_(self.module.bias)

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:
        """(B, C, D) mean over the tokens that show something."""
        count = encoded.token_observed.sum(-1, keepdim=True).clamp(min=1)
        return (encoded.tokens.sum(2) / count).float()

    def forecast(self, features: Tensor, batch: Batch, steps: int) -> Forecast:
        """The first `steps` of the horizon, one quantile."""
        from tsfm_adapt.forecasts import QuantileForecast

        last, scale = _shown(batch)
        ahead = last[..., None] + scale[..., None] * self.module(features)[..., :steps]
        return QuantileForecast(ahead[:, :, None], (0.5,))


def _shown(batch: Batch) -> tuple[Tensor, Tensor]:
    """The last measured value (B, C), 0 without one, and the standard deviation, 1 without."""
    import torch

    observed = batch.observed
    values = torch.where(observed, batch.values, 0.0)
    count = observed.sum(-1).clamp(min=1)
    mean = values.sum(-1) / count
    centred = torch.where(observed, batch.values - mean[..., None], 0.0)
    scale = (centred.square().sum(-1) / count).sqrt()
    position = torch.arange(observed.shape[-1], device=observed.device)
    latest = torch.where(observed, position, 0).argmax(-1, keepdim=True)
    return values.gather(-1, latest)[..., 0], torch.where(scale > 0, scale, 1.0)
