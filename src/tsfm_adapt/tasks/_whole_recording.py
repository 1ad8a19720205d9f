"""Gaps of whole recordings, filled window by window."""

from __future__ import annotations

import numpy as np

from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.signals.recording import BoolArray, FloatArray, Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec


def whole_recording(
    predictor: Predictor,
    recording: Recording,
    *,
    context: int,
    min_context: int,
    batch_size: int,
) -> FloatArray:
    """Quantiles (C, Q, T) of a whole recording; NaN where a window shows too little.

    Windows overlap by half; a sample is estimated in the window that shows most on both its sides.

    Args:
        predictor: of windows of `context` samples.
        recording: as long as a window or longer.
        context: samples of a window.
        min_context: observed samples that a channel needs in a window.
        batch_size: windows at once.
    """
    every = Windows([recording], WindowSpec(context, 0, 1, min_context))
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
