"""Two forecasters compared: differences and intervals that hold what they say."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.compared import SCALE, cohort, model
from tsfm_adapt.evaluation.forecast_errors import summarise
from tsfm_adapt.evaluation.forecast_scoring import compare_forecasts


def reordered(errors, order, rename=lambda name: name):
    return model(
        errors.absolute[order], [rename(errors.subjects[i]) for i in order], errors.scored[order]
    )


def test_the_difference_is_that_of_the_printed_scores():
    ours, theirs = cohort()
    printed = [
        summarise(e, "ab", ["bpm", "bpm"], SCALE, 2).overall["mase"] for e in (ours, theirs)
    ]
    found = compare_forecasts(ours, theirs, SCALE, block=1, steps=2)
    assert found.difference == pytest.approx(100 * (printed[1] - printed[0]) / printed[1])


def test_a_difference_worked_out_by_hand():
    # Channel means 1 and 4 against 2 and 4, scales 1 and 2: MASE 1.5 against 2.
    ours = model([[[1.0], [4.0]], [[1.0], [4.0]]], ["a", "b"])
    theirs = model([[[2.0], [4.0]], [[2.0], [4.0]]], ["a", "b"])
    found = compare_forecasts(ours, theirs, SCALE, block=1)
    assert found.difference == pytest.approx(25.0)
    assert (found.low, found.high) == (pytest.approx(25.0), pytest.approx(25.0))


@pytest.mark.parametrize(
    ("subjects", "label"), [(1, "within one patient"), (2, "few subjects"), (12, "subjects")]
)
def test_identical_models_differ_by_nothing_and_nothing_is_shown(subjects, label):
    _, theirs = cohort(subjects)
    found = compare_forecasts(theirs, theirs, SCALE, block=1)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert not found.shown
    assert found.interval == label


@pytest.mark.parametrize(
    ("subjects", "label"),
    [(1, "within one patient"), (2, "few subjects"), (7, "few subjects"), (8, "subjects")],
)
def test_the_number_of_subjects_chooses_the_interval(subjects, label):
    found = compare_forecasts(*cohort(subjects, gain=0.5, spread=0.01), SCALE, block=1)
    assert found.interval == label
    assert found.low < found.difference < found.high
    assert found.shown is (subjects > 1)


def test_subjects_without_a_scored_target_do_not_count():
    ours, theirs = cohort(9)
    gone = np.isin(np.array(ours.subjects), ["p001", "p004"])
    observed = ~np.broadcast_to(gone[:, None, None], ours.scored.shape)
    without = [model(e.absolute, e.subjects, observed) for e in (ours, theirs)]
    kept = np.flatnonzero(~gone)
    assert compare_forecasts(*without, SCALE, 1) == compare_forecasts(
        reordered(ours, kept), reordered(theirs, kept), SCALE, 1
    )
    assert compare_forecasts(*without, SCALE, 1).interval == "few subjects"


def test_one_patient_is_never_evidence_however_large_the_difference():
    found = compare_forecasts(*cohort(1, windows=200, gain=0.9, spread=0.0), SCALE, block=1)
    assert found.low > 80
    assert not found.shown


def test_windows_that_all_share_samples_give_no_interval():
    ours, theirs = cohort(1, windows=100)
    assert compare_forecasts(ours, theirs, SCALE, block=50).low is not None
    found = compare_forecasts(ours, theirs, SCALE, block=51)
    assert (found.low, found.high) == (None, None)


def test_a_test_set_without_any_target_compares_to_nothing():
    ours, theirs = cohort(3)
    nothing = [model(e.absolute, e.subjects, np.zeros_like(e.scored)) for e in (ours, theirs)]
    found = compare_forecasts(*nothing, SCALE, 1)
    assert (found.difference, found.low, found.high, found.shown) == (0.0, None, None, False)


def test_blocks_widen_the_interval_of_windows_that_resemble_their_neighbours():
    rng = np.random.default_rng(0)
    slow = np.repeat(rng.normal(0.1, 0.2, size=40), 20)  # 40 stretches of 20 equal windows
    theirs = np.ones((800, 2, 1))
    ours = theirs * (1 - slow[:, None, None])
    names = ["p"] * 800
    narrow, wide = (
        compare_forecasts(model(ours, names), model(theirs, names), SCALE, block)
        for block in (1, 80)
    )
    expected = 2 * 1.96 * 100 * slow.std() / np.sqrt(40)
    assert wide.high - wide.low == pytest.approx(expected, rel=0.3)
    # Blocks are at least the square root of the number of windows: 29 of 800.
    assert narrow.high - narrow.low < wide.high - wide.low
    by_window = 2 * 1.96 * 100 * slow.std() / np.sqrt(800)
    assert narrow.high - narrow.low > 2 * by_window


def test_few_subjects_have_the_t_interval_of_their_own_differences():
    from scipy import stats

    gains = np.array([0.3, 0.1, 0.2, 0.25])
    theirs = np.ones((4, 2, 3))
    ours = theirs * (1 - gains[:, None, None])
    found = compare_forecasts(
        model(ours, list("abcd")), model(theirs, list("abcd")), SCALE, block=1
    )
    low, high = stats.t.interval(0.95, 3, 100 * gains.mean(), 100 * stats.sem(gains))
    assert (found.low, found.high) == (pytest.approx(low, rel=1e-5), pytest.approx(high, rel=1e-5))


@pytest.mark.parametrize(("subjects", "least"), [(20, 0.93), (5, 0.93)])
def test_intervals_hold_the_true_difference_about_as_often_as_they_say(subjects, least):
    trials, gain = 300, 0.1
    held = 0
    for trial in range(trials):
        # Errors of all windows are alike, so the expected pooled difference is the mean gain.
        rng = np.random.default_rng([subjects, trial])
        own = np.repeat(rng.normal(gain, 0.08, size=subjects), 4)
        theirs = np.ones((len(own), 2, 1))
        ours = theirs * (1 - own[:, None, None])
        names = np.repeat(np.arange(subjects), 4).astype(str)
        found = compare_forecasts(model(ours, names), model(theirs, names), SCALE, 1, seed=trial)
        held += found.low <= 100 * gain <= found.high
    assert least <= held / trials <= 0.99


def test_windows_of_one_subject_are_not_taken_for_independent():
    ours, theirs = cohort(10, windows=3, seed=1)
    more = np.repeat(np.arange(30), 20)  # each window twenty times: no new information
    first = compare_forecasts(ours, theirs, SCALE, 1)
    second = compare_forecasts(reordered(ours, more), reordered(theirs, more), SCALE, 1)
    assert second.high - second.low == pytest.approx(first.high - first.low, rel=1e-5)


@given(seed=st.integers(0, 1000), subjects=st.integers(2, 12))
@settings(deadline=None, max_examples=50)
def test_neither_the_order_of_windows_nor_the_names_matter(seed, subjects):
    ours, theirs = cohort(subjects, windows=4, seed=seed)
    order = np.random.default_rng(seed).permutation(len(ours.subjects))
    # The prefix keeps the subjects' order, on which draws of the same seed depend.
    first = compare_forecasts(ours, theirs, SCALE, 1, seed=3)
    second = compare_forecasts(
        *(reordered(e, order, lambda name: f"ward 7/{name}") for e in (ours, theirs)), SCALE, 1, 3
    )
    assert (second.difference, second.low, second.high) == pytest.approx(
        (first.difference, first.low, first.high), abs=1e-9
    )
    backwards = [
        reordered(e, order, lambda name: f"{999 - int(name[1:])}") for e in (ours, theirs)
    ]
    third = compare_forecasts(*backwards, SCALE, 1, seed=3)
    width = first.high - first.low
    assert third.difference == pytest.approx(first.difference)
    assert abs(third.low - first.low) < 0.15 * width + 1e-9
    assert abs(third.high - first.high) < 0.15 * width + 1e-9


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly():
    models = cohort(30)
    first = compare_forecasts(*models, SCALE, 1, seed=1)
    assert compare_forecasts(*models, SCALE, 1, seed=1) == first
    other = compare_forecasts(*models, SCALE, 1, seed=2)
    assert other != first
    assert other.low == pytest.approx(first.low, abs=0.1 * (first.high - first.low))


def test_a_channel_without_a_scale_leaves_the_comparison_to_the_others():
    ours, theirs = cohort()
    alone = compare_forecasts(
        model(ours.absolute[:, :1], ours.subjects),
        model(theirs.absolute[:, :1], ours.subjects),
        SCALE[:1],
        1,
    )
    found = compare_forecasts(ours, theirs, np.array([1.0, np.nan]), 1)
    assert (found.difference, found.low, found.high) == pytest.approx(
        (alone.difference, alone.low, alone.high), rel=1e-12
    )


def test_models_scored_on_other_pairs_are_not_compared():
    ours, theirs = cohort()
    observed = theirs.scored.copy()
    observed[0, 0, 0] = False
    with pytest.raises(AssertionError):
        compare_forecasts(ours, model(theirs.absolute, theirs.subjects, observed), SCALE, 1)


def test_three_hundred_subjects_are_compared_in_under_a_second():
    models = cohort(300, windows=7, channels=7, steps=30)
    start = time.perf_counter()
    compare_forecasts(*models, np.ones(7), 1)
    assert time.perf_counter() - start < 1.0


@pytest.mark.parametrize("subjects", [5, 12])
def test_p_is_below_a_twentieth_where_the_interval_leaves_out_no_difference(subjects):
    found = [
        compare_forecasts(*cohort(subjects, gain=g, seed=s), SCALE, 1)
        for s in range(20)
        for g in (0, 0.05)
    ]
    assert {each.interval for each in found} == {"few subjects" if subjects < 8 else "subjects"}
    assert {each.p < 0.05 for each in found} == {True, False}  # some of both
    for each in found:
        if abs(each.p - 0.05) > 0.01:  # the edges of both are interpolated differently
            assert (each.p < 0.05) == (each.low > 0 or each.high < 0)


def test_p_without_a_difference_is_one_and_within_one_patient_unknown():
    _, same = cohort(12)
    assert compare_forecasts(same, same, SCALE, 1).p == 1
    _, few = cohort(4)
    assert compare_forecasts(few, few, SCALE, 1).p == 1
    assert compare_forecasts(*cohort(1, windows=40), SCALE, 1).p is None
