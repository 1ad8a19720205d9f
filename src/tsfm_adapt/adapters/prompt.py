"""Prompts: trainable tokens in front of the data's own, which every token of a series attends to.

Lester et al., "The Power of Scale for Parameter-Efficient Prompt Tuning", arXiv 2104.08691
(shallow: tokens enter before the first block and flow on); Liu et al., "P-Tuning v2", arXiv
2110.07602 (deep: before every block, tokens of its own take their place).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tsfm_adapt.adapters._prompts import INIT_STD, Depth, token_sizes
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch

Per = Literal["shared", "channel"]


class Config(AdapterConfig):
    """`adapters: [{name: prompt}]`."""

    name: Literal["prompt"] = "prompt"
    tokens: int = Field(default=8, ge=1, description="prompts in front of each series")
    per: Per = Field(
        default="shared", description="'shared' = the same for all channels; 'channel' = its own"
    )
    depth: Depth = Field(
        default="shallow",
        description="'shallow' = before the first block only; 'deep' = new ones before each block",
    )
    init_std: float = Field(
        default=INIT_STD,
        gt=0,
        description="standard deviation of untrained prompts, as a share of the size of data "
        "tokens",
    )

    def build(self) -> Prompt:
        """Prompts with the recipe's values."""
        return Prompt(self)


class Prompt(Adapter):
    """Prompts in units of the data tokens: what trains is multiplied by their size.

    One learning rate then means the same for every backbone and layer. The sizes are computed
    once, on a synthetic window, and saved with the fitted numbers.
    """

    name = "prompt"
    identity_at_start = False  # data tokens attend to whatever stands in front of them

    def __init__(self, config: Config) -> None:
        self.config = config
        self.renews_prompts = config.depth == "deep"

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """Creates the prompts: (layers, N, D), or (layers, C, N, D) for channels of their own."""
        import torch
        from torch import nn

        self.channels = setting.encoded
        if self.config.per == "channel" and not self.channels:
            raise RecipeError(
                "adapters.prompt.per: 'channel' needs the names of the channels, and none are "
                "known here. Give data.channels, or use per: shared."
            )
        sizes = token_sizes(backbone)
        layers = backbone.spec.layers if self.config.depth == "deep" else 1
        channels = [len(self.channels)] if self.config.per == "channel" else []
        shape = (layers, *channels, self.config.tokens, backbone.spec.width)
        self.module = nn.Module()
        fresh = self.config.init_std * torch.randn(shape, device=sizes.device)
        self.module.register_parameter("prompts", nn.Parameter(fresh))
        self.module.register_buffer("sizes", sizes[:layers].clone(), persistent=False)

    def prefix(self, batch: Batch, layer: int, tokens: Tensor) -> Tensor | None:  # noqa: ARG002
        """(N, D), or (B, C, N, D) for channels of their own."""
        if layer and not self.renews_prompts:
            return None
        assert self.module is not None
        sizes = self.module.get_buffer("sizes")
        prompts = sizes[layer] * self.module.get_parameter("prompts")[layer]
        if self.config.per == "shared":
            return prompts
        return prompts[self._places(batch)].expand(batch.size, -1, -1, -1)

    def _places(self, batch: Batch) -> list[int]:
        """Which prompts each channel of the batch has."""
        unknown = [channel for channel in batch.channels if channel not in self.channels]
        if unknown:
            raise RecipeError(
                f"adapters.prompt.per: 'channel' has prompts for {', '.join(self.channels)}, but "
                f"the backbone is given {', '.join(unknown)}. Give it the channels that it was "
                "trained on."
            )
        return [self.channels.index(channel) for channel in batch.channels]
