"""Cleaning: from what a reader yields to recordings on the recipe's clock.

Fixed rules in a fixed order: pick and rename channels, convert units, remove zeros, values out of
range and flat lines, bin to the clock, cut at gaps. No value is interpolated, and no rule looks
ahead: changing a value changes nothing in the bins before it.

The calls, from a reader's items to recordings:

    clean, clean_each      all recordings at once, or one after the other
      _groups              items that belong to one recording: same `multirate_id`
      _clean_group         one group's recordings, and the rates of its channels
        _clean_single      an item that holds all channels
        _merge_rates       items of one stretch at several rates
          _on_clock        one of them, binned
        channel_rules      channels by the plan: units, zeros, ranges, flat lines
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count, groupby
from types import MappingProxyType

import numpy as np

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.binning import (
    bin_readings,
    cut_at_gaps,
    place_on_clock,
    same_rate,
    to_rate,
    too_slow,
)
from tsfm_adapt.signals.channel_rules import (
    ChannelPlan,
    CleaningPlan,
    select_channels,
    select_readings,
)
from tsfm_adapt.signals.mapping import release
from tsfm_adapt.signals.recording import FloatArray, IrregularReadings, Recording, RecordingSet

Item = Recording | IrregularReadings  # what readers yield


def clean(
    source: Iterable[Item],
    plan: CleaningPlan,
    all_channels: Callable[[], Iterable[str]] = tuple,
) -> RecordingSet:
    """Cleans all recordings: the plan's channels, units and rate.

    Values are the reader's own arrays, memory-mapped ones included, where nothing has to change.
    A channel that a recording lacks is NaN there. A recording without a measured value in the
    plan's channels is left out, and listed with the reason; one whose duration is stated is kept.

    Recordings of one stretch at several rates become one: each channel is binned by itself, and a
    channel slower than the clock has values in some bins only.

    Args:
        source: what a reader yields; the plan's channels suffice.
        plan: the rules.
        all_channels: gives the channel names in the files; called only where one of the plan's is
            absent, for the error.

    Raises:
        DataError: a channel is in no recording, a unit does not convert, a recording is slower
            than the clock, or nothing is left.
    """
    log = CleaningLog()
    recordings = tuple(clean_each(source, plan, log, all_channels))
    return log.recording_set(recordings)


@dataclass(frozen=True)
class CleaningLog:
    """Facts that `clean_each` writes down; complete after its last recording."""

    left_out: dict[str, str] = field(default_factory=dict)  # id: reason
    rates: dict[str, tuple[float | None, ...]] = field(default_factory=dict)  # of a RecordingSet
    notes: Counter[str] = field(default_factory=Counter)  # of the readers' items

    def recording_set(self, recordings: Iterable[Recording]) -> RecordingSet:
        """The recordings with the facts of this log."""
        return RecordingSet(
            tuple(recordings),
            MappingProxyType(self.left_out),
            MappingProxyType(self.rates),
            MappingProxyType(self.notes),
        )


def clean_each(
    source: Iterable[Item],
    plan: CleaningPlan,
    log: CleaningLog,
    all_channels: Callable[[], Iterable[str]] = tuple,
) -> Iterator[Recording]:
    """Cleans recordings one after the other, and holds no other one meanwhile.

    Errors about all of them together are raised after the last one.

    Args:
        source: as in `clean`.
        plan: the rules.
        log: filled in.
        all_channels: as in `clean`.

    Raises:
        DataError: as in `clean`.
    """
    rates: dict[str, set[float | None]] = {}  # by the plan's channel name
    present: set[str] = set()  # names in the files
    kept, any_measured = 0, False
    for id, items in _groups(source):
        group = _clean_group(_noted(items, log), plan)
        present.update(group.rates)
        for channel in plan.channels:
            name = channel.found_in(group.rates)
            if name is not None:
                rates.setdefault(channel.name, set()).add(group.rates[name])
                log.notes.update(_which(channel, name, group.rates))
        if not group.recordings:
            log.left_out[id] = _reason(group, plan)
        any_measured = any_measured or any(map(_has_values, group.recordings))
        kept += len(group.recordings)
        yield from group.recordings
        for recording in group.recordings:
            release(recording.values)
        del group, items  # before the next ones are read
    if kept or log.left_out:
        _require_channels(plan, present, all_channels)
    if not any_measured:
        reasons = "".join(f"; {id} {reason}" for id, reason in list(log.left_out.items())[:3])
        raise DataError(
            f"No measured value is left after cleaning, in {kept + len(log.left_out)} recordings"
            f"{reasons}. Check what data.reader points to, and the ranges and names in data."
        )
    log.rates.update((c.name, _irregular_first(rates[c.name])) for c in plan.channels)


def channels_of_first(source: Iterable[Item]) -> tuple[str, ...]:
    """The channels of the first recording, whatever their rates; reads no further."""
    for _, items in _groups(source):
        return tuple(name for item in items for name in item.channels)
    return ()


def _groups(source: Iterable[Item]) -> Iterator[tuple[str, Iterator[Item]]]:
    """Ids and items of each recording: items in a row that share `multirate_id`, or one item."""
    single = count()
    for _, group in groupby(source, key=lambda item: item.multirate_id or next(single)):
        items = iter(group)
        first = next(items)
        yield first.multirate_id or first.id, chain([first], items)
        del first, items


def _noted(items: Iterator[Item], log: CleaningLog) -> Iterator[Item]:
    """The items; their notes are added up in the log."""
    for item in items:
        log.notes.update(item.notes)
        yield item


def _which(channel: ChannelPlan, source: str, present: Container[str]) -> list[str]:
    """Notes on the source of a channel in a recording, where it may have several."""
    if len(channel.sources) == 1:
        return []
    notes = [f"recordings with {channel.name} from '{source}'"]
    if sum(name in present for name in channel.sources) > 1:
        notes.append(f"recordings with several sources of {channel.name}, the first one taken")
    return notes


@dataclass(frozen=True)
class _CleanedGroup:
    """What a group of items became."""

    recordings: list[Recording]  # on the plan's clock; none where nothing was measured
    rates: dict[str, float | None]  # Hz, by the files' channel name; None = irregular


def _clean_group(items: Iterator[Item], plan: CleaningPlan) -> _CleanedGroup:
    """Reads and cleans the items of one recording."""
    first = next(items)
    if first.multirate_id is None:
        return _CleanedGroup(_clean_single(first, plan), _rates(first))
    return _merge_rates(first.multirate_id, chain([first], items), plan)


def _clean_single(item: Item, plan: CleaningPlan) -> list[Recording]:
    """Cleans an item that holds all channels; cut at gaps where the plan says so."""
    if isinstance(item, IrregularReadings):
        readings = select_readings(item, plan.channels, plan)
        return bin_readings(readings, plan.rate_hz, plan.resample, plan.max_gap_s)
    recording = select_channels(item, plan.channels, plan)
    if not _has_values(recording):
        return []
    return _cut(to_rate(recording, plan.rate_hz, plan.resample), plan)


def _merge_rates(id: str, items: Iterable[Item], plan: CleaningPlan) -> _CleanedGroup:
    """Makes one recording of items at several rates, reading one at a time; then cuts it."""
    rates: dict[str, float | None] = {}
    rows: dict[str, FloatArray] = {}
    fastest_hz = 0.0
    template: Recording | None = None  # subject, start, spans and labels of the merged one
    ranks: dict[str, int] = {}  # place of a channel's source among those that it may have
    for item in items:
        rates |= _rates(item)
        channels = _better(item, plan, ranks)
        if isinstance(item, Recording) and channels:
            fastest_hz = max(fastest_hz, item.rate_hz)
        for recording in _on_clock(item, channels, plan) if channels else ():
            template = recording if template is None else template
            rows |= zip(recording.channels, recording.values, strict=True)
    if template is None:
        return _CleanedGroup([], rates)
    if fastest_hz and fastest_hz < plan.rate_hz and not same_rate(fastest_hz, plan.rate_hz):
        raise too_slow(id, fastest_hz, plan.rate_hz)
    values = np.full((len(plan.names), max(map(len, rows.values()))), np.nan)
    for name, row in rows.items():
        values[plan.names.index(name), : len(row)] = row
    merged = replace(
        template,
        id=id,
        multirate_id=None,
        values=values,
        channels=plan.names,
        units=plan.units,
    )
    return _CleanedGroup(_cut(merged, plan), rates)


def _better(item: Item, plan: CleaningPlan, ranks: dict[str, int]) -> tuple[ChannelPlan, ...]:
    """The channels of which an item has a source that goes before those of items so far."""
    channels = []
    for channel in plan.channels:
        source = channel.found_in(item.channels)
        if source is None:
            continue
        rank = channel.sources.index(source)
        if rank < ranks.get(channel.name, len(channel.sources)):
            ranks[channel.name] = rank
            channels.append(channel)
    return tuple(channels)


def _on_clock(
    item: Item, channels: tuple[ChannelPlan, ...], plan: CleaningPlan
) -> list[Recording]:
    """Bins some channels of an item to the plan's clock, uncut; [] where nothing was measured."""
    if isinstance(item, IrregularReadings):
        readings = select_readings(item, channels, plan)
        if not readings.value.size:
            return []
        return bin_readings(readings, plan.rate_hz, plan.resample, None)
    recording = select_channels(item, channels, plan)
    if not _has_values(recording):
        return []
    if item.rate_hz < plan.rate_hz and not same_rate(item.rate_hz, plan.rate_hz):
        return [place_on_clock(recording, plan.rate_hz)]
    return [to_rate(recording, plan.rate_hz, plan.resample)]


