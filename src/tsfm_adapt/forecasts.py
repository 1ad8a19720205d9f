"""Forecasts behind one interface: quantiles, sample paths and points."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator

if TYPE_CHECKING:
    from torch import Tensor


def _ordered(levels: tuple[float, ...]) -> tuple[float, ...]:
    if any(not 0 < level < 1 for level in levels) or 0.5 not in levels:
        raise ValueError("quantiles lie between 0 and 1 and include 0.5, the point estimate")
    if list(levels) != sorted(set(levels)):
        raise ValueError("quantiles increase and do not repeat")
    return levels


# The quantile levels of a recipe: increasing, in (0, 1), 0.5 among them.
QuantileLevels = Annotated[tuple[float, ...], AfterValidator(_ordered)]


class Forecast(ABC):
    """A prediction of H samples of each channel, in the data's units."""

    @property
    @abstractmethod
    def steps(self) -> int:
        """H, the number of predicted samples."""

    @abstractmethod
    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles (B, C, Q, H) at Q levels in (0, 1); they cross where the model's do."""

    @abstractmethod
    def loss(self, target: Tensor, observed: Tensor, scale: Tensor) -> Tensor:
        """Scalar, differentiable; the mean over observed targets, each divided by `scale`.

        Args:
            target: (B, C, H); arbitrary where not observed.
            observed: (B, C, H) bool.
            scale: (B, C, 1), positive, in the data's units.
        """


@dataclass(frozen=True)
class QuantileForecast(Forecast):
    """Quantiles at fixed levels; others by linear interpolation, the outermost beyond them."""

    values: Tensor  # (B, C, Q, H), data units
    levels: tuple[float, ...]  # Q increasing levels in (0, 1)

    @property
    def steps(self) -> int:
        """H, the number of predicted samples."""
        return int(self.values.shape[-1])

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Quantiles (B, C, Q, H), linear between the known levels."""
        import torch

        columns = []
        for level in levels:
            right = bisect_left(self.levels, level - 1e-6)
            if right == 0:
                columns.append(self.values[:, :, 0])
            elif right == len(self.levels):
                columns.append(self.values[:, :, -1])
            else:
                low, high = self.levels[right - 1], self.levels[right]
                weight = (level - low) / (high - low)
                columns.append(
                    torch.lerp(self.values[:, :, right - 1], self.values[:, :, right], weight)
                )
        return torch.stack(columns, dim=-2)

    def loss(self, target: Tensor, observed: Tensor, scale: Tensor) -> Tensor:
        """Twice the pinball loss, summed over levels, mean over observed targets."""
        return _pinball(self.values, self.levels, target, observed, scale)


_DECILES = tuple(tenth / 10 for tenth in range(1, 10))


@dataclass(frozen=True)
class SampleForecast(Forecast):
    """Sample paths of the future; a single path is a point forecast."""

    values: Tensor  # (S, B, C, H), data units

    @property
    def steps(self) -> int:
        """H, the number of predicted samples."""
        return int(self.values.shape[-1])

    def quantiles(self, levels: Sequence[float]) -> Tensor:
        """Empirical quantiles (B, C, Q, H), linear between order statistics."""
        import torch

        known = torch.tensor(tuple(levels), dtype=self.values.dtype, device=self.values.device)
        return torch.quantile(self.values, known, dim=0).movedim(0, 2)

    def loss(self, target: Tensor, observed: Tensor, scale: Tensor) -> Tensor:
        """Twice the pinball loss of the deciles, summed, mean over observed targets."""
        return _pinball(self.quantiles(_DECILES), _DECILES, target, observed, scale)


def _pinball(
    quantiles: Tensor, at: Sequence[float], target: Tensor, observed: Tensor, scale: Tensor
) -> Tensor:
    import torch

    levels = torch.tensor(tuple(at), device=quantiles.device)[:, None]
    safe = torch.where(observed, target, 0.0)
    error = (safe[:, :, None] - quantiles) / scale[:, :, None]  # (B, C, Q, H)
    pinball = 2 * torch.maximum(levels * error, (levels - 1) * error).sum(dim=2)
    return torch.where(observed, pinball, 0.0).sum() / observed.sum().clamp(min=1)
