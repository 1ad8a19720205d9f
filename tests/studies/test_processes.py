"""Which processes are alive, on this machine and on others."""

import os
import socket
from pathlib import Path

import pytest

from contracts.study import RECIPE, began, states
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.studies.folder import create
from tsfm_adapt.studies.processes import this_process
from tsfm_adapt.studies.storage import open_study
from tsfm_adapt.studies.tally import recover


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


def test_a_dead_process_is_seen_in_a_database_too(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = create(loads(RECIPE), tmp_path, database=True, smoke=False)
    made, _ = open_study(study, url, 0)
    made.ask().set_user_attr("process", {**this_process(), "pid": 2**22 + 1})
    other = {"host": f"not-{socket.gethostname()}", "pid": 1, "started": "1"}
    made.ask().set_user_attr("process", other)  # its machine's heartbeat decides
    recover(study, made)
    assert states(made) == ["FAIL", "RUNNING", "WAITING"]
