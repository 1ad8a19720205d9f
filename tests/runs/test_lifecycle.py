"""A recipe's run is trained once, and found again by its recipe."""

import pytest

from tsfm_adapt._util import atomic
from tsfm_adapt.recipe.files import dumps, loads
from tsfm_adapt.runs import lifecycle
from tsfm_adapt.runs.run import Run

TEXT = """
name: vitals
data:
  reader: {name: synthetic, subjects: 4, hours: 2}
  channels: {HR: bpm}
  rate_hz: 1/60
backbone: {name: chronos2, checkpoint: tiny}
task: {name: forecast, context_s: 1920, horizon_s: 480}
"""
RECIPE = loads(TEXT)
OTHER = RECIPE.override({"seed": 3})


def started(runs, stamp, recipe, scored=False):
    folder = runs / recipe.name / stamp
    atomic.write_text(folder / "recipe.yaml", dumps(recipe))
    if scored:
        atomic.write_text(folder / "scores.json", "{}")
    return folder


def test_the_latest_run_of_the_very_recipe_is_found(tmp_path):
    assert lifecycle.begun(RECIPE, tmp_path) is None
    started(tmp_path, "1", RECIPE)
    latest = started(tmp_path, "2", RECIPE)
    started(tmp_path, "3", OTHER)
    assert lifecycle.begun(RECIPE, tmp_path).folder == latest


@pytest.mark.parametrize(
    ("state", "work"), [("absent", "train"), ("started", "resume"), ("scored", None)]
)
def test_what_is_there_is_not_computed_again(tmp_path, monkeypatch, state, work):
    done = []
    for name in ("train", "resume"):
        monkeypatch.setattr(lifecycle, name, lambda *_, name=name, **__: done.append(name))
    if state != "absent":
        folder = started(tmp_path, "1", RECIPE, scored=state == "scored")
    run = lifecycle.completed(RECIPE, tmp_path, None)
    assert done == ([] if work is None else [work])
    if work is None:
        assert run == Run(folder)


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "1"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "2"}, False),
    ],
)
def test_the_first_process_is_known_by_the_launchers_number(monkeypatch, variables, first):
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert lifecycle.first_process() is first


def test_another_process_names_a_folder_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    run = lifecycle._created(RECIPE, tmp_path, smoke=False, without_baselines=False)
    assert run.folder.parent == tmp_path / "vitals"
    assert list(tmp_path.rglob("*")) == []
