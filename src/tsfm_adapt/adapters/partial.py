"""Partial fine-tuning: the last blocks of the encoder train, optionally with the output layers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.adapters._injection import block_of, matching
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

    from tsfm_adapt.backbones.base import Encoder

# What upstream calls the layers after the last block, among the direct parts of its model
_HEAD = re.compile(r"(?:lm_)?head|out_proj|param_proj|output_\w+")


class Config(AdapterConfig):
    """`adapters: [{name: partial}]`."""

    name: Literal["partial"] = "partial"
    last_blocks: int = Field(
        default=1, ge=1, description="how many blocks of the encoder, counted from its end"
    )
    head: bool = Field(default=False, description="the model's own output layers train too")

    @classmethod
    def renamed(cls, key: str, value: Any) -> tuple[str, Any]:
        """`blocks`, which elsewhere says which blocks, was how many."""
        return ("last_blocks", value) if key == "blocks" else (key, value)

    def build(self) -> Partial:
        """Partial fine-tuning with the recipe's values."""
        return Partial(self)


class Partial(Adapter):
    """Trains the weights of the last blocks of the encoder, or of the only stack there is."""

    name = "partial"

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, backbone: Encoder, setting: Setting) -> None:  # noqa: ARG002
        """Switches the weights on.

        Raises:
            RecipeError: the encoder has fewer blocks, or the head is tied to other weights.
        """
        blocks = encoder_blocks(backbone)
        count = self.config.last_blocks
        if count > len(blocks):
            raise RecipeError(
                f"adapters.partial.last_blocks: {count} is more than the {len(blocks)} blocks of "
                f"{backbone.spec.name}'s encoder. Use at most {len(blocks)}."
            )
        for block in blocks[-count:]:
            block.requires_grad_(True)
        if self.config.head:
            for parameter in head_parameters(backbone):
                parameter.requires_grad_(True)

    def merge(self, backbone: Encoder) -> None:
        """The base weights are the adapted weights already."""


def encoder_blocks(backbone: Encoder) -> list[nn.Module]:
    """The blocks of the encoder in order: the first stack that holds sites."""
    pattern = "|".join(f"(?:{site})" for site in backbone.sites().values())
    stack = next(block_of(name)[0] for name in matching(backbone, pattern))
    blocks = list(backbone.network.get_submodule(stack).children())
    assert len(blocks) == backbone.spec.layers
    return blocks


def head_parameters(backbone: Encoder) -> list[nn.Parameter]:
    """The weights of the native output layers.

    Raises:
        RecipeError: there are none, or they are also weights of another part.
    """
    every = dict(backbone.network.named_parameters(remove_duplicate=False))
    # Names are model.PART.more, so the part is the second word
    names = [name for name in every if _HEAD.fullmatch(name.split(".")[1])]
    inside = {id(every[name]) for name in names}
    tied = [name for name in every if name not in names and id(every[name]) in inside]
    if tied:
        raise RecipeError(
            f"adapters.partial.head: the head of {backbone.spec.name} shares its weights with "
            f"{tied[0]}, which would train too. Use head: false."
        )
    if not names:
        raise RecipeError(
            f"adapters.partial.head: {backbone.spec.name} has no output layers. Use head: false."
        )
    return [every[name] for name in names]
