"""Pictures of filled gaps: hidden values beside their estimates, window by window."""

import numpy as np

from tsfm_adapt.evaluation.tables import hidden
from tsfm_adapt.plots.gaps import gaps
from tsfm_adapt.signals.missingness import HiddenWindows, Missingness
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import WindowSpec

UNITS = ("bpm", "1/min")


def test_each_panel_shows_its_own_window_under_its_own_mask():
    values = 50 + np.random.default_rng(5).normal(size=(2, 60)).cumsum(axis=1)
    one = Recording("a", "p1", values, ("HR", "RESP"), UNITS, 0.5)
    masks = [Missingness("block", 0.2, 4), Missingness("point", 0.3, 1)]
    some = HiddenWindows([one], WindowSpec(20, 0, 20), masks)
    arrays = some.gather(range(len(some)))
    offsets = np.array([-1.0, 0.5, 2.0], dtype=np.float32)[:, None]
    rows = hidden(some, arrays.target[:, :, None] + offsets, (0.1, 0.5, 0.9), UNITS)
    figure = gaps(some, UNITS, rows, "test set")

    picked = np.linspace(0, len(some) - 1, 3).astype(int)
    assert len(figure.axes) == 6
    for number, axis in enumerate(figure.axes):
        window, channel = picked[number // 2], number % 2
        concealed = arrays.target_observed[window, channel]
        assert concealed.any()
        visible, measured, median = axis.get_lines()[:3]
        seconds = (some.start[window] + np.arange(20)) / 0.5
        np.testing.assert_allclose(visible.get_xdata(), seconds)
        assert np.isnan(visible.get_ydata()[concealed]).all()
        np.testing.assert_allclose(measured.get_xdata(), seconds[concealed])
        truth = arrays.target[window, channel][concealed]
        np.testing.assert_allclose(measured.get_ydata(), truth, rtol=1e-6)
        np.testing.assert_allclose(median.get_ydata(), truth + 0.5, rtol=1e-6)
        (bars,) = axis.collections
        lows, highs = zip(*(segment[:, 1] for segment in bars.get_segments()), strict=True)
        np.testing.assert_allclose(lows, truth - 1, rtol=1e-5)
        np.testing.assert_allclose(highs, truth + 2, rtol=1e-5)
        assert axis.get_title() == f"p1: {('HR', 'RESP')[channel]}"
