"""Channel mixer: before chosen blocks, tokens of one channel are updated from those of the others.

Channels as tokens of an attention, as in iTransformer (Liu et al., arXiv 2310.06625), or as inputs
of a perceptron, as in TSMixer and TTM's `mix_channel` decoder (Ekambaram et al., arXiv
2401.03955); here inside any frozen backbone, in a bottleneck whose output starts at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from tsfm_adapt.adapters._blocks import Blocks, chosen, from_layers
from tsfm_adapt.adapters._mixing import channels_of, device_of
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tsfm_adapt.backbones.base import Encoder

Form = Literal["attention", "mlp"]


class Config(AdapterConfig):
    """`adapters: [{name: channel_mixer}]`."""

    name: Literal["channel_mixer"] = "channel_mixer"
    form: Form = Field(
        default="attention",
        description="'attention' between channels with a learned vector a channel, or 'mlp', a "
        "perceptron over all channels",
    )
    blocks: Blocks = Field(
        default="all", description="blocks of the encoder before which tokens are mixed"
    )
    width: int = Field(default=32, ge=1, description="width of the space in which is mixed")
    heads: int = Field(default=4, ge=1, description="attention only; divides width")

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Config:
        if self.form == "attention" and self.width % self.heads:
            raise ValueError(
                f"width {self.width} does not divide into {self.heads} heads. Use a multiple."
            )
        return self

    @classmethod
    def renamed(cls, key: str, value: Any) -> tuple[str, Any]:
        """`layers` was what `blocks` is."""
        return from_layers(key, value, ends=False)

    def build(self) -> ChannelMixer:
        """A mixer with the recipe's values."""
        return ChannelMixer(self)


class ChannelMixer(Adapter):
    """Adds to each token a function of the tokens of all channels at the same place.

    Places are mixed apart, so that a causal model stays causal, and adding starts at exactly
    zero. Tokens of places where nothing was observed take part like the others: they encode
    that it is missing, and no unobserved value can reach them.
    """

    name = "channel_mixer"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.channels: tuple[str, ...] = ()
        self._mixers: dict[int, nn.Module] = {}  # by block; registered in `module`

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """One mixer a block.

        Raises:
            RecipeError: there are fewer than two channels, or the backbone lacks a block.
        """
        from torch import nn

        self.channels = channels_of(setting.encoded, self.name, at_least=2)
        every = range(backbone.spec.layers)
        blocks = chosen(self.config.blocks, every, self.name, backbone.spec.name)
        self._mixers = {block: self._mixer(backbone) for block in blocks}
        self.module = nn.ModuleDict({str(layer): each for layer, each in self._mixers.items()})

    def tokens(self, tokens: Tensor, layer: int) -> Tensor:
        """Tokens (B, C, P, D) before a block, mixed where it was chosen.

        Raises:
            RecipeError: the batch has another number of channels.
        """
        mixer = self._mixers.get(layer)
        if mixer is None:
            return tokens
        if tokens.shape[1] != len(self.channels):
            raise RecipeError(
                f"adapters.channel_mixer: it was made for {len(self.channels)} channels "
                f"({', '.join(self.channels)}); {tokens.shape[1]} arrive. Give it the channels "
                "that it was trained on."
            )
        changes: Tensor = mixer(tokens)
        return tokens + changes.to(tokens.dtype)

    def _mixer(self, backbone: Encoder) -> nn.Module:
        from tsfm_adapt.adapters._nets.channel_mixer import AttentionMixer, MlpMixer

        channels, size, width = len(self.channels), backbone.spec.width, self.config.width
        device = device_of(backbone)
        if self.config.form == "mlp":
            return MlpMixer(channels=channels, size=size, width=width, device=device)
        heads = self.config.heads
        return AttentionMixer(
            channels=channels, size=size, width=width, heads=heads, device=device
        )

    def channel_attention(self) -> Mapping[str, nn.Module]:
        """The mixers, where they are made of attention."""
        if self.config.form != "attention":
            return {}
        return {f"before block {block}": mixer for block, mixer in self._mixers.items()}
