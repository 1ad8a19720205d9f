"""Surrogate pair: two mixtures of the channels are forecast, and their difference is one of each.

DualWeaver (package `dualweaver` 0.1.0): x1 = a x + g(x) and x2 = -b x + g(x) pass through the
frozen model, and y = (y1 - y2) / (a + b) holds whatever the mixture g is, so that g need not be
invertible.
"""

from __future__ import annotations

from math import floor, log2
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tsfm_adapt.adapters._mixing import (
    channels_of,
    device_of,
    level,
    mirrored,
    moments,
    needs_input_gradients,
    rescaled,
    seen_as,
    standardised,
)
from tsfm_adapt.adapters.base import Adapter, AdapterConfig, Setting
from tsfm_adapt.forecasts import Forecast, QuantileForecast, SampleForecast

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.adapters._nets.surrogate_pair import Surrogates
    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.signals.windows import Windows


class Config(AdapterConfig):
    """`adapters: [{name: surrogate_pair}]`."""

    name: Literal["surrogate_pair"] = "surrogate_pair"
    width: int | None = Field(
        default=None,
        ge=1,
        description="hidden width of the mixture; None = the power of two above the channels, "
        "at least 32, at most 512",
    )

    def build(self) -> SurrogatePair:
        """A pair with the recipe's values."""
        return SurrogatePair(self)


class SurrogatePair(Adapter):
    """Forecasts 2C surrogate series in place of C standardised channels.

    - a and b, one of each a channel, start at 1 and stay positive: their logarithms are trained.
      g, a perceptron over the channels of each sample, starts at zero. The pair is then x and -x,
      and the forecast is the odd part of the base's.
    - A surrogate is observed where its own channel is. In g, a channel that is not observed holds
      its last observed value, or its mean in train where the window has none.
    - Quantiles and samples: the two surrogates share x with opposite signs, so the upper end of
      one is taken to meet the lower end of the other. This is exact while g adds no doubt of its
      own, and too wide otherwise. Samples are paired by rank at each step: each step's
      distribution is right, but paths are not continued.
    - It trains on the error of what is recovered, alone. The package adds the errors of both
      surrogates and of the frozen model, and has dropout in g, which would not cancel here: each
      surrogate is scaled by its mean and standard deviation in the context.
    """

    name = "surrogate_pair"
    changes_channels = True
    identity_at_start = False
    module: Surrogates

    def __init__(self, config: Config) -> None:
        self.config = config

    def attach(self, backbone: Encoder, setting: Setting) -> None:
        """The mixture and the two scales of each channel.

        Raises:
            RecipeError: channels are not known, or the backbone passes no gradients to them.
        """
        from tsfm_adapt.adapters._nets.surrogate_pair import Surrogates

        count = len(channels_of(setting.channels, self.name))
        needs_input_gradients(
            backbone,
            "adapters.surrogate_pair",
            "Use channel_mixer, or channel_projector with form: pca.",
        )
        width = min(max(2 ** (floor(log2(count)) + 1), 32), 512)
        self.module = Surrogates(count, self.config.width or width, device_of(backbone))

    def encoded(self, channels: tuple[str, ...]) -> tuple[str, ...]:
        """The first surrogate of each, then the second of each."""
        return tuple(f"{channel} {number}" for number in "12" for channel in channels)

    def fit(self, train: Windows) -> None:
        """Each channel's mean and standard deviation in train."""
        mean, deviation = moments(train)
        self.module.mean.copy_(mean)
        self.module.deviation.copy_(deviation)

    def signal(self, batch: Batch) -> Batch:
        """The first surrogate of each channel, then the second of each."""
        values, observed = self._surrogates(batch)
        shift, scale = level(values, observed)
        names = self.encoded(batch.channels)
        return seen_as(batch, values, observed, shift=shift, scale=scale, names=names)

    def restore(self, forecast: Forecast, batch: Batch) -> Forecast:
        """The forecast of each channel from those of its two surrogates."""
        module = self.module
        pair = rescaled(forecast, *level(*self._surrogates(batch)))
        weight = (1 / (module.log_a.exp() + module.log_b.exp()))[:, None]  # (C, 1)
        unit = module.deviation[:, None]
        return rescaled(_difference(pair), module.mean[:, None], weight * unit)

    def _surrogates(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Both surrogates of each channel (B, 2C, T), and where they are observed."""
        import torch

        channels = standardised(batch, self.module.mean, self.module.deviation)
        return self.module(channels), torch.cat([batch.observed, batch.observed], dim=1)


def _difference(pair: Forecast) -> Forecast:
    """Forecasts (B, 2C, ...) of two surrogates as one of the first less the second."""
    if isinstance(pair, SampleForecast):
        first, second = pair.values.chunk(2, dim=2)  # (S, B, C, H)
        rising, falling = first.sort(dim=0).values, second.sort(dim=0, descending=True).values
        return SampleForecast(rising - falling)
    assert isinstance(pair, QuantileForecast)
    first, _ = pair.values.chunk(2, dim=1)
    _, opposite = mirrored(pair).chunk(2, dim=1)
    return QuantileForecast(first - opposite, pair.levels)
