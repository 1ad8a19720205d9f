"""Attention over the observed tokens of all channels: reconstructs a window of any backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.forecasts import QuantileLevels
from tsfm_adapt.heads.base import HeadConfig, HeadTask, Plan, ReconstructionHead

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.heads._nets.reconstruction import Reconstruction as Net


class Config(HeadConfig):
    """`head: {name: reconstruction}`."""

    task: ClassVar[HeadTask] = "impute"
    name: Literal["reconstruction"] = "reconstruction"
    quantiles: QuantileLevels = Field(
        default=(0.1, 0.5, 0.9), description="levels that are estimated"
    )
    heads: int = Field(default=4, ge=1, description="of the attention")
    width: int | None = Field(
        default=None, ge=1, description="inside, a multiple of heads; null = the backbone's"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in training")

    def build(self) -> Reconstruction:
        """The head, not yet attached."""
        return Reconstruction(self)


class Reconstruction(ReconstructionHead):
    """Quantiles of every sample of a window, whatever the backbone was pretrained for.

    Estimates are scaled by a channel's observed samples in the window. A channel without any is
    scaled by its mean and standard deviation in train, and estimated from the other channels.
    """

    name = "reconstruction"
    config: Config
    module: Net

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, plan: Plan, device: torch.device) -> None:
        """One block of attention, and a linear layer to the samples of a token.

        Raises:
            RecipeError: the tokens do not cover the window; the width is no multiple of the heads.
        """
        from tsfm_adapt.heads._nets.reconstruction import Reconstruction as Net

        covered = plan.tokens * plan.patch
        if covered < plan.context:
            raise RecipeError(
                "head.reconstruction: every sample needs a token, but the backbone's "
                f"{plan.tokens} tokens of {plan.patch} cover {covered} of the window's "
                f"{plan.context} samples. Use task.context_s <= {covered} / data.rate_hz, or "
                "another backbone."
            )
        width, heads = self.config.width or plan.width, self.config.heads
        if width % heads:
            raise RecipeError(
                f"head.reconstruction: a width of {width} does not divide over {heads} "
                "heads. Set head.width to a multiple of head.heads."
            )
        self.plan = plan
        self.module = Net(
            inputs=plan.width,
            width=width,
            heads=heads,
            channels=plan.channels,
            patch=plan.patch,
            quantiles=len(self.config.quantiles),
            dropout=self.config.dropout,
        ).to(device)

    def fit(self, level: Tensor, deviation: Tensor) -> None:
        """The scale of channels without an observed sample in a window."""
        self.module.level.copy_(level)
        self.module.deviation.copy_(deviation)

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:  # noqa: ARG002
        """Tokens, each followed by whether it was observed, (B, C, P, D + 1)."""
        import torch

        observed = encoded.token_observed[..., None]
        return torch.cat([encoded.tokens.float(), observed.float()], dim=-1)

    def reconstruct(self, features: Tensor, batch: Batch) -> Forecast:
        """The samples of the window; the last token ends where the window ends."""
        import torch

        from tsfm_adapt.forecasts import QuantileForecast
        from tsfm_adapt.heads._nets.scaling import Scale, shown

        scaled = self.module(features[..., :-1], features[..., -1] > 0)
        scaled = scaled[..., -batch.values.shape[-1] :]
        of_window, any_shown = shown(batch), batch.observed.any(-1, keepdim=True)
        scale = Scale(
            torch.where(any_shown, of_window.mean, self.module.level[:, None]),
            torch.where(any_shown, of_window.deviation, self.module.deviation[:, None]),
        )
        return QuantileForecast(scale.restored(scaled), self.config.quantiles)
