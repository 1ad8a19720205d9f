"""Readings to a clock: bins `[t, t + 1/rate)`, empty ones missing, and cutting at long gaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import (
    Events,
    FloatArray,
    IntArray,
    Recording,
    later,
    spans_between,
)

Resample = Literal["median", "mean", "last"]  # of the measured values in a bin

_SAME_RATE = 1e-3  # relative; headers write 1/60 Hz as 0.01667
_EDGE = 1e-6  # of a bin or second: 2.9999999999 computed for an edge at 3 is the edge
_LARGE, _SPARSE = 1 << 27, 0.01  # cells of a grid, and the share of them that must be measured


def to_rate(recording: Recording, rate_hz: float, resample: Resample) -> Recording:
    """The recording at `rate_hz`, binned from its first sample on; a view where it already is.

    Raises:
        DataError: the recording is slower; values would have to be invented.
    """
    if same_rate(recording.rate_hz, rate_hz):
        return replace(recording, rate_hz=rate_hz)
    if recording.rate_hz < rate_hz:
        raise too_slow(recording.id, recording.rate_hz, rate_hz)
    bins = _bin_of(np.arange(recording.samples) / recording.rate_hz, rate_hz)
    count = int(bins[-1]) + 1
    rows = [_binned(row, bins, count, resample) for row in recording.values]
    return replace(recording, values=np.stack(rows), rate_hz=rate_hz)


def spread(recording: Recording, rate_hz: float) -> Recording:
    """A slow recording on a faster clock: each sample in its bin, NaN in the bins between.

    Only for what comes with a recording that is as fast as the clock.
    """
    bins = _bin_of(np.arange(recording.samples) / recording.rate_hz, rate_hz)
    count = int(np.ceil(recording.duration_s * rate_hz - _EDGE))
    values = np.full((len(recording.channels), count), np.nan, dtype=recording.values.dtype)
    values[:, bins] = recording.values
    return replace(recording, values=values, rate_hz=rate_hz)


def same_rate(found_hz: float, rate_hz: float) -> bool:
    """Whether two rates differ by no more than rounded headers do."""
    return abs(found_hz - rate_hz) <= _SAME_RATE * rate_hz


def too_slow(id: str, found_hz: float, rate_hz: float) -> DataError:
    """What to say where no channel is as fast as the clock."""
    return DataError(
        f"data.rate_hz: {id} has {found_hz:g} samples a second, {rate_hz:g} are asked for, and "
        f"values are not invented. Use rate_hz: {found_hz:g} or less."
    )


def cut(recording: Recording, max_gap_s: float) -> list[Recording]:
    """Views of the stretches whose measured rows are at most `max_gap_s` apart.

    Each begins and ends with a row that has a measured value. One stretch keeps the id, several
    are called `<id>#1`, `<id>#2`, ...
    """
    measured = np.zeros(recording.samples, dtype=np.bool_)
    for row in recording.values:
        measured |= np.isfinite(row)
    rows = np.flatnonzero(measured)
    pieces = list(_stretches(rows / recording.rate_hz, max_gap_s))
    return [
        recording.between(int(rows[piece][0]), int(rows[piece][-1]) + 1, name)
        for piece, name in zip(pieces, _names(recording.id, len(pieces)), strict=True)
    ]


def grid(
    events: Events, rate_hz: float, resample: Resample, max_gap_s: float | None
) -> list[Recording]:
    """Events, sorted by time, as regular recordings.

    Without `max_gap_s` the clock begins at `start` and lasts `duration_s`, or to the last event.
    With it the events are cut where two follow each other later than that, before any grid is
    made, and each stretch has its own clock from its first event to its last. No events give no
    recording, unless `duration_s` says how long nothing was measured.
    """
    if max_gap_s is not None:
        pieces = list(_stretches(events.time_s, max_gap_s))
        names = _names(events.id, len(pieces))
        parts = [_piece(events, piece, id) for piece, id in zip(pieces, names, strict=True)]
        return [_gridded(part, rate_hz, resample) for part in parts]
    if events.time_s.size or events.duration_s is not None:
        return [_gridded(events, rate_hz, resample)]
    return []


def _piece(events: Events, piece: slice, id: str) -> Events:
    """Some of the events as their own stretch, whose time begins with the first of them."""
    origin_s = float(events.time_s[piece][0])
    return replace(
        events,
        id=id,
        time_s=events.time_s[piece] - origin_s,
        channel=events.channel[piece],
        value=events.value[piece],
        start=later(events.start, origin_s),
        duration_s=None,
        spans=spans_between(events.spans, origin_s, np.inf),
    )


def _gridded(events: Events, rate_hz: float, resample: Resample) -> Recording:
    bins = _bin_of(events.time_s, rate_hz)
    if events.duration_s is None:
        count = int(bins[-1]) + 1
    else:
        count = int(np.ceil(events.duration_s * rate_hz - _EDGE))
        bins = np.minimum(bins, count - 1)  # a time within _EDGE of the end is before it
    channels = len(events.channels)
    if channels * count > _LARGE and events.value.size < _SPARSE * channels * count:
        days = count / rate_hz / 86400
        raise DataError(
            f"'{events.id}': {events.value.size} values lie over {days:,.0f} days, which at "
            f"{rate_hz:g} Hz are {channels} x {count:,} samples, nearly all of them empty. "
            "Set data.cleaning.max_gap_s to cut where nothing is measured, or check the times."
        )
    cells = _binned(events.value, events.channel * count + bins, channels * count, resample)
    return Recording(
        id=events.id,
        subject=events.subject,
        values=cells.reshape(channels, count),
        channels=events.channels,
        units=events.units,
        rate_hz=rate_hz,
        start=events.start,
        spans=spans_between(events.spans, 0.0, count / rate_hz),
        attributes=events.attributes,
        labels=events.labels,
    )


def _bin_of(time_s: FloatArray, rate_hz: float) -> IntArray:
    bins: IntArray = np.floor(time_s * rate_hz + _EDGE).astype(np.int64)
    return bins


def _binned(value: FloatArray, bins: IntArray, count: int, resample: Resample) -> FloatArray:
    import pandas as pd

    summary = pd.Series(value).groupby(bins).agg(resample)  # leaves NaN out, keeps file order
    row = np.full(count, np.nan, dtype=value.dtype)
    row[summary.index.to_numpy()] = summary.to_numpy()
    return row


def _stretches(time_s: FloatArray, max_gap_s: float) -> Iterator[slice]:
    if not time_s.size:
        return
    breaks = np.flatnonzero(np.diff(time_s) > max_gap_s + _EDGE) + 1
    edges = [0, *breaks.tolist(), len(time_s)]
    for first, stop in pairwise(edges):
        yield slice(first, stop)


def _names(id: str, pieces: int) -> list[str]:
    return [id] if pieces == 1 else [f"{id}#{number}" for number in range(1, pieces + 1)]
