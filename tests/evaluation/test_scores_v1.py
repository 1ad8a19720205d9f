"""scores.json of version 0.1 in today's form: every number stays, under its new name."""

import json
from pathlib import Path

import pytest

from tsfm_adapt.evaluation._scores_v1 import upgraded
from tsfm_adapt.evaluation.scores import Role, Scores

V0_1 = Path(__file__).parents[1] / "data" / "v0_1"


def old(task):
    return json.loads((V0_1 / task / "scores.json").read_text(encoding="utf-8"))


def new(task):
    return Scores.model_validate(upgraded(old(task)))


@pytest.mark.parametrize("task", ["forecast", "classify", "impute"])
def test_every_score_of_every_model_stays(task):
    before, after = old(task), new(task)
    scored = {name: own for name, own in before["models"].items() if own is not None}
    assert after.models.keys() == scored.keys()
    for name, own in scored.items():
        kept = after.models[name].model_dump(mode="json", exclude_unset=True)
        assert kept.pop("role") == after.models[name].role
        assert kept == own
    for key in ("horizons", "gaps"):
        tables = getattr(after, key)
        assert tables.keys() == before.get(key, {}).keys()
        for name, models in before.get(key, {}).items():
            overall = {model: own["overall"] for model, own in models.items()}
            assert {m: own.overall for m, own in tables[name].items()} == overall


@pytest.mark.parametrize("task", ["forecast", "classify", "impute"])
def test_models_have_the_roles_that_their_names_were(task):
    special = {"adapted": Role.ADAPTED, "zero_shot": Role.ZERO_SHOT}
    special["frozen_probe"] = Role.FROZEN_PROBE
    for name, own in new(task).models.items():
        assert own.role == special.get(name, Role.BASELINE)


@pytest.mark.parametrize(
    ("task", "reference"),
    [("forecast", "zero_shot"), ("classify", "frozen_probe"), ("impute", "zero_shot")],
)
def test_the_verdict_compares_with_the_same_models(task, reference):
    before, after = old(task)["verdict"], new(task).verdict
    assert (after.metric, after.interval) == (before["metric"], before["interval"])
    assert after.subjects is None
    assert after.reference.against == reference
    assert after.baseline.against == before["vs_best_baseline"]["name"]
    for key, found in ((reference, after.reference), ("best_baseline", after.baseline)):
        for number in ("difference", "low", "high", "shown"):
            assert getattr(found, number) == before[f"vs_{key}"][number], (key, number)


@pytest.mark.parametrize(
    ("task", "metric", "better"),
    [("forecast", "mase", "lower"), ("classify", "auroc", "higher"), ("impute", "mase", "lower")],
)
def test_what_models_are_ranked_by_and_what_it_cost_stay(task, metric, better):
    before, after = old(task), new(task)
    assert (after.metric, after.better) == (metric, better)
    for name, value in after.costs.model_dump().items():
        assert value == before[name], name


def test_parts_are_called_splits():
    before, after = old("forecast"), new("forecast")
    assert after.split == before["part"] == "test"
    for key in ("windows", "recordings", "subjects"):
        assert getattr(after.protocol, f"{key}_by_split") == before["protocol"][f"{key}_by_part"]
    assert after.calibration.split == before["calibration"]["part"]
    finding = {"kind": "copy", "parts": ["train", "test"], "subjects": ["a", "b"], "what": "HR"}
    before["audit"]["findings"] = [finding]
    (found,) = Scores.model_validate(upgraded(before)).audit.findings
    assert (found.splits, found.subjects) == (("train", "test"), ("a", "b"))


@pytest.mark.parametrize("verdict", [None, {}])
def test_a_run_without_a_verdict_has_none(verdict):
    assert upgraded(old("forecast") | {"verdict": verdict})["verdict"] is None


def test_a_tree_of_something_else_is_an_error():
    with pytest.raises((KeyError, TypeError, AttributeError)):
        upgraded({"models": {}})
