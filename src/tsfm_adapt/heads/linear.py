"""A linear layer on pooled tokens, trained by gradient, alone or with adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.heads._pooling import (
    Merge,
    flagged,
    statistics,
    vectors,
    vectors_key,
    weights,
)
from tsfm_adapt.heads._probing import fit_probe
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
    from tsfm_adapt.heads._nets.standardised import StandardisedLinear

Start = Literal["random", "probe"]


class Config(HeadConfig):
    """`head: {name: linear}`."""

    task: ClassVar[HeadTask] = "classify"
    name: Literal["linear"] = "linear"
    pooling: Pooling | Literal["attention"] = Field(
        default="auto",
        description="of a channel's tokens; auto: last where causal, else mean; attention: a "
        "mean weighted by a query that is learned",
    )
    channels: Merge = Field(
        default="concat", description="side by side, or their mean where channels are alike"
    )
    statistics: bool = Field(
        default=False,
        description="adds each channel's mean, standard deviation and share observed, which "
        "the backbone's scaling removes",
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="on the features, in training")
    start: Start = Field(
        default="random",
        description="random, or probe: a logistic regression on the features before training",
    )

    def build(self) -> Linear:
        """The head, not yet attached."""
        return Linear(self)


class Linear(ClassHead):
    """Logits from standardised pooled tokens.

    With `start` probe the layer begins as the best one on frozen features, and adapters need not
    bend features towards a random layer first: Kumar et al. 2022, Fine-Tuning can Distort
    Pretrained Features and Underperform Out-of-Distribution (arXiv 2202.10054).
    """

    name = "linear"
    config: Config
    module: StandardisedLinear

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, plan: Plan, device: torch.device) -> None:
        """A linear layer of K outputs, and the features' mean and standard deviation in train."""
        from tsfm_adapt.heads._nets.attention import AttentionPool
        from tsfm_adapt.heads._nets.standardised import StandardisedLinear

        self.plan = plan
        each = weights(plan.width, plan.channels, self.config.channels, self.config.statistics)
        attends = self.config.pooling == "attention"
        pool = AttentionPool(plan.width, self.config.channels) if attends else None
        outputs = len(plan.classes)
        self.module = StandardisedLinear(each, outputs, self.config.dropout, pool).to(device)

    @property
    def cache_key(self) -> str:
        """What a probe reads too, unless attention looks at the tokens."""
        if self.config.pooling == "attention":
            return f"tokens {self.config.statistics}"
        return vectors_key(self.config.pooling, self.config.channels, self.config.statistics)

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:
        """(B, C * F) or (B, F); with attention, which learns, all tokens (B, C, P, F + 1)."""
        import torch

        if self.config.pooling != "attention":
            pooling = resolved(self.config.pooling, self.plan.causal)
            return vectors(encoded, batch, pooling, self.config.channels, self.config.statistics)
        tokens = flagged(encoded)
        if self.config.statistics:  # beside every token: their weighted mean is what they are
            same = statistics(batch)[:, :, None].expand(-1, -1, tokens.shape[2], -1)
            tokens = torch.cat([tokens[..., :-1], same, tokens[..., -1:]], dim=-1)
        return tokens

    def fit(self, given: Callable[[], Labelled]) -> None:
        """The features' mean and standard deviation in train, before any adapter is trained.

        Of attention's features too, which start as the mean of the tokens. Then the probe.
        """
        known = given()
        features = self.module.standardise(self.module.pooled(known.features))
        if self.config.start == "probe":
            weight, bias, _ = fit_probe(
                features,
                known.classes,
                known.subjects,
                kind="logistic",
                multilabel=self.plan.multilabel,
                class_weights=self.plan.class_weights,
            )
            self.module.start_from(weight, bias)

    def logits(self, features: Tensor) -> Tensor:
        """(B, K)."""
        logits: Tensor = self.module(features)
        return logits
