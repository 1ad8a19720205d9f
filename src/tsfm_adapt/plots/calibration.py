"""Calibration curves: the share of measured values below each predicted quantile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.evaluation.tables import quantile_columns
from tsfm_adapt.plots._panels import panels

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Shares = Mapping[str, Sequence[tuple[float, float]]]  # channel: (level, share below)


def calibration_curve(predictions: pyarrow.Table, title: str) -> Figure:
    """Share of measured values below each predicted quantile, by channel."""
    figure, axes = panels(1, 1)
    draw_calibration(axes[0], calibration(predictions))
    axes[0].set(ylabel="share of measured values below", title=title)
    return figure


def draw_calibration(axis: Axes, by_channel: Shares) -> None:
    """Draws a line for each channel, and the diagonal of perfect calibration."""
    axis.plot([0, 1], [0, 1], color="C7", linewidth=0.8)
    for channel, points in by_channel.items():
        axis.plot(*zip(*points, strict=True), "o-", ms=3, label=channel)
    axis.set(xlabel="quantile level", ylabel="share below")
    if by_channel:
        axis.legend(fontsize="small")


def calibration(predictions: pyarrow.Table) -> dict[str, list[tuple[float, float]]]:
    """(level, share of measured values at or below) for each channel with measured values."""
    channel = predictions.column("channel").to_numpy(zero_copy_only=False)
    measured = predictions.column("measured").to_numpy(zero_copy_only=False).astype(float)
    levels = quantile_columns(predictions.column_names)
    quantiles = {q: predictions.column(q).to_numpy(zero_copy_only=False) for q in levels}
    estimated = np.isfinite(quantiles[levels[0]])
    shares = {}
    for name in dict.fromkeys(channel):
        of = (channel == name) & np.isfinite(measured) & estimated
        if of.any():
            shares[str(name)] = [
                (
                    float(q[1:]),
                    float((measured[of] <= predictions.column(q).to_numpy()[of]).mean()),
                )
                for q in levels
            ]
    return shares
