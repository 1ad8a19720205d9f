"""From what a reader yields to recordings on one clock: fixed rules, nothing invented.

Order: named channels in the recipe's units, limits and flat lines, binning to the clock, cutting
at gaps. No rule looks ahead: altering a value changes nothing in the bins before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, count, groupby
from types import MappingProxyType

import numpy as np

from tsfm_adapt.errors import DataError, RecipeError, closest
from tsfm_adapt.signals.binning import Resample, cut, grid, same_rate, spread, to_rate, too_slow
from tsfm_adapt.signals.mapping import release
from tsfm_adapt.signals.recording import (
    BoolArray,
    Events,
    FloatArray,
    IntArray,
    Recording,
    RecordingSet,
)
from tsfm_adapt.signals.units import Quantity, convert


@dataclass(frozen=True)
class ChannelPlan:
    """One channel of the cleaned recordings and where it comes from."""

    name: str  # `glucose` also says what is measured: mmol/L then converts to mg/dL
    unit: str
    source: str  # its name in the recordings
    from_unit: str | None = None  # overrides the recordings' own, where absent or wrong


@dataclass(frozen=True)
class CleaningPlan:
    """The recipe's channels, clock and fixed rules; rules are by the channels' new names.

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
    def units(self) -> tuple[str, ...]:
        """The units of `names`."""
        return tuple(channel.unit for channel in self.channels)


def clean(
    source: Iterable[Recording | Events],
    plan: CleaningPlan,
    all_channels: Callable[[], Iterable[str]] = tuple,
) -> RecordingSet:
    """Recordings with the plan's channels, units and rate.

    Values are the reader's own, memory-mapped ones included, wherever nothing has to change. A
    channel that a recording lacks is all missing there. What has no measured value in the named
    channels is left out, and listed with the reason; a stay whose length is stated is kept.

    The recordings of one stretch at several rates become one: each channel is binned by itself
    as if it were alone, and one that is slower than the clock is measured in some bins only.

    Args:
        source: what a reader yields, perhaps of the plan's channels only.
        plan: the rules.
        all_channels: the names that the files hold; asked only when one of the plan is absent.

    Raises:
        DataError: a channel is in no recording, a unit does not convert, a recording is slower
            than the clock, or nothing is left.
    """
    seen = Seen()
    kept = tuple(cleaned(source, plan, seen, all_channels))
    return RecordingSet(kept, MappingProxyType(seen.left_out), MappingProxyType(seen.rates))


@dataclass(frozen=True)
class Seen:
    """What `cleaned` notes on the way; whole once the last recording has come."""

    left_out: dict[str, str] = field(default_factory=dict)  # id: reason
    rates: dict[str, tuple[float | None, ...]] = field(default_factory=dict)  # of a RecordingSet


def cleaned(
    source: Iterable[Recording | Events],
    plan: CleaningPlan,
    seen: Seen,
    all_channels: Callable[[], Iterable[str]] = tuple,
) -> Iterator[Recording]:
    """The recordings of `clean` one after the other, with no other one held.

    What is wrong with all of them together is said after the last one.

    Args:
        source: as in `clean`, like all but the next.
        plan: the rules.
        seen: filled in.
        all_channels: the names that the files hold.

    Raises:
        DataError: as in `clean`.
    """
    found: dict[str, set[float | None]] = {}  # rates by channel
    kept, measured = 0, False
    for id, parts in _stretches(source):
        own: dict[str, float | None] = {}
        pieces = _cleaned(_noted(parts, own), plan)
        for name, rate_hz in own.items():
            found.setdefault(name, set()).add(rate_hz)
        if not pieces:
            seen.left_out[id] = (
                "has no measured value in the named channels"
                if any(channel.source in own for channel in plan.channels)
                else f"has none of the named channels, only: {_listed(own)}"
            )
        measured = measured or any(_measured_at_all(piece) for piece in pieces)
        kept += len(pieces)
        yield from pieces
        for piece in pieces:
            release(piece.values)
        del parts, pieces  # before the next ones are read
    if kept or seen.left_out:
        _require_channels(plan, set(found), all_channels)
    if not measured:
        reasons = "".join(f"; {id} {reason}" for id, reason in list(seen.left_out.items())[:3])
        raise DataError(
            f"No measured value is left after cleaning, in {kept + len(seen.left_out)} recordings"
            f"{reasons}. Check what data.reader points to, and the ranges and names in data."
        )
    seen.rates.update((c.name, _sorted(found[c.source])) for c in plan.channels)


