"""Full fine-tuning: every weight of the backbone trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import Encoder


class Config(AdapterConfig):
    """`adapters: [{name: full}]`."""

    name: Literal["full"] = "full"

    def build(self) -> Full:
        """Full fine-tuning has no settings."""
        return Full()


class Full(Adapter):
    """Trains the base weights themselves; the yardstick for everything smaller."""

    name = "full"

    def attach(self, backbone: Encoder, setting: Setting) -> None:  # noqa: ARG002
        """Switches every parameter on."""
        backbone.network.requires_grad_(True)

    def merge(self, backbone: Encoder) -> None:
        """The base weights are the adapted weights already."""
