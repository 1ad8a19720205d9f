"""Fills the gaps of whole recordings window by window, and counts what is left."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt._util.durations import duration
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.signals.recording import BoolArray, FloatArray, Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class GapCounts:
    """Missing values of a filled table, by what became of them."""

    missing: int
    filled: int
    never_measured: int  # not filled: of channels that their recording does not measure
    in_long_gaps: int  # not filled: in gaps as long as the window or longer
    others: int  # not filled: their windows show too few values of the channel
    window_s: float

    @property
    def remarks(self) -> list[str]:
        """Sentences for a user."""
        if not self.missing:
            return ["no value was missing"]
        remarks = [f"filled {self.filled} of {self.missing} missing values"]
        if self.in_long_gaps:
            remarks.append(
                f"{self.in_long_gaps} lie in gaps as long as the window or longer "
                f"({duration(self.window_s)}): raise task.context_s, and train again"
            )
        if self.never_measured:
            remarks.append(
                f"{self.never_measured} are of channels that their recording never measures"
            )
        if self.others:
            remarks.append(
                f"{self.others} lie in windows that show too few values of their channel: lower "
                "task.min_context, or raise task.context_s"
            )
        return remarks


def counts_of_gaps(table: pyarrow.Table, context: int, rate_hz: float) -> GapCounts:
    """Counts the missing values of a table of `evaluation.tables.filled`.

    Args:
        table: rows by recording, channel and time.
        context: samples of a window.
        rate_hz: of the data.
    """
    missing: BoolArray = ~table["measured"].to_numpy()
    empty: BoolArray = table["value"].is_null().to_numpy()
    first: BoolArray = table["time_s"].to_numpy() == 0  # of a channel of a recording
    series = np.cumsum(first) - 1
    begins = first | np.diff(missing, prepend=~missing[:1])
    run = np.cumsum(begins) - 1
    length = np.bincount(run)[run]  # of the gap, or of the measured stretch, of each row
    whole = length == np.bincount(series)[series]
    left = missing & empty
    never, long = left & whole, left & ~whole & (length >= context)
    return GapCounts(
        missing=int(missing.sum()),
        filled=int((missing & ~empty).sum()),
        never_measured=int(never.sum()),
        in_long_gaps=int(long.sum()),
        others=int((left & ~never & ~long).sum()),
        window_s=context / rate_hz,
    )


def whole_recording(
    predictor: Predictor, recording: Recording, window: WindowSpec, batch_size: int
) -> FloatArray:
    """Quantiles (C, Q, T) of a whole recording; NaN where a window shows too little.

    Windows overlap by half; a sample is estimated in the window that shows most on both its sides.

    Args:
        predictor: of windows of that length.
        recording: as long as a window or longer.
        window: its length, and how many observed samples a channel needs in it.
        batch_size: windows at once.
    """
    context, min_context = window.context, window.min_context
    every = Windows([recording], replace(window, stride=1))
    step = max(1, context // 2)
    starts = np.unique([*range(0, len(every), step), len(every) - 1])
    windows = every.take(starts)
    channels = len(recording.channels)
    quantiles = np.full(
        (channels, len(predictor.levels), recording.samples), np.nan, dtype=np.float32
    )
    best = np.zeros((channels, recording.samples))
    sides = np.minimum(np.arange(context), np.arange(context)[::-1]) + 1.0  # (T,)
    for index in windows.batches(batch_size):
        arrays = windows.gather(index)
        predicted = predictor.predict(arrays, context)
        estimated = np.isfinite(predicted).all((2, 3))  # (B, C)
        founded = estimated & (arrays.observed.sum(-1) >= min_context)
        for row, start in enumerate(starts[index]):
            at = slice(start, start + context)
            centrality = sides * founded[row][:, None]  # (C, T)
            better: BoolArray = centrality > best[:, at]
            best[:, at] = np.where(better, centrality, best[:, at])
            quantiles[..., at] = np.where(better[:, None], predicted[row], quantiles[..., at])
    return quantiles
