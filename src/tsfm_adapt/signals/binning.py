"""Binning to a clock, and cutting at gaps.

A bin is `[t, t + 1/rate)`; one without a value is NaN. No value is interpolated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import (
    FloatArray,
    IntArray,
    IrregularReadings,
    Recording,
    later,
    spans_between,
)

Resample = Literal["median", "mean", "last"]  # of the measured values in a bin

_SAME_RATE = 1e-3  # relative; headers write 1/60 Hz as 0.01667
_EDGE = 1e-6  # of a bin or second: 2.9999999999 computed for an edge at 3 is the edge
_LARGE, _SPARSE = 1 << 27, 0.01  # cells of a grid, and the share of them that must be measured


def to_rate(recording: Recording, rate_hz: float, resample: Resample) -> Recording:
    """Resamples to `rate_hz` by binning from the first sample on; a view where that is its rate.

    Raises:
        DataError: the recording is slower than `rate_hz`.
    """
    if same_rate(recording.rate_hz, rate_hz):
        return replace(recording, rate_hz=rate_hz)
    if recording.rate_hz < rate_hz:
        raise too_slow(recording.id, recording.rate_hz, rate_hz)
    bins = _bin_of(np.arange(recording.samples) / recording.rate_hz, rate_hz)
    count = int(bins[-1]) + 1
    rows = [_binned(row, bins, count, resample) for row in recording.values]
    return replace(recording, values=np.stack(rows), rate_hz=rate_hz)


def place_on_clock(recording: Recording, rate_hz: float) -> Recording:
    """Puts a recording on a faster clock: each sample in its bin, NaN in the bins between.

    Used for slow channels beside channels that are as fast as the clock.
    """
    bins = _bin_of(np.arange(recording.samples) / recording.rate_hz, rate_hz)
    count = int(np.ceil(recording.duration_s * rate_hz - _EDGE))
    values = np.full((len(recording.channels), count), np.nan, dtype=recording.values.dtype)
    values[:, bins] = recording.values
    return replace(recording, values=values, rate_hz=rate_hz)


def same_rate(one_hz: float, other_hz: float) -> bool:
    """True if two rates agree up to the rounding of file headers, relative 1e-3."""
    return abs(one_hz - other_hz) <= _SAME_RATE * other_hz


def too_slow(id: str, recorded_hz: float, rate_hz: float) -> DataError:
    """The error for a recording none of whose channels is as fast as the clock."""
    return DataError(
        f"data.rate_hz: {id} has {recorded_hz:g} samples a second, {rate_hz:g} are asked for, and "
        f"values are not invented. Use rate_hz: {recorded_hz:g} or less."
    )


def cut_at_gaps(recording: Recording, max_gap_s: float) -> list[Recording]:
    """Cuts a recording where no channel has a value for more than `max_gap_s`; values are views.

    Each piece begins and ends with a sample that is measured in some channel. One piece keeps the
    id, several are called `<id>#1`, `<id>#2`, ...
    """
    measured = np.zeros(recording.samples, dtype=np.bool_)
    for row in recording.values:
        measured |= np.isfinite(row)
    samples = np.flatnonzero(measured)
    pieces = list(_pieces(samples / recording.rate_hz, max_gap_s))
    return [
        recording.between(int(samples[piece][0]), int(samples[piece][-1]) + 1, name)
        for piece, name in zip(pieces, _names(recording.id, len(pieces)), strict=True)
    ]


def bin_readings(
    readings: IrregularReadings, rate_hz: float, resample: Resample, max_gap_s: float | None
) -> list[Recording]:
    """Makes regular recordings of irregular readings.

    Without `max_gap_s` the clock begins at `start` and lasts `duration_s`, or to the last reading.
    With it the readings are cut where two in a row lie further apart, before any array is made,
    and each piece has its own clock from its first reading to its last.

    Args:
        readings: sorted by time.
        rate_hz: of the clock.
        resample: how several readings in a bin become one value.
        max_gap_s: longest gap within a recording, in seconds; None = never cut.

    Returns:
        The pieces. None for no readings, unless `duration_s` states a length.

    Raises:
        DataError: the array would be very large and nearly empty.
    """
    if max_gap_s is not None:
        slices = list(_pieces(readings.time_s, max_gap_s))
        names = _names(readings.id, len(slices))
        pieces = [_piece(readings, some, id) for some, id in zip(slices, names, strict=True)]
        return [_gridded(piece, rate_hz, resample) for piece in pieces]
    if readings.time_s.size or readings.duration_s is not None:
        return [_gridded(readings, rate_hz, resample)]
    return []


def _piece(readings: IrregularReadings, some: slice, id: str) -> IrregularReadings:
    """Some readings as a piece of their own, whose time begins with the first of them."""
    origin_s = float(readings.time_s[some][0])
    return replace(
        readings,
        id=id,
        time_s=readings.time_s[some] - origin_s,
        channel=readings.channel[some],
        value=readings.value[some],
        start=later(readings.start, origin_s),
        duration_s=None,
        spans=spans_between(readings.spans, origin_s, np.inf),
    )


def _gridded(readings: IrregularReadings, rate_hz: float, resample: Resample) -> Recording:
    """All readings on one clock from time 0."""
    bins = _bin_of(readings.time_s, rate_hz)
    if readings.duration_s is None:
        count = int(bins[-1]) + 1
    else:
        count = int(np.ceil(readings.duration_s * rate_hz - _EDGE))
        bins = np.minimum(bins, count - 1)  # a time within _EDGE of the end is before it
    channels = len(readings.channels)
    if channels * count > _LARGE and readings.value.size < _SPARSE * channels * count:
        days = count / rate_hz / 86400
        raise DataError(
            f"'{readings.id}': {readings.value.size} values lie over {days:,.0f} days, which at "
            f"{rate_hz:g} Hz are {channels} x {count:,} samples, nearly all of them empty. "
            "Set data.cleaning.max_gap_s to cut where nothing is measured, or check the times."
        )
    cells = _binned(readings.value, readings.channel * count + bins, channels * count, resample)
    return Recording(
        id=readings.id,
        subject=readings.subject,
        values=cells.reshape(channels, count),
        channels=readings.channels,
        units=readings.units,
        rate_hz=rate_hz,
        start=readings.start,
        spans=spans_between(readings.spans, 0.0, count / rate_hz),
        attributes=readings.attributes,
        labels=readings.labels,
        zone=readings.zone,
    )


def _bin_of(time_s: FloatArray, rate_hz: float) -> IntArray:
    """The bin (N,) of each time."""
    bins: IntArray = np.floor(time_s * rate_hz + _EDGE).astype(np.int64)
    return bins


def _binned(value: FloatArray, bins: IntArray, count: int, resample: Resample) -> FloatArray:
    """One value a bin, (count,); NaN in an empty one."""
    row = np.full(count, np.nan, dtype=value.dtype)
    filled = np.zeros(count, dtype=np.bool_)
    filled[bins] = True
    if np.count_nonzero(filled) == len(bins):  # no bin has two, as on a clock of its own
        row[bins] = value
        return row
    import pandas as pd

    summary = pd.Series(value).groupby(bins).agg(resample)  # leaves NaN out, keeps file order
    row[summary.index.to_numpy()] = summary.to_numpy()
    return row


def _pieces(time_s: FloatArray, max_gap_s: float) -> Iterator[slice]:
    """Slices of sorted times (N,) in which two neighbours are at most `max_gap_s` apart."""
    if not time_s.size:
        return
    breaks = np.flatnonzero(np.diff(time_s) > max_gap_s + _EDGE) + 1
    edges = [0, *breaks.tolist(), len(time_s)]
    for first, stop in pairwise(edges):
        yield slice(first, stop)


def _names(id: str, pieces: int) -> list[str]:
    return [id] if pieces == 1 else [f"{id}#{number}" for number in range(1, pieces + 1)]