def channels_of_first(source: Iterable[Recording | Events]) -> tuple[str, ...]:
    """The channels of the first stretch, at whatever rates; reads no further."""
    for _, parts in _stretches(source):
        return tuple(name for part in parts for name in part.channels)
    return ()


def _stretches(
    source: Iterable[Recording | Events],
) -> Iterator[tuple[str, Iterator[Recording | Events]]]:
    """Ids and parts: the recordings in a row that share `part_of`, any other by itself."""
    alone = count()
    for _, together in groupby(source, key=lambda item: item.part_of or next(alone)):
        parts = iter(together)
        first = next(parts)
        yield first.part_of or first.id, chain([first], parts)
        del first, parts


def _noted(
    parts: Iterable[Recording | Events], rates: dict[str, float | None]
) -> Iterator[Recording | Events]:
    """Writes down the rate of each channel that passes; None = irregular."""
    for part in parts:
        rates |= dict.fromkeys(
            part.channels, part.rate_hz if isinstance(part, Recording) else None
        )
        yield part


def _sorted(rates: Iterable[float | None]) -> tuple[float | None, ...]:
    return tuple(sorted(rates, key=lambda rate_hz: rate_hz or 0.0))


def _require_channels(
    plan: CleaningPlan, found: set[str], all_channels: Callable[[], Iterable[str]]
) -> None:
    for channel in plan.channels:
        if channel.source not in found:
            found = found.union(all_channels())
            raise DataError(
                f"data.channels.{channel.name}: no recording has a channel '{channel.source}'."
                f"{closest(channel.source, found)} Found: {_listed(found)}. Name one of these, "
                f"with `source:` where its name here should differ."
            )


def _cleaned(parts: Iterator[Recording | Events], plan: CleaningPlan) -> list[Recording]:
    """A stretch's pieces on the plan's clock; none where nothing was measured."""
    item = next(parts)
    if item.part_of is not None:
        return _together(item.part_of, chain([item], parts), plan)
    if isinstance(item, Events):
        return grid(
            _select_events(item, plan.channels, plan), plan.rate_hz, plan.resample, plan.max_gap_s
        )
    selected = _select(item, plan.channels, plan)
    if not _measured_at_all(selected):
        return []
    recording = to_rate(selected, plan.rate_hz, plan.resample)
    return [recording] if plan.max_gap_s is None else cut(recording, plan.max_gap_s)


def _together(id: str, parts: Iterable[Recording | Events], plan: CleaningPlan) -> list[Recording]:
    """One recording of a stretch's parts, which are held one at a time, cut after that."""
    rows: dict[str, FloatArray] = {}
    fastest_hz = 0.0
    whole: Recording | None = None
    for part in parts:
        channels = tuple(c for c in plan.channels if c.source in part.channels)
        if isinstance(part, Recording) and channels:
            fastest_hz = max(fastest_hz, part.rate_hz)
        for recording in _on_clock(part, channels, plan) if channels else ():
            whole = recording if whole is None else whole
            rows |= zip(recording.channels, recording.values, strict=True)
    if whole is None:
        return []
    if fastest_hz and fastest_hz < plan.rate_hz and not same_rate(fastest_hz, plan.rate_hz):
        raise too_slow(id, fastest_hz, plan.rate_hz)
    values = np.full((len(plan.names), max(map(len, rows.values()))), np.nan)
    for name, row in rows.items():
        values[plan.names.index(name), : len(row)] = row
    merged = replace(
        whole, id=id, part_of=None, values=values, channels=plan.names, units=plan.units
    )
    return [merged] if plan.max_gap_s is None else cut(merged, plan.max_gap_s)


