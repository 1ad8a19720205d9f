"""Two classifiers compared: differences in points and their intervals."""

import time

import numpy as np
import pytest

from contracts.compared import classified, patients
from tsfm_adapt.evaluation.class_errors import summarise_classes
from tsfm_adapt.evaluation.class_scoring import compare_classes

SCORES = ("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1")


def rows_of(errors, index):
    names = [errors.subjects[i] for i in index]
    return classified(errors.probability[index, 1], errors.target[index].argmax(1), names)


@pytest.mark.parametrize("metric", SCORES)
@pytest.mark.parametrize("subjects", [1, 3, 12])
def test_the_difference_in_points_is_that_of_the_printed_scores(metric, subjects):
    ours, theirs = patients(subjects)
    printed = [summarise_classes(e, "ab", False).overall[metric] for e in (ours, theirs)]
    found = compare_classes(ours, theirs, metric, block=1)
    assert found.difference == pytest.approx(100 * (printed[0] - printed[1]))
    assert found.low < found.difference < found.high


@pytest.mark.parametrize("metric", SCORES)
@pytest.mark.parametrize(
    ("subjects", "label"), [(1, "within one patient"), (2, "few subjects"), (12, "subjects")]
)
def test_identical_classifiers_differ_by_nothing_and_nothing_is_shown(metric, subjects, label):
    _, theirs = patients(subjects)
    found = compare_classes(theirs, theirs, metric, block=1)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.shown, found.interval) == (False, label)


@pytest.mark.parametrize("subjects", [4, 12])
def test_a_much_better_classifier_is_shown_to_be_and_the_other_is_not(subjects):
    ours, theirs = patients(subjects, better=3.0)
    assert compare_classes(ours, theirs, "auroc", block=1).shown
    worse = compare_classes(theirs, ours, "auroc", block=1)
    assert worse.high < 0
    assert not worse.shown


def test_one_patient_classified_much_better_shows_nothing():
    ours, theirs = patients(1, windows=300, better=3.0)
    found = compare_classes(ours, theirs, "auroc", block=1)
    assert found.low > 0
    assert not found.shown
    found = compare_classes(ours, theirs, "auroc", block=151)
    assert (found.low, found.high) == (None, None)


@pytest.mark.parametrize("metric", ["auroc", "accuracy"])
@pytest.mark.parametrize("subjects", [1, 12])
def test_draws_are_those_of_rows_drawn_again(subjects, metric, monkeypatch):
    """The bootstrap by multiplicities against one that repeats rows, draw by draw."""
    monkeypatch.setattr("tsfm_adapt.evaluation.intervals.DRAWS", 60)
    ours, theirs = patients(subjects, windows=30)
    found = compare_classes(ours, theirs, metric, block=5, seed=7)
    rng = np.random.default_rng(7)
    if subjects == 1:
        length = 6  # the square root of 30 rows, rounded up
        first = rng.integers(0, 30 - length + 1, size=(60, 5))
        drawn = [np.concatenate([np.arange(f, f + length) for f in draw]) for draw in first]
    else:
        times = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=60)
        drawn = [np.repeat(np.arange(subjects * 30), np.repeat(draw, 30)) for draw in times]

    def gain(index):
        a, b = (
            summarise_classes(rows_of(e, index), "ab", False).overall[metric]
            for e in (ours, theirs)
        )
        return 100 * (a - b)

    low, high = np.percentile([gain(index) for index in drawn], [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_small_pieces_of_draws_give_the_same_interval(monkeypatch):
    models = patients()
    whole = compare_classes(*models, "auroc", 1)
    monkeypatch.setattr("tsfm_adapt.evaluation.class_scoring._AT_ONCE", 1000)
    assert compare_classes(*models, "auroc", 1) == whole


def test_neither_the_order_of_rows_nor_of_subjects_changes_a_comparison_of_classes():
    ours, theirs = patients()
    order = np.random.default_rng(0).permutation(len(ours.subjects))
    first = compare_classes(ours, theirs, "auprc", 1)
    second = compare_classes(rows_of(ours, order), rows_of(theirs, order), "auprc", 1)
    assert (second.difference, second.low, second.high) == pytest.approx(
        (first.difference, first.low, first.high)
    )


def test_draws_without_a_class_are_skipped_and_too_many_of_them_leave_no_interval():
    rng = np.random.default_rng(0)
    names = [f"p{i}" for i in range(12)]
    sure = rng.random((2, 12))
    some = np.array([1] * 4 + [0] * 8)  # drawn without a positive: 0.8 %
    found = compare_classes(*(classified(s, some, names) for s in sure), "auroc", 1)
    assert found.low < found.difference < found.high
    none = np.zeros(12, dtype=int)
    found = compare_classes(*(classified(s, none, names) for s in sure), "auroc", 1)
    assert np.isnan(found.difference)
    assert (found.low, found.high, found.shown) == (None, None, False)


def test_few_patients_with_one_class_each_have_no_interval_of_auroc():
    target = [0, 0, 1, 1]
    models = [classified(s, target, "aabb") for s in ([0.1, 0.3, 0.2, 0.4], [0.1, 0.2, 0.3, 0.4])]
    found = compare_classes(*models, "auroc", 1)
    assert found.difference == pytest.approx(-25.0)
    assert (found.low, found.high, found.shown) == (None, None, False)


def test_intervals_of_auroc_hold_the_true_difference_about_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr("tsfm_adapt.evaluation.intervals.DRAWS", 300)
    truth = compare_classes(*patients(1000, windows=10, seed=999), "auroc", 1).difference
    held = 0
    for trial in range(150):
        found = compare_classes(*patients(20, windows=10, seed=trial), "auroc", 1, seed=trial)
        held += found.low <= truth <= found.high
    assert 0.88 <= held / 150 <= 0.99


@pytest.mark.parametrize("metric", ["auroc", "auprc"])
def test_a_thousand_rows_of_classes_are_compared_within_seconds(metric):
    models = patients(250, windows=4)
    start = time.perf_counter()
    compare_classes(*models, metric, 1)
    assert time.perf_counter() - start < 4.0


def test_models_of_other_rows_are_not_compared():
    ours, theirs = patients(3)
    flipped = classified(theirs.probability[:, 1], 1 - theirs.target.argmax(1), theirs.subjects)
    with pytest.raises(AssertionError):
        compare_classes(ours, flipped, "auroc", 1)
