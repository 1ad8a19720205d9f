"""Scores of classification: scikit-learn's where rows count once, and laws where they do not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from tsfm_adapt.errors import DivergedError
from tsfm_adapt.evaluation import class_errors as module
from tsfm_adapt.evaluation.class_errors import (
    aggregated,
    choose_threshold,
    class_errors,
    weighted,
)

NAMES = ("a", "b", "c", "d")
METRICS = ("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1")


def summarise_classes(errors, classes, by_subject):
    """As scores.json holds it."""
    return module.summarise_classes(errors, classes, by_subject).model_dump(exclude_unset=True)


def said(classes=2, multilabel=False, rows=200, seed=0, levels=30, subjects=5):
    """Probabilities that know something of the target, with ties."""
    rng = np.random.default_rng(seed)
    if multilabel:
        target = rng.random((rows, classes)) < np.linspace(0.2, 0.6, classes)
        probability = np.clip(0.3 * target + 0.7 * rng.random(target.shape), 0, 1)
    else:
        target = np.eye(classes, dtype=bool)[rng.integers(0, classes, rows)]
        probability = rng.random((rows, classes)) + 0.7 * target
    probability = np.ceil(probability * levels) / levels
    if not multilabel:
        probability /= probability.sum(1, keepdims=True)
    names = [f"p{number}" for number in rng.integers(0, subjects, rows)]
    threshold = choose_threshold(probability, target, multilabel)
    return class_errors(probability, target, names, multilabel, threshold)


def again(errors, index, rename=lambda name: name):
    """The rows at `index`."""
    return class_errors(
        errors.probability[index],
        errors.target[index],
        [rename(errors.subjects[i]) for i in index],
        errors.multilabel,
        errors.threshold,
    )


@pytest.mark.parametrize("seed", range(3))
def test_of_two_classes_every_score_is_that_of_scikit_learn(seed):
    errors = said(seed=seed)
    scores = summarise_classes(errors, ("no", "yes"), by_subject=False)
    true, sure, called = errors.target[:, 1], errors.probability[:, 1], errors.decision[:, 1]
    assert scores["overall"] == {
        "auroc": pytest.approx(metrics.roc_auc_score(true, sure)),
        "auprc": pytest.approx(metrics.average_precision_score(true, sure)),
        "accuracy": pytest.approx(metrics.accuracy_score(true, called)),
        "balanced_accuracy": pytest.approx(metrics.balanced_accuracy_score(true, called)),
        "macro_f1": pytest.approx(metrics.f1_score(true, called, average="macro")),
        "brier": pytest.approx(metrics.brier_score_loss(true, sure)),
        "ece": scores["overall"]["ece"],
    }
    assert scores["confusion"] == metrics.confusion_matrix(true, called).tolist()
    assert scores["classes"]["yes"] == {
        "n": true.sum(),
        "auroc": scores["overall"]["auroc"],
        "auprc": scores["overall"]["auprc"],
        "precision": pytest.approx(metrics.precision_score(true, called)),
        "recall": pytest.approx(metrics.recall_score(true, called)),
        "f1": pytest.approx(metrics.f1_score(true, called)),
        "threshold": errors.threshold[1],
    }
    assert scores["classes"]["no"]["threshold"] is None


@pytest.mark.parametrize("seed", range(3))
def test_of_four_classes_every_score_is_that_of_scikit_learn(seed):
    errors = said(classes=4, seed=seed)
    scores = summarise_classes(errors, NAMES, by_subject=False)
    true, called = errors.target.argmax(1), errors.decision.argmax(1)
    found = scores["overall"]
    area = metrics.roc_auc_score(true, errors.probability, multi_class="ovr")
    precision = metrics.average_precision_score(errors.target, errors.probability)
    assert found["auroc"] == pytest.approx(area)
    assert found["auprc"] == pytest.approx(precision)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(true, called))
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(true, called)
    )
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(true, called, average="macro"))
    assert found["brier"] == pytest.approx(
        metrics.brier_score_loss(true, errors.probability, scale_by_half=False)
    )
    assert scores["confusion"] == metrics.confusion_matrix(true, called).tolist()


def test_of_labels_every_score_is_the_mean_over_them():
    errors = said(classes=3, multilabel=True)
    scores = summarise_classes(errors, NAMES[:3], by_subject=False)

    def mean(score, said):
        return pytest.approx(np.mean([score(errors.target[:, k], said[:, k]) for k in range(3)]))

    found = scores["overall"]
    assert found["auroc"] == mean(metrics.roc_auc_score, errors.probability)
    assert found["auprc"] == mean(metrics.average_precision_score, errors.probability)
    assert found["accuracy"] == mean(metrics.accuracy_score, errors.decision)
    assert found["balanced_accuracy"] == mean(metrics.balanced_accuracy_score, errors.decision)
    assert found["macro_f1"] == mean(metrics.f1_score, errors.decision)
    assert found["brier"] == mean(metrics.brier_score_loss, errors.probability)
    assert scores["confusion"] is None


def test_the_calibration_error_by_hand():
    probability = np.array([0.9, 0.9, 0.9, 0.9, 0.2, 0.2])
    target = np.array([1, 1, 1, 0, 0, 1])  # 0.75 came where 0.9 was said, 0.5 where 0.2 was
    both = np.stack([1 - probability, probability], axis=1)
    errors = class_errors(both, np.eye(2)[target], "aabbcc", False, np.array([np.nan, 0.5]))
    found = summarise_classes(errors, ("no", "yes"), by_subject=False)["overall"]["ece"]
    assert found == pytest.approx((4 * 0.15 + 2 * 0.3) / 6)
    thirds = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    errors = class_errors(thirds, np.eye(3)[[0, 2]], "ab", False, np.full(3, np.nan))
    found = summarise_classes(errors, "abc", by_subject=False)["overall"]["ece"]
    assert found == pytest.approx(0.8 - 0.5)


@pytest.mark.parametrize(("classes", "multilabel"), [(2, False), (4, False), (3, True)])
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 1000))
def test_a_row_that_counts_twice_is_a_row_that_is_there_twice(classes, multilabel, seed):
    errors = said(classes, multilabel, rows=40, seed=seed, levels=5)
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 4, size=(3, 40))
    for metric in METRICS:
        found = weighted(errors, metric, times.astype(float))
        for counts, value in zip(times, found, strict=True):
            there = again(errors, np.repeat(np.arange(40), counts))
            once = weighted(there, metric, np.ones((1, counts.sum())))
            np.testing.assert_allclose(value, once[0], rtol=1e-12, err_msg=metric)


@pytest.mark.parametrize(("classes", "multilabel"), [(2, False), (4, False), (3, True)])
def test_neither_the_order_of_rows_nor_the_names_of_subjects_matter(classes, multilabel):
    errors = said(classes, multilabel)
    order = np.random.default_rng(1).permutation(200)
    first = summarise_classes(errors, NAMES[:classes], by_subject=True)
    second = summarise_classes(
        again(errors, order, lambda name: f"x{9 - int(name[1:])}"), NAMES[:classes], True
    )
    assert {f"x{9 - int(name[1:])}" for name in first["by_subject"]} == set(second["by_subject"])
    for name, scores in first["by_subject"].items():
        assert second["by_subject"][f"x{9 - int(name[1:])}"] == pytest.approx(scores)
    assert second["overall"] == pytest.approx(first["overall"])
    assert second["confusion"] == first["confusion"]


def test_the_scores_of_a_subject_are_those_of_its_rows_alone():
    errors = said(4, rows=300)
    found = summarise_classes(errors, NAMES, by_subject=True)
    own = again(errors, np.flatnonzero(np.array(errors.subjects) == "p3"))
    alone = summarise_classes(own, NAMES, by_subject=False)["overall"]
    assert found["by_subject"]["p3"] == pytest.approx({name: alone[name] for name in METRICS})


def test_what_has_no_rows_of_both_sides_is_null():
    probability = np.array([[0.4, 0.6], [0.7, 0.3]])
    errors = class_errors(probability, np.eye(2)[[0, 0]], "ab", False, np.array([np.nan, 0.5]))
    scores = summarise_classes(errors, ("no", "yes"), by_subject=True)
    for undefined in ("auroc", "auprc", "balanced_accuracy"):
        assert scores["overall"][undefined] is None
        assert scores["by_subject"]["a"][undefined] is None
    assert scores["overall"]["accuracy"] == 0.5
    assert scores["classes"]["yes"]["recall"] is None
    assert scores["classes"]["yes"]["precision"] == 0.0


def test_a_class_that_never_occurs_leaves_the_mean_to_the_others():
    errors = said(4, rows=400)
    some = again(errors, np.flatnonzero(~errors.target[:, 3]))
    found = summarise_classes(some, NAMES, by_subject=False)
    assert found["classes"]["d"]["auroc"] is None
    three = [found["classes"][name]["auroc"] for name in "abc"]
    assert found["overall"]["auroc"] == pytest.approx(np.mean(three))


@pytest.mark.parametrize("multilabel", [False, True])
@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 7, 1000]))
def test_no_other_threshold_that_parts_the_rows_has_a_larger_balanced_accuracy(
    multilabel, seed, levels
):
    errors = said(2, multilabel, rows=30, seed=seed, levels=levels)
    for k in (0, 1) if multilabel else (1,):
        sure, true = errors.probability[:, k], errors.target[:, k]
        if true.all() or not true.any() or len(np.unique(sure)) == 1:
            assert errors.threshold[k] == 0.5
            continue

        def balanced(threshold, sure=sure, true=true):
            return metrics.balanced_accuracy_score(true, sure >= threshold)

        best = balanced(errors.threshold[k])
        assert best >= max(balanced(other) for other in np.unique(sure)[1:]) - 1e-12


def test_a_threshold_is_halfway_between_its_neighbours():
    sure = np.array([0.1, 0.2, 0.6, 0.9])
    target = np.eye(2)[[0, 0, 1, 1]]
    found = choose_threshold(np.stack([1 - sure, sure], axis=1), target, multilabel=False)
    assert np.isnan(found[0])
    assert found[1] == pytest.approx(0.4)


def test_thresholds_between_neighbouring_floats_part_them():
    low = np.float64(0.3)
    sure = np.array([low, np.nextafter(low, 1)])
    threshold = choose_threshold(np.stack([1 - sure, sure], axis=1), np.eye(2), multilabel=False)
    assert (sure >= threshold[1]).tolist() == [False, True]


def test_where_the_largest_probability_wins_there_is_no_threshold():
    errors = said(4)
    assert np.isnan(errors.threshold).all()
    np.testing.assert_array_equal(errors.decision.argmax(1), errors.probability.argmax(1))
    assert (errors.decision.sum(1) == 1).all()


def test_two_classes_are_decided_by_the_threshold_that_was_given():
    """One chosen elsewhere is used as it is: what is scored cannot move it."""
    errors = said()
    for threshold in (0.0, 0.37, 1.1):
        other = class_errors(
            errors.probability,
            errors.target,
            errors.subjects,
            False,
            np.array([np.nan, threshold]),
        )
        np.testing.assert_array_equal(other.decision[:, 1], errors.probability[:, 1] >= threshold)
        assert (other.decision.sum(1) == 1).all()


def test_windows_of_a_recording_are_averaged():
    probability = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    target = np.eye(2)[[1, 0, 1]]
    mean, called, subjects = aggregated(probability, target, "bab", np.array([7, 3, 7]))
    np.testing.assert_allclose(mean, [[0.8, 0.2], [0.2, 0.8]])
    np.testing.assert_array_equal(called, [[True, False], [False, True]])
    assert subjects == ("a", "b")
    errors = class_errors(mean, called, subjects, False, np.array([np.nan, 0.5]), n_windows=3)
    assert (len(errors.subjects), errors.n_windows) == (2, 3)
    assert errors.scored.shape == (2, 1)


def test_a_recording_whose_windows_differ_in_class_has_none():
    with pytest.raises(AssertionError, match="differ"):
        aggregated(np.full((2, 2), 0.5), np.eye(2), "aa", np.array([0, 0]))


def test_probabilities_that_are_not_finite_are_not_scored():
    probability = np.full((4, 2), 0.5)
    probability[1, 0] = np.nan
    probability[2] = np.inf
    with pytest.raises(DivergedError, match="2 of 4 rows"):
        class_errors(probability, np.eye(2)[[0, 1, 0, 1]], "abcd", False, np.full(2, 0.5))
