"""Simple forecasts against hand arithmetic; the ridge against scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge

from tsfm_adapt.baselines import forecasters as baselines
from tsfm_adapt.baselines.forecasters import (
    LastValue,
    MeanOfLast,
    SeasonalNaive,
    channel_means,
    default_baselines,
    fit_ridge,
)
from tsfm_adapt.signals import recording as recording_module
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

LEVEL = np.array([-1.0, -2.0])


def contexts(rows):
    """One window of two channels from lists with NaN: values as windows hold them, observed."""
    array = np.array([rows], dtype=float)
    return np.nan_to_num(array).astype(np.float32), np.isfinite(array)


def recording(values, name="p1"):
    values = np.atleast_2d(np.array(values, dtype=float))
    channels = tuple(f"c{i}" for i in range(len(values)))
    return Recording(name, name, values, channels, ("bpm",) * len(channels), 1.0)


def waves(seed=0, subjects=4, samples=300, channels=2, missing=0.0):
    """Autoregressive series around each subject's own level."""
    rng = np.random.default_rng(seed)
    found = []
    for subject in range(subjects):
        noise = rng.normal(size=(channels, samples))
        values = np.zeros((channels, samples))
        for t in range(2, samples):
            values[:, t] = 1.5 * values[:, t - 1] - 0.7 * values[:, t - 2] + noise[:, t]
        values += rng.normal(80, 10, size=(channels, 1))
        values[rng.random(values.shape) < missing] = np.nan
        found.append(recording(values, f"p{subject}"))
    return found


NAN = np.nan
FITTED = Windows(waves(samples=40, subjects=2), WindowSpec(10, 3))
BASELINES = default_baselines(FITTED, season=4)
GAPS = contexts([[1, 2, NAN, 4, NAN, NAN], [NAN, 3, NAN, NAN, NAN, NAN]])
EMPTY = contexts([[NAN] * 6, [1, 1, 1, 1, 1, 7]])


def test_the_last_measured_value_is_held():
    assert LastValue(LEVEL).predict(*GAPS, 3).tolist() == [[[4, 4, 4], [3, 3, 3]]]


def test_means_take_measured_values_only():
    assert MeanOfLast(LEVEL, None).predict(*GAPS, 1)[0, :, 0] == pytest.approx([7 / 3, 3])
    assert MeanOfLast(LEVEL, 4).predict(*GAPS, 1)[0, 0, 0] == 4
    assert MeanOfLast(LEVEL, 5).predict(*GAPS, 1)[0, 0, 0] == 3
    assert MeanOfLast(LEVEL, 100).predict(*GAPS, 1)[0, 0, 0] == pytest.approx(7 / 3)


def test_a_mean_of_recent_samples_that_are_all_missing_is_the_last_value():
    assert MeanOfLast(LEVEL, 2).predict(*GAPS, 2).tolist() == [[[4, 4], [3, 3]]]


def test_seasons_repeat_the_value_at_the_same_phase():
    values, observed = contexts([[1, 2, 3, 4, 5, 6], [1, 2, 3, 4, NAN, 6]])
    forecast = SeasonalNaive(LEVEL, 3).predict(values, observed, 7)
    assert forecast[0, 0].tolist() == [4, 5, 6, 4, 5, 6, 4]
    # Missing at its phase one season before: two seasons before.
    assert forecast[0, 1].tolist() == [4, 2, 6, 4, 2, 6, 4]


def test_a_season_that_does_not_fit_or_shows_nothing_gives_the_last_value():
    assert SeasonalNaive(LEVEL, 7).predict(*GAPS, 2).tolist() == [[[4, 4], [3, 3]]]
    assert SeasonalNaive(LEVEL, 2).predict(*GAPS, 2).tolist() == [[[1, 4], [3, 3]]]


@pytest.mark.parametrize(
    "baseline",
    [
        LastValue(LEVEL),
        MeanOfLast(LEVEL, None),
        MeanOfLast(LEVEL, 2),
        SeasonalNaive(LEVEL, 2),
        fit_ridge(Windows(waves(samples=60), WindowSpec(6, 2)), LEVEL),
    ],
    ids=lambda b: type(b).__name__,
)
def test_a_channel_that_the_context_does_not_show_gets_its_level(baseline):
    assert baseline.predict(*EMPTY, 2)[0, 0].tolist() == [-1.0, -1.0]
    assert np.isfinite(baseline.predict(*EMPTY, 2)).all()


