"""The verdict: intervals that hold what they say, and words that say no more than they do."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.evaluation.base import Scale
from tsfm_adapt.evaluation.class_errors import ClassErrors, class_errors, summarise_classes
from tsfm_adapt.evaluation.class_scoring import ClassScoring, compare_classes
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors, forecast_errors, summarise
from tsfm_adapt.evaluation.forecast_scoring import ForecastScoring, compare_forecasts
from tsfm_adapt.evaluation.scores import Compared, Role, Verdict
from tsfm_adapt.evaluation.verdict import sentence, verdict

SCALE = np.array([1.0, 2.0])
BOTH = Scale(("a", "b"), ("bpm", "bpm"), SCALE)


def roles_of(errors):
    named = {role.value: role for role in Role}
    return {name: named.get(name, Role.BASELINE) for name in errors}


def model(error, subjects, observed=None) -> ForecastErrors:
    """A point forecast with absolute errors (W, C, H)."""
    error = np.asarray(error, dtype=float)
    observed = np.ones(error.shape, bool) if observed is None else observed
    return forecast_errors(
        error[:, :, None], (0.5,), np.zeros(error.shape), observed, observed.any(-1), subjects
    )


def cohort(subjects=12, windows=10, gain=0.1, spread=0.05, seed=0, channels=2, steps=3):
    """The adapted and the reference model; each subject's own gain is normal(gain, spread)."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i:03d}" for i in range(subjects)], windows)
    theirs = rng.gamma(4.0, 1.0, size=(len(names), channels, steps))
    own = np.repeat(rng.normal(gain, spread, size=subjects), windows)
    ours = theirs * (1 - own[:, None, None])
    return model(ours, names), model(theirs, names)


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


def test_the_verdict_names_the_best_baseline_and_holds_plain_values():
    ours, theirs = cohort(12, gain=0.2, spread=0.02)
    names = ours.subjects
    errors = {
        "adapted": ours,
        "zero_shot": theirs,
        "last_value": model(theirs.absolute * 1.3, names),
        "ridge": model(theirs.absolute * 0.9, names),
    }
    found = verdict(ForecastScoring(), errors, roles_of(errors), BOTH, block=1, seed=5)
    ridge = compare_forecasts(ours, errors["ridge"], SCALE, 1, seed=5)
    assert (found.metric, found.interval, found.subjects) == ("mase", "subjects", 12)
    assert [c.against for c in found.comparisons] == ["zero_shot", "ridge"]
    assert found.baseline.model_dump() == {
        "against": "ridge",
        "role": "baseline",
        "difference": ridge.difference,
        "low": ridge.low,
        "high": ridge.high,
        "shown": True,
    }
    assert found.reference.difference == pytest.approx(20, abs=3)
    assert type(found.reference.shown) is bool


def compared(role, against, numbers):
    difference, low, high, shown = numbers
    return Compared(
        against=against, role=role, difference=difference, low=low, high=high, shown=shown
    )


def words(zero_shot, baseline, interval="subjects", subjects=9):
    both = (
        compared(Role.ZERO_SHOT, "zero_shot", zero_shot),
        compared(Role.BASELINE, "ridge", baseline),
    )
    return sentence(Verdict(metric="mase", interval=interval, subjects=subjects, comparisons=both))


def test_a_sentence_says_metric_direction_interval_and_conclusion():
    assert words((8.1, 5.0, 11.2, True), (2.0, -0.4, 4.1, False)) == (
        "adapted model against zero-shot: MASE 8.1 % lower (95 % CI 5.0 to 11.2 % lower), better; "
        "against the best baseline (ridge): MASE 2.0 % lower (95 % CI 4.1 % lower to 0.4 % "
        "higher), inconclusive; 9 test subjects"
    )


def test_worse_is_said_only_where_the_interval_excludes_zero():
    assert words((-3.0, -5.0, -1.0, False), (-1.0, -4.0, 2.0, False)) == (
        "adapted model against zero-shot: MASE 3.0 % higher (95 % CI 1.0 to 5.0 % higher), worse; "
        "against the best baseline (ridge): MASE 1.0 % higher (95 % CI 2.0 % lower to 4.0 % "
        "higher), inconclusive; 9 test subjects"
    )


