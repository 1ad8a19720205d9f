"""Every score against a value worked out by hand or by a second, shorter formula."""

import json
import math
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DivergedError
from tsfm_adapt.evaluation import forecast_errors as module
from tsfm_adapt.evaluation.forecast_errors import (
    ForecastErrors,
    concatenate,
    dtw,
    forecast_errors,
    mase,
    mase_scale,
)
from tsfm_adapt.signals import recording as recording_module
from tsfm_adapt.signals.recording import Recording

LEVELS = (0.1, 0.5, 0.9)


def summarise(*errors_and_scale):
    """As scores.json holds it."""
    return module.summarise(*errors_and_scale).model_dump(exclude_unset=True)


def summarise_filling(*errors_and_scale):
    """As scores.json holds it."""
    return module.summarise_filling(*errors_and_scale).model_dump(exclude_unset=True)


def recording(values, subject="p1"):
    values = np.array(values, dtype=float)
    names = tuple(f"c{i}" for i in range(len(values)))
    return Recording(subject, subject, values, names, ("mmHg",) * len(names), 1.0)


def cohort(seed=0, windows=40, channels=3, steps=6, missing=0.3, levels=LEVELS):
    """Quantiles, levels, target, observed, counted, subjects; garbage where not observed."""
    rng = np.random.default_rng(seed)
    target = rng.normal(50, 10, size=(windows, channels, steps))
    observed = rng.random(target.shape) > missing
    noisy = target[:, :, None] + rng.normal(0, 5, size=(windows, channels, len(levels), steps))
    quantiles = np.sort(noisy, axis=2)
    target = np.where(observed, target, np.nan)
    counted = rng.random((windows, channels)) > 0.1
    subjects = tuple(f"p{i % 7}" for i in range(windows))
    return quantiles.astype(np.float32), levels, target, observed, counted, subjects


def one_channel(quantiles, target, levels=LEVELS, observed=None, scale=1.0):
    """The channel table of windows of a single channel: quantiles (W, Q, H), target (W, H)."""
    target = np.array(target, dtype=float)[:, None]
    observed = np.ones(target.shape, bool) if observed is None else np.array(observed)[:, None]
    counted = observed.any(-1)
    errors = forecast_errors(
        np.array(quantiles, dtype=float)[:, None],
        levels,
        target,
        observed,
        counted,
        ["p"] * len(target),
    )
    return summarise(errors, ["HR"], ["bpm"], np.array([scale]))["channels"]["HR"]


def test_scores_of_four_values_worked_out_by_hand():
    scores = one_channel(
        quantiles=[[[8, 8], [10, 12], [14, 13]], [[0, 0], [4, 4], [8, 8]]],
        target=[[11, 8], [4, 10]],
        scale=2.0,
    )
    # Errors of the median: 1, -4, 0, 6.
    assert scores["n"] == 4
    assert scores["mae"] == pytest.approx(11 / 4)
    assert scores["rmse"] == pytest.approx(math.sqrt((1 + 16 + 0 + 36) / 4))
    assert scores["mape"] == pytest.approx((1 / 11 + 4 / 8 + 0 + 6 / 10) / 4)
    assert scores["mase"] == pytest.approx(11 / 4 / 2)
    # Pinball losses at 0.1, 0.5, 0.9, one line a target.
    pinball = [
        [0.1 * 3, 0.5 * 1, 0.1 * 3],
        [0.0, 0.5 * 4, 0.1 * 5],
        [0.1 * 4, 0.0, 0.1 * 4],
        [0.1 * 10, 0.5 * 6, 0.9 * 2],
    ]
    total = sum(map(sum, pinball))
    assert scores["wql"] == pytest.approx(2 * total / (3 * (11 + 8 + 4 + 10)))
    assert scores["crps"] == pytest.approx(2 * total / 3 / 4)
    assert scores["crps_scaled"] == pytest.approx(2 * total / 3 / 4 / 2)
    assert scores["coverage80"] == pytest.approx(3 / 4)  # 8 lies on the edge, 10 outside
    assert scores["width80"] == pytest.approx((6 + 5 + 8 + 8) / 4)
    # Warping paths: |11-10| + |8-12|, and |4-4| + |10-4|.
    assert scores["dtw"] == pytest.approx((5 + 6) / 2)
    assert scores["dtw_n"] == 2


