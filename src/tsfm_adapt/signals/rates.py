"""How each channel is resampled from the files' rates to the recipe's, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

from tsfm_adapt.signals.binning import same_rate
from tsfm_adapt.signals.channel_rules import CleaningPlan


@dataclass(frozen=True)
class ChannelRate:
    """How one channel is resampled to the recipe's rate."""

    name: str
    source: str  # its name in the files, or the names
    found_hz: float | None  # rate in the files; None = irregular (time-stamped)
    rate_hz: float
    how: str  # "as is", "median of 60 samples", "sparse: ..."


def channel_rates(
    rates: Mapping[str, tuple[float | None, ...]], plan: CleaningPlan
) -> tuple[ChannelRate, ...]:
    """One entry for each channel and each rate at which the files hold it, in the plan's order.

    Args:
        rates: by channel, as in `RecordingSet.rates`.
        plan: with which the recordings were cleaned.
    """
    return tuple(
        ChannelRate(
            channel.name,
            " or ".join(channel.sources),
            found_hz,
            plan.rate_hz,
            _how(found_hz, plan),
        )
        for channel in plan.channels
        for found_hz in rates.get(channel.name, ())
    )


def _how(found_hz: float | None, plan: CleaningPlan) -> str:
    if found_hz is None:
        return f"{plan.resample} of the readings in each {1 / plan.rate_hz:g} s"
    if same_rate(found_hz, plan.rate_hz):
        return "as is"
    if found_hz < plan.rate_hz:
        return f"sparse: a value in 1 of {_number(plan.rate_hz / found_hz)} samples"
    return f"{plan.resample} of {_number(found_hz / plan.rate_hz)} samples"


def _number(ratio: float) -> str:
    """A ratio as text: a whole number, or the two that bins alternate between."""
    whole = round(ratio)
    if abs(ratio - whole) < 1e-3 * ratio:
        return str(whole)
    return f"{floor(ratio)} or {ceil(ratio)}"
