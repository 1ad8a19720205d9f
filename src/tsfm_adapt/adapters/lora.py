"""LoRA: low-rank updates of attention and feed-forward weights, through peft.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", arXiv 2106.09685:
W + (alpha / rank) B A, with B zero at the start. rsLoRA (arXiv 2312.03732) scales by
alpha / sqrt(rank); DoRA (arXiv 2402.09353) learns the magnitude of each output apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from tsfm_adapt.adapters._injection import InjectedAdapter, SitesConfig

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import Encoder


class Config(SitesConfig):
    """`adapters: [{name: lora}]`."""

    name: Literal["lora"] = "lora"
    rank: int = Field(default=8, ge=1)
    alpha: float = Field(
        default=16.0, gt=0, description="update scale; alpha / rank multiplies BA"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1)
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank)")
    dora: bool = Field(default=False, description="learn the magnitude of each output apart")

    def build(self) -> Lora:
        """LoRA with the recipe's values."""
        return Lora(self)


class Lora(InjectedAdapter):
    """Low-rank updates at the backbone's sites of the given roles."""

    name = "lora"
    config: Config

    def __init__(self, config: Config) -> None:
        self.config = config

    def peft_config(self, backbone: Encoder, pattern: str) -> Any:  # noqa: ARG002
        """LoRA of peft."""
        from peft import LoraConfig

        return LoraConfig(
            r=self.config.rank,
            # peft casts nothing: a fraction is a valid scale though annotated int
            lora_alpha=self.config.alpha,
            lora_dropout=self.config.dropout,
            use_rslora=self.config.rslora,
            use_dora=self.config.dora,
            target_modules=pattern,
        )
