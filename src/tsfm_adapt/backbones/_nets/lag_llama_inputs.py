"""Lag-Llama's inputs beside lagged values: robust scale and calendar features."""

from __future__ import annotations

import torch
from torch import Tensor

MINIMUM_SCALE = 1e-10  # upstream's


def robust_scale(values: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Median and interquartile range (..., 1) of observed samples; 0 and 1 where there are none.

    Upstream's rule, with one exception. Where a quarter to three quarters of the values are
    equal, as in vital signs of whole numbers, the range is 0 and upstream divides by 1e-10;
    here the root mean square about the median takes its place. Constants keep 1e-10.
    """
    values, count = values.detach(), observed.sum(-1, keepdim=True)
    ordered = values.masked_fill(~observed, torch.inf).sort(dim=-1).values
    last = (count - 1).clamp(min=0)

    def quantile(level: float) -> Tensor:
        rank = level * last
        low, high = (ordered.gather(-1, each.long()) for each in (rank.floor(), rank.ceil()))
        return torch.lerp(low, high, rank - rank.floor())

    median = ordered.gather(-1, last // 2)  # the lower of two, as upstream has it
    loc = torch.where(count > 0, median, 0.0)
    spread = quantile(0.75) - quantile(0.25)
    deviation = torch.where(observed, values - loc, 0.0)
    rms = (deviation.square().sum(-1, keepdim=True) / count.clamp(min=1)).sqrt()
    scale = torch.where(spread > 0, spread, rms).clamp(min=MINIMUM_SCALE)
    return loc, torch.where(count > 0, scale, 1.0)


def time_features(start_s: Tensor, first: int, samples: int, rate_hz: float) -> Tensor:
    """Calendar features of `samples` samples (B, L, 6), in [-0.5, 0.5]; 0 at unknown times.

    Second of minute, minute of hour, hour of day, day of week, of month and of year (Gregorian),
    as gluonts has them for a series of seconds. Years of de-identified data (2896) are fine.

    Args:
        start_s: (B,) float64 seconds since the epoch of sample 0; NaN = unknown.
        first: index of the first sample.
        samples: how many.
        rate_hz: samples a second.
    """
    after = torch.arange(first, first + samples, device=start_s.device, dtype=torch.float64)
    time = start_s[:, None] + after / rate_hz
    # A millisecond makes up for the rounding of rates like 1/60.
    second = torch.nan_to_num(time + 1e-3).floor().long()
    day = second.div(86400, rounding_mode="floor")
    within = second - 86400 * day
    of_month, of_year = _days(day)
    columns = (
        (within % 60, 60),
        (within // 60 % 60, 60),
        (within // 3600, 24),
        ((day + 3) % 7, 7),  # the epoch was a Thursday, Monday is 0
        (of_month, 31),
        (of_year, 366),
    )
    features = torch.stack([count / (size - 1) - 0.5 for count, size in columns], dim=-1)
    return torch.where(time.isnan()[..., None], 0.0, features).float()


def _days(day: Tensor) -> tuple[Tensor, Tensor]:
    """Day of the month and of the year, from 0, of days since 1970-01-01.

    Counts years from 1 March, so that the leap day is the last; 400 years have 146097 days.
    """
    of_era = (day + 719468) % 146097
    leaps = of_era // 1460 - of_era // 36524 + of_era // 146096
    year = (of_era - leaps) // 365
    since_march = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * since_march + 2) // 153  # 0 = March
    of_month = since_march - (153 * month + 2) // 5
    leap = ((year % 4 == 0) & (year % 100 != 0)) | (year % 400 == 0)
    of_year = torch.where(month < 10, since_march + 59 + leap, since_march - 306)
    return of_month, of_year
