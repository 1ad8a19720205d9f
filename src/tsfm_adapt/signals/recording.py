"""A recording, its marked spans, and a set of recordings.

NaN at this border means *not measured*; `observed` masks appear only from windows on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from tsfm_adapt.signals.mapping import release

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_BLOCK = 1 << 16  # samples of a recording read at once

_EMPTY: Mapping[str, str | int | float] = MappingProxyType({})


@dataclass(frozen=True)
class Span:
    """A labelled stretch, in seconds from the start of its recording."""

    start_s: float
    stop_s: float
    label: str

    def overlaps(self, start_s: float, stop_s: float) -> bool:
        """Whether the stretch from `start_s` to before `stop_s` holds some of it; marks too."""
        return self.start_s < stop_s and (self.stop_s > start_s or self.start_s >= start_s)


@dataclass(frozen=True)
class Recording:
    """One subject, one continuous stretch, one clock.

    `start` has second precision: de-identified data holds years beyond 2262, the end of
    nanosecond time.

    A stretch whose channels have several rates is read as a recording for each rate, in a row.
    They share `part_of`, `subject`, `spans` and the time of their first sample; cleaning makes
    one recording of them. No value is repeated or interpolated for that.
    """

    id: str  # the stay, sitting or file
    subject: str  # the patient; the unit of splitting and of every interval
    values: FloatArray  # (C, T) in `units`; NaN = not measured; may be memory-mapped
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    start: np.datetime64 | None = None
    spans: tuple[Span, ...] = ()
    attributes: Mapping[str, str | float] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str | int | float] = field(default_factory=lambda: _EMPTY)
    part_of: str | None = None  # the stretch whose other channels have clocks of their own

    def __post_init__(self) -> None:
        assert self.values.ndim == 2, self.values.shape
        assert len(self.channels) == len(self.units) == self.values.shape[0]
        assert self.rate_hz > 0

    @property
    def samples(self) -> int:
        """T, the number of samples of each channel."""
        return int(self.values.shape[1])

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples / self.rate_hz

    def blocks(self, overlap: int = 0) -> Iterator[FloatArray]:
        """The values (C, T) a stretch at a time, in order; views of at most 65 536 + overlap.

        What a pass over memory-mapped values has read is given back on the way, so that it never
        holds a whole recording.

        Args:
            overlap: samples that a block shares with the next one; a recording that has no more
                than these has no blocks.
        """
        for first in range(0, self.samples - overlap, _BLOCK):
            yield np.asarray(self.values[:, first : first + _BLOCK + overlap])
            release(self.values)

    def between(self, first: int, stop: int, id: str) -> Recording:
        """The samples from `first` to before `stop` as a recording of its own; values are a view.

        The new `start` is rounded to its second precision; spans are clipped and keep theirs.
        """
        first_s, stop_s = first / self.rate_hz, stop / self.rate_hz
        return replace(
            self,
            id=id,
            values=self.values[:, first:stop],
            start=later(self.start, first_s),
            spans=spans_between(self.spans, first_s, stop_s),
        )


@dataclass(frozen=True)
class Events:
    """Irregular readings of one subject, before they are binned to a clock.

    Several readings may share a time; the order is that of the file. Readings before `start` or
    at or after `duration_s` belong to no bin.
    """

    id: str
    subject: str
    time_s: FloatArray  # (N,) seconds since `start`
    channel: IntArray  # (N,) index into `channels`
    value: FloatArray  # (N,) in the channel's unit
    channels: tuple[str, ...]
    units: tuple[str, ...]
    start: np.datetime64 | None = None
    duration_s: float | None = None  # where the source states it: 48 h however few the readings
    spans: tuple[Span, ...] = ()
    attributes: Mapping[str, str | float] = field(default_factory=lambda: MappingProxyType({}))
    labels: Mapping[str, str | int | float] = field(default_factory=lambda: _EMPTY)
    part_of: str | None = None  # the stretch whose other channels have clocks of their own

    def __post_init__(self) -> None:
        assert self.time_s.shape == self.channel.shape == self.value.shape
        assert len(self.channels) == len(self.units)


@dataclass(frozen=True)
class RecordingSet:
    """Recordings that share channels, units and rate: what a reader plus cleaning yields."""

    recordings: tuple[Recording, ...]
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # id: reason
    # Channel: the rates, Hz, at which files hold it; None = irregular readings.
    rates: Mapping[str, tuple[float | None, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )

    def __post_init__(self) -> None:
        shapes = {(r.channels, r.units, r.rate_hz) for r in self.recordings}
        assert len(shapes) <= 1, shapes

    def __iter__(self) -> Iterator[Recording]:
        return iter(self.recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The distinct subjects, sorted."""
        return tuple(sorted({r.subject for r in self.recordings}))


def later(start: np.datetime64 | None, seconds: float) -> np.datetime64 | None:
    """`start` moved by whole seconds, the nearest; None stays unknown."""
    return None if start is None else start + np.timedelta64(round(seconds), "s")


def spans_between(spans: tuple[Span, ...], start_s: float, stop_s: float) -> tuple[Span, ...]:
    """The spans between two times, clipped to them and counted from the first."""
    return tuple(
        Span(max(s.start_s, start_s) - start_s, min(s.stop_s, stop_s) - start_s, s.label)
        for s in spans
        if s.overlaps(start_s, stop_s)
    )
