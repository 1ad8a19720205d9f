"""Norm tuning: only the scales of the normalisation layers train.

Gupta et al., "Beyond LoRA: Exploring Efficient Fine-Tuning Techniques for Time Series Foundational
Models", arXiv 2409.11302: layer norms of the blocks; those of queries and keys are among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

    from tsfm_adapt.backbones.base import Encoder


class Config(AdapterConfig):
    """`adapters: [{name: norm}]`."""

    name: Literal["norm"] = "norm"

    def build(self) -> Norm:
        """Norm tuning has no settings."""
        return Norm()


class Norm(Adapter):
    """Trains the scale of every LayerNorm and RMSNorm, of blocks, queries, keys and stacks."""

    name = "norm"

    def attach(self, backbone: Encoder, setting: Setting) -> None:  # noqa: ARG002
        """Switches the scales on.

        Raises:
            RecipeError: there are none.
        """
        parameters = scales(backbone.network)
        if not parameters:
            raise RecipeError(
                f"adapters.norm: none of the {len(list(backbone.network.modules()))} modules of "
                f"{backbone.spec.name} is a normalisation layer with a scale. Use lora."
            )
        for scale in parameters:
            scale.requires_grad_(True)

    def merge(self, backbone: Encoder) -> None:
        """The base weights are the adapted weights already."""


def scales(network: nn.Module) -> list[nn.Parameter]:
    """The scale of every normalisation layer; `weight` or, in two families, `scale`."""
    norms = [m for m in network.modules() if type(m).__name__.endswith("Norm")]
    named = [dict(norm.named_parameters(recurse=False)) for norm in norms]
    return [own[name] for own in named for name in ("weight", "scale") if name in own]
