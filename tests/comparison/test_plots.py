"""The pictures of a comparison's report."""

import base64
import io

import numpy as np
import pytest
from matplotlib.image import imread

from tsfm_adapt.comparison.plots import _costs, _forest, _lead_time, pictures


@pytest.fixture(scope="module")
def drawn(ranked):
    return list(pictures(ranked, None))


def test_a_comparison_of_forecasts_has_every_picture_once(drawn):
    assert [picture.title for picture in drawn] == [
        "Accuracy against cost",
        "Effect of adapting",
        "Error by lead time",
        "Calibration",
        "Learning",
    ]
    for picture in drawn:
        image = imread(io.BytesIO(base64.b64decode(picture.png)))
        assert image.std() > 0.02, f"{picture.title} is blank"


def test_each_adapted_model_stands_at_its_cost_and_score(ranked):
    rows = [row for row in ranked.scored if row.adapters and row.costs.total_parameters]
    axis = _costs(ranked).axes[0]
    found = {line.get_label(): line.get_xydata().tolist() for line in axis.get_lines()}
    for row in rows:
        expected = [row.costs.trainable_parameters, row.overall[ranked.metric.name]]
        assert found[row.name] == [pytest.approx(expected)]


def test_each_difference_stands_inside_its_interval_in_the_order_of_the_rows(ranked):
    rows = [row for row in reversed(ranked.scored) if row.vs_reference]
    axis = _forest(ranked).axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [row.name for row in rows]
    points = [line for line in axis.get_lines() if line.get_marker() == "o"]
    for at, (row, point) in enumerate(zip(rows, points, strict=True)):
        expected = [row.vs_reference.comparison.difference, at]
        assert point.get_xydata().tolist() == [pytest.approx(expected)]


def test_errors_by_lead_time_are_those_of_the_scores(ranked):
    rows = [row for row in ranked.scored if row.scores and row.scores.by_step]
    axes = _lead_time(rows, ranked).axes
    for axis, channel in zip(axes, ("HR", "MAP"), strict=False):
        found = {line.get_label(): line for line in axis.get_lines()}
        for row in rows:
            expected = np.array(row.scores.by_step[channel]["mae"], dtype=float)
            np.testing.assert_allclose(found[row.name].get_ydata(), expected)
