"""Which trials are finished, which are tried again, and why."""

import subprocess
import sys

from optuna.trial import TrialState

from contracts.study import began, states
from tsfm_adapt.studies.storage import open_study
from tsfm_adapt.studies.tally import recover

# Begins a trial as a worker does, and dies in it.
DIES = """
import os, signal, sys
from pathlib import Path
from tsfm_adapt.studies.folder import StudyFolder
from tsfm_adapt.studies.processes import this_process
from tsfm_adapt.studies.storage import open_study
made, _ = open_study(StudyFolder(Path(sys.argv[1])), None, 1)
trial = made.ask()
trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
trial.set_user_attr("process", this_process())
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_trial_whose_process_died_fails_and_its_parameters_come_again_once(study):
    died = subprocess.run([sys.executable, "-c", DIES, study.folder], capture_output=True)
    assert died.returncode == -9, died.stderr
    made, _ = open_study(study, None, 0)
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


def test_what_was_failed_but_not_queued_is_queued(study):
    """The process that recovers may die between the two."""
    made, trial = began(study)
    made.tell(trial, state=TrialState.FAIL)
    found = recover(study, made)
    assert states(made) == ["FAIL", "WAITING"]
    assert found.trials[1].user_attrs["params"] == trial.params


def test_parameters_of_which_three_processes_died_have_failed(study):
    made, _ = open_study(study, None, 0)
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
    made, _ = open_study(study, None, 0)
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
