"""Shared by adapters that peft puts into linear layers: sites, blocks, injection, merging."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from tsfm_adapt.adapters._blocks import Blocks, chosen, from_layers
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.backbones.base import Role
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

    from tsfm_adapt.backbones.base import Encoder


class SitesConfig(AdapterConfig):
    """The fields of an adapter that peft puts into linear layers."""

    sites: tuple[Role, ...] = Field(default=("attn.q", "attn.v"), min_length=1)
    blocks: Blocks = Field(
        default="all", description="blocks of each stack that are adapted; last: of every stack"
    )

    @classmethod
    def renamed(cls, key: str, value: Any) -> tuple[str, Any]:
        """`layers` was first and last block."""
        return from_layers(key, value, ends=True)


class InjectedAdapter(Adapter):
    """An adapter whose layers replace the linear layers at the backbone's sites."""

    injects = True

    config: SitesConfig

    @abstractmethod
    def peft_config(self, backbone: Encoder, pattern: str) -> Any:
        """The configuration for peft, untyped there; `pattern` matches the names of the layers.

        Raises:
            RecipeError: the settings do not fit the layers.
        """

    def attach(self, backbone: Encoder, setting: Setting) -> None:  # noqa: ARG002
        """Injects into every matching linear layer and freezes the rest."""
        config = self.peft_config(backbone, self.pattern(backbone, self.config.sites))
        on_meta = next(backbone.network.parameters()).is_meta
        self.inject(config, backbone.network, on_meta)

    def inject(self, config: Any, network: nn.Module, on_meta: bool) -> None:
        """Puts peft's layers in place."""
        from peft import inject_adapter_in_model

        inject_adapter_in_model(config, network, low_cpu_mem_usage=on_meta)

    def pattern(self, backbone: Encoder, sites: Sequence[Role]) -> str:
        """A regular expression for the modules of these roles in the chosen blocks.

        Raises:
            RecipeError: the backbone has no such role or no such blocks.
        """
        known = backbone.sites()
        unknown = [role for role in sites if role not in known]
        if unknown:
            raise RecipeError(
                f"adapters.{self.name}.sites: {backbone.spec.name} has no {', '.join(unknown)}. "
                f"Its sites: {', '.join(known)}."
            )
        pattern = "|".join(f"(?:{known[role]})" for role in sites)
        if self.config.blocks == "all":
            return pattern
        stacks: dict[str, set[int]] = {}
        for stack, number in map(block_of, matching(backbone, pattern)):
            if number:
                stacks.setdefault(stack, set()).add(int(number))
        if self.config.blocks == "last":
            last = (rf"{_ends_in(stack)}\.{max(own)}" for stack, own in stacks.items())
            return rf"(?=(?:{'|'.join(last)})\.)(?:{pattern})"
        every = sorted({number for own in stacks.values() for number in own})
        numbers = chosen(self.config.blocks, every, self.name, backbone.spec.name)
        wanted = "|".join(str(number) for number in numbers)
        # Looks ahead past all names to the first number, which counts the blocks of a stack
        return rf"(?=(?:(?!\d+\.)[^.]+\.)*(?:{wanted})\.)(?:{pattern})"

    def merge(self, backbone: Encoder) -> None:
        """Folds the updates into the weights and puts the plain layers back."""
        network = backbone.network
        for name, layer in injected(backbone):
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, layer.get_base_layer())


def injected(backbone: Encoder) -> list[tuple[str, Any]]:
    """The layers of peft in the network, untyped there, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    named = backbone.network.named_modules()
    return [(name, module) for name, module in named if isinstance(module, BaseTunerLayer)]


def matching(backbone: Encoder, pattern: str) -> dict[str, Any]:
    """The modules whose whole name matches, by name."""
    compiled = re.compile(pattern)
    named = backbone.network.named_modules()
    return {name: module for name, module in named if compiled.fullmatch(name)}


def block_of(name: str) -> tuple[str, str]:
    """The stack of blocks that a module is in, and the number of its block; "" = in none.

    >>> block_of("model.encoder.block.1.layer.0.self_attention.q")
    ('model.encoder.block', '1')
    """
    parts = name.split(".")
    for position, part in enumerate(parts):
        if part.isdecimal():
            return ".".join(parts[:position]), part
    return name, ""


def _ends_in(stack: str) -> str:
    """A regular expression for names of this stack, whatever the model is called that holds it."""
    return rf"(?:.*\.)?{re.escape(stack.removeprefix('model.'))}"
