"""Baselines of classification: what they learn, what they may not see, and what they say."""

import time
import warnings

import numpy as np
import pytest

from tsfm_adapt.baselines import classifiers
from tsfm_adapt.baselines.classifiers import default_classifiers, fit_convolutions, fit_statistics
from tsfm_adapt.evaluation.class_errors import class_errors, summarise_classes
from tsfm_adapt.signals.labels import LabelledWindows, RecordingLabel, RecordingLabels
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import WindowSpec

CHANNELS = ("a", "b", "c")
KERNELS = 100


@pytest.fixture(autouse=True)
def few_kernels(monkeypatch):
    """Enough to learn the shapes of these tests."""
    monkeypatch.setattr(classifiers, "_KERNELS", KERNELS)


def trials(kind, count=60, samples=50, seed=0, gaps=0.1, per_subject=3, classes=2):
    """Recordings of one window; channel b tells the class by its level or by its shape."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        of_class = int(rng.integers(classes))
        values = rng.normal(size=(3, samples))
        if kind == "level":
            values[1] += 3.0 * of_class
        else:
            period = (4, 9, 20)[of_class]
            values[1] += 2 * np.sin(2 * np.pi * (np.arange(samples) + rng.uniform(0, 9)) / period)
        values[rng.random(values.shape) < gaps] = np.nan
        labels = {"kind": of_class, "high": of_class, "coin": int(rng.integers(2))}
        found.append(
            Recording(
                f"r{number}",
                f"p{number // per_subject}",
                values,
                CHANNELS,
                CHANNELS,
                1.0,
                labels=labels,
            )
        )
    return found


def windows(kind="level", classes=2, labelling=None, samples=50, **of_trials):
    recordings = trials(kind, classes=classes, samples=samples, **of_trials)
    names = ("low", "middle", "high")[:classes]
    labelling = labelling or RecordingLabel("kind", tuple(range(classes)), names)
    return LabelledWindows(recordings, WindowSpec(samples, 0, samples), labelling)


def area(model, some, multilabel=False):
    arrays = some.gather(range(len(some)))
    probability = model.predict(arrays.values, arrays.observed)
    classes = probability.shape[1]
    errors = class_errors(
        probability, arrays.target, arrays.subjects, multilabel, np.full(classes, 0.5)
    )
    names = [str(k) for k in range(classes)]
    return summarise_classes(errors, names, by_subject=False)


@pytest.mark.parametrize("classes", [2, 3])
def test_probabilities_sum_to_one_and_follow_the_windows(classes):
    some, new = windows("shape", classes), windows("shape", classes, seed=1)
    arrays = new.gather(range(20))
    for name, model in default_classifiers(some).items():
        probability = model.predict(arrays.values, arrays.observed)
        assert probability.shape == (20, classes), name
        assert (probability >= 0).all(), name
        np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-6, err_msg=name)
        backwards = model.predict(arrays.values[::-1], arrays.observed[::-1])
        np.testing.assert_allclose(backwards[::-1], probability, atol=1e-5, err_msg=name)


def test_unobserved_values_change_nothing():
    fitted = default_classifiers(windows())
    arrays = windows(seed=1).gather(range(20))
    observed = arrays.observed.copy()
    observed[0] = False
    observed[1, 1] = False
    observed[2, 1, 1:] = False
    for name, model in fitted.items():
        probability = model.predict(arrays.values, observed)
        assert np.isfinite(probability).all(), name
        garbage = np.where(observed, arrays.values, np.float32(-3e38))
        np.testing.assert_array_equal(model.predict(garbage, observed), probability, err_msg=name)
        broken = np.where(observed, arrays.values, np.float32(np.nan))
        np.testing.assert_array_equal(model.predict(broken, observed), probability, err_msg=name)


def test_majority_says_how_often_each_class_was():
    some = windows()
    share = some.classes_of.mean(axis=0)
    arrays = some.gather([0, 1])
    found = default_classifiers(some)["majority"].predict(arrays.values, arrays.observed)
    np.testing.assert_allclose(found, [share, share])


def test_statistics_find_a_level_and_convolutions_a_shape_on_subjects_they_never_saw():
    level, shape = windows("level"), windows("shape", count=90, classes=3)
    new_level, new_shape = (
        windows(kind, seed=1, classes=k) for kind, k in (("level", 2), ("shape", 3))
    )
    assert area(fit_statistics(level), new_level).overall["auroc"] > 0.99
    assert area(fit_convolutions(shape), new_shape).overall["auroc"] > 0.9


def test_channels_in_other_units_are_classified_alike():
    """Both are standardised; float32 leaves a little."""
    some, arrays = windows(), windows(seed=1).gather(range(20))
    scale = np.array([1000.0, 0.01, 1.0])[:, None]
    moved = LabelledWindows(
        [
            Recording(
                r.id, r.subject, r.values * scale + 5, CHANNELS, CHANNELS, 1.0, labels=r.labels
            )
            for r in some.recordings
        ],
        some.spec,
        some.labelling,
    )
    other = np.where(arrays.observed, arrays.values * scale + 5, 0).astype(np.float32)
    for fit in (fit_statistics, fit_convolutions):
        first = fit(some).predict(arrays.values, arrays.observed)
        second = fit(moved).predict(other, arrays.observed)
        np.testing.assert_allclose(second, first, atol=0.02)


def test_each_label_has_a_classifier_of_its_own():
    labelling = RecordingLabels(("high", "coin"))
    some, new = (windows(labelling=labelling, count=120, seed=seed) for seed in (0, 1))
    fitted = default_classifiers(some)
    found = area(fitted["statistics_logistic"], new, multilabel=True).classes
    assert found["0"]["auroc"] > 0.99
    assert 0.3 < found["1"]["auroc"] < 0.7
    for name, model in fitted.items():
        arrays = new.gather(range(5))
        probability = model.predict(arrays.values, arrays.observed)
        assert probability.shape == (5, 2), name
        assert ((probability >= 0) & (probability <= 1)).all(), name


def test_the_same_seed_gives_the_same_classifier_and_another_one_does_not():
    some, arrays = windows("shape"), windows("shape", seed=1).gather(range(5))
    first, second, third = (
        fit_convolutions(some, seed).predict(arrays.values, arrays.observed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.allclose(first, third)


@pytest.mark.parametrize(
    ("count", "per_subject", "samples"),
    [(1, 1, 50), (3, 1, 50), (12, 12, 50), (30, 3, 4), (30, 3, 1)],
)
def test_few_windows_few_subjects_and_short_windows_have_baselines_without_a_warning(
    count, per_subject, samples
):
    some = windows(count=count, per_subject=per_subject, samples=samples, gaps=0.0)
    arrays = some.gather(range(count))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, model in default_classifiers(some).items():
            probability = model.predict(arrays.values, arrays.observed)
            assert np.isfinite(probability).all(), name
            np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-6, err_msg=name)


def test_a_channel_that_is_never_measured_and_one_that_never_moves_do_no_harm():
    recordings = trials("level")
    for recording in recordings:
        recording.values[0] = np.nan
        recording.values[2] = 7.0
    labelling = RecordingLabel("kind", (0, 1), ("low", "high"))
    some = LabelledWindows(recordings, WindowSpec(50, 0, 50), labelling)
    assert area(fit_statistics(some), some).overall["auroc"] > 0.95
    assert area(fit_convolutions(some), some).overall["auroc"] > 0.5


def test_statistics_by_hand():
    values = np.array([[[1.0, 9.0, 3.0, 5.0]], [[9.0, 2.0, 9.0, 9.0]], [[9.0] * 4]], np.float32)
    observed = np.array([[[1, 0, 1, 1]], [[0, 1, 0, 0]], [[0] * 4]], bool)
    found = classifiers._statistics(values, observed)
    time_of = np.array([0, 2, 3]) / 4
    slope = np.polyfit(time_of, [1, 3, 5], 1)[0]
    expected = [3, np.std([1, 3, 5]), 1, 5, 3, 1, 5, slope, 0.75]
    np.testing.assert_allclose(found[0], expected, rtol=1e-6)
    np.testing.assert_allclose(found[1], [2, 0, 2, 2, 2, 2, 2, np.nan, 0.25])
    np.testing.assert_allclose(found[2], [np.nan] * 8 + [0])


def test_subjects_stay_together_in_the_folds_that_choose_a_penalty():
    y = np.tile([0, 1], 30)
    subject = np.repeat(np.arange(12), 5)
    folds = classifiers._folds(y, subject)
    assert sorted(np.concatenate([judged for _, judged in folds])) == list(range(60))
    for learned, judged in folds:
        assert not set(subject[learned]) & set(subject[judged])


def test_convolutions_of_a_thousand_windows_take_less_than_minutes():
    """A twentieth of the kernels on a tenth of the windows: a two-hundredth of the work."""
    drawn = classifiers._drawn(10, 400, KERNELS, 0)
    values = np.random.default_rng(0).normal(size=(100, 10, 400)).astype(np.float32)
    start = time.process_time()
    found = classifiers._convolved(values, np.ones(values.shape, bool), drawn)
    assert time.process_time() - start < 1.0
    assert found.shape == (100, 2 * KERNELS)
    assert np.isfinite(found).all()


def test_kernels_without_channels_or_beyond_the_window_are_not_drawn():
    for context in (1, 5, 8, 100):
        for group in classifiers._drawn(4, context, 50, seed=3):
            reach = (group.weights.shape[-1] - 1) * group.dilation
            assert reach < context
            assert group.weights.any(axis=(1, 2)).all() or group.weights.shape[-1] == 1
            np.testing.assert_allclose(group.weights.sum(-1), 0, atol=1e-5)
