"""Pictures of forecasts: each number in its place, in a unit of time that suits it."""

import numpy as np
import pyarrow
import pytest

from tsfm_adapt.evaluation.scores import ModelScores, Role
from tsfm_adapt.plots.forecasts import error_by_lead_time, forecasts, lead_time
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

UNITS = ("bpm", "1/min")


def windows(horizon=3, rate_hz=1 / 60, count=30):
    values = np.stack([np.arange(count), 100.0 + np.arange(count)])
    values[0, 3] = np.nan
    one = Recording("a", "p1", values, ("HR", "RESP"), UNITS, rate_hz)
    return Windows([one], WindowSpec(6, horizon, horizon))


@pytest.mark.parametrize(
    ("horizon", "rate_hz", "unit", "first", "last"),
    [(30, 1.0, "s", 1, 30), (15, 1 / 60, "min", 1, 15), (4, 1 / 1800, "h", 0.5, 2)],
)
def test_lead_times_begin_one_step_ahead(horizon, rate_hz, unit, first, last):
    lead, name = lead_time(windows(horizon, rate_hz, 60))
    assert name == unit
    assert len(lead) == horizon
    assert (lead[0], lead[-1]) == (pytest.approx(first), pytest.approx(last))


def test_a_panel_has_the_context_what_came_and_the_interval_of_its_window():
    some = windows()
    quantiles = np.arange(len(some) * 2 * 3, dtype=float)
    columns = {"q0.1": quantiles - 1, "q0.5": quantiles, "q0.9": quantiles + 2}
    figure = forecasts(some, UNITS, pyarrow.table(columns), "test set")
    first, *_, last = figure.axes
    past, future, median = first.get_lines()
    np.testing.assert_array_equal(past.get_xdata(), np.arange(-5, 1))
    np.testing.assert_array_equal(past.get_ydata(), [0, 1, 2, np.nan, 4, 5])
    np.testing.assert_array_equal(future.get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(future.get_ydata(), [6, 7, 8])
    np.testing.assert_array_equal(median.get_ydata(), [0, 1, 2])
    assert last.get_title() == "p1: RESP"
    np.testing.assert_array_equal(last.get_lines()[2].get_ydata(), quantiles[-3:])
    corners = last.collections[0].get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == (quantiles[-3] - 1, quantiles[-1] + 2)
    assert "interval 0.1 to 0.9" in figure.get_suptitle()


def test_a_channel_without_a_forecast_says_so():
    some = windows()
    nothing = np.full(len(some) * 2 * 3, np.nan)
    figure = forecasts(some, UNITS, pyarrow.table({"q0.5": nothing}), "test set")
    assert [text.get_text() for text in figure.axes[0].texts] == ["not in the context"]


def test_errors_are_drawn_of_the_model_zero_shot_and_the_best_baseline():
    def own(role, value):
        by_step = {name: {"mae": [value, None, value + 2]} for name in ("HR", "RESP")}
        return ModelScores(role=role, overall={}, by_step=by_step)

    models = {
        "adapted": own(Role.ADAPTED, 1.0),
        "zero_shot": own(Role.ZERO_SHOT, 2.0),
        "ridge": own(Role.BASELINE, 3.0),
        "last_value": own(Role.BASELINE, 4.0),
    }
    figure = error_by_lead_time(models, "ridge", windows(), UNITS, "test set")
    for axis, channel, unit in zip(figure.axes, ("HR", "RESP"), UNITS, strict=False):
        lines = {line.get_label(): line for line in axis.get_lines()}
        assert lines.keys() == {"adapted", "zero_shot", "ridge"}
        np.testing.assert_array_equal(lines["ridge"].get_ydata(), [3, np.nan, 5])
        np.testing.assert_array_equal(lines["ridge"].get_xdata(), [1, 2, 3])
        assert (axis.get_title(), axis.get_ylabel()) == (channel, f"MAE, {unit}")