def test_levels_are_means_over_all_recordings_whatever_is_read_at_once(monkeypatch):
    first = recording([[1, 2, NAN, 6], [NAN] * 4], "a")
    second = recording([[3, NAN], [NAN] * 2], "b")
    windows = Windows([first, second], WindowSpec(2, 1))
    assert channel_means(windows).tolist() == [3.0, 0.0]
    monkeypatch.setattr(recording_module, "_BLOCK", 1)
    assert channel_means(windows).tolist() == [3.0, 0.0]


def test_a_run_is_compared_with_four_forecasts_and_a_fifth_where_there_is_a_season():
    windows = Windows(waves(samples=60), WindowSpec(10, 3))
    names = ["last_value", "mean_of_context", "mean_of_last_15", "ridge"]
    assert list(default_baselines(windows)) == names
    assert list(default_baselines(windows, season=5)) == [*names, "seasonal_naive"]


@given(seed=st.integers(0, 10_000))
@settings(deadline=None, max_examples=50)
def test_values_that_were_not_measured_cannot_change_a_forecast(seed):
    rng = np.random.default_rng(seed)
    observed = rng.random((3, 2, 10)) > 0.5
    values = rng.normal(size=observed.shape).astype(np.float32)
    garbage = np.where(observed, values, rng.choice([0.0, 1e30, -5.0], size=observed.shape))
    for baseline in BASELINES.values():
        forecast = baseline.predict(values, observed, 3)
        assert np.array_equal(forecast, baseline.predict(garbage.astype(np.float32), observed, 3))


@given(shift=st.floats(-100, 100), seed=st.integers(0, 100))
@settings(deadline=None, max_examples=50)
def test_a_shifted_context_shifts_every_forecast(shift, seed):
    rng = np.random.default_rng(seed)
    observed = rng.random((2, 2, 10)) > 0.3
    observed[..., 0] = True
    values = rng.normal(size=observed.shape)
    for baseline in BASELINES.values():
        moved = baseline.predict(values + shift, observed, 3) - shift
        assert moved == pytest.approx(baseline.predict(values, observed, 3), abs=1e-6)


def test_the_ridge_equals_scikit_learn_at_its_penalty(monkeypatch):
    windows = Windows(waves(missing=0.02), WindowSpec(12, 4))
    share = 0.1
    monkeypatch.setattr(baselines, "_PENALTIES", (share,))
    ridge = fit_ridge(windows, channel_means(windows))
    arrays = windows.gather(np.arange(len(windows)))
    whole = arrays.target_observed[:, 1].all(1) & arrays.observed[:, 1].any(1)
    lags, targets, means = [], [], []
    for values, observed, target in zip(
        arrays.values[whole, 1].astype(float),
        arrays.observed[whole, 1],
        arrays.target[whole, 1].astype(float),
        strict=True,
    ):
        means.append(values[observed].mean())
        filled, last = [], means[-1]
        for value, seen in zip(values, observed, strict=True):
            last = value if seen else last
            filled.append(last - means[-1])
        lags.append(filled)
        targets.append(target - means[-1])
    lags = np.array(lags)
    penalty = share * len(lags) * lags.var(axis=0).mean()
    theirs = SklearnRidge(alpha=penalty).fit(lags, np.array(targets))
    expected = theirs.predict(lags) + np.array(means)[:, None]
    found = ridge.predict(arrays.values, arrays.observed, 4)[whole, 1]
    assert found == pytest.approx(expected, abs=1e-5)
    assert ridge.predict(arrays.values, arrays.observed, 2)[whole, 1] == pytest.approx(
        expected[:, :2], abs=1e-5
    )


