"""Filled gaps of a run: examples beside what was hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.evaluation.tables import quantile_columns
from tsfm_adapt.plots._panels import panels
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.figure import Figure

EXAMPLES = 3


def gaps(windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str) -> Figure:
    """Some windows: what was visible, what was hidden, median and outer prediction interval."""
    channels, rate_hz = windows.recordings[0].channels, windows.recordings[0].rate_hz
    picked = np.linspace(0, len(windows) - 1, min(EXAMPLES, len(windows))).astype(int)
    arrays = windows.gather(picked)
    assert arrays.mask is not None
    levels = quantile_columns(predictions.column_names)
    names = ("recording", "channel", "window", "mask", "time_s", "measured")
    column = {
        name: predictions.column(name).to_numpy(zero_copy_only=False) for name in (*names, *levels)
    }
    shown = np.where(arrays.observed, arrays.values, np.nan)
    figure, axes = panels(len(picked) * len(channels), len(channels))
    for row, index in enumerate(picked):
        recording = windows.recordings[windows.recording[index]]
        start_s = windows.start[index] / rate_hz
        seconds = start_s + np.arange(windows.spec.context) / rate_hz
        of_window = (column["recording"] == recording.id) & (column["window"] == start_s)
        of_window &= column["mask"] == arrays.mask[row]
        for number, name in enumerate(channels):
            axis = axes[row * len(channels) + number]
            of = of_window & (column["channel"] == name)
            low, middle, high = (column[q][of] for q in (levels[0], "q0.5", levels[-1]))
            at = column["time_s"][of]
            axis.plot(seconds, shown[row, number], ".-", color="C7", ms=2, label="visible")
            axis.plot(at, column["measured"][of], ".", color="black", ms=3, label="hidden")
            axis.errorbar(
                at,
                middle,
                yerr=np.clip([middle - low, high - middle], 0, None),
                fmt="_",
                color="C0",
                alpha=0.5,
                label="median and interval",
            )
            axis.set(title=f"{recording.subject}: {name}", ylabel=units[number], xlabel="s")
    axes[0].legend(fontsize="small")
    figure.suptitle(f"Filled gaps, interval {levels[0][1:]} to {levels[-1][1:]}, {title}")
    return figure
