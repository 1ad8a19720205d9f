"""The batch, and the one place where numpy becomes torch."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from tsfm_adapt.signals.windows import WindowArrays


@dataclass(frozen=True)
class Batch:
    """B windows of C channels in the data's units; masks are True where a value was measured."""

    values: Tensor  # (B, C, T) float32, finite; arbitrary where not observed
    observed: Tensor  # (B, C, T) bool
    target: Tensor | None  # (B, C, H) | (B, C, T) | (B, ...) by task
    target_observed: Tensor | None  # the shape of `target`, bool
    start_s: Tensor  # (B,) float64 seconds since the epoch; NaN = unknown
    rate_hz: float
    channels: tuple[str, ...]
    subjects: tuple[str, ...]
    features: Tensor | None = (
        None  # (B, ...) cached inputs of a head; None = computed from `values`
    )

    @property
    def size(self) -> int:
        """B, the number of windows."""
        return self.values.shape[0]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with every tensor on `device`."""
        from torch import Tensor

        # Any: `replace` cannot know that tensors stay tensors
        moved: dict[str, Any] = {
            f.name: value.to(device)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)

    def without_target(self) -> Batch:
        """The batch without its target: the input of a prediction."""
        return replace(self, target=None, target_observed=None)

    def deviation(self) -> Tensor:
        """Standard deviation (B, C) of each context over observed samples; 0 where none is."""
        import torch

        count = self.observed.sum(-1).clamp(min=1)
        mean = torch.where(self.observed, self.values, 0.0).sum(-1) / count
        centred = torch.where(self.observed, self.values - mean[..., None], 0.0)
        return (centred.square().sum(-1) / count).sqrt()

    def without_flat(self, scale: Tensor, floor: Tensor) -> Batch:
        """The batch with the targets of flat contexts not observed.

        Args:
            scale: (B, C) each context's standard deviation.
            floor: (C,) or scalar; up to it, and to rounding in float32, a context is flat.
        """
        import torch

        assert self.target_observed is not None
        largest = torch.where(self.observed, self.values.abs(), 0.0).amax(-1)
        flat = scale <= floor + 1e-6 * largest  # (B, C)
        return replace(self, target_observed=self.target_observed & ~flat[..., None])


def context_batch(
    values: Tensor, rate_hz: float, channels: tuple[str, ...], subjects: tuple[str, ...] = ()
) -> Batch:
    """Windows without a target, at an unknown time.

    Args:
        values: (B, C, T) in the data's units; NaN = not observed.
        rate_hz: samples a second.
        channels: C names.
        subjects: B names, or none where no adapter needs them.
    """
    import torch

    observed = ~torch.isnan(values)
    return Batch(
        values=torch.where(observed, values, 0.0),
        observed=observed,
        target=None,
        target_observed=None,
        start_s=values.new_full((values.shape[0],), torch.nan, dtype=torch.float64),
        rate_hz=rate_hz,
        channels=channels,
        subjects=subjects,
    )


def collate(windows: WindowArrays) -> Batch:
    """Windows from `signals` as tensors; memory is shared, nothing is copied."""
    import torch

    has_target = windows.target is not None and windows.target_observed is not None
    return Batch(
        values=torch.from_numpy(windows.values),
        observed=torch.from_numpy(windows.observed),
        target=torch.from_numpy(windows.target) if has_target else None,
        target_observed=torch.from_numpy(windows.target_observed) if has_target else None,
        start_s=torch.from_numpy(windows.start_s),
        rate_hz=windows.rate_hz,
        channels=windows.channels,
        subjects=windows.subjects,
        features=None if windows.features is None else torch.from_numpy(windows.features),
    )
