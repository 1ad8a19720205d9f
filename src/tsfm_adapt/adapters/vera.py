"""VeRA: two small vectors a layer around random matrices that all layers share, through peft.

Kopiczko et al., "VeRA: Vector-based Random Matrix Adaptation", arXiv 2310.11454:
W + diag(b) B diag(d) A with A and B frozen, drawn once from a seed and cut to each layer's size; b
is zero at the start. A and B are not saved: the seed is in the recipe and in peft's configuration.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.adapters._injection import InjectedAdapter, SitesConfig

if TYPE_CHECKING:
    from torch import nn

    from tsfm_adapt.backbones.base import Encoder


class Config(SitesConfig):
    """`adapters: [{name: vera}]`."""

    name: Literal["vera"] = "vera"
    rank: int = Field(default=256, ge=1, description="far above LoRA's: it costs one number each")
    initial: float = Field(default=0.1, gt=0, description="every entry of d at the start")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    projection_seed: int = Field(default=0, ge=0, lt=2**32, description="of the shared A and B")

    def build(self) -> Vera:
        """VeRA with the recipe's values."""
        return Vera(self)


class Vera(InjectedAdapter):
    """Scaled random projections at the backbone's sites of the given roles."""

    name = "vera"
    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def peft_config(self, backbone: Encoder, pattern: str) -> Any:  # noqa: ARG002
        """VeRA of peft."""
        from peft import VeraConfig

        with warnings.catch_warnings():  # that the projection is not saved
            warnings.simplefilter("ignore")
            return VeraConfig(
                r=self.config.rank,
                d_initial=self.config.initial,
                vera_dropout=self.config.dropout,
                projection_prng_key=self.config.projection_seed,
                save_projection=False,
                target_modules=pattern,
            )

    def inject(self, config: Any, network: nn.Module, on_meta: bool) -> None:
        """As peft's function does that refuses VeRA, since its A and B belong to no layer.

        Here every layer refers to them, and nothing else needs to.
        """
        from peft import VeraModel

        VeraModel(network, config, adapter_name="default", low_cpu_mem_usage=on_meta)
