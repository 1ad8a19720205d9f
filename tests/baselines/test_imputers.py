from dataclasses import replace

import numpy as np
import pytest

from tsfm_adapt.baselines.forecasters import channel_means
from tsfm_adapt.baselines.imputers import (
    CarryForward,
    Linear,
    MeanOfWindow,
    default_imputers,
    fit_ridge,
)
from tsfm_adapt.signals.missingness import HiddenWindows, Missingness
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import WindowSpec

LEVEL = np.array([80.0, 15.0])
POINTS = [Missingness("point", 0.2)]


def arrays(rows):
    values = np.array([rows], dtype=np.float32)
    return np.nan_to_num(values, nan=9999.0), np.isfinite(values)


def windows(channels=3, noise=0.1, masks=POINTS, seed=0):
    """Channels that follow one hidden wave with different signs; the last follows nothing."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(4):
        wave = rng.normal(size=200).cumsum()
        sign = np.array([1.0, -2.0, 0.0])[:channels, None]
        values = 50 * number + sign * wave + noise * rng.normal(size=(channels, 200))
        names = tuple(f"c{i}" for i in range(channels))
        found.append(Recording(f"r{number}", f"p{number}", values, names, names, 1.0))
    return HiddenWindows(found, WindowSpec(40, 0, 20), masks)


@pytest.mark.parametrize(
    ("imputer", "expected"),
    [
        (Linear(LEVEL), [[2, 2, 4, 6, 8, 8], [15] * 6]),
        (CarryForward(LEVEL), [[2, 2, 2, 2, 8, 8], [15] * 6]),
        (MeanOfWindow(LEVEL), [[5] * 6, [15] * 6]),
    ],
    ids=["linear", "carry_forward", "mean_of_window"],
)
def test_by_hand(imputer, expected):
    nan = np.nan
    values, observed = arrays([[nan, 2, nan, nan, 8, nan], [nan] * 6])
    filled = imputer.fill(values, observed)
    assert filled.shape == values.shape
    np.testing.assert_allclose(filled[0], expected)


def test_all_fill_with_finite_numbers_that_hidden_values_cannot_change():
    some = windows()
    for name, imputer in default_imputers(some).items():
        some_arrays = some.gather(range(6))
        observed = some_arrays.observed.copy()
        observed[0] = False
        observed[1, 1] = False
        filled = imputer.fill(some_arrays.values, observed)
        assert np.isfinite(filled).all(), name
        garbage = np.where(observed, some_arrays.values, np.float32(-3e38))
        np.testing.assert_array_equal(imputer.fill(garbage, observed), filled, err_msg=name)
        np.testing.assert_allclose(
            filled[0], np.repeat(channel_means(some)[:, None], 40, axis=1), err_msg=name
        )


def test_ridge_finds_a_channel_in_the_others_and_leaves_one_alone_that_is_in_none():
    fitted = fit_ridge(windows(noise=0.01), np.zeros(3))
    assert fitted.weights[0, 1] == pytest.approx(-0.5, abs=0.1)
    assert fitted.weights[1, 0] == pytest.approx(-2.0, abs=0.3)
    assert abs(fitted.weights[2]).max() < 0.05
    assert (np.diag(fitted.weights) == 0).all()


def test_ridge_beats_the_mean_where_channels_are_related_on_recordings_it_never_saw():
    fitted = default_imputers(windows())
    some = windows(seed=1).gather(range(12))
    hidden = some.target_observed[:, :2]

    def error(name):
        filled = fitted[name].fill(some.values, some.observed)[:, :2]
        return np.abs(filled - some.target[:, :2])[hidden].mean()

    assert error("ridge") < 0.5 * error("mean_of_window")


def test_ridge_finds_channels_that_are_hidden_whole():
    """Their level is the mean over the fit parts, their course that of the others."""
    masks = [Missingness("channel", 0.4)]
    some = windows(noise=0.01, masks=masks)
    fitted = fit_ridge(some, channel_means(some))
    assert fitted.weights[1, 0] == pytest.approx(-2.0, abs=0.6)
    arrays = some.gather([3])
    (channel,) = np.flatnonzero(~arrays.observed.any(-1)[0])
    if channel < 2:
        filled = fitted.fill(arrays.values, arrays.observed)[0, channel]
        assert np.corrcoef(filled, arrays.target[0, channel])[0, 1] > 0.9


def test_ridge_is_a_solution_of_the_normal_equations():
    """Against a plain least-squares fit of what windows hide, its penalty being small."""
    some = windows(noise=0.5)
    fitted = fit_ridge(some, np.zeros(3))
    arrays = some.gather(range(len(some)))
    from tsfm_adapt.baselines.imputers import _centred, _means

    x, y = _centred(arrays.values, arrays.observed), arrays.target
    y = y - _means(arrays.values, arrays.observed)
    learned = arrays.target_observed[:, 0]
    others = np.moveaxis(x, 1, -1)[learned][:, 1:]
    plain, *_ = np.linalg.lstsq(others, y[:, 0][learned], rcond=None)
    np.testing.assert_allclose(fitted.weights[0, 1:], plain, atol=0.02)


def test_one_channel_has_no_others_to_be_found_in():
    assert "ridge" not in default_imputers(windows(channels=1))


def test_nothing_but_the_fit_parts_is_learned_from():
    """A channel that a window does not show has its mean over what was fitted on."""
    some = windows()
    fallback = default_imputers(some)["linear"].fallback
    np.testing.assert_allclose(fallback, channel_means(some))
    moved = [replace(r, values=r.values + 7) for r in some.recordings]
    other = HiddenWindows(moved, some.spec, POINTS)
    np.testing.assert_allclose(default_imputers(other)["linear"].fallback, fallback + 7)
