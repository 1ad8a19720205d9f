"""The verdict: intervals that hold what they say, and words that say no more than they do."""

import numpy as np
import pytest

from contracts.compared import SCALE, classified, cohort, model, patients
from tsfm_adapt.evaluation.base import Scale
from tsfm_adapt.evaluation.class_scoring import ClassScoring, compare_classes
from tsfm_adapt.evaluation.forecast_scoring import ForecastScoring, compare_forecasts
from tsfm_adapt.evaluation.scores import Compared, Role, Verdict
from tsfm_adapt.evaluation.verdict import sentence, verdict

BOTH = Scale(("a", "b"), ("bpm", "bpm"), SCALE)


def roles_of(errors):
    named = {role.value: role for role in Role}
    return {name: named.get(name, Role.BASELINE) for name in errors}


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
