"""What a study keeps when processes die, stop, or write half a line."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tsfm_adapt.errors import DataError, EnvironmentProblem
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.studies.storage import StudyFolder, created, opened, recover, tally, this_process

RECIPE = """
name: small
data:
  reader: {name: synthetic, subjects: 6, hours: 8}
  channels: {HR: bpm}
  rate_hz: 1/60
backbone: {name: chronos2}
adapters: [{name: lora, rank: 4}]
task: {name: forecast, context_s: 7200, horizon_s: 1800}
train: {steps: 20, lr: 0.5}
search: {trials: 5, space: {train.lr: {low: 1.0e-4, high: 1.0e-2, log: true}}}
"""

# Begins a trial as a worker does, and dies in it.
DIES = """
import os, signal, sys
from pathlib import Path
from tsfm_adapt.studies.storage import StudyFolder, opened, this_process
made, _ = opened(StudyFolder(Path(sys.argv[1])), None, 1)
trial = made.ask()
trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
trial.set_user_attr("process", this_process())
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def study(tmp_path):
    return created(loads(RECIPE), tmp_path / "runs", database=False, smoke=False)


def began(study, marks=None):
    """A trial under way; in this process where nothing else is said."""
    made, _ = opened(study, None, 0)
    trial = made.ask()
    trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
    trial.set_user_attr("process", marks or this_process())
    return made, trial


def states(made):
    return [t.state.name for t in made.get_trials(deepcopy=False)]


def test_a_trial_whose_process_died_fails_and_its_parameters_come_again_once(study):
    died = subprocess.run([sys.executable, "-c", DIES, study.folder], capture_output=True)
    assert died.returncode == -9, died.stderr
    made, _ = opened(study, None, 0)
    assert states(made) == ["RUNNING"]
    found = recover(study, made)
    assert states(made) == ["FAIL", "WAITING"]
    assert found.finished == ()
    assert found.reason(found.trials[0]) == "its process died; again as 1"
    assert states(made) == [t.state.name for t in recover(study, made).trials]
    again = made.ask()
    drawn = again.suggest_float("train.lr", 1e-4, 1e-2, log=True)
    assert drawn == found.trials[0].params["train.lr"]
    assert (again.number, again.user_attrs["again"]) == (1, 0)


def test_a_trial_of_this_process_is_left_alone(study):
    made, trial = began(study)
    assert len(recover(study, made).running) == 1
    made.tell(trial, 1.0)
    assert states(made) == ["COMPLETE"]


def test_another_process_with_the_number_of_the_dead_one_is_told_apart(study):
    if not Path("/proc/self/stat").exists():
        pytest.skip("only Linux says when a process began")
    made, _ = began(study, {**this_process(), "started": "1"})
    recover(study, made)
    assert states(made) == ["FAIL", "WAITING"]


def test_a_process_of_another_machine_lives_while_its_sign_is_touched(study):
    made, _ = began(study, {"host": "elsewhere", "pid": 7, "started": "1"})
    sign = study.folder / "alive" / "elsewhere-7"
    sign.parent.mkdir()
    sign.touch()
    assert len(recover(study, made).running) == 1
    os.utime(sign, (1e9, 1e9))
    recover(study, made)
    assert states(made) == ["FAIL", "WAITING"]


def test_what_was_failed_but_not_queued_is_queued(study):
    """The process that recovers may die between the two."""
    made, trial = began(study)
    made.tell(trial, state=TrialState.FAIL)
    found = recover(study, made)
    assert states(made) == ["FAIL", "WAITING"]
    assert found.trials[1].user_attrs["params"] == trial.params


def test_parameters_of_which_three_processes_died_have_failed(study):
    made, _ = opened(study, None, 0)
    for _ in range(3):
        recover(study, made)
        trial = made.ask()
        trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
        made.tell(trial, state=TrialState.FAIL)
    found = recover(study, made)
    assert states(made) == ["FAIL"] * 3
    assert [t.number for t in found.finished] == [2]
    assert found.reason(found.trials[2]) == "its process died 3 times"
    assert found.reason(found.trials[0]) == "its process died; again as 1"


