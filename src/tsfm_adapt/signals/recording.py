"""Recordings, irregular readings, labelled spans, and sets of recordings.

NaN means *not measured* here; `observed` masks appear only from windows on.
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

Attributes = Mapping[str, str | float]  # facts about the subject or stay, by name
Labels = Mapping[str, str | int | float]  # what to predict, and the split, by name
# What a reader changed or left out, as a sentence's end ("rows that repeat the header, skipped"):
# how many of them.
Notes = Mapping[str, int]

_EMPTY: Labels = MappingProxyType({})
_NO_NOTES: Notes = MappingProxyType({})


@dataclass(frozen=True)
class Span:
    """A labelled time span, in seconds from the recording's start; one of no length is a mark."""

    start_s: float
    stop_s: float
    label: str

    def overlaps(self, start_s: float, stop_s: float) -> bool:
        """True if the span intersects [start_s, stop_s); zero-length spans count."""
        return self.start_s < stop_s and (self.stop_s > start_s or self.start_s >= start_s)


@dataclass(frozen=True)
class Recording:
    """Regularly sampled channels of one subject over one continuous stretch.

    `start` has second precision: de-identified data holds years beyond 2262, where nanosecond
    timestamps end.

    A stretch whose channels have several rates is read as one recording for each rate, in a row.
    They share `multirate_id`, `subject`, `spans` and the time of their first sample; cleaning
    merges them into one recording. No value is repeated or interpolated for that.
    """

    id: str  # of the stay, session or file
    subject: str  # the patient; the unit of splitting and of confidence intervals
    values: FloatArray  # (C, T) in `units`; NaN = not measured; may be memory-mapped
    channels: tuple[str, ...]
    units: tuple[str, ...]
    rate_hz: float
    start: np.datetime64 | None = None
    spans: tuple[Span, ...] = ()
    attributes: Attributes = field(default_factory=lambda: MappingProxyType({}))
    labels: Labels = field(default_factory=lambda: _EMPTY)
    multirate_id: str | None = None  # id of a stretch at several rates; None = one rate
    zone: str | None = None  # of the file's times, "-05:00" or an IANA name; `start` is UTC then
    notes: Notes = field(default_factory=lambda: _NO_NOTES)

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
        """Yields the values in blocks (C, n) in order; views, n at most 65 536 + overlap.

        Memory-mapped pages are released after each block, so that no pass holds a whole
        recording.

        Args:
            overlap: samples that a block shares with the next one. A recording of no more samples
                than that has no blocks.
        """
        for first in range(0, self.samples - overlap, _BLOCK):
            yield np.asarray(self.values[:, first : first + _BLOCK + overlap])
            release(self.values)

    def between(self, first: int, stop: int, id: str) -> Recording:
        """The samples [first, stop) as a recording of its own; values are a view.

        The new `start` is rounded to whole seconds; spans are clipped and not rounded.
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
class IrregularReadings:
    """Time-stamped readings of one subject at irregular times, before they are binned to a clock.

    Several readings may share a time and keep the order of the file. Readings before `start`, or
    at or after `duration_s`, belong to no bin.
    """

    id: str
    subject: str
    time_s: FloatArray  # (N,) seconds since `start`
    channel: IntArray  # (N,) index into `channels`
    value: FloatArray  # (N,) in the channel's unit
    channels: tuple[str, ...]
    units: tuple[str, ...]
    start: np.datetime64 | None = None
    duration_s: float | None = None  # where the files state it: 48 h however few the readings
    spans: tuple[Span, ...] = ()
    attributes: Attributes = field(default_factory=lambda: MappingProxyType({}))
    labels: Labels = field(default_factory=lambda: _EMPTY)
    multirate_id: str | None = None  # id of a stretch at several rates; None = one rate
    zone: str | None = None  # of the file's times, "-05:00" or an IANA name; `start` is UTC then
    notes: Notes = field(default_factory=lambda: _NO_NOTES)

    def __post_init__(self) -> None:
        assert self.time_s.shape == self.channel.shape == self.value.shape
        assert len(self.channels) == len(self.units)


@dataclass(frozen=True)
class RecordingSet:
    """Cleaned recordings that share channels, units and rate."""

    recordings: tuple[Recording, ...]
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # id: reason
    # The rates in Hz at which files hold each channel; None = irregular readings.
    rates: Mapping[str, tuple[float | None, ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    notes: Notes = field(default_factory=lambda: _NO_NOTES)  # of all that was read

    def __post_init__(self) -> None:
        shapes = {(r.channels, r.units, r.rate_hz) for r in self.recordings}
        assert len(shapes) <= 1, shapes

    def __iter__(self) -> Iterator[Recording]:
        return iter(self.recordings)

    def __len__(self) -> int:
        return len(self.recordings)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects, each once, sorted."""
        return tuple(sorted({r.subject for r in self.recordings}))


def later(start: np.datetime64 | None, seconds: float) -> np.datetime64 | None:
    """`start` plus `seconds`, rounded to whole seconds; None stays None."""
    return None if start is None else start + np.timedelta64(round(seconds), "s")


def spans_between(spans: tuple[Span, ...], start_s: float, stop_s: float) -> tuple[Span, ...]:
    """The spans that intersect [start_s, stop_s), clipped to it, in seconds from `start_s`."""
    return tuple(
        Span(max(s.start_s, start_s) - start_s, min(s.stop_s, stop_s) - start_s, s.label)
        for s in spans
        if s.overlaps(start_s, stop_s)
    )
