"""Proposed lines of channels: unit, meaning of 0, possible range, reason to leave it out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.survey import Channel, Survey
from tsfm_adapt.proposal.wording import readings, share_measured
from tsfm_adapt.signals.plausible import Range, Vital, substance, vital
from tsfm_adapt.signals.units import canonical, convert


@dataclass(frozen=True)
class ChannelLine:
    """One line of `data.channels`, or the reason why there is none."""

    name: str
    unit: str
    from_unit: str | None  # where the file states none
    why: str
    left_out: bool
    zero: str | None = None  # why 0 is missing
    limits: Range | None = None  # of a known vital sign
    limits_why: str = ""
    wide: Range | None = None  # around what was seen, to think about
    flatline_s: float | None = None  # longer than what a body keeps still

    @property
    def unit_assumed(self) -> bool:
        """Whether the unit is a guess by name and values."""
        return self.from_unit not in (None, "1")


def line_of(channel: Channel, survey: Survey, alike: frozenset[str]) -> ChannelLine:
    """Proposes the line of one channel, from its survey."""
    unit, from_unit, unit_why = _unit(channel)
    known = vital(channel.name)
    limits = None if known is None else known.limits_in(unit)
    zero = _zero(channel, known if limits is not None else None, unit)
    line = ChannelLine(
        name=channel.name,
        unit=unit,
        from_unit=from_unit,
        why="; ".join(part for part in (_seen(channel), unit_why) if part),
        left_out=False,
        zero=zero,
        limits=limits,
        limits_why="" if known is None else f"{known.quantity}: possible in a body, {unit}",
        wide=_widened(channel),
        flatline_s=_still(channel),
    )
    reason = _out(channel, survey, alike)
    return line if reason is None else replace(line, left_out=True, why=reason)


def _out(channel: Channel, survey: Survey, alike: frozenset[str]) -> str | None:
    """Why a channel is left out, as far as the files tell."""
    if channel.measured == 0:
        return "never measured"
    if channel.constant:
        return f"always {channel.low:g}"
    if channel.name not in alike:
        return f"not near the rate of the others, {_rates(channel)}"
    most = max(other.recordings for other in survey.channels if other.name in alike)
    if 2 * channel.recordings <= most:
        return f"measured in {channel.recordings} of {survey.looked} recordings"
    if not all(_converts(unit, channel.units[0], channel.name) for unit in channel.units):
        return f"its unit differs: {', '.join(channel.units)}"
    if len(channel.usual) > 1:
        return _two_units(channel)
    return None


def _converts(unit: str, target: str, name: str) -> bool:
    if (canonical(unit) or unit) == (canonical(target) or target):
        return True
    try:
        convert(unit, target, substance(name))
    except DataError:
        return False
    return True


def _two_units(channel: Channel) -> str:
    """That some recordings are in another unit than the others, by their medians."""
    counts = sorted(channel.usual.items(), key=lambda own: -len(own[1]))
    most, *others = counts
    shown = "; ".join(f"{unit} in {', '.join(own[:6])}" for unit, own in others)
    return (
        f"two units by its values: {most[0]} in {len(most[1])} subjects, {shown}: state them with "
        "units_by_subject of the reader"
    )


def _unit(channel: Channel) -> tuple[str, str | None, str]:
    """The unit to write, the one to assume, and why."""
    stated = channel.units[0].strip()
    if stated not in ("", "1"):
        return stated, None, ""
    known = vital(channel.name)
    usual = None if known is None else known.unit_of(channel.nonzero_median)
    if usual is not None and usual != "1":
        return (
            usual,
            usual,
            (
                f"no unit in the file: {usual} by its name and its median, "
                f"{channel.nonzero_median:.3g}; check it"
            ),
        )
    if stated:
        return stated, None, ""
    return "1", "1", "no unit in the file"


def _zero(channel: Channel, known: Vital | None, unit: str) -> str | None:
    """Why 0 means missing: impossible for the quantity, or far from everything else."""
    if not channel.zeros or channel.constant:
        return None
    fraction = channel.zeros / channel.measured
    share = f"{'under 0.1%' if fraction < 0.001 else f'{fraction:.1%}'} are exactly 0"
    limits = None if known is None else known.limits_in(unit)
    if known is not None and limits is not None:
        return f"{share}, no {known.quantity}" if limits[0] > 0 else None
    if known is not None or channel.few_values or channel.low < 0:
        return None
    lowest, middle = channel.nonzero
    if channel.zeros >= 0.005 * channel.measured and lowest > 0.2 * middle:
        return f"{share}, all else is above {lowest:.3g}"
    return None


def _widened(channel: Channel) -> Range | None:
    """The 0.1 to 99.9 percentiles and half of their width on both sides."""
    low, high = float(channel.quantiles[0]), float(channel.quantiles[4])
    if not high > low:
        return None
    margin = 0.5 * (high - low)
    least = 0.0 if low >= 0 else -np.inf
    return float(f"{max(low - margin, least):.3g}"), float(f"{high + margin:.3g}")


def _still(channel: Channel) -> float | None:
    """A limit for identical values where some last suspiciously long."""
    if channel.few_values or channel.usual_hz is None:
        return None
    rate_hz = channel.usual_hz
    limit_s = max(0.5, 32 / rate_hz) if rate_hz > 16 else 64 / rate_hz
    return float(f"{limit_s:.3g}") if channel.longest_flat_s > limit_s else None


def _seen(channel: Channel) -> str:
    """A summary of the channel's values."""
    spread = f"mostly {channel.quantiles[1]:.3g} to {channel.quantiles[3]:.3g}"
    if channel.regular and channel.measured < channel.samples:
        return f"{share_measured(channel)} measured, {spread}"
    if not channel.regular:
        return f"about {readings(channel)} readings a recording, {spread}"
    return spread


def _rates(channel: Channel) -> str:
    return " and ".join(f"{rate:g} Hz" for rate in channel.rates_hz[:3]) or "unknown"
