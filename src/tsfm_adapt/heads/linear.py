"""A linear layer on pooled tokens, trained by gradient, alone or with adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.heads._pooling import STATISTICS, Pooling, pooled, statistics
from tsfm_adapt.heads.base import ClassHead, HeadConfig, HeadTask, Labelled, Plan

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.heads._nets.standardised import StandardisedLinear


class Config(HeadConfig):
    """`head: {name: linear}`."""

    task: ClassVar[HeadTask] = "classify"
    name: Literal["linear"] = "linear"
    pooling: Pooling = Field(
        default="auto", description="of a channel's tokens; auto: last where causal, else mean"
    )
    channels: Literal["concat", "mean"] = Field(
        default="concat", description="side by side, or their mean where channels are alike"
    )
    statistics: bool = Field(
        default=False,
        description="adds each channel's mean, deviation and share observed, which the "
        "backbone's scaling takes away",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the features, in training")

    def build(self) -> Linear:
        """The head, not yet attached."""
        return Linear(self.pooling, self.channels, self.statistics, self.dropout)


class Linear(ClassHead):
    """Logits from standardised pooled tokens."""

    name = "linear"
    module: StandardisedLinear

    def __init__(
        self,
        pooling: Pooling,
        channels: Literal["concat", "mean"],
        statistics: bool,
        dropout: float,
    ) -> None:
        self.pooling = pooling
        self.channels = channels
        self.statistics = statistics
        self.dropout = dropout

    def attach(self, plan: Plan, device: torch.device) -> None:
        """A linear layer of K outputs, and the features' mean and deviation in train."""
        from tsfm_adapt.heads._nets.standardised import StandardisedLinear

        self.plan = plan
        width = plan.width + STATISTICS * self.statistics
        inputs = width * (plan.channels if self.channels == "concat" else 1)
        self.module = StandardisedLinear(inputs, len(plan.classes), self.dropout).to(device)

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:
        """(B, C * F) or (B, F)."""
        import torch

        how = self.pooling
        if how == "auto":
            how = "last" if self.plan.causal else "mean"
        parts = pooled(encoded, how).float()
        if self.statistics:
            parts = torch.cat([parts, statistics(batch)], dim=-1)
        return parts.flatten(1) if self.channels == "concat" else parts.mean(1)

    def fit(self, given: Callable[[], Labelled]) -> None:
        """The mean and deviation of the features in train, before any adapter has learned."""
        self.module.standardise(given().features)

    def logits(self, features: Tensor) -> Tensor:
        """(B, K)."""
        logits: Tensor = self.module(features)
        return logits
