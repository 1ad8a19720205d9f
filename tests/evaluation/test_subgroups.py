"""A group's scores are those of its subjects alone."""

import json
from dataclasses import replace

import numpy as np
import pytest

from contracts.small_run import windows
from tsfm_adapt.evaluation.base import Predictor, Scale
from tsfm_adapt.evaluation.class_errors import class_errors
from tsfm_adapt.evaluation.scores import Role
from tsfm_adapt.evaluation.subgroups import MIN_SUBJECTS, by_subgroup
from tsfm_adapt.tasks import classify, forecast

SCALE = Scale(("HR", "MAP"), ("bpm", "mmHg"), np.array([0.5, 2.0]))
SCORING = forecast.Config(context_s=1920, horizon_s=720).build().scoring(1 / 60)
BY_SEX = {"sex": None}


def cohort(women=6, men=8, unknown=2):
    some = windows(subjects=women + men + unknown, stride=12)
    sex = ["F"] * women + ["M"] * men + [None] * unknown
    kept = [
        replace(r, attributes={} if s is None else {"sex": s})
        for r, s in zip(some.recordings, sex, strict=True)
    ]
    return type(some)(kept, some.spec)


def off_by(error):
    """Point forecasts that are wrong by `error(subject)`."""

    def predict(arrays, steps):
        each = np.array([error(subject) for subject in arrays.subjects], dtype=np.float32)
        return arrays.target[:, :, None, :steps] + each[:, None, None, None]

    return Predictor(predict, (0.5,))


def woman(subject):
    return int(subject[1:]) < 6


def table(some, grouping=None, **models):
    errors = {
        name: SCORING.errors(off_by(of), some, 16, lambda _: None) for name, of in models.items()
    }
    found = by_subgroup(SCORING, errors, roles(errors), some, SCALE, grouping or BY_SEX)
    plain = {name: of.model_dump() for name, of in found.items()}
    return json.loads(json.dumps(plain, allow_nan=False))


def roles(errors):
    named = {role.value: role for role in Role}
    return {name: named.get(name, Role.BASELINE) for name in errors}


def test_scores_and_differences_are_those_of_the_group_alone():
    """Zero-shot is wrong by 4; the adapted model by 1 for women, by 4 for men."""
    some = cohort()
    found = table(some, adapted=lambda s: 1 if woman(s) else 4, zero_shot=lambda s: 4)["sex"]
    assert (found["metric"], found["better"]) == ("mase", "lower")
    women, men = found["groups"]["F"], found["groups"]["M"]
    assert women["models"]["adapted"] == pytest.approx((1 / 0.5 + 1 / 2.0) / 2, rel=1e-5)
    assert men["models"]["adapted"] == pytest.approx((4 / 0.5 + 4 / 2.0) / 2, rel=1e-5)
    assert women["difference"]["difference"] == pytest.approx(75, rel=1e-4)
    assert men["difference"]["difference"] == pytest.approx(0, abs=1e-4)
    assert (women["difference"]["versus"], women["difference"]["interval"]) == (
        "zero_shot",
        "few subjects",
    )
    assert men["difference"]["interval"] == "subjects"


def test_every_window_is_in_one_group_and_small_groups_show_their_size_alone():
    some = cohort()
    groups = table(some, adapted=lambda s: 1, zero_shot=lambda s: 2)["sex"]["groups"]
    assert {name: group["subjects"] for name, group in groups.items()} == {
        "F": 6,
        "M": 8,
        "not known": 2,
    }
    assert sum(group["windows"] for group in groups.values()) == len(some)
    assert groups["not known"]["models"] is None
    assert groups["not known"]["difference"] is None
    smallest = table(cohort(MIN_SUBJECTS, MIN_SUBJECTS - 1, 0), adapted=lambda s: 1)["sex"]
    assert [bool(group["models"]) for group in smallest["groups"].values()] == [True, False]


def test_without_a_reference_there_is_no_difference():
    groups = table(cohort(), adapted=lambda s: 1, ridge=lambda s: 2)["sex"]["groups"]
    assert groups["F"]["difference"] is None
    assert set(groups["F"]["models"]) == {"adapted", "ridge"}


def test_classes_are_scored_apart_by_the_recipes_metric():
    """Perfect for women, reversed for men."""
    some = cohort(6, 6, 0)
    subjects = tuple(some.subject_names[k] for k in some.subjects)
    target = np.tile(np.eye(2), (len(some) // 2 + 1, 1))[: len(some)]
    right = np.array([woman(s) if len(s) == 2 else False for s in subjects])[:, None]
    probability = np.where(right, target, 1 - target)
    errors = class_errors(probability, target, subjects, False, np.array([np.nan, 0.5]))
    labels = {"of": "recording", "label": "x", "classes": [0, 1]}
    task = classify.Config(context_s=1920, labels=labels, metric="accuracy").build()
    both = {"adapted": errors, "frozen_probe": errors}
    found = by_subgroup(task.scoring(1 / 60), both, roles(both), some, SCALE, BY_SEX)
    found = found["sex"].model_dump()
    assert found["better"] == "higher"
    assert found["groups"]["F"]["models"]["adapted"] == 1.0
    assert found["groups"]["M"]["models"]["adapted"] == 0.0
    assert found["groups"]["M"]["difference"]["difference"] == 0.0
