"""Whether quantiles hold: the shares that are drawn."""

import warnings

import pyarrow
import pytest

from tsfm_adapt.plots.calibration import calibration, calibration_curve


def test_a_calibration_without_estimates_is_drawn_empty():
    none = pyarrow.array([None], pyarrow.float32())
    rows = pyarrow.table({"channel": ["HR"], "q0.5": none, "measured": [1.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert calibration_curve(rows, "nothing").axes[0].get_legend() is None


def test_calibration_counts_the_measured_values_below_each_quantile():
    rows = pyarrow.table(
        {
            "channel": ["HR"] * 4 + ["RESP"] * 2,
            "q0.1": [0.0, 0.0, 0.0, 0.0, None, 1.0],
            "q0.9": [2.0, 2.0, 2.0, 2.0, None, 3.0],
            "measured": [-1.0, 1.0, 3.0, None, 1.0, 2.0],
        }
    )
    assert calibration(rows) == {
        "HR": [(0.1, pytest.approx(1 / 3)), (0.9, pytest.approx(2 / 3))],
        "RESP": [(0.1, 0.0), (0.9, 1.0)],
    }