def test_a_point_forecast_has_its_absolute_error_as_crps_and_no_coverage():
    scores = one_channel(quantiles=[[[1.0, 5.0]]], target=[[2.0, 3.0]], levels=(0.5,))
    assert scores["crps"] == scores["mae"] == 1.5
    assert scores["wql"] == pytest.approx(3 / 5)
    assert scores["coverage80"] is None
    assert scores["width80"] is None


def test_equal_quantiles_are_a_point_forecast_and_have_no_coverage():
    point = one_channel(quantiles=[[[2.0, 5.0]] * 3], target=[[2.0, 3.0]], levels=LEVELS)
    assert point["coverage80"] is None
    assert point["width80"] is None
    quantiles = [[[2.0, 4.0], [2.0, 5.0], [2.0, 6.0]]]
    interval = one_channel(quantiles=quantiles, target=[[2.0, 3.0]], levels=LEVELS)
    assert interval["coverage80"] == 1 / 2
    assert interval["width80"] == 1


def test_a_point_forecast_scores_the_same_as_equal_quantiles_at_symmetric_levels():
    point = one_channel([[[1.0, 5.0]]], [[2.0, 3.0]], levels=(0.5,))
    equal = one_channel([[[1.0, 5.0]] * 3], [[2.0, 3.0]])
    assert equal["wql"] == pytest.approx(point["wql"])
    assert equal["crps"] == pytest.approx(point["crps"])


def test_targets_of_zero_are_left_out_of_mape_only():
    scores = one_channel([[[1.0, 6.0]]], [[0.0, 5.0]], levels=(0.5,))
    assert scores["mape"] == pytest.approx(1 / 5)
    assert scores["mae"] == pytest.approx(1.0)


def test_warping_takes_whole_targets_only_and_says_how_many():
    scores = one_channel(
        [[[1.0, 2.0]], [[5.0, 5.0]]],
        [[2.0, 1.0], [0.0, 9.0]],
        levels=(0.5,),
        observed=[[True, True], [False, True]],
    )
    assert scores["dtw_n"] == 1
    assert scores["dtw"] == pytest.approx(2.0)
    assert scores["n"] == 3


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 9))
@settings(deadline=None, max_examples=50)
def test_warping_equals_the_textbook_recursion(seed, steps):
    a, b = np.random.default_rng(seed).normal(size=(2, 3, steps))

    def distance(x, y, i, j):
        if i < 0 or j < 0:
            return 0.0 if i == j else math.inf
        key = (i, j)
        if key not in known:
            before = [distance(x, y, i - 1, j), distance(x, y, i, j - 1)]
            known[key] = abs(x[i] - y[j]) + min(*before, distance(x, y, i - 1, j - 1))
        return known[key]

    for found, x, y in zip(dtw(a, b), a, b, strict=True):
        known = {}
        assert found == pytest.approx(distance(x, y, steps - 1, steps - 1))
    assert dtw(a, b) == pytest.approx(dtw(b, a))
    assert (dtw(a, b) <= np.abs(a - b).sum(1) + 1e-12).all()


def test_wql_and_mase_equal_a_second_formula_on_a_cohort():
    quantiles, levels, target, observed, counted, subjects = cohort()
    scale = np.array([1.0, 2.0, 3.0])
    errors = forecast_errors(quantiles, levels, target, observed, counted, subjects)
    scores = summarise(errors, "abc", ["mmHg"] * 3, scale)
    wql, mases = [], []
    for c in range(3):
        loss, magnitude, absolute = 0.0, 0.0, []
        for w, h in np.argwhere(observed[:, c] & counted[:, c, None]):
            y = target[w, c, h]
            magnitude += abs(y)
            absolute.append(abs(y - quantiles[w, c, 1, h]))
            for q, level in enumerate(levels):
                d = y - quantiles[w, c, q, h]
                loss += level * d if d > 0 else (level - 1) * d
        wql.append(2 * loss / (len(levels) * magnitude))
        mases.append(np.mean(absolute) / scale[c])
    assert scores["overall"]["wql"] == pytest.approx(np.mean(wql), rel=1e-5)
    assert scores["overall"]["mase"] == pytest.approx(np.mean(mases), rel=1e-5)
    sums = errors.sums()
    assert mase(sums[0].sum(0), sums[1].sum(0), scale) == pytest.approx(np.mean(mases), rel=1e-5)


