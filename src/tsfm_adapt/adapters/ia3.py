"""IA3: learned scales of keys, values and inner activations, through peft.

Liu et al., "Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper than In-Context
Learning", arXiv 2205.05638: one number, 1 at the start, multiplies each feature of the keys, of
the values and of what enters the second feed-forward layer. Where upstream fuses q, k and v into
one layer, queries are scaled too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.adapters._injection import InjectedAdapter, SitesConfig
from tsfm_adapt.backbones.base import Role

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import Encoder


class Config(SitesConfig):
    """`adapters: [{name: ia3}]`."""

    name: Literal["ia3"] = "ia3"
    sites: tuple[Role, ...] = Field(
        default=("attn.k", "attn.v", "mlp.out"),
        min_length=1,
        description="mlp.out is scaled where it reads, every other role where it writes",
    )

    def build(self) -> IA3:
        """IA3 with the recipe's values."""
        return IA3(self)


class IA3(InjectedAdapter):
    """Scales at the backbone's sites of the given roles."""

    name = "ia3"
    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def peft_config(self, backbone: Encoder, pattern: str) -> Any:
        """IA3 of peft."""
        from peft import IA3Config

        scaled_inputs = [role for role in self.config.sites if role == "mlp.out"]
        return IA3Config(
            target_modules=pattern,
            feedforward_modules=self.pattern(backbone, scaled_inputs) if scaled_inputs else [],
        )
