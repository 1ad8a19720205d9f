"""What a study keeps when processes die, stop, or write half a line."""

import json

import optuna
import pytest

from contracts.process_state import process_state
from contracts.study import RECIPE, began, states
from tsfm_adapt.errors import EnvironmentProblem
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.studies.folder import create
from tsfm_adapt.studies.storage import open_study
from tsfm_adapt.studies.tally import tally


def test_a_torn_last_line_is_cut_and_all_whole_lines_stay(study):
    made, trial = began(study)
    made.tell(trial, 0.25)
    journal = study.folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"work')
    again, _ = open_study(study, None, 0)
    assert journal.read_bytes().startswith(whole)
    again.tell(again.ask(), 0.5)
    assert [json.loads(line) for line in journal.read_text().splitlines()]
    assert [t.value for t in open_study(study, None, 0)[0].trials] == [0.25, 0.5]


def test_a_line_in_the_middle_that_is_broken_is_an_error_with_the_file(study):
    began(study)
    journal = study.folder / "journal.log"
    journal.write_bytes(b'{"op_code":4,"work\n' + journal.read_bytes())
    with pytest.raises(EnvironmentProblem, match=r"journal.log' is broken"):
        open_study(study, None, 0)


def test_the_lock_of_a_dead_process_is_taken_over(study, monkeypatch):
    import tsfm_adapt.studies.storage

    monkeypatch.setattr(tsfm_adapt.studies.storage, "_LOCK_GRACE_S", 1)
    with pytest.warns(UserWarning, match="grace_period"):
        made, trial = began(study)
    (study.folder / "journal.log.lock").symlink_to(study.folder / "journal.log")
    made.tell(trial, 1.0)
    assert states(made) == ["COMPLETE"]


def test_the_recipe_as_it_stands_is_the_first_trial_where_the_space_holds_it(tmp_path):
    recipe = loads(RECIPE, ["train.lr=0.001"])
    made, _ = open_study(create(recipe, tmp_path, database=False, smoke=False), None, 0)
    first = made.ask()
    assert first.suggest_float("train.lr", 1e-4, 1e-2, log=True) == 0.001
    assert first.user_attrs["as_it_stands"]


def test_processes_draw_differently_and_each_the_same_again(tmp_path):
    def drawn(folder, worker):
        study = create(loads(RECIPE), tmp_path / folder, database=False, smoke=False)
        trial = open_study(study, None, worker)[0].ask()
        return trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)

    first, second = drawn("a", 1), drawn("b", 2)
    assert first == drawn("c", 1)
    assert second == drawn("d", 2)
    assert first != second


def test_a_process_that_goes_on_does_not_repeat_its_draws(study):
    values = set()
    for _ in range(4):  # each opens the study anew, as a resumed process does
        made, trial = began(study)
        made.tell(trial, 1.0)
        values.add(trial.params["train.lr"])
    assert len(values) == 4


def test_a_database_finds_the_study_of_the_same_recipe_again(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    recipe = loads(RECIPE)
    one = create(recipe, tmp_path / "here", database=True, smoke=False)
    made, ours = open_study(one, url, 0)
    made.tell(made.ask(), 1.0)
    assert ours
    assert create(recipe, tmp_path / "here", database=True, smoke=False) == one
    other, theirs = open_study(
        create(recipe, tmp_path / "there", database=True, smoke=False), url, 0
    )
    assert not theirs
    assert states(other) == ["COMPLETE"]
    different = create(
        loads(RECIPE, ["train.lr=0.4"]), tmp_path / "here", database=True, smoke=False
    )
    assert states(open_study(different, url, 0)[0]) == []


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not the url of a database"),
        ("sqlite:////nowhere/study.db", "cannot be opened"),
        ("nodialect://me:secret@host/db", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_had_is_named_without_its_password(tmp_path, url, said):
    study = create(loads(RECIPE), tmp_path, database=True, smoke=False)
    with pytest.raises(EnvironmentProblem, match=said) as told:
        open_study(study, url, 0)
    assert "secret" not in str(told.value)


def test_a_study_in_a_database_wants_to_know_which(tmp_path):
    study = create(loads(RECIPE), tmp_path, database=True, smoke=False)
    with pytest.raises(EnvironmentProblem, match="Give the database's url") as told:
        open_study(study, None, 0)
    assert told.value.remedy == "storage=URL"


@pytest.mark.parametrize(
    ("sampler", "pruner"),
    [
        *(("tpe", "median"), ("gp", "none"), ("random", "percentile"), ("qmc", "halving")),
        ("random", "hyperband"),
    ],
)
def test_every_sampler_and_pruner_draws_and_judges(tmp_path, sampler, pruner):
    recipe = loads(RECIPE)
    search = recipe.search.model_copy(update={"sampler": sampler, "pruner": pruner})
    study = create(
        recipe.model_copy(update={"search": search}), tmp_path, database=False, smoke=False
    )
    made, _ = open_study(study, None, 0)

    def value(trial):
        lr = trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
        for step in (4, 8, 12, 16):
            trial.report(lr * step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return lr

    made.optimize(value, n_trials=12)
    assert set(states(made)) <= {"COMPLETE", "PRUNED"}
    assert ("PRUNED" in states(made)) == (pruner != "none")
    assert len({t.params["train.lr"] for t in made.trials}) == 12


def test_a_grid_is_queued_once_even_if_opened_twice(tmp_path):
    grid = "search={sampler: grid, space: {train.lr: {choices: [0.1, 0.2, 0.3]}}}"
    study = create(loads(RECIPE, [grid]), tmp_path, database=False, smoke=False)
    open_study(study, None, 0)
    made, _ = open_study(study, None, 0)
    assert states(made) == ["WAITING"] * 3
    assert study.planned == 3
    assert tally(made).finished == ()


@pytest.mark.parametrize("database", [False, True])
def test_opening_a_study_leaves_loggers_and_warnings_as_they_were(tmp_path, database):
    url = f"sqlite:///{tmp_path / 'study.db'}" if database else None
    study = create(loads(RECIPE), tmp_path, database=database, smoke=False)
    before = process_state()
    open_study(study, url, 0)
    assert process_state() == before
