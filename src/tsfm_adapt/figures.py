"""Figures of panels, drawn without a display."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_UNITS = ((172800.0, 86400.0, "days"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"), (0, 1.0, "s"))


def time_unit(duration_s: float) -> tuple[float, str]:
    """The unit, in seconds and by name, in which an axis of such a length reads well."""
    return next((size, name) for least, size, name in _UNITS if duration_s >= least)


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