def test_being_stopped_is_no_death(study):
    made, _ = opened(study, None, 0)
    for _ in range(4):
        recover(study, made)
        trial = made.ask()
        trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
        trial.set_user_attr("stopped", "KeyboardInterrupt")
        made.tell(trial, state=TrialState.FAIL)
    found = recover(study, made)
    assert states(made) == ["FAIL"] * 4 + ["WAITING"]
    assert found.finished == ()


def test_a_trial_that_failed_for_a_reason_is_finished(study):
    made, trial = began(study)
    trial.set_user_attr("reason", "it diverged")
    made.tell(trial, state=TrialState.FAIL)
    found = recover(study, made)
    assert states(made) == ["FAIL"]
    assert len(found.finished) == 1
    assert found.reason(found.trials[0]) == "it diverged"


def test_a_torn_last_line_is_cut_and_all_whole_lines_stay(study):
    made, trial = began(study)
    made.tell(trial, 0.25)
    journal = study.folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code":4,"work')
    again, _ = opened(study, None, 0)
    assert journal.read_bytes().startswith(whole)
    again.tell(again.ask(), 0.5)
    assert [json.loads(line) for line in journal.read_text().splitlines()]
    assert [t.value for t in opened(study, None, 0)[0].trials] == [0.25, 0.5]


def test_a_line_in_the_middle_that_is_broken_is_an_error_with_the_file(study):
    began(study)
    journal = study.folder / "journal.log"
    journal.write_bytes(b'{"op_code":4,"work\n' + journal.read_bytes())
    with pytest.raises(EnvironmentProblem, match=r"journal.log' is broken"):
        opened(study, None, 0)


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
    made, _ = opened(created(recipe, tmp_path, False, False), None, 0)
    first = made.ask()
    assert first.suggest_float("train.lr", 1e-4, 1e-2, log=True) == 0.001
    assert first.user_attrs["as_it_stands"]


def test_processes_draw_differently_and_each_the_same_again(tmp_path):
    def drawn(folder, worker):
        study = created(loads(RECIPE), tmp_path / folder, False, False)
        trial = opened(study, None, worker)[0].ask()
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
    one = created(recipe, tmp_path / "here", True, False)
    made, ours = opened(one, url, 0)
    made.tell(made.ask(), 1.0)
    assert ours
    assert created(recipe, tmp_path / "here", True, False) == one
    other, theirs = opened(created(recipe, tmp_path / "there", True, False), url, 0)
    assert not theirs
    assert states(other) == ["COMPLETE"]
    different = created(loads(RECIPE, ["train.lr=0.4"]), tmp_path / "here", True, False)
    assert states(opened(different, url, 0)[0]) == []


def test_a_dead_process_is_seen_in_a_database_too(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = created(loads(RECIPE), tmp_path, True, False)
    made, _ = opened(study, url, 0)
    made.ask().set_user_attr("process", {**this_process(), "pid": 2**22 + 1})
    other = {"host": f"not-{socket.gethostname()}", "pid": 1, "started": "1"}
    made.ask().set_user_attr("process", other)  # its machine's heartbeat decides
    recover(study, made)
    assert states(made) == ["FAIL", "RUNNING", "WAITING"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not the url of a database"),
        ("sqlite:////nowhere/study.db", "cannot be opened"),
        ("nodialect://me:secret@host/db", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_had_is_named_without_its_password(tmp_path, url, said):
    study = created(loads(RECIPE), tmp_path, True, False)
    with pytest.raises(EnvironmentProblem, match=said) as told:
        opened(study, url, 0)
    assert "secret" not in str(told.value)


def test_a_study_in_a_database_wants_to_know_which(tmp_path):
    study = created(loads(RECIPE), tmp_path, True, False)
    with pytest.raises(EnvironmentProblem, match="--storage URL"):
        opened(study, None, 0)


def test_a_folder_without_a_study_is_refused(tmp_path):
    with pytest.raises(DataError, match="is no study"):
        _ = StudyFolder(tmp_path).recipe


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
    study = created(recipe.model_copy(update={"search": search}), tmp_path, False, False)
    made, _ = opened(study, None, 0)

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
    study = created(loads(RECIPE, [grid]), tmp_path, False, False)
    opened(study, None, 0)
    made, _ = opened(study, None, 0)
    assert states(made) == ["WAITING"] * 3
    assert study.planned == 3
    assert tally(made).finished == ()
