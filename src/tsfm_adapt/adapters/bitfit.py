"""BitFit: only the biases train.

Ben Zaken et al., "BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked
Language-models", arXiv 2106.10199. Most families have biases in their embeddings and output layers
only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import Encoder


class Config(AdapterConfig):
    """`adapters: [{name: bitfit}]`."""

    name: Literal["bitfit"] = "bitfit"

    def build(self) -> BitFit:
        """BitFit has no settings."""
        return BitFit()


class BitFit(Adapter):
    """Trains every bias that is added to the output of a layer."""

    name = "bitfit"

    def attach(self, backbone: Encoder, setting: Setting) -> None:  # noqa: ARG002
        """Switches the biases on.

        Raises:
            RecipeError: there are none.
        """
        named = dict(backbone.network.named_parameters())
        # The whole last word: T5's relative_attention_bias.weight is a table of positions
        biases = [p for name, p in named.items() if name.rpartition(".")[2] == "bias"]
        if not biases:
            tables = [name for name in named if "bias" in name]
            raise RecipeError(
                f"adapters.bitfit: none of the {len(named)} tensors of {backbone.spec.name} is a "
                f"bias ({len(tables)} tables of relative positions do not count). "
                "Use norm or lora."
            )
        for bias in biases:
            bias.requires_grad_(True)

    def merge(self, backbone: Encoder) -> None:
        """The base weights are the adapted weights already."""
