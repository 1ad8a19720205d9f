"""Tables of predictions: forecasts, hidden values, filled recordings, classes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray, Recording
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow


_CHUNK = 1024  # windows gathered at once


def table(
    windows: Windows, quantiles: FloatArray, levels: Sequence[float], units: Sequence[str]
) -> pyarrow.Table:
    """The table of forecasts: a row for each window, channel and predicted sample.

    Args:
        windows: N windows; where they have targets, these become the column `measured`.
        quantiles: (N, C, Q, H), data units.
        levels: Q quantile levels, each a column like `q0.1`.
        units: of the channels.

    Returns:
        Columns subject, recording, origin_s (end of the context, seconds from the recording's
        start), step, time (in the zone of `zone_of`; null where the recording has no date), time_s
        (seconds from the recording's start), channel, unit, the quantiles, and `measured` (null =
        not measured).
    """
    import pyarrow

    count, channels, _, steps = quantiles.shape
    rows = count * channels * steps
    first = windows.recordings[0]
    origin_s = (windows.start + windows.spec.context) / first.rate_hz  # (N,)
    time_s = origin_s[:, None] + np.arange(steps) / first.rate_hz  # (N, H)
    per_window = np.repeat(np.arange(count), channels * steps).astype(np.int64)
    per_channel = np.tile(np.repeat(np.arange(channels), steps), count).astype(np.int64)
    per_step = np.tile(np.arange(steps), count * channels)
    recordings = [windows.recordings[index] for index in windows.recording]
    columns = {
        "subject": _repeated([r.subject for r in recordings], per_window),
        "recording": _repeated([r.id for r in recordings], per_window),
        "origin_s": pyarrow.array(origin_s[per_window]),
        "step": pyarrow.array(per_step + 1, pyarrow.int32()),
        "time": _dates(windows, time_s, per_window, per_step),
        "time_s": pyarrow.array(time_s[per_window, per_step]),
        "channel": _repeated(list(first.channels), per_channel),
        "unit": _repeated(list(units), per_channel),
    }
    ordered = np.moveaxis(quantiles, 2, 0).reshape(len(levels), rows)  # (Q, N*C*H)
    unfounded = np.repeat(~_founded(windows), steps)  # (N*C*H,)
    columns |= {
        f"q{level:g}": pyarrow.array(q, mask=unfounded)
        for level, q in zip(levels, ordered, strict=True)
    }
    if windows.spec.horizon:
        arrays = windows.gather(np.arange(count))
        assert arrays.target is not None
        assert arrays.target_observed is not None
        columns["measured"] = pyarrow.array(
            arrays.target.reshape(rows), mask=~arrays.target_observed.reshape(rows)
        )
    return pyarrow.table(columns)


def hidden(
    windows: Windows, quantiles: FloatArray, levels: Sequence[float], units: Sequence[str]
) -> pyarrow.Table:
    """The table of imputed values that were hidden to score them: a row for each value.

    Args:
        windows: N windows whose target is the whole window; measured values of it are hidden.
        quantiles: (N, C, Q, T), data units.
        levels: Q quantile levels, each a column like `q0.1`.
        units: of the channels.

    Returns:
        Columns subject, recording, window (its start, seconds from the
        recording's), mask (which of the task's), time, time_s, channel, unit, the quantiles (null
        where the window shows too little of the channel to be scored), and `measured`.
    """
    import pyarrow

    first = windows.recordings[0]
    recordings = [windows.recordings[index] for index in windows.recording]
    columns: list[dict[str, FloatArray | IntArray | BoolArray]] = []
    for index in windows.batches(_CHUNK):
        arrays = windows.gather(index)
        assert arrays.target is not None
        assert arrays.target_observed is not None
        assert arrays.mask is not None
        window, channel, sample = np.nonzero(arrays.target_observed)
        shown = arrays.observed.sum(-1)[window, channel] >= windows.spec.min_context
        columns.append(
            {
                "window": index[window],
                "mask": arrays.mask[window],
                "channel": channel,
                "sample": sample,
                "measured": arrays.target[window, channel, sample],
                "unfounded": ~shown,
            }
        )
    of = {name: np.concatenate([piece[name] for piece in columns]) for name in columns[0]}
    start_s = windows.start / first.rate_hz
    samples = np.arange(windows.spec.context)
    time_s = start_s[:, None] + samples / first.rate_hz  # (N, T)
    at = quantiles[of["window"], of["channel"], :, of["sample"]]  # (rows, Q)
    return pyarrow.table(
        {
            "subject": _repeated([r.subject for r in recordings], of["window"]),
            "recording": _repeated([r.id for r in recordings], of["window"]),
            "window": pyarrow.array(start_s[of["window"]]),
            "mask": pyarrow.array(of["mask"], pyarrow.int32()),
            "time": _dates(windows, time_s, of["window"], of["sample"]),
            "time_s": pyarrow.array(time_s[of["window"], of["sample"]]),
            "channel": _repeated(list(first.channels), of["channel"]),
            "unit": _repeated(list(units), of["channel"]),
            **{
                f"q{level:g}": pyarrow.array(q, mask=of["unfounded"] | ~np.isfinite(q))
                for level, q in zip(levels, at.T, strict=True)
            },
            "measured": pyarrow.array(of["measured"]),
        }
    )


def filled(
    recordings: Sequence[Recording],
    quantiles: Sequence[FloatArray],
    levels: Sequence[float],
    units: Sequence[str],
) -> pyarrow.Table:
    """The table of filled recordings: a row for each channel and sample.

    Args:
        recordings: one or more.
        quantiles: of each recording, (C, Q, T), data units; NaN = no estimate.
        levels: Q quantile levels, the median among them.
        units: of the channels.

    Returns:
        Columns subject, recording, time (null without a date), time_s (seconds from the
        recording's start), channel, unit, `measured` (bool), `value` (as it was measured, else the
        median; null where there is no estimate) and the quantiles of what was not measured.
    """
    import pyarrow

    median = int(np.flatnonzero(np.isclose(levels, 0.5))[0])
    tables, zone = [], zone_of(recordings)
    for recording, estimate in zip(recordings, quantiles, strict=True):
        channels, samples = recording.values.shape
        values = np.asarray(recording.values, dtype=np.float64)
        measured = np.isfinite(values)
        value = np.where(measured, values, estimate[:, median])
        time_s = np.arange(samples) / recording.rate_hz
        per_channel = np.repeat(np.arange(channels), samples)
        one = np.zeros(channels * samples, dtype=np.int64)
        start = start_in(recording, zone)
        columns = {
            "subject": _repeated([recording.subject], one),
            "recording": _repeated([recording.id], one),
            "time": times_in(np.tile(_since(start, time_s), channels), zone),
            "time_s": pyarrow.array(np.tile(time_s, channels)),
            "channel": _repeated(list(recording.channels), per_channel),
            "unit": _repeated(list(units), per_channel),
            "measured": pyarrow.array(measured.ravel()),
            "value": pyarrow.array(value.ravel(), mask=~np.isfinite(value).ravel()),
        }
        for level, q in zip(levels, np.moveaxis(estimate, 1, 0), strict=True):
            unknown = (measured | ~np.isfinite(q)).ravel()
            columns[f"q{level:g}"] = pyarrow.array(q.ravel(), mask=unknown)
        tables.append(pyarrow.table(columns))
    return pyarrow.concat_tables(tables).unify_dictionaries()


def labelled(windows: Windows, probabilities: FloatArray, classes: Sequence[str]) -> pyarrow.Table:
    """The table of class probabilities: a row for each window.

    Args:
        windows: N windows; where their classes are known, these become the column `label`.
        probabilities: (N, K).
        classes: K names.

    Returns:
        Columns subject, recording, origin_s (the window's end, seconds from the
        recording's start), time (of that end; null where the recording has no date), a
        probability a class like `p_asleep`, and `label`: the window's class, or the list of its
        classes where it may have several.
    """
    import pyarrow

    recordings = [windows.recordings[index] for index in windows.recording]
    own = np.arange(len(windows))
    origin_s = (windows.start + windows.spec.context) / windows.recordings[0].rate_hz
    columns = {
        "subject": _repeated([r.subject for r in recordings], own),
        "recording": _repeated([r.id for r in recordings], own),
        "origin_s": pyarrow.array(origin_s),
        "time": _dates(windows, origin_s[:, None], own, np.zeros_like(own)),
        **{
            f"p_{name}": pyarrow.array(of_class)
            for name, of_class in zip(classes, probabilities.T, strict=True)
        },
    }
    if isinstance(windows, LabelledWindows):
        called = windows.classes_of
        if windows.labelling.multilabel:
            lists = [
                [name for name, is_so in zip(classes, row, strict=True) if is_so] for row in called
            ]
            columns["label"] = pyarrow.array(lists, pyarrow.list_(pyarrow.string()))
        else:
            columns["label"] = _repeated(list(classes), called.argmax(axis=1))
    return pyarrow.table(columns)


def write(path: Path, predictions: pyarrow.Table) -> None:
    """Writes Parquet, atomically."""
    import io

    import pyarrow.parquet

    from tsfm_adapt._util import atomic

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(predictions, buffer)
    atomic.write_bytes(path, buffer.getvalue())


def _founded(windows: Windows) -> BoolArray:
    """True for (window, channel) pairs with at least `min_context` observed values, (N, C)."""
    pieces = [windows.gather(index).observed.sum(-1) for index in windows.batches(_CHUNK)]
    founded: BoolArray = np.concatenate(pieces) >= windows.spec.min_context
    return founded


def zone_of(recordings: Iterable[Recording]) -> str | None:
    """The time zone of the column `time`: that of all dated recordings; UTC where they differ.

    None where no recording has a zone: dates are then as in the files.
    """
    zones = {recording.zone for recording in recordings if recording.start is not None}
    known = zones - {None}
    return known.pop() if len(zones) == 1 and known else "UTC" if known else None


def times_in(dates: FloatArray, zone: str | None) -> pyarrow.Array:
    """Dates (N,), which are UTC where there is a zone, as times of that zone."""
    import pyarrow

    return pyarrow.array(dates, pyarrow.timestamp("ms", tz=zone))


def _dates(
    windows: Windows, time_s: FloatArray, window: IntArray, step: IntArray
) -> pyarrow.Array:
    """Times of rows, at windows and steps, from seconds (N, H) after each recording's start."""
    zone = zone_of(windows.recordings)
    starts = np.array([start_in(r, zone) for r in windows.recordings])[windows.recording]
    return times_in(_since(starts[:, None], time_s)[window, step], zone)


def start_in(recording: Recording, zone: str | None) -> np.datetime64:
    """A recording's start; NaT where it, or beside recordings of a zone its zone, is not known."""
    start = recording.start
    if start is None or (zone is not None and recording.zone is None):
        return np.datetime64("NaT", "s")
    seconds: np.datetime64 = start.astype("datetime64[s]")
    return seconds


def _since(start: Any, time_s: FloatArray) -> FloatArray:  # Any: one date or an array of them
    """Dates of seconds from a start, by the millisecond."""
    dates: FloatArray = start.astype("datetime64[ms]") + np.round(time_s * 1000).astype(
        "timedelta64[ms]"
    )
    return dates


def _repeated(names: list[str], index: IntArray) -> pyarrow.Array:
    import pyarrow

    dictionary, codes = np.unique(np.array(names), return_inverse=True)
    return pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(codes[index], pyarrow.int32()), pyarrow.array(dictionary.tolist())
    )


def quantile_columns(columns: Iterable[str]) -> list[str]:
    """The columns q0.1 ... of a table, in increasing order of the level."""
    return sorted((c for c in columns if re.fullmatch(r"q0?\.\d+", c)), key=lambda c: float(c[1:]))
