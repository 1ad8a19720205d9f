"""scores.json, typed: it reads back as it was written, and what is no scores.json is refused."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.intervals import Comparison
from tsfm_adapt.evaluation.scores import (
    Compared,
    Difference,
    ModelScores,
    Role,
    Scores,
    Summary,
    Verdict,
    read,
)

V0_1 = Path(__file__).parents[1] / "data" / "v0_1"
TASKS = ("forecast", "classify", "impute")


@pytest.fixture(params=TASKS)
def scores(request):
    return read(V0_1 / request.param / "scores.json")


def test_what_is_written_reads_back_the_same(scores, tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(scores.text(), encoding="utf-8")
    assert json.loads(path.read_text(encoding="utf-8"))["format"] == 2
    assert read(path) == scores
    assert read(path).text() == scores.text()


def test_what_was_not_set_is_not_written_and_what_was_is(scores):
    tree = scores.tree()
    assert "subgroups" not in tree
    assert bool(tree.get("events")) == (scores.task == "forecast")
    assert bool(tree.get("gaps")) == (scores.task == "impute")
    assert ("events" in tree) == ("events" in scores.model_fields_set)


def named(**overall):
    return {
        name: ModelScores(role=Role.ADAPTED if name == "adapted" else Role.BASELINE, overall=own)
        for name, own in overall.items()
    }


@pytest.mark.parametrize(
    ("metric", "better", "order"),
    [
        ("mase", "lower", ["ridge", "adapted", "mean", "none"]),
        ("auroc", "higher", ["mean", "adapted", "ridge", "none"]),
    ],
)
def test_models_are_sorted_by_the_ranked_metric_and_undefined_ones_are_last(metric, better, order):
    values = {"adapted": 0.5, "mean": 0.75, "none": None, "ridge": 0.25}
    models = named(**{name: {metric: value} for name, value in values.items()})
    scores = Scores.model_construct(models=models, metric=metric, better=better)
    assert [name for name, _ in scores.best_first()] == order
    assert scores.best_baseline() == next(name for name in order if name != "adapted")
    assert scores.of(Role.ADAPTED) is models["adapted"]
    assert scores.of(Role.ZERO_SHOT) is None


def test_roles_reach_every_table_of_models():
    plain = {"adapted": ModelScores(overall={"mase": 1.0})}
    summary = Summary(models=plain, horizons={"60": plain}, gaps={"point": plain})
    found = summary.with_roles({"adapted": Role.ADAPTED})
    for models in (found.models, found.horizons["60"], found.gaps["point"]):
        assert models["adapted"].role == Role.ADAPTED
    assert summary.models["adapted"].role == Role.BASELINE


def compared(role, against):
    return Compared(against=against, role=role, difference=1.0, low=0.5, high=1.5, shown=True)


@pytest.mark.parametrize("role", [Role.ZERO_SHOT, Role.FROZEN_PROBE])
def test_a_verdict_knows_its_reference_and_its_baseline_by_role(role):
    first, second = compared(role, role.value), compared(Role.BASELINE, "ridge")
    verdict = Verdict(metric="mase", interval="subjects", comparisons=(first, second))
    assert (verdict.reference, verdict.baseline) == (first, second)
    assert second.label == "the best baseline (ridge)"
    assert first.label in ("zero-shot", "the frozen probe")
    without = Verdict(metric="mase", interval="subjects", comparisons=(second,))
    assert without.reference is None


def test_a_difference_that_is_undefined_is_null():
    nothing = Difference.of(Comparison(float("nan"), None, None, False, "subjects"))
    assert (nothing.difference, nothing.low, nothing.high) == (None, None, None)
    some = Difference.of(Comparison(2.5, 1.0, 4.0, True, "subjects"))
    assert (some.difference, some.low, some.high, some.shown) == (2.5, 1.0, 4.0, True)


def test_scores_cannot_be_changed_and_take_no_unknown_key(scores):
    with pytest.raises(ValidationError, match="frozen"):
        scores.metric = "wql"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Scores.model_validate(scores.tree() | {"unheard_of": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("[1]", "cannot be read"),
        ('{"format": 3}', r"has format 3; this version reads up to 2\. Update tsfm-adapt"),
        ('{"format": 2}', "no scores.json of format 2"),
        ('{"models": {}}', "no scores.json of format 1"),
    ],
)
def test_what_is_no_scores_json_is_refused_with_the_file(tmp_path, content, message):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as refused:
        read(path)
    assert str(path) in str(refused.value)
