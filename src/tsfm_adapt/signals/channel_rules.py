"""Channels by the recipe's plan: picked and renamed, in its units, with its rules applied.

The rules of a channel, in order: zeros that mean missing, its unit, its range, flat lines. What a
rule removes becomes NaN.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np

from tsfm_adapt.errors import DataError, RecipeError, closest
from tsfm_adapt.signals.binning import Resample
from tsfm_adapt.signals.mapping import release
from tsfm_adapt.signals.plausible import substance
from tsfm_adapt.signals.recording import (
    BoolArray,
    FloatArray,
    IntArray,
    IrregularReadings,
    Recording,
)
from tsfm_adapt.signals.units import convert


@dataclass(frozen=True)
class ChannelPlan:
    """One channel of the cleaned recordings, and its source in the files.

    Of several sources, the first that a recording has is taken, and no other: two montages of an
    electrode are never mixed within a recording.
    """

    name: str  # one called as glucose is converts between mmol/L and mg/dL
    unit: str
    source: str | tuple[str, ...]  # its name in the files, or several, the preferred one first
    from_unit: str | None = None  # replaces the files' unit, where absent or wrong

    @property
    def sources(self) -> tuple[str, ...]:
        """The names that it may have in the files, the preferred one first."""
        return (self.source,) if isinstance(self.source, str) else self.source

    def found_in(self, names: Container[str]) -> str | None:
        """The source among the names of a recording's channels; None = it has none of them."""
        return next((source for source in self.sources if source in names), None)


@dataclass(frozen=True)
class CleaningPlan:
    """The recipe's channels, clock and cleaning rules; rules are by channel `name`.

    Raises:
        RecipeError: a rule is for a channel that the plan does not have.
    """

    channels: tuple[ChannelPlan, ...]
    rate_hz: float
    resample: Resample = "median"
    zero_is_missing: tuple[str, ...] = ()  # an exact 0, in the unit of the recording
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=lambda: MappingProxyType({}))
    flatline_s: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    max_gap_s: float | None = None  # None = never cut

    def __post_init__(self) -> None:
        assert self.channels
        assert len(set(self.names)) == len(self.names), self.names
        assert self.rate_hz > 0
        rules = {
            "zero_is_missing": self.zero_is_missing,
            "ranges": self.ranges,
            "flatline_s": self.flatline_s,
        }
        for rule, named in rules.items():
            for name in named:
                if name not in self.names:
                    raise RecipeError(
                        f"data.cleaning.{rule}: '{name}' is not one of data.channels."
                        f"{closest(name, self.names)} Known: {', '.join(self.names)}."
                    )

    @property
    def names(self) -> tuple[str, ...]:
        """The channels of every cleaned recording, in order."""
        return tuple(channel.name for channel in self.channels)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names in the files of all channels, each once."""
        return tuple(dict.fromkeys(name for c in self.channels for name in c.sources))

    @property
    def units(self) -> tuple[str, ...]:
        """The units of `names`."""
        return tuple(channel.unit for channel in self.channels)


def select_channels(
    recording: Recording, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> Recording:
    """Some channels in the plan's units, rules applied; a view where nothing changes."""
    samples = recording.samples
    time_s = np.arange(samples if plan.flatline_s else 0) / recording.rate_hz
    rows: list[FloatArray] = []
    untouched: list[int] = []  # indices of source rows that are used as they are
    for channel in channels:
        name = channel.found_in(recording.channels)
        if name is None:
            rows.append(np.full(samples, np.nan, dtype=recording.values.dtype))
            continue
        index = recording.channels.index(name)
        source = recording.values[index]
        rows.append(_apply_rules(source, time_s, recording, channel, plan))
        if rows[-1] is source:
            untouched.append(index)
    first = untouched[0] if untouched else 0
    in_place = untouched == list(range(first, first + len(rows)))
    values = recording.values[first : first + len(rows)] if in_place else np.stack(rows)
    if not in_place:
        release(recording.values)
    return replace(
        recording,
        values=values,
        channels=tuple(channel.name for channel in channels),
        units=tuple(channel.unit for channel in channels),
    )


