"""Autoregressive forecasts beyond one pass: each path is appended to a copy of its window."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.batches import Batch


def continued(batch: Batch, paths: Tensor, max_context: int) -> Batch:
    """Windows with forecast samples appended to the context, one copy a path.

    A batch that was continued before already has one window a path.

    Args:
        batch: B windows, or B * paths that were continued before.
        paths: (B, paths, C, h) in the data's units.
        max_context: samples that are kept.
    """
    import torch

    repeats = 1 if batch.size == paths.shape[0] * paths.shape[1] else paths.shape[1]
    added = paths.flatten(0, 1)
    observed = [
        batch.observed.repeat_interleave(repeats, dim=0),
        torch.ones_like(added, dtype=torch.bool),
    ]
    values = torch.cat([batch.values.repeat_interleave(repeats, dim=0), added], dim=-1)
    cut = max(0, values.shape[-1] - max_context)
    return replace(
        batch,
        values=values[..., cut:],
        observed=torch.cat(observed, dim=-1)[..., cut:],
        start_s=batch.start_s.repeat_interleave(repeats) + cut / batch.rate_hz,
        subjects=tuple(subject for subject in batch.subjects for _ in range(repeats)),
    )
