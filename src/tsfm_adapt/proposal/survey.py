"""Surveys uncleaned recordings: channels, units, rates, gaps; bounded in time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.alternatives import alternatives
from tsfm_adapt.signals.plausible import substance, vital
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IrregularReadings, Notes, Recording

_TRIAL = 4096  # samples: a longer recording with a label is no trial
_KEPT = 4000  # values of a channel and recording that stay for quantiles
_QUANTILES = (0.001, 0.01, 0.5, 0.99, 0.999)
_PICTURED = 12  # recordings
_BINS = 120  # of time in the picture


@dataclass(frozen=True)
class Bounds:
    """How much is looked at; what comes first in the reader's order is looked at first."""

    recordings: int = 200
    values: int = 20_000_000  # no further recording is looked at once there are so many
    listed: int = 5000  # recordings of which subject and labels are noted
    listed_values: int = 100_000_000


@dataclass(frozen=True)
class Channel:
    """One channel over the recordings looked at. Times in seconds, values in the file's unit."""

    name: str
    units: tuple[str, ...]  # distinct
    rates_hz: tuple[float, ...]  # distinct; of events none
    usual_hz: float | None  # the median over recordings; of events by their usual interval
    regular: bool  # False = events
    recordings: int  # that have a measured value of it
    subjects: int
    readings: float  # measured values a recording, those without any included
    measured: int
    samples: int  # of regular recordings; for events the readings
    zeros: int
    low: float
    high: float
    quantiles: FloatArray  # (5,) of the measured, at 0.001, 0.01, 0.5, 0.99, 0.999
    nonzero: FloatArray  # (2,) quantiles 0.01 and 0.5 of |value| where not 0; NaN = all are 0
    few_values: bool  # at most 20 distinct ones: steps, not a curve
    longest_flat_s: float
    longest_gap_s: float
    usual: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # unit by values: subjects

    @property
    def constant(self) -> bool:
        """True if the channel was never measured or has one value only."""
        return self.measured == 0 or self.low == self.high

    @property
    def median(self) -> float:
        """Of the measured values."""
        return float(self.quantiles[2])

    @property
    def nonzero_median(self) -> float:
        """Of what is not 0; NaN where all are."""
        return float(self.nonzero[1])


@dataclass(frozen=True)
class Listed:
    """Id, subject and labels of a recording."""

    id: str
    subject: str
    labels: Mapping[str, str | int | float]


@dataclass(frozen=True)
class Pictured:
    """When a recording's channels are measured."""

    id: str
    subject: str
    channels: tuple[str, ...]
    duration_s: float
    measured: FloatArray  # (C, bins) share
    zero: FloatArray  # (C, bins) share of what is measured


@dataclass(frozen=True)
class Survey:
    """What a survey of recordings saw."""

    channels: tuple[Channel, ...]
    listed: tuple[Listed, ...]
    looked: int  # recordings whose values were looked at, the first ones
    more: bool  # there are recordings that are not even listed
    samples: tuple[int, ...]  # of each recording looked at; of events readings a channel
    durations_s: tuple[float, ...]
    stated_duration: bool  # events whose recordings state their duration
    longest_gap_s: float  # in which nothing at all was measured
    spans: Mapping[str, int]  # label of a marked span: how many
    pictured: tuple[Pictured, ...]
    notes: Notes = field(default_factory=dict)  # what the reader changed or left out
    alternatives: tuple[tuple[str, ...], ...] = ()  # channels that may be one by several names
    values: int = 0  # of all recordings listed, as far as they were read

    @property
    def subjects(self) -> int:
        """How many are known."""
        return len({item.subject for item in self.listed})

    @property
    def trials(self) -> bool:
        """Many short recordings, each with a class."""
        labelled = sum("label" in item.labels for item in self.listed)
        return (
            len(self.listed) >= 10
            and labelled >= 0.9 * len(self.listed)
            and max(self.samples) <= _TRIAL
        )


@dataclass
class _Tally:
    """One channel while recordings pass."""

    units: set[str] = field(default_factory=set)
    rates: list[float] = field(default_factory=list)
    regular: bool = True
    recordings: int = 0
    subjects: set[str] = field(default_factory=set)
    ids: set[str] = field(default_factory=set)  # of recordings that have it, measured or not
    measured: int = 0
    samples: int = 0
    zeros: int = 0
    low: float = np.inf
    high: float = -np.inf
    kept: list[FloatArray] = field(default_factory=list)
    flat_s: float = 0.0
    gap_s: float = 0.0
    usual: dict[str, list[str]] = field(default_factory=dict)  # unit by the values: subjects


