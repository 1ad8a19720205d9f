"""A linear layer from all tokens of a channel to its forecast, as MOMENT's.

Goswami et al., "MOMENT: A Family of Open Time-series Foundation Models", arXiv 2402.03885.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.forecasts import QuantileLevels
from tsfm_adapt.heads.base import ForecastHead, HeadConfig, HeadTask, Plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.heads._nets.linear_forecast import LinearForecast as Net


class Config(HeadConfig):
    """`head: {name: linear_forecast}`."""

    task: ClassVar[HeadTask] = "forecast"
    name: Literal["linear_forecast"] = "linear_forecast"
    quantiles: QuantileLevels = Field(
        default=(0.1, 0.5, 0.9), description="levels; [0.5] is a point forecast, as MOMENT's"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the tokens, in training")

    def build(self) -> LinearForecast:
        """The head, not yet attached."""
        return LinearForecast(self)


class LinearForecast(ForecastHead):
    """Quantiles of the whole horizon at once, scaled by the context's mean and standard deviation.

    Channels share the weights and do not see each other, beyond what the backbone mixed. A channel
    without an observed sample is forecast with mean 0 and standard deviation 1.

    With quantiles [0.5] it is the head of the paper, but for two things in training: the loss is
    the absolute error instead of the squared one, since it estimates a median; and dropout is on
    the tokens instead of on the forecast.
    """

    name = "linear_forecast"
    config: Config
    module: Net

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, plan: Plan, device: torch.device) -> None:
        """A linear layer of P*D inputs and Q*H outputs."""
        from tsfm_adapt.heads._nets.linear_forecast import LinearForecast as Net

        self.plan = plan
        inputs = plan.tokens * plan.width
        self.module = Net(
            inputs=inputs,
            quantiles=len(self.config.quantiles),
            horizon=plan.horizon,
            dropout=self.config.dropout,
        ).to(device)

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:  # noqa: ARG002
        """Tokens side by side, (B, C, P*D); those that show nothing are 0."""
        return encoded.tokens.flatten(2).float()

    def forecast(self, features: Tensor, batch: Batch, steps: int) -> Forecast:
        """The first `steps` samples of the horizon."""
        from tsfm_adapt.forecasts import QuantileForecast
        from tsfm_adapt.heads._nets.scaling import shown

        assert steps <= self.plan.horizon, (steps, self.plan.horizon)
        scaled = self.module(features)[..., :steps]  # (B, C, Q, steps)
        return QuantileForecast(shown(batch).restored(scaled), self.config.quantiles)
