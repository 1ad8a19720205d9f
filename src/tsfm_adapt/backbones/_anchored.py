"""Series as the TimesFM families hold them: anchored, then without gaps or without a trend.

Values are held around each series' first observed sample, the anchor, and divided by a power of
two, the unit: a constant series is then exactly 0, a huge mean costs no digits, and microvolts in
volts are not flat to upstream's tolerance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from timesfm3.torch import TimesFM3Torch
    from torch import Tensor

    from tsfm_adapt.batches import Batch

# A series with a smaller standard deviation, in its own unit, is flat: it is left unscaled and
# continues flat.
FLAT = 1e-6

# Rounding of a straight line in float32, as a share of its standard deviation.
_ROUNDING = 1e-5


@dataclass(frozen=True)
class GaplessSeries:
    """R = B*C anchored series without gaps: interior ones are filled, leading ones are padding."""

    values: Tensor  # (R, T) between -2 and 2; 0 where absent
    absent: Tensor  # (R, T) bool, before the first observed sample
    anchor: Tensor  # (R, 1), data units
    unit: Tensor  # (R, 1), data units

    @classmethod
    def of(cls, batch: Batch, max_context: int) -> GaplessSeries:
        """The last `max_context` samples, gaps filled from observed ones of that context.

        As upstream fills them: on the line between their neighbours, or with the last sample
        where no later one was observed.
        """
        import torch

        observed = batch.observed[..., -max_context:].flatten(0, 1)
        values = torch.where(observed, batch.values[..., -max_context:].flatten(0, 1), 0.0)
        time = torch.arange(values.shape[1], device=values.device).expand_as(observed)
        end = values.shape[1]
        before = torch.where(observed, time, -1).cummax(dim=1).values
        after = torch.where(observed, time, end).flip(1).cummin(dim=1).values.flip(1)
        left = before.clamp(min=0)
        right = after.where(after < end, left)
        centred, anchor, unit = _anchored(values, observed)
        share = (time - left) / (right - left).clamp(min=1)
        from_left = centred.gather(1, left)
        filled = from_left + share * (centred.gather(1, right) - from_left)
        return cls(filled.masked_fill(before < 0, 0.0), before < 0, anchor, unit)

    def seen_as(self, values: Tensor) -> Tensor:
        """Values (R, T), data units to anchored units."""
        return (values - self.anchor) / self.unit

    def in_units(self, values: Tensor) -> Tensor:
        """Values (R, T), anchored units to data units."""
        return values * self.unit + self.anchor

    def continued(self, added: Tensor, max_context: int) -> GaplessSeries:
        """The series with samples (R, h) after them, of which the last `max_context` are kept."""
        import torch

        values = torch.cat([self.values, added], dim=1)
        absent = torch.cat([self.absent, torch.zeros_like(added, dtype=torch.bool)], dim=1)
        return replace(self, values=values[:, -max_context:], absent=absent[:, -max_context:])

    def patches(self, patch: int) -> tuple[Tensor, Tensor]:
        """Values and absence (R, P, patch), padded on the left."""
        from torch.nn.functional import pad

        added = (-self.values.shape[1] % patch, 0)
        values, absent = pad(self.values, added), pad(self.absent, added, value=True)
        return values.unflatten(1, (-1, patch)), absent.unflatten(1, (-1, patch))


@dataclass(frozen=True)
class DetrendedSeries:
    """The context in patches, without its offset, and detrended where the trend dominates."""

    values: Tensor  # (B, C, P, patch); 0 where not observed
    observed: Tensor  # (B, C, P, patch) bool
    anchor: Tensor  # (B, C, 1), data units
    unit: Tensor  # (B, C, 1), data units
    start: Tensor  # (B, C, 1) the trend that was taken out, at the end of the context; or 0
    slope: Tensor  # (B, C, 1) its change with each step; or 0
    deviation: Tensor  # (B, C, 1) standard deviation of the observed samples, trend included

    @classmethod
    def of(cls, batch: Batch, model: TimesFM3Torch, max_context: int) -> DetrendedSeries:
        """The last samples of the context, padded on the left to whole patches."""
        import torch
        from torch.nn.functional import pad

        kept = batch.observed[..., -max_context:]
        added = (-kept.shape[-1] % model.input_patch_len, 0)
        observed = pad(kept, added, value=False)  # (B, C, L)
        measured = torch.where(kept, batch.values[..., -max_context:], 0.0)
        values, anchor, unit = _anchored(pad(measured, added), observed)
        with torch.no_grad():
            count = observed.sum(dim=2, keepdim=True).clamp(min=1)
            length = observed.shape[2]
            time = torch.arange(1 - length, 1, device=values.device) / length

            def around_mean(each: Tensor) -> tuple[Tensor, Tensor]:
                mean = each.where(observed, 0.0).sum(dim=2, keepdim=True) / count
                return mean, torch.where(observed, each - mean, 0.0)

            def deviation_of(each: Tensor) -> Tensor:
                return (each.square().sum(dim=2, keepdim=True) / count).sqrt()

            mean_time, times = around_mean(time.expand_as(values))
            mean, around = around_mean(values)
            spread = times.square().sum(dim=2, keepdim=True)
            slope = (times * around).sum(dim=2, keepdim=True) / spread.where(spread > 0, 1.0)
            deviation = deviation_of(around)
            rest = deviation_of(around - slope * times)
            trending = rest < model.linear_detrending_threshold * deviation
            trending &= bool(model.use_linear_detrending)
            straight = trending & (rest <= _ROUNDING * deviation)
            zero = torch.zeros_like(slope)
            slope, start = (
                slope.where(trending, zero),
                (mean - slope * mean_time).where(trending, zero),
            )
        left = (values - (start + slope * time)).masked_fill(~observed | straight, 0.0)
        shape = (-1, model.input_patch_len)
        return cls(
            values=left.unflatten(2, shape),
            observed=observed.unflatten(2, shape),
            anchor=anchor,
            unit=unit,
            start=start,
            slope=slope / length,
            deviation=deviation,
        )


def _anchored(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Anchored values (..., T), 0 where not observed, and their anchor and unit (..., 1)."""
    import torch

    anchor = values.gather(-1, observed.int().argmax(dim=-1, keepdim=True)).detach()
    centred = torch.where(observed, values - anchor, 0.0)
    largest = centred.detach().abs().amax(dim=-1, keepdim=True)
    unit = torch.exp2(largest.log2().floor()).where(largest > 0, 1.0)
    return centred / unit, anchor, unit
