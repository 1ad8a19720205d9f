"""A linear probe on frozen features, computed instead of trained by gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads._pooling import Merge, vectors, vectors_key, weights
from tsfm_adapt.heads._probing import Kind, fit_probe
from tsfm_adapt.heads.base import (
    ClassHead,
    HeadConfig,
    HeadTask,
    Labelled,
    Plan,
    Pooling,
    resolved,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.heads._nets.standardised import FittedLinear


class Config(HeadConfig):
    """`head: {name: probe}`."""

    task: ClassVar[HeadTask] = "classify"
    name: Literal["probe"] = "probe"
    kind: Kind = Field(
        default="logistic",
        description="regression, or ridge: on targets of +-1, its probabilities not calibrated",
    )
    pooling: Pooling = Field(
        default="auto", description="of a channel's tokens; auto: last where causal, else mean"
    )
    channels: Merge = Field(
        default="concat", description="side by side, or their mean where channels are alike"
    )
    statistics: bool = Field(
        default=False,
        description="adds each channel's mean, standard deviation and share observed, which "
        "the backbone's scaling removes",
    )

    def build(self) -> Probe:
        """The head, not yet attached."""
        return Probe(self)

    @classmethod
    def like(cls, head: HeadConfig | None) -> Config:
        """A probe that reads what another head reads, as far as it can."""
        shared = {"pooling", "channels", "statistics"}
        settings = {} if head is None else head.model_dump(include=shared)
        if settings.get("pooling") == "attention":
            del settings["pooling"]
        return cls(**settings)


class Probe(ClassHead):
    """Logits from standardised pooled tokens; the penalty is chosen on held-out subjects of train.

    Ridge's scores go through a softmax or sigmoid like any logits, but they are estimates of +-1:
    they rank windows, and as probabilities they are too close to even.
    """

    name = "probe"
    config: Config
    module: FittedLinear
    penalty: float | None = None  # of the fit, see `_probing`

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, plan: Plan, device: torch.device) -> None:
        """Buffers for a linear layer of K outputs; zero until fitted."""
        from tsfm_adapt.heads._nets.standardised import FittedLinear

        if self.config.kind == "ridge" and plan.class_weights:
            raise RecipeError(
                "head: ridge weighs all windows alike, but the task weighs classes "
                f"({', '.join(f'{weight:.3g}' for weight in plan.class_weights)}). "
                "Use head.kind: logistic, or leave the weights out."
            )
        self.plan = plan
        each = weights(plan.width, plan.channels, self.config.channels, self.config.statistics)
        self.module = FittedLinear(each, len(plan.classes)).to(device)

    @property
    def cache_key(self) -> str:
        """What a linear head without attention reads too."""
        return vectors_key(self.config.pooling, self.config.channels, self.config.statistics)

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:
        """(B, C * F) or (B, F)."""
        pooling = resolved(self.config.pooling, self.plan.causal)
        return vectors(encoded, batch, pooling, self.config.channels, self.config.statistics)

    def fit(self, given: Callable[[], Labelled]) -> None:
        """The whole probe, on the features before any adapter has learned."""
        import torch

        known = given()
        weight, bias, self.penalty = fit_probe(
            self.module.standardise(known.features),
            known.classes,
            known.subjects,
            kind=self.config.kind,
            multilabel=self.plan.multilabel,
            class_weights=self.plan.class_weights,
        )
        self.module.weight.copy_(torch.from_numpy(weight))
        self.module.bias.copy_(torch.from_numpy(bias))

    def logits(self, features: Tensor) -> Tensor:
        """(B, K)."""
        logits: Tensor = self.module(features)
        return logits