def _cut(recording: Recording, plan: CleaningPlan) -> list[Recording]:
    return [recording] if plan.max_gap_s is None else cut_at_gaps(recording, plan.max_gap_s)


def _rates(item: Item) -> dict[str, float | None]:
    """The rate in Hz of each channel of an item; None = irregular."""
    return dict.fromkeys(item.channels, item.rate_hz if isinstance(item, Recording) else None)


def _irregular_first(rates: Iterable[float | None]) -> tuple[float | None, ...]:
    return tuple(sorted(rates, key=lambda rate_hz: rate_hz or 0.0))


def _has_values(recording: Recording) -> bool:
    return any(bool(np.isfinite(row).any()) for row in recording.values)


def _reason(group: _CleanedGroup, plan: CleaningPlan) -> str:
    """Why a group has no recording."""
    if any(channel.found_in(group.rates) for channel in plan.channels):
        return "has no measured value in the named channels"
    return f"has none of the named channels, only: {_listed(group.rates)}"


def _require_channels(
    plan: CleaningPlan, present: set[str], all_channels: Callable[[], Iterable[str]]
) -> None:
    """Stops where the plan has a channel that no recording has."""
    for channel in plan.channels:
        if channel.found_in(present) is None:
            known = present.union(all_channels())
            named = " or ".join(f"'{source}'" for source in channel.sources)
            raise DataError(
                f"data.channels.{channel.name}: no recording has a channel {named}."
                f"{closest(channel.sources[0], known)} Found: {_listed(known)}. Name one of "
                f"these, with `source:` where its name here should differ."
            )


def _listed(names: Iterable[str]) -> str:
    shown = sorted(names) or ["none of the names asked for"]
    return ", ".join(shown[:12]) + (f" and {len(shown) - 12} more" if len(shown) > 12 else "")