def _on_clock(
    part: Recording | Events, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> list[Recording]:
    """Some channels of a part on the plan's clock, uncut; none where nothing was measured."""
    if isinstance(part, Events):
        selected = _select_events(part, channels, plan)
        return grid(selected, plan.rate_hz, plan.resample, None) if selected.value.size else []
    recording = _select(part, channels, plan)
    if not _measured_at_all(recording):
        return []
    if part.rate_hz < plan.rate_hz and not same_rate(part.rate_hz, plan.rate_hz):
        return [spread(recording, plan.rate_hz)]
    return [to_rate(recording, plan.rate_hz, plan.resample)]


def _measured_at_all(recording: Recording) -> bool:
    return any(bool(np.isfinite(row).any()) for row in recording.values)


def _select(
    recording: Recording, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> Recording:
    samples = recording.samples
    time_s = np.arange(samples if plan.flatline_s else 0) / recording.rate_hz
    rows: list[FloatArray] = []
    untouched: list[int] = []  # indices of source rows that are used as they are
    for channel in channels:
        if channel.source not in recording.channels:
            rows.append(np.full(samples, np.nan, dtype=recording.values.dtype))
            continue
        index = recording.channels.index(channel.source)
        source = recording.values[index]
        rows.append(_measured(source, time_s, recording, channel, plan))
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


def _select_events(
    events: Events, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> Events:
    """Measured events of some channels, sorted by time; those of one time stay in file order."""
    stop_s = np.inf if events.duration_s is None else events.duration_s
    inside = (events.time_s >= 0) & (events.time_s < stop_s)
    order = np.argsort(events.time_s, kind="stable")
    order = order[inside[order]]
    times: list[FloatArray] = [np.empty(0)]
    numbers: list[IntArray] = [np.empty(0, dtype=np.int64)]
    values: list[FloatArray] = [np.empty(0)]
    for number, channel in enumerate(channels):
        if channel.source not in events.channels:
            continue
        own = order[events.channel[order] == events.channels.index(channel.source)]
        value = _measured(events.value[own], events.time_s[own], events, channel, plan)
        finite = np.isfinite(value)
        times.append(events.time_s[own][finite])
        numbers.append(np.full(int(finite.sum()), number, dtype=np.int64))
        values.append(value[finite])
    time_s = np.concatenate(times)
    by_time = np.argsort(time_s, kind="stable")
    return replace(
        events,
        time_s=time_s[by_time],
        channel=np.concatenate(numbers)[by_time],
        value=np.concatenate(values)[by_time],
        channels=tuple(channel.name for channel in channels),
        units=tuple(channel.unit for channel in channels),
    )


def _measured(
    value: FloatArray,
    time_s: FloatArray,
    item: Recording | Events,
    channel: ChannelPlan,
    plan: CleaningPlan,
) -> FloatArray:
    """One channel in its new unit, NaN where a rule says so; the same array if nothing changes."""
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
        measured = ~missing & ~np.isnan(value)
        missing[measured] = _flat(value[measured], time_s[measured], plan.flatline_s[channel.name])
    return np.where(missing, np.nan, value) if missing.any() else value


def _flat(value: FloatArray, time_s: FloatArray, limit_s: float) -> BoolArray:
    """Where a run of identical measured values has lasted longer than `limit_s`, from then on."""
    changed = np.append(True, value[1:] != value[:-1])[: len(value)]
    began_s = time_s[changed][np.cumsum(changed) - 1]
    flat: BoolArray = time_s - began_s > limit_s + 1e-6  # a limit that falls on a sample keeps it
    return flat


def _conversion(item: Recording | Events, channel: ChannelPlan) -> tuple[float, float]:
    stated = item.units[item.channels.index(channel.source)]
    unit = stated if channel.from_unit is None else channel.from_unit
    quantity: Quantity | None = "glucose" if channel.name.casefold() == "glucose" else None
    try:
        return convert(unit, channel.unit, quantity)
    except DataError as error:
        raise DataError(f"data.channels.{channel.name} of {item.id}: {error}") from error


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names) or ["none of the names asked for"]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
