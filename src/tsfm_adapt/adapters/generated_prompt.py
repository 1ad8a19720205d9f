"""Gen-P-Tuning: prompts made from all channels of the window that they stand before.

Liu, Chen and Chen, "Generalized Prompt Tuning: Adapting Frozen Univariate Time Series Foundation
Models for Multivariate Healthcare Time Series", arXiv 2411.12824. A model that sees one channel
at a time receives information of the others: a small network attends across the channels' embedded
patches, summarises each channel in K tokens, and all C*K of them are put in front of every series.

Other than the paper:

- The network works at a width of its own, and adds what it makes to K trainable prompts; with
  nothing made, these are prompts that the channels share.
- Its attention has no feed-forward layer, as in the authors' code.
- Prompts are in units of the data tokens of each layer, see `adapters.prompt`.
- Contexts of any length and with gaps: see `aggregator`.
- No weight of the backbone trains beside it (their code trains embedding and norms too), and it
  serves the backbone's own head: the paper trains a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from tsfm_adapt.adapters._prompts import INIT_STD, Depth, token_observed, token_sizes
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch

Aggregator = Literal["mlp", "rnn", "attention"]


class Config(AdapterConfig):
    """`adapters: [{name: generated_prompt}]`."""

    name: Literal["generated_prompt"] = "generated_prompt"
    tokens: int = Field(
        default=4,
        description="K: prompts made of each channel, so that channels x tokens stand before each "
        "series; the paper has 16 for forecasts and 4 for classes",
    )
    aggregator: Aggregator = Field(
        default="mlp",
        description="what makes K tokens of a channel's many: 'mlp' = linear maps over `spans` "
        "of time; 'rnn' = the state of a recurrent network after the last observed token; "
        "'attention' = attention over time, then the largest of each feature",
    )
    spans: int = Field(
        default=64,
        ge=1,
        description="of aggregator mlp: the last so many tokens, 0 where there are fewer or none "
        "was observed; where there are more, means of equally many",
    )
    width: int = Field(default=32, ge=1, description="width inside the network")
    heads: int = Field(default=4, ge=1, description="attention heads; a divisor of width")
    depth: Depth = Field(
        default="deep",
        description="'deep' = the same prompts anew before each block, as in the paper; "
        "'shallow' = before the first block only",
    )

    @field_validator("tokens")
    @classmethod
    def _some(cls, tokens: int) -> int:
        if tokens < 1:
            raise ValueError(
                f"tokens is {tokens}: without prompts the method is a linear probe, which needs a "
                "head that trains, and there is none yet. Use at least 1"
            )
        return tokens

    @model_validator(mode="after")
    def _heads_divide(self) -> Config:
        if self.width % self.heads:
            raise ValueError(
                f"heads must divide width, but {self.width} / {self.heads} is no whole number. "
                "Use heads: 1, or another width"
            )
        return self

    def build(self) -> GeneratedPrompt:
        """The generator with the recipe's values."""
        return GeneratedPrompt(self)


class GeneratedPrompt(Adapter):
    """Prompts that a small network makes from the frozen model's embedding of the window."""

    name = "generated_prompt"
    identity_at_start = False  # data tokens attend to whatever stands in front of them

    def __init__(self, config: Config) -> None:
        self.config = config
        self.renews_prompts = config.depth == "deep"

    def attach(self, backbone: Encoder, setting: Setting) -> None:  # noqa: ARG002
        """Creates the network; any number of channels fits it."""
        import torch
        from torch import nn

        from tsfm_adapt.adapters._nets.generated_prompt import PromptGenerator

        self.backbone = backbone
        sizes = token_sizes(backbone)
        with torch.device(sizes.device):
            generator = PromptGenerator(
                inner=backbone.spec.width,
                width=self.config.width,
                heads=self.config.heads,
                prompts=self.config.tokens,
                aggregator=self.config.aggregator,
                spans=self.config.spans,
                std=INIT_STD,
            )
        self.module = nn.ModuleDict({"generator": generator})
        self.module.register_buffer("sizes", sizes, persistent=False)

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:
        """(B, C*K, D): every channel of a window has the prompts of all its channels.

        They are made of the tokens that enter the first block, and kept for the deeper ones.
        """
        if layer and not self.renews_prompts:
            return None
        assert self.module is not None
        kept = dict(_MADE.get())
        if layer == 0:
            prompts = self._made_of(tokens, batch)
            kept[self] = (batch, prompts)
        else:
            entered, prompts = kept.get(self, (None, tokens))
            if entered is not batch:
                raise RuntimeError(f"no prompts were made of this batch before block {layer}")
        if not self.renews_prompts or layer + 1 == self.backbone.spec.layers:
            del kept[self]
        _MADE.set(kept)
        return self.module.get_buffer("sizes")[layer] * prompts

    def _made_of(self, tokens: Tensor, batch: Batch) -> Tensor:
        """Prompts (B, C*K, D) in units of the data tokens, which learn nothing through them."""
        import torch

        assert self.module is not None
        observed = token_observed(self.backbone, batch, tokens.shape[2])
        with torch.autocast(tokens.device.type, enabled=False):
            in_units = tokens.detach().float() / self.module.get_buffer("sizes")[0]
            prompts: Tensor = self.module.get_submodule("generator")(in_units, observed)
        return prompts


# What was made of the batch that is in the first block, for the deeper ones, by adapter. Of the
# context, since another thread may be in the same block with another batch.
_MADE: ContextVar[Mapping[GeneratedPrompt, tuple[Batch, Tensor]]] = ContextVar(
    "made", default=MappingProxyType({})
)