def select_readings(
    readings: IrregularReadings, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> IrregularReadings:
    """Finite readings of some channels, rules applied, sorted by time; ties stay in file order."""
    names = tuple(channel.name for channel in channels)
    units = tuple(channel.unit for channel in channels)
    stop_s = np.inf if readings.duration_s is None else readings.duration_s
    inside = (readings.time_s >= 0) & (readings.time_s < stop_s)
    rises = bool((readings.time_s[1:] >= readings.time_s[:-1]).all())
    if rises and bool(inside.all()) and _as_they_are(readings, channels, plan):
        return replace(readings, channels=names, units=units)
    order = np.arange(len(inside)) if rises else np.argsort(readings.time_s, kind="stable")
    if not inside.all():
        order = order[inside[order]]
    times: list[FloatArray] = [np.empty(0)]
    numbers: list[IntArray] = [np.empty(0, dtype=np.int64)]
    values: list[FloatArray] = [np.empty(0)]
    for number, channel in enumerate(channels):
        name = channel.found_in(readings.channels)
        if name is None:
            continue
        rows = order[readings.channel[order] == readings.channels.index(name)]
        time_s = readings.time_s[rows]
        value = _apply_rules(readings.value[rows], time_s, readings, channel, plan)
        finite = np.isfinite(value)
        times.append(time_s[finite])
        numbers.append(np.full(int(finite.sum()), number, dtype=np.int64))
        values.append(value[finite])
    time_s = np.concatenate(times)
    by_time = np.argsort(time_s, kind="stable")
    return replace(
        readings,
        time_s=time_s[by_time],
        channel=np.concatenate(numbers)[by_time],
        value=np.concatenate(values)[by_time],
        channels=names,
        units=units,
    )


def _as_they_are(
    readings: IrregularReadings, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> bool:
    """True if the readings are those of the channels, in their order and units, with no rule."""
    if plan.zero_is_missing or plan.ranges or plan.flatline_s:
        return False
    if tuple(channel.found_in(readings.channels) for channel in channels) != readings.channels:
        return False
    stated = zip(readings.units, channels, strict=True)
    alike = all(unit == own.unit and own.from_unit is None for unit, own in stated)
    return alike and bool(np.isfinite(readings.value).all())


def _apply_rules(
    value: FloatArray,
    time_s: FloatArray,
    item: Recording | IrregularReadings,
    channel: ChannelPlan,
    plan: CleaningPlan,
) -> FloatArray:
    """One channel (N,) in the plan's unit, NaN where a rule says so; itself if nothing changes."""
    missing = np.isinf(value)
    if channel.name in plan.zero_is_missing:
        missing |= value == 0
    scale, offset = _conversion(item, channel)
    if (scale, offset) != (1.0, 0.0):
        value = value * scale + offset
    if channel.name in plan.ranges:
        low, high = plan.ranges[channel.name]
        missing |= (value < low) | (value > high)
    if channel.name in plan.flatline_s:
        observed = ~missing & ~np.isnan(value)
        missing[observed] = _flat(value[observed], time_s[observed], plan.flatline_s[channel.name])
    return np.where(missing, np.nan, value) if missing.any() else value


def _flat(value: FloatArray, time_s: FloatArray, limit_s: float) -> BoolArray:
    """True where identical values have lasted longer than `limit_s`, (N,)."""
    changed = np.append(True, value[1:] != value[:-1])[: len(value)]
    began_s = time_s[changed][np.cumsum(changed) - 1]
    flat: BoolArray = time_s - began_s > limit_s + 1e-6  # a limit that falls on a sample keeps it
    return flat


def _conversion(item: Recording | IrregularReadings, channel: ChannelPlan) -> tuple[float, float]:
    """Scale and offset from the unit in the files to the plan's."""
    source = channel.found_in(item.channels)
    assert source is not None, channel
    stated = item.units[item.channels.index(source)]
    unit = stated if channel.from_unit is None else channel.from_unit
    try:
        return convert(unit, channel.unit, substance(channel.name))
    except DataError as error:
        raise DataError(f"data.channels.{channel.name} of {item.id}: {error}") from error
