"""Figures of panels, drawn without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_DIGITS = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)


def logarithmic(axis: Axes) -> None:
    """Makes the x axis of what was drawn logarithmic, with ticks that fit the span."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_xscale("log")
    low, high = axis.get_xlim()
    digits = (1.0,) if high > 30 * low else (1.0, 2.0, 5.0) if high > 5 * low else _DIGITS
    axis.xaxis.set_major_locator(LogLocator(subs=digits))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def panels(count: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels, at most `columns` beside each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(6.0, 4.0 * columns), max(4.0, 2.8 * rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(np.ravel(figure.subplots(rows, columns, squeeze=False)))
    for unused in axes[count:]:
        unused.set_axis_off()
    return figure, axes
