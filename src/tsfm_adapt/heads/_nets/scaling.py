"""Mean and standard deviation of each channel of a context, over its observed samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tsfm_adapt.batches import Batch

_OF_ZEROS = 1e-5  # data units: MOMENT's, of a channel of zeros alone
_ROUNDING = 1e-6  # of the largest value: the spread of a constant in float32


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each channel, (B, C, 1) float32, data units."""

    mean: Tensor
    deviation: Tensor

    def restored(self, scaled: Tensor) -> Tensor:
        """Scaled quantiles (B, C, Q, H) in the data's units."""
        return scaled.float() * self.deviation[..., None] + self.mean[..., None]


def shown(batch: Batch) -> Scale:
    """The scale over the observed samples of a context; 0 and 1 where a channel has none.

    A standard deviation below float32's rounding of the values is raised to it.
    """
    values = torch.where(batch.observed, batch.values, 0.0).double()
    count = batch.observed.sum(-1, keepdim=True)
    mean = values.sum(-1, keepdim=True) / count.clamp(min=1)
    centred = torch.where(batch.observed, values - mean, 0.0)
    deviation = (centred.square().sum(-1, keepdim=True) / count.clamp(min=1)).sqrt()
    rounding = _ROUNDING * values.abs().amax(-1, keepdim=True)
    deviation = torch.maximum(deviation, rounding)
    deviation = torch.where(deviation > 0, deviation, _OF_ZEROS)
    return Scale(mean.float(), torch.where(count > 0, deviation, 1.0).float())
