"""The objective of a study: what a trial trains, what it is scored on, how it fails."""

import optuna
import pytest

from contracts.small_recipe import prepared, recipe
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import load
from tsfm_adapt.studies.trials import FailedTrial, Objective, blind
from tsfm_adapt.training.building import build

QUIET = Progress(quiet=True)
SPACE = {"train.lr": {"low": 1e-4, "high": 1e-1, "log": True}}
ALWAYS = {"train.steps": 2, "train.validate_every": 1}


def objective(folder, always=ALWAYS, space=SPACE, **search):
    searched = {"search": {"trials": 3, "pruner": "none", "space": space} | search}
    return Objective(recipe(**searched), blind(prepared()), folder, always, QUIET)


def trial(**values):
    study = optuna.create_study()
    study.enqueue_trial(values or {"train.lr": 0.01})
    return study.ask()


def test_no_trial_can_see_the_test_set():
    whole, seen = prepared(), blind(prepared())
    assert set(seen.windows) == set(seen.recordings) == {"train", "val"}
    assert seen.windows["val"] is whole.windows["val"]
    assert "test" in whole.windows


def test_without_validation_windows_trials_cannot_be_compared():
    from dataclasses import replace

    none = {**prepared().windows, "val": prepared().windows["val"].take([])}
    with pytest.raises(RecipeError, match=r"data\.split\.val"):
        blind(replace(prepared(), windows=none))


def test_a_trial_trains_the_recipe_with_what_was_drawn_and_what_always_holds(tmp_path):
    drawn = trial()
    value = objective(tmp_path)(drawn)
    trained = load(tmp_path / "trials" / "0" / "recipe.yaml")
    assert (trained.train.lr, trained.train.steps, trained.search) == (0.01, 2, None)
    assert drawn.user_attrs["changes"] == {"train.lr": 0.01}
    assert value > 0
    assert not (tmp_path / "trials" / "0" / "checkpoints").exists()


def test_the_same_draw_has_the_same_value_and_another_one_another(tmp_path):
    values = [
        objective(tmp_path / str(number))(trial(**{"train.lr": lr}))
        for number, lr in enumerate((0.01, 0.01, 0.1))
    ]
    assert values[0] == values[1]
    assert values[2] != values[0]


def test_a_score_is_that_of_the_task_on_validation_windows(tmp_path):
    made = objective(tmp_path, metric="score")
    model = build(recipe(), prepared(), QUIET)
    found = made.score(recipe(), model)
    zero_shot = made.score(recipe(), build(recipe(adapters=[]), prepared(), QUIET))
    assert found == zero_shot  # LoRA that is not trained changes nothing
    assert not model.training


def test_a_recipe_that_is_not_valid_fails_the_trial_with_its_reason(tmp_path):
    drawn = trial()
    with pytest.raises(FailedTrial, match=r"task\.context_s"):
        objective(tmp_path, always={"task.context_s": 1e9})(drawn)
    assert "task.context_s" in drawn.user_attrs["reason"]


def test_a_trial_that_trains_nothing_has_a_score_and_no_loss(tmp_path):
    nothing = ALWAYS | {"adapters": []}
    with pytest.raises(FailedTrial, match="trains nothing has no loss"):
        objective(tmp_path, nothing)(trial())
    assert objective(tmp_path, nothing, metric="score")(trial()) > 0


def test_a_trial_that_the_study_prunes_says_where(tmp_path, monkeypatch):
    drawn = trial()
    monkeypatch.setattr(drawn, "should_prune", lambda: True)
    with pytest.raises(optuna.TrialPruned, match="pruned at step 1 of 2"):
        objective(tmp_path, pruner="median")(drawn)
    assert "step 1 of 2" in drawn.user_attrs["reason"]