def test_within_one_patient_everything_is_inconclusive_and_the_sentence_says_why():
    one = words((9.0, 5.0, 12.0, False), (-9.0, -12.0, -5.0, False), "within one patient", 1)
    assert one == (
        "adapted model against zero-shot: MASE 9.0 % lower (95 % CI 5.0 to 12.0 % lower), "
        "inconclusive; against the best baseline (ridge): MASE 9.0 % higher (95 % CI 5.0 to 12.0 "
        "% higher), inconclusive; one test subject, so this is never evidence for other patients"
    )


def test_equal_models_are_inconclusive_and_a_missing_interval_is_said():
    assert words((0.0, 0.0, 0.0, False), (4.0, None, None, False), "few subjects", 3) == (
        "adapted model against zero-shot: MASE equal (95 % CI equal), inconclusive; "
        "against the best baseline (ridge): MASE 4.0 % lower (no interval), inconclusive; "
        "3 test subjects, few"
    )


SCORES = ("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1")


def classified(sure, target, subjects) -> ClassErrors:
    """What a model said of W rows of two classes: how sure it is of the second."""
    sure = np.asarray(sure, dtype=float)
    both = np.stack([1 - sure, sure], axis=1)
    return class_errors(both, np.eye(2)[target], subjects, False, np.array([np.nan, 0.5]))


def patients(subjects=12, windows=20, better=0.5, seed=0):
    """The adapted and the reference model; the adapted one adds `better` to what is known."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i:03d}" for i in range(subjects)], windows)
    target = rng.integers(0, 2, len(names))
    known = 0.5 * (2 * target - 1) + np.repeat(rng.normal(0, 0.5, subjects), windows)
    noise = rng.normal(size=(2, len(names)))
    gains = (known + better * (2 * target - 1) + noise[0], known + noise[1])
    return tuple(classified(1 / (1 + np.exp(-gain)), target, names) for gain in gains)


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


def test_the_verdict_on_classes_names_the_best_baseline_and_the_frozen_probe():
    ours, theirs = patients(12, better=2.0)
    target, names = theirs.target.argmax(1), theirs.subjects
    flat = classified(np.full(len(target), 0.3), target, names)
    errors = {"adapted": ours, "frozen_probe": theirs, "majority": flat, "statistics": theirs}
    scoring = ClassScoring("auroc")
    found = verdict(scoring, errors, roles_of(errors), BOTH, block=1, seed=5)
    assert (found.metric, found.interval) == ("auroc", "subjects")
    assert [c.against for c in found.comparisons] == ["frozen_probe", "statistics"]
    probe = compare_classes(ours, theirs, "auroc", 1, seed=5)
    for result in found.comparisons:
        assert (result.difference, result.low, result.high, result.shown) == (
            *(probe.difference, probe.low, probe.high),
            True,
        )
    del errors["frozen_probe"]
    assert verdict(scoring, errors, roles_of(errors), BOTH, block=1).reference is None


def class_words(probe, baseline, interval="subjects", metric="auroc"):
    results = [] if probe is None else [compared(Role.FROZEN_PROBE, "frozen_probe", probe)]
    results.append(compared(Role.BASELINE, "majority", baseline))
    return sentence(
        Verdict(metric=metric, interval=interval, subjects=5, comparisons=tuple(results))
    )


def test_sentences_on_classes_speak_of_points():
    assert class_words((2.1, 0.3, 4.0, True), (-1.0, -2.0, 1.0, False)) == (
        "adapted model against the frozen probe: AUROC 2.1 points higher (95 % CI 0.3 to 4.0 "
        "points higher), better; against the best baseline (majority): AUROC 1.0 points lower "
        "(95 % CI 2.0 points lower to 1.0 points higher), inconclusive; 5 test subjects"
    )
    assert class_words(None, (3.0, None, None, False), "few subjects", "macro_f1") == (
        "adapted model against the best baseline (majority): macro F1 3.0 points higher "
        "(no interval), inconclusive; 5 test subjects, few"
    )


def test_a_test_set_of_one_class_has_no_verdict_in_words_but_says_so():
    nothing = (None, None, None, False)
    assert class_words(nothing, nothing) == (
        "adapted model against the frozen probe: no comparison, the test set has too few classes; "
        "against the best baseline (majority): no comparison, the test set has too few classes; "
        "5 test subjects"
    )


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
