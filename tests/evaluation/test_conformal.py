"""Calibrated intervals cover their nominal share over new subjects; the median never moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.evaluation.conformal import MIN_WINDOWS, Conformal, fit, pairs

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
NORMAL = np.array([-1.645, -1.2816, 0.0, 1.2816, 1.645])


def forecasts(generator, count, width=1.0, steps=1):
    """Quantiles (N, 1, 5, H) `width` times as wide as the noise has them, and what came."""
    level = generator.normal(80, 10, (count, steps))
    noise = generator.uniform(0.5, 8, (count, steps))
    quantiles = level[:, None] + width * noise[:, None] * NORMAL[:, None]
    target = level + noise * generator.normal(size=level.shape)
    return quantiles[:, None], target[:, None]


def names(count, each=1):
    return tuple(f"p{i // each}" for i in range(count))


def fitted(quantiles, target, subjects=None, scored=None):
    scored = np.ones(target.shape, dtype=bool) if scored is None else scored
    return fit(quantiles, LEVELS, target, scored, subjects or names(len(target)))


def covered(quantiles, target, low, high):
    return float(((target >= quantiles[:, :, low]) & (target <= quantiles[:, :, high])).mean())


@pytest.mark.parametrize("width", [0.4, 1.0, 2.5])
def test_coverage_of_exchangeable_subjects_is_nominal(width):
    """Of n calibration subjects on average between nominal and nominal + 1 / (n + 1)."""
    generator = np.random.default_rng(3)
    count, inner, outer = 60, [], []
    for _ in range(300):
        conformal = fitted(*forecasts(generator, count, width))
        quantiles, target = forecasts(generator, 200, width)
        calibrated = conformal(quantiles)
        inner.append(covered(calibrated, target, 1, 3))
        outer.append(covered(calibrated, target, 0, 4))
    for found, nominal in ((inner, 0.8), (outer, 0.9)):
        error = 3 * np.std(found) / np.sqrt(len(found))
        assert nominal - error <= np.mean(found) <= nominal + 1 / (count + 1) + error


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    inner=st.floats(0.0, 10.0),
    outer=st.one_of(st.floats(0.0, 10.0), st.just(float("nan"))),
)
def test_the_median_is_untouched_and_levels_never_cross(seed, inner, outer):
    generator = np.random.default_rng(seed)
    quantiles = np.sort(generator.normal(0, 5, (4, 2, 5, 3)), axis=2).astype(np.float32)
    factors = np.array([[outer, inner, 1.0, inner, outer]] * 2)
    found = Conformal(LEVELS, factors, (None, None))(quantiles)
    assert np.array_equal(found[:, :, 2], quantiles[:, :, 2])
    assert (np.diff(found, axis=2) >= 0).all()
    assert found.dtype == quantiles.dtype


def test_a_factor_of_one_changes_no_bit():
    quantiles, _ = forecasts(np.random.default_rng(0), 5, steps=4)
    assert np.array_equal(Conformal(LEVELS, np.ones((1, 5)), (None,))(quantiles), quantiles)


def test_units_do_not_matter():
    quantiles, target = forecasts(np.random.default_rng(1), 50, width=0.5, steps=3)
    plain, other = fitted(quantiles, target), fitted(quantiles * 7.5 - 3, target * 7.5 - 3)
    assert plain.factors == pytest.approx(other.factors, rel=1e-9)
    assert (plain.factors[0, [0, 1, 3, 4]] > 1.3).all()  # half as wide as they should be


def test_every_subject_counts_the_same_however_long_it_was_measured():
    """One long quiet stay among nine short restless ones; all windows alike it would decide."""
    generator = np.random.default_rng(2)
    quiet, restless = forecasts(generator, 5000, width=4.0), forecasts(generator, 270, width=0.5)
    quantiles, target = (np.concatenate(both) for both in zip(quiet, restless, strict=True))
    subjects = ("long",) * 5000 + names(270, each=30)
    weighted = fitted(quantiles, target, subjects).factors[0, 1]
    pooled = fitted(quantiles, target).factors[0, 1]
    assert pooled < 0.5
    # 0.8 of all the weight, 0.1 of it below: the 0.78 quantile of nine tenths, twice its width
    assert weighted == pytest.approx(2 * 0.95, rel=0.15)


def test_what_is_not_scored_cannot_matter():
    generator = np.random.default_rng(4)
    quantiles, target = forecasts(generator, 60, steps=6)
    scored = generator.random(target.shape) < 0.7
    hidden = np.where(scored, target, 1e9)
    plain = fitted(quantiles, target, scored=scored)
    assert np.array_equal(fitted(quantiles, hidden, scored=scored).factors, plain.factors)


def test_too_few_windows_or_intervals_without_width_are_left_with_the_reason():
    generator = np.random.default_rng(5)
    few = fitted(*forecasts(generator, MIN_WINDOWS - 1))
    assert few.problems == ("it is measured in 19 effective validation windows, 20 are needed",)
    quantiles, target = forecasts(generator, 50)
    flat = fitted(np.repeat(quantiles[:, :, 2:3], 5, axis=2), target)
    assert "more than 10 times its width" in flat.problems[0]
    for conformal in (few, flat):
        assert conformal.fitted == ()
        assert np.array_equal(conformal(quantiles), quantiles)


def test_pairs_are_the_symmetric_levels():
    assert pairs((0.1, 0.25, 0.5, 0.9)) == [(0, 3, 0.8)]
    assert pairs((0.5,)) == []


def test_filled_gaps_are_calibrated_and_visible_values_stay():
    """Bands of a predictor that fills: what is visible is its own at every level."""
    from tsfm_adapt.evaluation.base import Predictor

    quantiles, _ = forecasts(np.random.default_rng(8), 3, steps=6)
    quantiles[..., :2] = quantiles[:, :, 2:3, :2]  # visible
    plain = Predictor(lambda arrays, steps: quantiles, LEVELS, by_head=True)
    conformal = Conformal(LEVELS, np.array([[2.0, 2.0, 1.0, 2.0, 2.0]]), (None,))
    calibrated = plain.calibrated(conformal)
    found = calibrated.predict(None, 6)
    assert np.array_equal(found[..., :2], quantiles[..., :2])
    half = quantiles[:, :, 4] - quantiles[:, :, 2]
    assert found[:, :, 4] - found[:, :, 2] == pytest.approx(2 * half)
    assert calibrated.by_head
    assert plain.calibrated(None) is plain
