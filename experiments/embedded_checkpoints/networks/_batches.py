"""The corpus as the package's own batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from corpus import CorpusBatch

from tsfm_adapt.batches import Batch
from tsfm_adapt.forecasts import Forecast

RATE_HZ = 1 / 60  # the corpus has no clock; one value a minute is as good as any


def rows(batch: CorpusBatch) -> Batch:
    """Each row a window of one channel, for models of single series."""
    return _batch(batch.context[:, None], batch.target[:, None])


def windows(batch: CorpusBatch) -> Batch:
    """Each group a window; smaller groups are filled up with channels that were not measured."""
    number = int(batch.groups[-1]) + 1
    place = np.arange(len(batch.groups)) - np.searchsorted(batch.groups, batch.groups)
    shape = (number, int(place.max()) + 1)
    context = np.full((*shape, batch.context.shape[1]), np.nan, np.float32)
    target = np.full((*shape, batch.target.shape[1]), np.nan, np.float32)
    context[batch.groups, place] = batch.context
    target[batch.groups, place] = batch.target
    return _batch(context, target)


def cut(batch: Batch, horizon: int) -> Batch:
    """The batch with the first `horizon` samples of its targets."""
    assert batch.target is not None
    assert batch.target_observed is not None
    return replace(
        batch,
        target=batch.target[..., :horizon],
        target_observed=batch.target_observed[..., :horizon],
    )


def absolute_error(forecast: Forecast, batch: Batch) -> torch.Tensor:
    """The forecast's pinball loss in units of each context's deviation, a level."""
    assert batch.target is not None
    assert batch.target_observed is not None
    return forecast.loss(batch.target, batch.target_observed, deviation(batch))


def deviation(batch: Batch) -> torch.Tensor:
    """Standard deviation (B, C, 1) of what was measured, 1 where that is flat."""
    count = batch.observed.sum(-1, keepdim=True).clamp(min=1)
    mean = batch.values.sum(-1, keepdim=True) / count
    centred = torch.where(batch.observed, batch.values - mean, 0.0)
    spread = (centred.square().sum(-1, keepdim=True) / count).sqrt()
    level = torch.where(batch.observed, batch.values.abs(), 0.0).amax(-1, keepdim=True)
    return torch.where(spread > 1e-4 * level, spread, 1.0)


def _batch(context: np.ndarray, target: np.ndarray) -> Batch:
    number, channels = context.shape[:2]
    return Batch(
        values=torch.from_numpy(np.nan_to_num(context)),
        observed=torch.from_numpy(np.isfinite(context)),
        target=torch.from_numpy(np.nan_to_num(target)),
        target_observed=torch.from_numpy(np.isfinite(target)),
        start_s=torch.full((number,), torch.nan, dtype=torch.float64),
        rate_hz=RATE_HZ,
        channels=tuple(f"c{i}" for i in range(channels)),
        subjects=tuple(f"s{i}" for i in range(number)),
    )
