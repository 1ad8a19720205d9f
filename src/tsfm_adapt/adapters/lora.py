"""LoRA: low-rank updates of attention and feed-forward weights, through peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685:
W + (alpha / rank) B A, with B zero at the start. rsLoRA (arXiv 2312.03732) scales by
alpha / sqrt(rank); DoRA (arXiv 2402.09353) learns the magnitude of each output apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.backbones.base import Role
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import Backbone


class Config(AdapterConfig):
    """`adapters: [{name: lora}]`."""

    name: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(
        default=16.0, gt=0, description="update scale; alpha / rank multiplies BA"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank)")
    dora: bool = Field(default=False, description="learn the magnitude of each output apart")
    sites: tuple[Role, ...] = Field(default=("attn.q", "attn.v"), min_length=1)

    def build(self) -> Lora:
        """LoRA with the recipe's values."""
        return Lora(self.rank, self.alpha, self.dropout, self.rslora, self.dora, self.sites)


class Lora(Adapter):
    """Low-rank updates at the backbone's sites of the given roles."""

    name = "lora"
    injects = True

    def __init__(
        self,
        rank: int,
        alpha: float,
        dropout: float,
        rslora: bool,
        dora: bool,
        sites: tuple[Role, ...],
    ) -> None:
        self.rank = rank
        self.alpha = alpha
        self.dropout = dropout
        self.rslora = rslora
        self.dora = dora
        self.sites = sites

    def attach(self, backbone: Backbone, setting: Setting) -> None:  # noqa: ARG002
        """Injects into every matching linear layer and freezes the rest."""
        from peft import LoraConfig, inject_adapter_in_model

        known = backbone.sites()
        unknown = [role for role in self.sites if role not in known]
        if unknown:
            raise RecipeError(
                f"adapters.lora.sites: {backbone.spec.name} has no {', '.join(unknown)}. "
                f"Its sites: {', '.join(known)}."
            )
        config = LoraConfig(
            r=self.rank,
            # peft casts nothing: a fraction is a valid scale though annotated int
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            use_rslora=self.rslora,
            use_dora=self.dora,
            target_modules="|".join(f"(?:{known[role]})" for role in self.sites),
        )
        on_meta = next(backbone.network.parameters()).is_meta
        inject_adapter_in_model(config, backbone.network, low_cpu_mem_usage=on_meta)

    def merge(self, backbone: Backbone) -> None:
        """Adds B A to the weights and puts the plain layers back."""
        from peft.tuners.tuners_utils import BaseTunerLayer

        network = backbone.network
        layers = [(n, m) for n, m in network.named_modules() if isinstance(m, BaseTunerLayer)]
        for name, layer in layers:
            layer.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(network.get_submodule(parent), child, layer.get_base_layer())
