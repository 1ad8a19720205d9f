"""A study as a whole: what it may begin with, which trial is best, its table and its workers."""

import csv
import io
import os
import signal
import sys

import optuna
import pytest

from contracts.study import RECIPE
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.studies import tuning
from tsfm_adapt.studies.folder import create
from tsfm_adapt.studies.tally import Tally

States = optuna.trial.TrialState
LR = optuna.distributions.FloatDistribution(0.0, 1.0)


def trial(value=None, state=States.COMPLETE, **attrs):
    changes = attrs.get("changes", {"train.lr": 0.5})
    return optuna.trial.create_trial(
        state=state,
        value=value,
        params={"train.lr": changes["train.lr"]},
        distributions={"train.lr": LR},
        user_attrs={"changes": changes} | attrs,
    )


def tally(*trials):
    study = optuna.create_study()
    study.add_trials(trials)
    return Tally(tuple(study.get_trials()))


def test_a_study_needs_a_search_and_one_device_a_trial(tmp_path):
    with pytest.raises(RecipeError, match="search: missing"):
        tuning.begin(loads(RECIPE).override({"search": None}), tmp_path, None, smoke=False)
    with pytest.raises(RecipeError, match=r"train\.devices is 2"):
        tuning.begin(loads(RECIPE).override({"train.devices": 2}), tmp_path, None, smoke=False)
    assert list(tmp_path.iterdir()) == []
    begun = tuning.begin(loads(RECIPE), tmp_path, None, smoke=True)
    assert (begun.recipe, begun.smoke, begun.in_database) == (loads(RECIPE), True, False)


@pytest.mark.parametrize(
    ("metric", "name", "best"), [("loss", "mase", 1), ("score", "mase", 1), ("score", "auroc", 2)]
)
def test_the_best_trial_has_the_lowest_loss_or_the_best_score(tmp_path, metric, name, best):
    changes = {"search.metric": metric}
    if name == "auroc":
        labels = {"of": "future", "spans": ["hypotension"], "within_s": 1800}
        changes |= {"task": {"name": "classify", "context_s": 7200, "labels": labels}}
        changes |= {"head": {"name": "linear"}}
    study = create(loads(RECIPE).override(changes), tmp_path, database=False, smoke=False)
    trials = tally(trial(0.5), trial(0.25), trial(0.75), trial(state=States.FAIL, reason="x"))
    assert tuning._best(study, trials).number == best
    assert tuning._best(study, tally(trial(state=States.FAIL, reason="x"))) is None


def test_of_equal_trials_the_first_is_the_best(study):
    assert tuning._best(study, tally(trial(0.5), trial(0.25), trial(0.25))).number == 1


def test_nothing_is_left_once_all_planned_trials_are_finished_or_running(study):
    finished = [trial(0.5), trial(0.25), trial(state=States.FAIL, reason="x")]
    assert study.planned == 5
    assert not tuning._nothing_left(study, tally(*finished))
    assert tuning._nothing_left(study, tally(*finished, trial(1.0), trial(1.0)))


def test_the_table_has_a_row_a_trial_and_a_column_a_changed_path():
    lines = tuning._table(
        tally(
            trial(0.5),
            trial(state=States.FAIL, reason="it diverged"),
            trial(0.25, changes={"train.lr": 0.125, "adapters": [{"name": "lora"}]}),
        )
    )
    rows = list(csv.DictReader(io.StringIO(lines)))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert [row["state"] for row in rows] == ["complete", "failed", "complete"]
    assert [row["value"] for row in rows] == ["0.5", "", "0.25"]
    assert [row["train.lr"] for row in rows] == ["0.5", "0.5", "0.125"]
    assert [row["adapters"] for row in rows] == ["", "", '[{"name": "lora"}]']
    assert [row["reason"] for row in rows] == ["", "it diverged", ""]


def test_a_worker_resumes_the_same_study_under_its_own_number(study):
    python, *arguments = tuning._command(study, 3)
    assert python == sys.executable
    assert arguments == [
        "-m",
        "tsfm_adapt",
        "tune",
        "--resume",
        str(study.folder),
        "--worker",
        "3",
    ]


def test_a_signal_to_end_interrupts_a_study_and_is_as_before_after_it():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), tuning._stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
