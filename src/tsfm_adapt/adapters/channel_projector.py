"""Channel projector: C channels become K latent series before the backbone and C again after it.

Benechehab et al., "AdaPTS: Adapting Univariate Foundation Models to Probabilistic Multivariate
Time Series Forecasting", arXiv 2502.10235: linear and variational maps around a frozen model.
Feofanov et al., "User-friendly Foundation Model Adapters", arXiv 2409.12264: PCA in their place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tsfm_adapt.adapters._mixing import (
    channels_of,
    device_of,
    directions,
    level,
    middle,
    mirrored,
    moments,
    needs_input_gradients,
    rescaled,
    seen_as,
    standardised,
)
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.forecasts import Forecast, QuantileForecast, SampleForecast

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.adapters._nets.channel_projector import Projection
    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.signals.windows import Windows

Form = Literal["pca", "linear", "variational"]

# Squared, added under roots that may be of zero: their slope stays finite.
_TINY = 1e-6


class Config(AdapterConfig):
    """`adapters: [{name: channel_projector}]`."""

    name: Literal["channel_projector"] = "channel_projector"
    form: Form = Field(
        default="linear",
        description="'pca' fixes the encoder at the principal directions of train and trains the "
        "decoder, 'linear' trains both, 'variational' trains both and draws the latents",
    )
    latents: int | None = Field(
        default=None, ge=1, description="latent series; at most, and by default, the channels"
    )
    kl: float = Field(
        default=0.01,
        ge=0,
        description="variational only: weight of the divergence of a latent from a standard "
        "normal, summed over latents, mean over samples",
    )

    def build(self) -> ChannelProjector:
        """A projector with the recipe's values."""
        return ChannelProjector(self)


class ChannelProjector(Adapter):
    """Linear maps of each sample's standardised channels, around the backbone.

    - Every form starts at the principal directions of train and their transpose; differences
      from those are trained. The decoder has a bias, the encoder none, since each latent is
      scaled by its own mean and standard deviation in the context before the backbone sees it.
    - A latent is observed where at least one channel is. A channel that is not holds its last
      observed value there, or its mean in train where the window has none.
    - Sample paths are decoded path by path. Quantiles of a sum are not sums of quantiles:
      medians are decoded linearly, and the latents' distances from them are put together as those
      of independent variables, by the root of the sum of squares, the upper ones of a latent
      serving as lower ones where its weight is negative.
    - 'variational' samples latents in training, from torch's generator, and uses their means
      otherwise. The paper draws at inference too.
    """

    name = "channel_projector"
    changes_channels = True
    identity_at_start = False
    module: Projection

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """Maps at the first K channels, until `fit` turns them.

        Raises:
            RecipeError: channels are not known or fewer than the latents, or an encoder would
                train in front of a backbone that passes no gradients to it.
        """
        from tsfm_adapt.adapters._nets.channel_projector import Projection

        channels = channels_of(setting.channels, self.name)
        latents = self.config.latents or len(channels)
        if latents > len(channels):
            raise RecipeError(
                f"adapters.channel_projector.latents: {latents} latents of {len(channels)} "
                f"channels ({', '.join(channels)}) would repeat each other. Use at most "
                f"{len(channels)}."
            )
        if self.config.form != "pca":
            needs_input_gradients(
                backbone,
                f"adapters.channel_projector.form: {self.config.form}",
                "Use form: pca, whose encoder is fitted and whose decoder alone trains.",
            )
        self.module = Projection(
            channels=len(channels),
            latents=latents,
            encodes=self.config.form != "pca",
            varies=self.config.form == "variational",
            device=device_of(backbone),
        )

    def encoded(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The latents."""
        return _names(self.config.latents or len(channels))

    def fit(self, train: Windows) -> None:
        """Each channel's mean and standard deviation, and the principal directions of train."""
        module = self.module
        mean, deviation = moments(train)
        module.mean.copy_(mean)
        module.deviation.copy_(deviation)
        module.directions.copy_(directions(train, mean, deviation, len(module.directions)))

    def signal(self, batch: Batch) -> Batch:
        """The latents as channels `latent0`, `latent1`, ..."""
        import torch

        module = self.module
        channels = standardised(batch, module.mean, module.deviation)
        means, observed = module.encoded(channels), self._observed(batch)
        shift, scale = level(means, observed)
        drawn = means
        if self.config.form == "variational" and module.training:
            spread = (0.5 * module.log_variances(channels)).exp()
            drawn = means + spread * torch.randn_like(means)
        names = _names(means.shape[1])
        return seen_as(batch, drawn, observed, shift=shift, scale=scale, names=names)

    def restore(self, forecast: Forecast, batch: Batch) -> Forecast:
        """The forecast of the latents as one of the channels."""
        module = self.module
        channels = standardised(batch, module.mean, module.deviation)
        latent = rescaled(forecast, *level(module.encoded(channels), self._observed(batch)))
        decoded = _decoded(latent, module.decoding)
        unit = module.deviation[:, None]
        return rescaled(decoded, module.mean[:, None] + module.bias[:, None] * unit, unit)

    def penalty(self, batch: Batch) -> Tensor | None:
        """The latents' divergence from a standard normal, over windows that have a target."""
        import torch

        if self.config.form != "variational" or self.config.kl == 0:
            return None
        module = self.module
        channels = standardised(batch, module.mean, module.deviation)
        means, log_variances = module.encoded(channels), module.log_variances(channels)
        divergence = 0.5 * (means.square() + log_variances.exp() - 1 - log_variances).sum(1)
        counts = batch.observed.any(1)  # (B, T)
        if batch.target_observed is not None:
            counts = counts & batch.target_observed.flatten(1).any(1)[:, None]
        total = torch.where(counts, divergence, 0.0).sum()
        return self.config.kl * total / counts.sum().clamp(min=1)

    def _observed(self, batch: Batch) -> Tensor:
        """(B, K, T)."""
        any_channel = batch.observed.any(1, keepdim=True)
        return any_channel.expand(-1, len(self.module.directions), -1)


def _names(latents: int) -> tuple[str, ...]:
    return tuple(f"latent{number}" for number in range(latents))


def _decoded(latent: Forecast, weight: Tensor) -> Forecast:
    """A forecast of K latents as one of C channels, by a weight (C, K)."""
    import torch

    with torch.autocast(weight.device.type, enabled=False):
        if isinstance(latent, SampleForecast):
            return SampleForecast(torch.einsum("ck,sbkh->sbch", weight, latent.values))
        assert isinstance(latent, QuantileForecast)
        median = middle(latent)  # (B, K, 1, H)
        centre = torch.einsum("ck,bkqh->bcqh", weight, median)
        if len(latent.levels) == 1:
            return QuantileForecast(centre, latent.levels)
        up = (latent.values - median).square()
        down = (mirrored(latent) - median).square()
        square = torch.einsum("ck,bkqh->bcqh", weight.clamp(min=0).square(), up)
        square = square + torch.einsum("ck,bkqh->bcqh", weight.clamp(max=0).square(), down)
        spread = (square + _TINY**2).sqrt() - _TINY
        levels = torch.tensor(latent.levels, device=weight.device)
        side = torch.sign(torch.round((levels - 0.5) * 1e6))[:, None]
        return QuantileForecast(centre + side * spread, latent.levels)
