"""The picture of when unknown recordings are measured."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from contracts.proposed import given_items, recording, walk
from tsfm_adapt.proposal.picture import _panel, _plain, png
from tsfm_adapt.proposal.survey import Bounds, look

BLUE, RED = [0.12, 0.35, 0.65], [0.85, 0.2, 0.15]


def panel(recording_shown):
    (shown,) = look(given_items(recording_shown)).pictured
    axis = Figure().subplots()
    _panel(axis, shown)
    return axis


def test_measured_is_blue_zero_is_red_and_a_gap_is_white():
    values = np.stack([walk(90), walk(90, 1)])
    values[0, 30:60] = np.nan
    values[1, 60:] = 0
    axis = panel(recording(values, channels=("HR", "ABP"), units=("bpm", "mmHg")))
    (image,) = axis.images
    colours = np.asarray(image.get_array())
    third = colours.shape[1] // 3
    for row, column, expected in [
        (0, 0, BLUE),
        (0, third + 1, [1, 1, 1]),
        (0, -1, BLUE),
        (1, 0, BLUE),
        (1, -1, RED),
    ]:
        assert colours[row, column] == pytest.approx(expected), (row, column)
    assert [label.get_text() for label in axis.get_yticklabels()] == ["HR", "ABP"]


@pytest.mark.parametrize(
    ("rate_hz", "unit", "end"),
    [(10.0, "s", 60), (1.0, "min", 10), (1 / 60, "h", 10), (1 / 3600, "days", 25)],
)
def test_the_axis_is_in_a_unit_that_suits_the_length(rate_hz, unit, end):
    axis = panel(recording(walk(600), rate_hz=rate_hz))
    assert axis.get_xlabel() == unit
    assert axis.get_xlim() == pytest.approx((0, end))


def test_a_name_of_a_file_is_drawn_as_letters_and_never_as_a_formula():
    assert _plain("HR", 24) == "HR"
    assert _plain("$x$\n\u00b5V", 24) == r"\$x\$??V"
    assert _plain("a" * 30, 24) == "a" * 22 + ".."


def test_any_name_can_be_drawn_and_the_picture_has_a_panel_a_recording():
    names = ("$\\frac{", "\U0001fac0", "x" * 200)
    items = [
        recording(np.stack([walk(50, s)] * 3), f"s{s}", channels=names, units=("1",) * 3)
        for s in range(4)
    ]
    whole = imread(io.BytesIO(png(look(given_items(*items)), "ward_$1")))
    one = imread(io.BytesIO(png(look(given_items(*items), Bounds(recordings=1)), "ward")))
    assert whole.shape[0] > one.shape[0]
