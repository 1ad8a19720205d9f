"""Queries that stand for classes attend to all tokens; the block between can be shared."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads._pooling import flagged
from tsfm_adapt.heads.base import ClassHead, HeadConfig, HeadTask, Plan, SavedHead

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoded
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.heads._nets.attention import LabelQueries as Network

_BLOCK = "block."  # how the names of its tensors begin


class Config(HeadConfig):
    """`head: {name: label_queries}`."""

    task: ClassVar[HeadTask] = "classify"
    name: Literal["label_queries"] = "label_queries"
    probes: int = Field(default=4, ge=1, description="queries a class")
    heads: int = Field(default=4, ge=1, description="of the attention; divides the width")
    dropout: float = Field(default=0.1, ge=0, lt=1, description="in the block, in training")
    shared: str | None = Field(
        default=None,
        description="folder of a bundle whose block is taken and frozen; null: trained here",
    )

    def build(self) -> LabelQueries:
        """The head, not yet attached."""
        return LabelQueries(self)


class LabelQueries(ClassHead):
    """Label queries of FORMED (Huang et al. 2024, arXiv 2410.03794).

    An embedding of its channel is added to every token; k queries a class attend to the observed
    tokens of all channels; a small network makes one number of each, and a class's logit is the
    mean of its k. The block in between knows nothing of channels and classes: with `shared` it
    comes from another bundle, and only embeddings and queries train.

    Unlike there, tokens are normalised before the embedding is added, so that its size fits every
    backbone's.
    """

    name = "label_queries"
    config: Config
    module: Network

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, plan: Plan, device: torch.device) -> None:
        """Embeddings, queries and the block, which with `shared` awaits `take_shared`."""
        from tsfm_adapt.heads._nets.attention import LabelQueries as Network

        heads = self.config.heads
        if plan.width % heads:
            raise RecipeError(
                f"head.heads: {heads} does not divide the {plan.width} numbers of a token. "
                "Choose a divisor of them."
            )
        self.plan = plan
        self.module = Network(
            channels=plan.channels,
            width=plan.width,
            classes=len(plan.classes),
            probes=self.config.probes,
            heads=heads,
            dropout=self.config.dropout,
            scale=1.0 if self.config.shared is None else 0.01,
        ).to(device)
        if self.config.shared is not None:
            self.module.freeze()

    @property
    def shared(self) -> str | None:
        """The folder that `shared` of the recipe names."""
        return self.config.shared

    @property
    def cache_key(self) -> str:
        """That of a linear head with attention and without statistics: the same tokens."""
        return "tokens False"

    def features(self, encoded: Encoded, batch: Batch) -> Tensor:  # noqa: ARG002
        """All tokens, (B, C, P, D + 1)."""
        return flagged(encoded)

    def take_shared(self, saved: SavedHead) -> None:
        """Copies the shared block in.

        Raises:
            RecipeError: the bundle is not of this head, or its block is of another size or was
                trained on the tokens of another base.
        """
        folder, plan = self.config.shared, self.plan
        block = {
            name.removeprefix(_BLOCK): tensor
            for name, tensor in saved.tensors.items()
            if name.startswith(_BLOCK)
        }
        own = self.module.block.state_dict()
        if different := sorted(own.keys() ^ block.keys()):
            raise RecipeError(
                f"head.shared: '{folder}' holds no block of label_queries: {len(different)} "
                f"tensors differ, first {different[0]}. Give a bundle trained with this head."
            )
        if wrong := [name for name in own if own[name].shape != block[name].shape]:
            width = block["norm.weight"].numel()
            raise RecipeError(
                f"head.shared: a block fits one width of tokens only: that of '{folder}' is "
                f"{width}, the backbone's {plan.width} (first {wrong[0]}). Give a bundle of "
                "the same backbone."
            )
        heads = int(block["heads"])
        if heads != self.config.heads:
            raise RecipeError(
                f"head.heads: the block of '{folder}' has {heads} heads, the "
                f"recipe {self.config.heads}. Set head.heads: {heads}."
            )
        if saved.base_sha256 != plan.base_sha256:
            raise RecipeError(
                f"head.shared: the block of '{folder}' read the tokens of other base weights "
                f"(sha256 {saved.base_sha256[:12]}, the recipe's {plan.base_sha256[:12]}), which "
                "mean something else. Give a bundle of the same backbone and checkpoint."
            )
        self.module.block.load_state_dict(block)

    def logits(self, features: Tensor) -> Tensor:
        """(B, K)."""
        logits: Tensor = self.module(features)
        return logits
