"""How high a channel's values usually are, and which unit would bring others to that height."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType

import numpy as np

from tsfm_adapt.signals.channel_rules import CleaningPlan, select_channels, select_readings
from tsfm_adapt.signals.recording import FloatArray, IrregularReadings, Recording
from tsfm_adapt.signals.units import Conversion, other_units

_KEPT = 4000  # values of a channel and recording, evenly spaced
_QUANTILES = (0.01, 0.5, 0.99)
_ROOM = 3.0  # a median beyond the usual values by this factor is in doubt
_WIDER = 30.0  # as is a spread that differs by this factor, of channels on both sides of 0
_FEW = 10  # values that say nothing


@dataclass(frozen=True)
class Level:
    """The 1, 50 and 99 % quantiles of a channel's measured values."""

    low: float
    middle: float
    high: float

    @property
    def width(self) -> float:
        """From the 1 % to the 99 % quantile."""
        return self.high - self.low

    def holds(self, value: float) -> bool:
        """Whether a value lies between the 1 and the 99 % quantile."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:.4g} to {self.high:.4g}"


@dataclass
class Tally:
    """One channel while recordings pass, in the plan's unit, before ranges and flat lines."""

    measured: int = 0
    outside: int = 0  # of `measured`: what the plan's range removes
    medians: dict[str, float] = field(default_factory=dict)  # of each recording, by id
    kept: list[FloatArray] = field(default_factory=list)

    @property
    def level(self) -> Level | None:
        """Of all values; None where they are too few."""
        if self.measured < _FEW:
            return None
        return Level(*np.quantile(np.concatenate(self.kept), _QUANTILES).tolist())


@dataclass(frozen=True)
class Doubt:
    """Values far from those that a model learned from."""

    seen: Level
    fitting: Conversion | None  # from the unit in which they would be usual; None = none known


def levels(recordings: Iterable[Recording]) -> dict[str, Level]:
    """The levels of cleaned recordings, by channel; without those that are hardly measured."""
    tallies: dict[str, Tally] = {}
    for recording in recordings:
        for name, row in zip(recording.channels, recording.values, strict=True):
            _add(tallies.setdefault(name, Tally()), recording.id, np.asarray(row), None)
    return {name: of for name, tally in tallies.items() if (of := tally.level) is not None}


def tallied(
    items: Iterable[Recording | IrregularReadings], plan: CleaningPlan
) -> dict[str, Tally]:
    """What a reader yields, by the plan's channels and in its units.

    Raises:
        DataError: a unit does not convert.
    """
    unlimited = replace(plan, ranges=MappingProxyType({}), flatline_s=MappingProxyType({}))
    tallies = {name: Tally() for name in plan.names}
    for item in items:
        for name, values in _values(item, unlimited):
            _add(tallies[name], item.multirate_id or item.id, values, plan.ranges.get(name))
    return tallies


def doubt(seen: Level, usual: Level, unit: str) -> Doubt | None:
    """Whether values are so far from the usual ones that their unit must be another.

    Args:
        seen: of the values in question.
        usual: of those that a model learned from.
        unit: that both are said to have.
    """
    known = other_units(unit)
    if usual.low > 0:
        inside = usual.low / _ROOM <= seen.middle <= usual.high * _ROOM
        if inside and any(other.offset for other in known):  # of temperatures 3 times is endless
            inside = usual.low - usual.width <= seen.middle <= usual.high + usual.width
        if inside:
            return None
        fitting = [c for c in known if usual.holds(seen.middle * c.scale + c.offset)]
        return Doubt(seen, fitting[0] if fitting else None)
    if min(seen.width, usual.width) <= 0:
        return None
    ratio = seen.width / usual.width
    if 1 / _WIDER < ratio < _WIDER:
        return None
    fitting = [c for c in known if 1 / _ROOM <= ratio * c.scale <= _ROOM]
    return Doubt(seen, fitting[0] if fitting else None)


def odd_recordings(tally: Tally, usual: Level, unit: str) -> tuple[list[str], Conversion | None]:
    """The recordings whose own median another unit would make usual, and that unit's conversion.

    Args:
        tally: of the channel.
        usual: of the values that a model learned from; of both signs no recording is odd.
        unit: of the plan.
    """
    found, conversion = [], None
    for id, median in tally.medians.items():
        own = doubt(Level(median, median, median), usual, unit) if usual.low > 0 else None
        if own is not None and own.fitting is not None:
            found.append(id)
            conversion = own.fitting
    return found, conversion


def _values(
    item: Recording | IrregularReadings, plan: CleaningPlan
) -> Iterator[tuple[str, FloatArray]]:
    """The measured and missing values of each of the plan's channels that an item has."""
    channels = tuple(c for c in plan.channels if c.source in item.channels)
    if not channels:
        return
    if isinstance(item, Recording):
        chosen = select_channels(item, channels, plan)
        yield from zip(chosen.channels, chosen.values, strict=True)
        return
    readings = select_readings(item, channels, plan)
    order = np.argsort(readings.channel, kind="stable")
    edges = np.searchsorted(readings.channel[order], np.arange(len(channels) + 1))
    for name, (first, stop) in zip(readings.channels, pairwise(edges.tolist()), strict=True):
        yield name, readings.value[order[first:stop]]


def _add(tally: Tally, id: str, row: FloatArray, limits: Sequence[float] | None) -> None:
    value = row[np.isfinite(row)]
    if not value.size:
        return
    tally.measured += value.size
    if limits is not None:
        tally.outside += int(((value < limits[0]) | (value > limits[1])).sum())
    some = value[:: -(-value.size // _KEPT)].astype(np.float64)
    tally.kept.append(some)
    if value.size >= _FEW:
        tally.medians[id] = float(np.median(some))


def as_numbers(of: Mapping[str, Level]) -> dict[str, tuple[float, float, float]]:
    """Levels as they are written to files."""
    return {name: (own.low, own.middle, own.high) for name, own in of.items()}
