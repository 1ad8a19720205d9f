"""`init` on real folders: what it sees in each, and that the recipe it writes runs unchanged."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.components import component
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.picture import png
from tsfm_adapt.proposal.proposal import propose, with_trial
from tsfm_adapt.proposal.recipe_text import text
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.proposal.trial import tried
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import prepare

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the development recordings are not beside this checkout"
)


@dataclass(frozen=True)
class Seen:
    reader: str
    task: str
    split: str
    rate_hz: float
    channels: int  # of the recipe
    zeros: tuple[str, ...] = ()


FOLDERS = {
    "mimic2_numerics": Seen(
        "wfdb", "forecast", "time", 1 / 60, 4, ("HR", "PULSE", "RESP", "SpO2")
    ),
    "wearable_exam_stress": Seen("empatica", "forecast", "subject", 1, 3),
    "cgm_hall2018": Seen("csv", "forecast", "subject", 1 / 300, 1),
    "uea_handmovementdirection": Seen("npy", "classify", "predefined", 1, 10),
    "ucr_ecg5000": Seen("ts", "classify", "subject", 1, 1),
    "mitdb_100": Seen("wfdb", "forecast", "time", 120, 2),
    "challenge2015_alarm": Seen("wfdb", "forecast", "time", 125, 3),
    "mimicdb_03700181": Seen("wfdb", "forecast", "time", 125, 3),
    "ptbdb_s0010": Seen("wfdb", "forecast", "time", 125, 15),
    "sleep_edf_short": Seen("edf", "forecast", "time", 100, 3),
    "eegmmidb_s001r02": Seen("edf", "forecast", "time", 80, 64),
    "challenge2012_icu48h": Seen(
        "challenge2012",
        "forecast",
        "subject",
        1 / 3600,
        16,
        ("DiasABP", "HR", "MAP", "NIDiasABP", "NISysABP", "SysABP", "Temp"),
    ),
}


@cache
def looked(folder):
    reader = recognised(DATA / folder)
    needed = component("reader", reader.name)
    if needed.problem is not None:
        pytest.skip(f"the reader {reader.name} {needed.problem}")
    return reader, look(reader)


def recipe_of(folder, out, task=None):
    reader, survey = looked(folder)
    proposal = propose(survey, reader, task)
    return survey, proposal, loads(text(proposal, DATA / folder, out))


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_is_recognised_and_its_recipe_has_windows(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(tmp_path))
    survey, proposal, recipe = recipe_of(folder, tmp_path / "recipe.yaml")
    seen = FOLDERS[folder]
    assert recipe.data.reader.name == seen.reader
    assert recipe.task.name == seen.task
    assert recipe.data.split.by == seen.split
    assert recipe.data.rate_hz == pytest.approx(seen.rate_hz)
    assert len(recipe.data.channels) == seen.channels
    assert recipe.data.cleaning.zero_is_missing == seen.zeros
    assert png(survey, folder).startswith(b"\x89PNG")
    parts = prepare(recipe, smoke=True)
    assert all(len(parts.windows[part]) for part in ("train", "val", "test"))
    assert parts.audit.findings == ()
    assert ("in_hospital_death" in proposal.task_why) == (seen.reader == "challenge2012")
    assert not any("share stretches" in note for note in proposal.notes)


def test_what_is_known_of_the_traps_is_told():
    survey, proposal, recipe = recipe_of("cgm_hall2018", Path("r.yaml"))
    assert survey.longest_gap_s > 400 * 86400
    assert recipe.data.cleaning.max_gap_s == 3600
    assert recipe.data.channels["gl"].from_unit == "mg/dL"
    assert any("gl mg/dL" in note for note in proposal.notes)
    survey, proposal, recipe = recipe_of("mimic2_numerics", Path("r.yaml"))
    dead = {line.name for line in proposal.channels if line.left_out}
    assert dead >= {"ABPSys", "ABPDias", "ABPMean", "NBPSys"}
    assert any("never evidence" in note for note in proposal.notes)


def test_an_outcome_can_be_chosen():
    _, chosen, recipe = recipe_of("challenge2012_icu48h", Path("r.yaml"), "classify")
    assert chosen.written.task["labels"] == {
        "of": "recording",
        "label": "in_hospital_death",
        "classes": [0, 1],
    }
    assert recipe.task.context_s == 48 * 3600


def trains(folder, tmp_path, monkeypatch):
    from tsfm_adapt.runs import lifecycle

    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(tmp_path / "cache"))
    *_, recipe = recipe_of(folder, tmp_path / "recipe.yaml")
    run = lifecycle.train(recipe, tmp_path / "runs", Progress(quiet=True), smoke=True)
    assert run.scores.models["adapted"] is not None


def test_a_proposed_recipe_trains(tmp_path, monkeypatch):
    trains("cgm_hall2018", tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_every_proposed_recipe_trains(folder, tmp_path, monkeypatch):
    trains(folder, tmp_path, monkeypatch)


@pytest.mark.parametrize("folder", ["cgm_hall2018", "ucr_ecg5000"])
def test_a_trial_proposes_the_best_network_of_its_table(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TSFM_ADAPT_CACHE", str(tmp_path))
    survey, proposal, recipe = recipe_of(folder, tmp_path / "recipe.yaml")
    trial = tried(recipe, survey, Progress(quiet=True), budget_s=600)
    scores = [row.score for row in trial.rows if row.network]
    assert None not in scores
    assert len(set(scores)) > 1
    best = (min if trial.metric.better == "lower" else max)(scores)
    assert trial.best.score == best
    written = loads(text(with_trial(proposal, trial), DATA / folder, tmp_path / "recipe.yaml"))
    (section,) = trial.sections
    assert getattr(written, section).model_dump(exclude_unset=True) == trial.sections[section]


def test_most_recordings_have_a_window():
    _, proposal, recipe = recipe_of("cgm_hall2018", Path("r.yaml"))
    assert "19 of 19 recordings have a window" in proposal.window_why
    assert prepare(recipe).subjects("test") >= 5