def look(reader: ReaderConfig, bounds: Bounds | None = None) -> Survey:
    """Reads recordings one at a time and notes what they hold.

    Raises:
        DataError: there is no recording, none with a measured value, or one cannot be read.
        EnvironmentProblem: the reader needs a package that is not installed.
    """
    bounds = bounds or Bounds()
    tallies: dict[str, _Tally] = {}
    listed: list[Listed] = []
    samples: list[int] = []
    durations: list[float] = []
    pictured: list[Pictured] = []
    spans: Counter[str] = Counter()
    notes: Counter[str] = Counter()
    gap_s, values, more, stated = 0.0, 0, False, False
    last, looking = "", True
    for item in reader.read(()):
        size = item.values.size if isinstance(item, Recording) else item.value.size
        id = item.multirate_id or item.id
        new = item.multirate_id is None or id != last  # a stretch has an item for each rate
        last = id
        if new:
            if len(listed) >= bounds.listed or values > bounds.listed_values:
                more = True
                break
            looking = looking and (
                not durations or (len(durations) < bounds.recordings and values < bounds.values)
            )
            listed.append(Listed(id, item.subject, dict(item.labels)))
        values += size
        notes.update(item.notes)
        if not looking:
            continue
        own_gap_s, duration_s = _tallied(item, tallies)
        gap_s = max(gap_s, own_gap_s)
        if new:
            durations.append(duration_s)
            samples.append(size // max(len(item.channels), 1))
            spans.update(span.label for span in item.spans)
            stated |= isinstance(item, IrregularReadings) and item.duration_s is not None
        if len(pictured) < _PICTURED:
            pictured.append(_picture(item))
    if not listed:
        raise DataError(f"reader {reader.name}: there are no recordings. Give another path.")
    return Survey(
        channels=_channels(tallies, len(durations), reader),
        listed=tuple(listed),
        looked=len(durations),
        more=more,
        samples=tuple(samples),
        durations_s=tuple(durations),
        stated_duration=stated,
        longest_gap_s=gap_s,
        spans=dict(spans),
        pictured=tuple(pictured),
        notes=dict(notes),
        alternatives=alternatives({name: tally.ids for name, tally in tallies.items()}),
        values=values,
    )


def _channels(
    tallies: Mapping[str, _Tally], recordings: int, reader: ReaderConfig
) -> tuple[Channel, ...]:
    """What each channel holds.

    Raises:
        DataError: no channel has a measured value.
    """
    channels = tuple(_channel(name, tally, recordings) for name, tally in tallies.items())
    if not any(channel.measured for channel in channels):
        raise DataError(
            f"reader {reader.name}: {recordings} recordings hold no measured value. "
            "Give another path, or other settings of the reader.",
            remedy="reader={name: ...}",
        )
    return channels


def _tallied(
    item: Recording | IrregularReadings, tallies: dict[str, _Tally]
) -> tuple[float, float]:
    """Notes every channel; the longest time without any, and the whole duration, both s."""
    if isinstance(item, Recording):
        own = _recording(item, tallies), item.duration_s
    else:
        own = _events(item, tallies), _duration_s(item)
    for name in item.channels:
        tallies[name].ids.add(item.multirate_id or item.id)
    return own


def _recording(item: Recording, tallies: dict[str, _Tally]) -> float:
    """Notes every channel; the longest time without any, s."""
    anything: BoolArray = np.zeros(item.samples, dtype=np.bool_)
    for name, unit, row in zip(item.channels, item.units, item.values, strict=True):
        tally = tallies.setdefault(name, _Tally())
        row = np.asarray(row, dtype=np.float64)
        measured = np.isfinite(row)
        anything |= measured
        tally.samples += item.samples
        tally.rates.append(item.rate_hz)
        tally.gap_s = max(tally.gap_s, _longest(~measured) / item.rate_hz)
        _values(tally, name, row[measured], unit, item.subject)
        tally.flat_s = max(tally.flat_s, (_longest_flat(row[measured]) - 1) / item.rate_hz)
    return _longest(~anything) / item.rate_hz


def _events(item: IrregularReadings, tallies: dict[str, _Tally]) -> float:
    """Notes every channel; the longest time without any event, s."""
    for index, (name, unit) in enumerate(zip(item.channels, item.units, strict=True)):
        own = item.channel == index
        tally = tallies.setdefault(name, _Tally(regular=False))
        tally.regular = False
        value, time_s = item.value[own], item.time_s[own]
        tally.samples += value.size
        steps = np.diff(np.unique(time_s))
        if steps.size:
            tally.rates.append(1 / float(np.median(steps)))
            tally.gap_s = max(tally.gap_s, float(steps.max()))
        _values(tally, name, value, unit, item.subject)
        run = _longest_flat(value)
        tally.flat_s = max(tally.flat_s, (run - 1) * float(np.median(steps)) if steps.size else 0)
    apart = np.diff(np.unique(item.time_s))
    return float(apart.max(initial=0.0))


def _values(tally: _Tally, name: str, value: FloatArray, unit: str, subject: str) -> None:
    tally.units.add(unit)
    if not value.size:
        return
    known = vital(name)
    if known is not None and (unit in ("", "1") or (substance(name) and not tally.units - {unit})):
        usual = known.unit_of(float(np.median(value)))
        if usual is not None:
            tally.usual.setdefault(usual, []).append(subject)
    tally.recordings += 1
    tally.subjects.add(subject)
    tally.measured += value.size
    tally.zeros += int((value == 0).sum())
    tally.low = min(tally.low, float(value.min()))
    tally.high = max(tally.high, float(value.max()))
    tally.kept.append(value[:: -(-value.size // _KEPT)].copy())


def _channel(name: str, tally: _Tally, looked: int) -> Channel:
    kept = np.concatenate(tally.kept) if tally.kept else np.full(1, np.nan)
    nonzero = np.abs(kept[(kept != 0) & np.isfinite(kept)])
    return Channel(
        name=name,
        units=tuple(sorted(tally.units)),
        usual={unit: tuple(dict.fromkeys(own)) for unit, own in tally.usual.items()},
        rates_hz=tuple(sorted(set(tally.rates))) if tally.regular else (),
        usual_hz=float(np.median(tally.rates)) if tally.rates else None,
        regular=tally.regular,
        recordings=tally.recordings,
        subjects=len(tally.subjects),
        readings=tally.measured / looked,
        measured=tally.measured,
        samples=tally.samples,
        zeros=tally.zeros,
        low=tally.low,
        high=tally.high,
        quantiles=np.quantile(kept, _QUANTILES),
        nonzero=np.quantile(nonzero, (0.01, 0.5)) if nonzero.size else np.full(2, np.nan),
        few_values=len(np.unique(kept)) <= 20,
        longest_flat_s=tally.flat_s,
        longest_gap_s=tally.gap_s,
    )


def _longest(holds: BoolArray) -> int:
    """The most consecutive samples for which something holds."""
    edges = np.flatnonzero(np.diff(holds, prepend=False, append=False)).reshape(-1, 2)
    return int((edges[:, 1] - edges[:, 0]).max(initial=0))


def _longest_flat(value: FloatArray) -> int:
    """The most consecutive equal values, 0 left out: it has remarks of its own."""
    if not value.size:
        return 1
    same = (value[1:] == value[:-1]) & (value[1:] != 0)
    return _longest(same) + 1


def _duration_s(item: IrregularReadings) -> float:
    if item.duration_s is not None:
        return item.duration_s
    return float(item.time_s.max(initial=0.0)) if item.time_s.size else 0.0


def _picture(item: Recording | IrregularReadings) -> Pictured:
    """Shares by bins of time."""
    count = len(item.channels)
    if isinstance(item, Recording):
        duration_s, bins = item.duration_s, max(1, min(_BINS, item.samples))
        edges = np.linspace(0, item.samples, bins, endpoint=False).astype(np.int64)
        measured, zero = np.zeros((count, bins)), np.zeros((count, bins))
        for row in range(count):
            values = np.asarray(item.values[row])
            sizes = np.diff(edges, append=item.samples)
            seen = np.add.reduceat(np.isfinite(values).astype(np.int64), edges)
            none = np.add.reduceat((values == 0).astype(np.int64), edges)
            measured[row] = seen / np.maximum(sizes, 1)
            zero[row] = none / np.maximum(seen, 1)
    else:
        duration_s = _duration_s(item)
        most = np.bincount(item.channel, minlength=1).max(initial=1)
        bins = int(np.clip(most // 2, 1, _BINS))
        span = (0.0, max(duration_s, 1e-9))
        measured, zero = np.zeros((count, bins)), np.zeros((count, bins))
        for row in range(count):
            own = item.channel == row
            seen, _ = np.histogram(item.time_s[own], bins, span)
            none, _ = np.histogram(item.time_s[own & (item.value == 0)], bins, span)
            measured[row] = seen > 0
            zero[row] = none / np.maximum(seen, 1)
    return Pictured(item.id, item.subject, item.channels, duration_s, measured, zero)