def test_crps_of_many_quantiles_approaches_that_of_the_normal_distribution():
    from scipy.stats import norm

    levels = tuple(np.round(np.arange(0.005, 1, 0.005), 3))
    target = np.array([[[0.3]]])
    quantiles = norm.ppf(levels)[None, None, :, None]
    errors = forecast_errors(
        quantiles, levels, target, np.ones((1, 1, 1), bool), np.ones((1, 1), bool), ["p"]
    )
    exact = 0.3 * (2 * norm.cdf(0.3) - 1) + 2 * norm.pdf(0.3) - 1 / math.sqrt(math.pi)
    found = summarise(errors, ["HR"], ["bpm"], np.ones(1))["channels"]["HR"]["crps"]
    assert found == pytest.approx(exact, rel=0.02)


@given(cuts=st.lists(st.integers(1, 39), max_size=5, unique=True), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_batches_joined_equal_all_windows_at_once(cuts, seed):
    quantiles, levels, target, observed, counted, subjects = cohort(seed)
    whole = forecast_errors(quantiles, levels, target, observed, counted, subjects)
    edges = [0, *sorted(cuts), 40]
    pieces = [
        forecast_errors(
            quantiles[a:b], levels, target[a:b], observed[a:b], counted[a:b], subjects[a:b]
        )
        for a, b in pairwise(edges)
    ]
    joined = concatenate(pieces)
    for field in fields(ForecastErrors):
        assert np.array_equal(getattr(joined, field.name), getattr(whole, field.name)), field.name


def test_values_that_were_not_measured_cannot_change_a_score():
    quantiles, levels, target, observed, counted, subjects = cohort()
    scored = observed & counted[..., None]
    garbage = np.where(scored, target, 1e30)
    spoilt = np.where(scored[:, :, None], quantiles, np.float32(np.nan))
    scale, units = np.ones(3), ["mmHg"] * 3
    clean = forecast_errors(quantiles, levels, target, observed, counted, subjects)
    dirty = forecast_errors(spoilt, levels, garbage, observed, counted, subjects)
    assert summarise(clean, "abc", units, scale) == summarise(dirty, "abc", units, scale)


def test_the_order_of_windows_changes_no_score():
    quantiles, levels, target, observed, counted, subjects = cohort()
    order = np.random.default_rng(1).permutation(40)
    scale, units = np.ones(3), ["mmHg"] * 3
    first = summarise(
        forecast_errors(quantiles, levels, target, observed, counted, subjects),
        "abc",
        units,
        scale,
    )
    shuffled = forecast_errors(
        quantiles[order],
        levels,
        target[order],
        observed[order],
        counted[order],
        [subjects[i] for i in order],
    )
    second = summarise(shuffled, "abc", units, scale)
    assert second["overall"] == pytest.approx(first["overall"])
    assert list(second["by_subject"]) == list(first["by_subject"])


def test_a_shorter_horizon_pools_its_own_steps_only():
    quantiles, levels, target, observed, counted, subjects = cohort()
    errors = forecast_errors(quantiles, levels, target, observed, counted, subjects)
    cut = forecast_errors(
        quantiles[..., :2], levels, target[..., :2], observed[..., :2], counted, subjects
    )
    scale, units = np.ones(3), ["mmHg"] * 3
    assert summarise(errors, "abc", units, scale, 2) == summarise(cut, "abc", units, scale)


def test_by_subject_and_by_step_split_the_same_errors():
    quantiles, levels, target, observed, counted, subjects = cohort()
    errors = forecast_errors(quantiles, levels, target, observed, counted, subjects)
    scores = summarise(errors, "abc", ["mmHg"] * 3, np.ones(3))
    absolute = np.where(observed & counted[..., None], np.abs(target - quantiles[:, :, 1]), np.nan)
    of_p3 = np.array([s == "p3" for s in subjects])
    expected = np.mean([np.nanmean(absolute[of_p3, c]) for c in range(3)])
    assert scores["by_subject"]["p3"]["mase"] == pytest.approx(expected, rel=1e-5)
    assert scores["by_step"]["b"]["mae"] == pytest.approx(
        list(np.nanmean(absolute[:, 1], axis=0)), rel=1e-5
    )


def test_errors_in_units_have_an_overall_value_only_where_all_units_are_one():
    errors = forecast_errors(*cohort(missing=0.02))
    scale = np.array([1.0, 2.0, 3.0])
    mixed = summarise(errors, "abc", ["bpm", "mmHg", "mmHg"], scale)["overall"]
    same = summarise(errors, "abc", ["mmHg"] * 3, scale)
    for name in ("mae", "rmse", "mape", "width80", "dtw"):
        assert mixed[name] is None
        per_channel = [same["channels"][c][name] for c in "abc"]
        assert same["overall"][name] == pytest.approx(np.mean(per_channel))
    for name in ("mase", "wql", "crps_scaled", "coverage80"):
        assert mixed[name] == same["overall"][name]


def test_undefined_scores_are_null_and_left_out_of_the_mean():
    quantiles, levels, target, observed, counted, subjects = cohort()
    counted[:, 2] = False
    errors = forecast_errors(quantiles, levels, target, observed, counted, subjects)
    scores = summarise(errors, "abc", ["mmHg"] * 3, np.array([np.nan, 2.0, 3.0]))
    assert scores["channels"]["a"]["mase"] is None
    assert scores["channels"]["a"]["mae"] > 0
    assert scores["channels"]["c"]["n"] == 0
    assert scores["channels"]["c"]["mae"] is None
    assert scores["overall"]["mase"] == scores["channels"]["b"]["mase"]
    assert scores["by_step"]["c"]["mae"] == [None] * 6
    text = json.dumps(scores, allow_nan=False)
    assert json.loads(text) == scores


def test_a_prediction_that_is_not_finite_is_an_error_and_not_a_score():
    quantiles, levels, target, observed, counted, subjects = cohort(missing=0.0)
    counted[:] = True
    quantiles[3, 1, 0, 2] = np.inf
    with pytest.raises(DivergedError, match="1 of 720 in a batch are not"):
        forecast_errors(quantiles, levels, target, observed, counted, subjects)


def test_the_scale_pools_neighbouring_measured_pairs_of_all_recordings():
    nan = np.nan
    first = recording([[1, 3, nan, 4, 4], [nan, 1, nan, 1, nan]])
    second = recording([[10, 4], [5, 5]])
    # Channel 0: |3-1|, |4-4| and |4-10|; channel 1 has one pair, which does not move.
    assert mase_scale([first, second])[0] == pytest.approx((2 + 0 + 6) / 3)
    assert np.isnan(mase_scale([first, second])[1])
    assert np.isnan(mase_scale([first])[1])


def test_the_scale_does_not_depend_on_how_much_is_read_at_once(monkeypatch):
    values = np.random.default_rng(0).normal(size=(2, 1000))
    values[:, ::7] = np.nan
    whole = mase_scale([recording(values)])
    step = np.abs(np.diff(values, axis=1))
    assert whole == pytest.approx(np.nanmean(step, axis=1), rel=1e-12)
    for chunk in (1, 3, 999, 1000):
        monkeypatch.setattr(recording_module, "_BLOCK", chunk)
        assert mase_scale([recording(values)]) == pytest.approx(whole, rel=1e-12)


def test_a_memory_mapped_recording_is_read_in_pieces(tmp_path, monkeypatch):
    values = np.cumsum(np.random.default_rng(0).normal(size=(2, 5000)), axis=1).astype(np.float32)
    np.save(tmp_path / "values.npy", values)
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r")
    monkeypatch.setattr(recording_module, "_BLOCK", 512)
    found = mase_scale([Recording("a", "a", mapped, ("x", "y"), ("bpm", "bpm"), 1.0)])
    assert found == pytest.approx(np.abs(np.diff(values.astype(float), axis=1)).mean(1), rel=1e-12)


def test_standardised_errors_are_pooled_over_all_values_whatever_their_channel():
    rng = np.random.default_rng(4)
    target = rng.normal(size=(6, 3, 10)).astype(np.float32)
    hidden = rng.random(target.shape) < 0.3
    point = rng.normal(size=(6, 3, 1, 10)).astype(np.float32)
    some = np.ones((6, 3), dtype=bool)
    errors = forecast_errors(point, (0.5,), target, hidden, some, ["p"] * 6)
    deviation = np.array([2.0, 0.5, 0.0])  # the last never varies: it has no unit
    scores = summarise_filling(errors, "abc", ["1"] * 3, np.ones(3), deviation)
    each = np.abs(target - point[:, :, 0])[:, :2] / deviation[:2, None]
    expected = each[hidden[:, :2]].mean()
    assert scores["overall"]["mae_standardised"] == pytest.approx(expected, rel=1e-5)
    assert (
        "mae_standardised"
        not in summarise_filling(errors, "abc", ["1"] * 3, np.ones(3))["overall"]
    )
