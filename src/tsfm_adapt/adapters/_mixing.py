"""Shared by adapters that mix channels or correct forecasts: statistics, scaling, quantiles."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.forecasts import Forecast, QuantileForecast, SampleForecast
from tsfm_adapt.signals import statistics

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.signals.windows import Windows

# A series whose standard deviation is below this, in those of train, is not divided by it.
_FLAT = 1e-4


# What an adapter needs


def channels_of(channels: tuple[str, ...], adapter: str, at_least: int = 1) -> tuple[str, ...]:
    """The channels, of the data or of what the backbone is given.

    Raises:
        RecipeError: they are not known, or are too few.
    """
    if len(channels) < at_least:
        raise RecipeError(
            f"adapters.{adapter}: needs at least {at_least} channels, which are known when it is "
            f"attached; there are {len(channels)} ({', '.join(channels)}). Add channels to "
            f"data.channels, or leave {adapter} out."
        )
    return channels


def needs_input_gradients(backbone: Encoder, what: str, instead: str) -> None:
    """Stops where nothing that comes before the backbone could learn.

    Raises:
        RecipeError: forecasts of this backbone carry no gradient to its context.
    """
    if not backbone.spec.input_gradients:
        raise RecipeError(
            f"{what} learns through the context that the backbone is given, and the forecasts of "
            f"{backbone.spec.name} carry no gradient to it. {instead}"
        )


def device_of(backbone: Encoder) -> torch.device:
    """Where the backbone's weights are; the meta device where it was built to be counted."""
    return next(backbone.network.parameters()).device


# Units


def moments(train: Windows) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of each channel's observed samples in train.

    Where nothing was observed 0 and 1; where nothing varies the standard deviation is 1.
    """
    import torch

    known = statistics.moments(train.recordings)
    return torch.from_numpy(known.mean).float(), torch.from_numpy(known.scale).float()


def directions(train: Windows, mean: Tensor, deviation: Tensor, latents: int) -> Tensor:
    """The first principal directions (K, C) of the standardised channels in train, orthonormal.

    Each pair of channels is correlated over the samples where both were observed. The largest
    weight of each direction is positive.

    Args:
        train: windows of the training split; every sample of their recordings counts.
        mean: (C,) of each channel in train.
        deviation: (C,) standard deviation, positive.
        latents: K, at most C.
    """
    import torch

    square = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    count = torch.zeros_like(square)
    centre, unit = mean.double()[:, None], deviation.double()[:, None]
    for values in (block for recording in train.recordings for block in recording.blocks()):
        known = torch.from_numpy(np.isfinite(values))
        observed = known.double()
        scaled = torch.where(known, (torch.from_numpy(values).double() - centre) / unit, 0.0)
        square += scaled @ scaled.mT
        count += observed @ observed.mT
    _, vectors = torch.linalg.eigh(square / count.clamp(min=1))
    leading = vectors.flip(1)[:, :latents].mT  # (K, C), the largest eigenvalue first
    largest = leading.gather(1, leading.abs().argmax(1, keepdim=True))
    upright: Tensor = leading * largest.sign()
    return upright.float()


def standardised(batch: Batch, mean: Tensor, deviation: Tensor) -> Tensor:
    """The context (B, C, T), standardised by the mean and standard deviation (C,) of train.

    Gaps hold the last observed value, and the first before any was observed; a channel without an
    observed sample in this window is 0, its mean in train.
    """
    import torch

    centre, unit = mean[:, None], deviation[:, None]
    values = (torch.where(batch.observed, batch.values, centre) - centre) / unit
    steps = torch.arange(values.shape[-1], device=values.device)
    last = torch.where(batch.observed, steps, -1).cummax(-1).values
    first = batch.observed.int().argmax(-1, keepdim=True)
    return values.gather(-1, torch.where(last < 0, first, last))


# The backbone's own scaling
#
# Backbones scale each series themselves, by statistics that carry no gradient. A series that is
# scaled here already leaves them nothing to do, and what shifts or stretches it is known outside.


def level(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, C, 1) of observed samples, with gradients; always finite."""
    import torch

    count = observed.sum(-1, keepdim=True).clamp(min=1)
    mean = torch.where(observed, values, 0.0).sum(-1, keepdim=True) / count
    centred = torch.where(observed, values - mean, 0.0)
    variance = centred.square().sum(-1, keepdim=True) / count
    moves = variance > _FLAT**2
    return mean, torch.where(moves, variance, 1.0).sqrt()


def seen_as(
    batch: Batch,
    values: Tensor,
    observed: Tensor,
    *,
    shift: Tensor,
    scale: Tensor,
    names: tuple[str, ...],
) -> Batch:
    """The batch with other series (B, K, T), less `shift` and divided by `scale` (B, K, 1)."""
    import torch

    scaled = torch.where(observed, (values - shift) / scale, 0.0)
    return replace(batch.without_target(), values=scaled, observed=observed, channels=names)


# Forecasts


def rescaled(forecast: Forecast, shift: Tensor, scale: Tensor) -> Forecast:
    """`scale` times the forecast plus `shift`, both broadcast to (B, C, 1); `scale` > 0."""
    if isinstance(forecast, SampleForecast):
        return SampleForecast(forecast.values * scale + shift)
    assert isinstance(forecast, QuantileForecast)
    values = forecast.values * scale[..., None] + shift[..., None]
    return QuantileForecast(values, forecast.levels)


def mirrored(forecast: QuantileForecast) -> Tensor:
    """For each level q the quantile at 1 - q, (B, C, Q, H): those of -y are its negatives."""
    return forecast.quantiles([1 - level for level in forecast.levels])


def middle(forecast: QuantileForecast) -> Tensor:
    """The median (B, C, 1, H)."""
    return forecast.quantiles((0.5,))
