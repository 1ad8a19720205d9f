"""Figures of panels, and logarithmic axes."""

import pytest

from tsfm_adapt.plots._panels import logarithmic, panels


@pytest.mark.parametrize(
    ("count", "columns", "rows", "across"),
    [(1, 3, 1, 1), (3, 3, 1, 3), (4, 3, 2, 3), (7, 2, 4, 2)],
)
def test_panels_stand_in_rows_and_places_left_over_are_blank(count, columns, rows, across):
    figure, axes = panels(count, columns)
    grid = axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, across)
    assert [axis.axison for axis in figure.axes] == [
        number < count for number in range(rows * across)
    ]
    assert figure.axes[:count] == axes[:count]


@pytest.mark.parametrize(
    ("low", "high", "digits"),
    [(1, 1000, {"1"}), (1, 20, {"1", "2", "5"}), (1, 3, {"1", "2", "3", "5", "7"})],
)
def test_a_logarithmic_axis_has_ticks_whatever_its_span(low, high, digits):
    figure, (axis,) = panels(1, 1)
    axis.plot([low, high], [0, 1])
    logarithmic(axis)
    figure.canvas.draw()
    assert axis.get_xscale() == "log"
    begin, end = axis.get_xlim()
    shown = [
        label.get_text()
        for label, at in zip(axis.get_xticklabels(), axis.get_xticks(), strict=True)
        if begin <= at <= end
    ]
    assert len(shown) >= 2
    assert {text.strip("0.,")[:1] for text in shown} <= digits