def test_the_ridge_learns_what_can_be_learnt():
    fit, test = waves(0, subjects=8), waves(1, subjects=2)
    windows = Windows(fit, WindowSpec(12, 3))
    arrays = Windows(test, WindowSpec(12, 3)).gather(np.arange(500))
    errors = {
        name: np.abs(b.predict(arrays.values, arrays.observed, 3) - arrays.target).mean((0, 1))
        for name, b in default_baselines(windows).items()
    }
    # The best forecast of an AR(2) with unit noise errs by 0.80 one step ahead, on average.
    assert errors["ridge"][0] == pytest.approx(np.sqrt(2 / np.pi), rel=0.08)
    for name in ("last_value", "mean_of_context", "mean_of_last_15"):
        assert (errors["ridge"] < errors[name]).all()


def test_white_noise_teaches_the_ridge_to_hold_the_mean():
    rng = np.random.default_rng(0)
    windows = Windows(
        [recording(rng.normal(size=400), f"p{i}") for i in range(3)], WindowSpec(50, 5)
    )
    ridge = fit_ridge(windows, channel_means(windows))
    test = Windows([recording(rng.normal(size=4000))], WindowSpec(50, 5))
    arrays = test.gather(np.arange(len(test)))
    mean = MeanOfLast(np.zeros(1), None).predict(arrays.values, arrays.observed, 5)
    error = np.square(ridge.predict(arrays.values, arrays.observed, 5) - arrays.target).mean()
    assert error < 1.05 * np.square(mean - arrays.target).mean()


def test_a_fold_is_left_out_together_with_the_windows_that_share_its_samples():
    windows = Windows(
        [recording(np.arange(40.0), "a"), recording(np.arange(30.0), "b")], WindowSpec(6, 2)
    )
    at = list(zip(windows.recording, windows.start, strict=True))
    fold = np.arange(10, 20)
    near = baselines._overlapping(windows, fold)
    expected = [
        i
        for i, (r, s) in enumerate(at)
        if i not in fold and any(at[j][0] == r and abs(at[j][1] - s) < 8 for j in fold)
    ]
    assert near.tolist() == expected
    assert len(expected) == 14
    edge = baselines._overlapping(windows, np.arange(len(windows) - 5, len(windows)))
    assert {at[i][0] for i in edge} == {1}


def test_penalties_are_not_chosen_on_overlapping_windows():
    # A slow random walk within each window looks predictable from its neighbours' targets.
    rng = np.random.default_rng(3)
    values = np.repeat(rng.normal(size=40), 10) + 0.01 * rng.normal(size=400)
    windows = Windows([recording(values)], WindowSpec(40, 20))
    purged = fit_ridge(windows, np.zeros(1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "_overlapping", lambda windows, fold: np.array([], dtype=int))
        leaky = fit_ridge(windows, np.zeros(1))
    assert np.linalg.norm(purged.weights) < np.linalg.norm(leaky.weights)


def test_few_windows_and_silent_channels_still_give_finite_forecasts():
    values = np.vstack([np.arange(12.0), np.full(12, NAN), np.full(12, 5.0)])
    for horizon in (1, 3):
        windows = Windows([recording(values)], WindowSpec(8, horizon))
        for baseline in default_baselines(windows).values():
            observed = np.isfinite(values[None, :, :8])
            forecast = baseline.predict(np.nan_to_num(values[None, :, :8]), observed, horizon)
            assert np.isfinite(forecast).all()
            assert forecast[0, 1] == pytest.approx(0.0)
            assert forecast[0, 2] == pytest.approx(5.0)


def test_the_number_of_fitted_windows_is_bounded(monkeypatch):
    windows = Windows(waves(samples=300), WindowSpec(10, 2))
    monkeypatch.setattr(baselines, "_FIT_WINDOWS", 100)
    gathered = []
    gather = Windows.gather
    monkeypatch.setattr(
        Windows, "gather", lambda self, index: gathered.append(len(index)) or gather(self, index)
    )
    fit_ridge(windows, LEVEL)
    assert 100 <= sum(gathered) < 200


def test_a_horizon_beyond_the_fitted_one_is_refused():
    ridge = fit_ridge(FITTED, LEVEL)
    with pytest.raises(AssertionError):
        ridge.predict(np.zeros((1, 2, 10)), np.ones((1, 2, 10), bool), 4)
