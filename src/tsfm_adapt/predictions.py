"""Forecasts as a table: one row a subject, origin, channel and predicted sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow


_CHUNK = 1024  # windows gathered at once


def table(
    windows: Windows, quantiles: FloatArray, levels: Sequence[float], units: Sequence[str]
) -> pyarrow.Table:
    """The predictions of some windows.

    Args:
        windows: N windows; where they have targets, these become the column `measured`.
        quantiles: (N, C, Q, H), data units.
        levels: Q quantile levels, each a column like `q0.1`.
        units: of the channels.

    Returns:
        Columns subject, recording, origin_s (end of the context, seconds from the recording's
        start), step, time (null where the recording has no date), time_s (seconds from the
        recording's start), channel, unit, the quantiles, and `measured` (null = not measured).
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
        "time": pyarrow.array(_dates(windows, time_s)[per_window, per_step]),
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


def write(path: Path, predictions: pyarrow.Table) -> None:
    """Writes Parquet, all of it or nothing."""
    import io

    import pyarrow.parquet

    from tsfm_adapt import atomic

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(predictions, buffer)
    atomic.write_bytes(path, buffer.getvalue())


def _founded(windows: Windows) -> BoolArray:
    """Which (window, channel) pairs show enough of the context, (N, C)."""
    pieces = [
        windows.gather(np.arange(first, min(first + _CHUNK, len(windows)))).observed.sum(-1)
        for first in range(0, len(windows), _CHUNK)
    ]
    founded: BoolArray = np.concatenate(pieces) >= windows.spec.min_context
    return founded


def _dates(windows: Windows, time_s: FloatArray) -> FloatArray:
    """Dates (N, H) of seconds from each recording's start; NaT where there is no date."""
    starts = np.array(
        [
            np.datetime64("NaT", "s") if r.start is None else r.start.astype("datetime64[s]")
            for r in windows.recordings
        ]
    )[windows.recording]
    dates: FloatArray = starts[:, None].astype("datetime64[ms]") + np.round(time_s * 1000).astype(
        "timedelta64[ms]"
    )
    return dates


def _repeated(names: list[str], index: IntArray) -> pyarrow.Array:
    import pyarrow

    dictionary, codes = np.unique(np.array(names), return_inverse=True)
    return pyarrow.DictionaryArray.from_arrays(
        pyarrow.array(codes[index], pyarrow.int32()), pyarrow.array(dictionary.tolist())
    )
