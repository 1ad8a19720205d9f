"""Linear classifiers: scikit-learn's numbers, and a penalty that knows who is who."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tsfm_adapt.heads._probing import RIDGE_PENALTIES, fit_probe


def cohort(windows=120, subjects=12, features=8, classes=3, seed=0):
    """Features that tell classes, with noise; standardised."""
    generator = np.random.default_rng(seed)
    centres = 1.2 * generator.standard_normal((classes, features))
    answer = generator.integers(classes, size=windows)
    values = centres[answer] + generator.standard_normal((windows, features))
    values = (values - values.mean(0)) / values.std(0)
    subject = np.sort(generator.integers(subjects, size=windows))
    return values, np.eye(classes, dtype=bool)[answer], subject


def chances(values, weight, bias):
    return torch.from_numpy(values @ weight.T + bias).softmax(-1).numpy()


def reference(values, answer, penalty, weights=None):
    model = LogisticRegression(C=1 / penalty, tol=1e-9, max_iter=100_000)
    return model.fit(values, answer, sample_weight=weights)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("features", [8, 300])
def test_logistic_is_scikit_learns(classes, features):
    values, known, subjects = cohort(features=features, classes=classes)
    weight, bias, penalty = fit_probe(values, known, subjects, kind="logistic", multilabel=False)
    expected = reference(values, known.argmax(1), penalty).predict_proba(values)
    assert np.abs(chances(values, weight, bias) - expected).max() < 1e-4


def test_class_weights_are_weights_of_windows():
    values, known, subjects = cohort()
    weights = (1.0, 4.0, 0.5)
    weight, bias, penalty = fit_probe(
        values, known, subjects, kind="logistic", multilabel=False, class_weights=weights
    )
    each = np.array(weights)[known.argmax(1)]
    expected = reference(values, known.argmax(1), penalty, each).predict_proba(values)
    assert np.abs(chances(values, weight, bias) - expected).max() < 1e-4


def test_labels_are_asked_one_by_one():
    values, known, subjects = cohort()
    known = known | np.roll(known, 1, axis=1) & (values[:, :1] > 0)
    weights = (1.0, 4.0, 1.0)
    weight, bias, penalty = fit_probe(
        values, known, subjects, kind="logistic", multilabel=True, class_weights=weights
    )
    own = np.where(known[:, 1], 4.0, 1.0)
    expected = reference(values, known[:, 1], penalty, own).decision_function(values)
    assert np.abs(values @ weight[1] + bias[1] - expected).max() < 1e-3


@pytest.mark.parametrize("features", [8, 300])
def test_ridge_solves_its_normal_equations(features):
    values, known, subjects = cohort(features=features)
    weight, bias, penalty = fit_probe(values, known, subjects, kind="ridge", multilabel=False)
    assert penalty in RIDGE_PENALTIES
    left = np.where(known, 1.0, -1.0) - values @ weight.T - bias
    assert np.abs(left.sum(0)).max() < 1e-6
    assert np.abs(left.T @ values - penalty * weight).max() < 1e-6 * len(values)


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_the_penalty_does_not_fall_for_windows_of_the_same_subject(kind):
    """Every subject has a face of its own, and its class says little of the next subject's."""

    def people(subjects, seed):
        generator = np.random.default_rng(seed)
        answer = np.arange(subjects) % 2
        face = generator.standard_normal((subjects, 60))
        face[:, :5] += 0.8 * answer[:, None]
        who = generator.permutation(np.repeat(np.arange(subjects), 6))
        values = face[who] + 0.05 * generator.standard_normal((len(who), 60))
        return values, np.eye(2, dtype=bool)[answer[who]], who

    values, known, subjects = people(40, seed=0)
    alone = np.arange(len(values))  # as if every window were somebody else's
    grouped = fit_probe(values, known, subjects, kind=kind, multilabel=False)
    fooled = fit_probe(values, known, alone, kind=kind, multilabel=False)
    assert grouped[2] >= 100 * fooled[2]
    fresh, answer, _ = people(400, seed=1)
    losses = [log_loss(answer.argmax(1), chances(fresh, *p[:2])) for p in (grouped, fooled)]
    assert losses[0] < 0.9 * losses[1]


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_hard_cases_give_finite_classifiers_without_a_warning(kind):
    values, known, subjects = cohort(windows=30, features=4)
    one = np.tile([True, False, False], (30, 1))
    absent = known.copy()
    absent[known[:, 2]] = [True, False, False]
    single = known.copy()  # a class of one window
    single[known[:, 2]] = [True, False, False]
    single[3] = [False, False, True]
    cases = {
        "one class": (values, one, subjects),
        "a class that train lacks": (values, absent, subjects),
        "a class of one window": (values, single, subjects),
        "one subject": (values, known, np.zeros(30, dtype=int)),
        "three windows": (values[:3], np.eye(3, dtype=bool), np.arange(3)),
        "one window": (values[:1], known[:1], np.zeros(1, dtype=int)),
        "nothing varies": (np.zeros_like(values), known, subjects),
        "twice the same": (np.concatenate([values, values], axis=1), known, subjects),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, case in cases.items():
            for multilabel in (False, True):
                weight, bias, penalty = fit_probe(*case, kind=kind, multilabel=multilabel)
                assert np.isfinite(weight).all(), name
                assert np.isfinite(bias).all(), name
                assert penalty > 0
    weight, bias, _ = fit_probe(*cases["a class that train lacks"], kind=kind, multilabel=False)
    assert not (values @ weight.T + bias).argmax(1).tolist().count(2)


def test_the_same_data_give_the_same_probe():
    first, again = (fit_probe(*cohort(), kind="logistic", multilabel=False) for _ in range(2))
    assert np.array_equal(first[0], again[0])
