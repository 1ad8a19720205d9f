"""Forecasts of a run: examples beside what happened, and the error by lead time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt._util.durations import time_unit
from tsfm_adapt.evaluation.scores import Models, Role
from tsfm_adapt.evaluation.tables import quantile_columns
from tsfm_adapt.plots._panels import panels
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = 3
_COLOURS = {Role.ADAPTED: "C0", Role.ZERO_SHOT: "C1"}  # baselines are grey


def forecasts(
    windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str
) -> Figure:
    """Some windows: past and future as measured, the median and the outer prediction interval."""
    channels = windows.recordings[0].channels
    picked = np.linspace(0, len(windows) - 1, min(EXAMPLES, len(windows))).astype(int)
    arrays = windows.gather(picked)
    assert arrays.target is not None
    assert arrays.target_observed is not None
    levels = quantile_columns(predictions.column_names)
    shape = (len(windows), len(channels), windows.spec.horizon)
    low, middle, high = (
        predictions.column(name).to_numpy(zero_copy_only=False).reshape(shape)[picked]
        for name in (levels[0], "q0.5", levels[-1])
    )
    past = np.where(arrays.observed, arrays.values, np.nan)
    future = np.where(arrays.target_observed, arrays.target, np.nan)
    lead, unit = lead_time(windows)
    before = (np.arange(windows.spec.context) - windows.spec.context + 1) * lead[0]
    figure, axes = panels(len(picked) * len(channels), len(channels))
    for row in range(len(picked)):
        for column, name in enumerate(channels):
            axis = axes[row * len(channels) + column]
            axis.plot(before, past[row, column], ".-", color="C7", ms=2)
            axis.plot(lead, future[row, column], ".-", color="black", ms=3, label="measured")
            axis.fill_between(lead, low[row, column], high[row, column], color="C0", alpha=0.25)
            axis.plot(lead, middle[row, column], color="C0", label="median and interval")
            if not np.isfinite(middle[row, column]).any():
                axis.text(0.5, 0.5, "not in the context", transform=axis.transAxes, ha="center")
            axis.set_xlim(before[0], lead[-1])
            axis.set(title=f"{arrays.subjects[row]}: {name}", ylabel=units[column])
            axis.set_xlabel(f"time from the end of the context, {unit}")
    axes[0].legend(fontsize="small")
    figure.suptitle(f"Forecasts, interval {levels[0][1:]} to {levels[-1][1:]}, {title}")
    return figure


def error_by_lead_time(
    models: Models, best_baseline: str | None, windows: Windows, units: Sequence[str], title: str
) -> Figure:
    """Mean absolute error of each channel by lead time: the model, zero-shot, best baseline."""
    channels = windows.recordings[0].channels
    shown = {name: own for name, own in models.items() if own.role in _COLOURS}
    if best_baseline is not None:
        shown[best_baseline] = models[best_baseline]
    figure, axes = panels(len(channels), 4)
    lead, unit = lead_time(windows)
    for axis, channel, of in zip(axes, channels, units, strict=False):
        for name, own in shown.items():
            colour = _COLOURS.get(own.role, "C7")
            draw_error(axis, own.by_step, channel, lead, label=name, color=colour)
        axis.set(xlabel=f"lead time, {unit}", ylabel=f"MAE, {of}", title=channel)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    figure.suptitle(f"Error by lead time, {title}")
    return figure


def draw_error(
    axis: Axes,
    by_step: Mapping[str, Mapping[str, Sequence[float | None]]],
    channel: str,
    at: FloatArray,
    *,
    label: str,
    color: str | None = None,
    linestyle: str = "-",
) -> None:
    """One model's mean absolute error of a channel by step, `at` the places of the steps."""
    values = [np.nan if value is None else value for value in by_step[channel]["mae"]]
    axis.plot(at[: len(values)], values, label=label, color=color, linestyle=linestyle)


def lead_time(windows: Windows) -> tuple[FloatArray, str]:
    """Lead times of the steps (H,) in a unit that suits them, and its name."""
    seconds = np.arange(1, windows.spec.horizon + 1) / windows.recordings[0].rate_hz
    size, unit = time_unit(float(seconds[-1]))
    return seconds / size, unit
