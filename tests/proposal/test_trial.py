"""A trial sees train and validation only, ends in time, and never ends the proposal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from contracts.tried import proposed_from, trials, vitals
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.proposal import trial as module
from tsfm_adapt.proposal import zero_shot
from tsfm_adapt.proposal.proposal import with_trial
from tsfm_adapt.proposal.recipe_text import text
from tsfm_adapt.proposal.trial import tried, without_test
from tsfm_adapt.proposal.zero_shot import ZeroShot
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import prepare

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def ward(tmp_path_factory):
    folder = vitals(tmp_path_factory.mktemp("ward") / "data")
    survey, proposal, recipe = proposed_from(folder)
    return folder, survey, proposal, recipe, tried(recipe, survey, QUIET)


def test_the_best_network_is_in_the_recipe_with_all_scores_beside_it(ward):
    folder, _, proposal, recipe, trial = ward
    assert [row.network for row in trial.rows] == [True, True, True, False]
    scores = [row.score for row in trial.rows if row.network]
    assert scores == sorted(scores)
    written = text(with_trial(proposal, trial), folder, Path("recipe.yaml"))
    chosen = loads(written)
    assert chosen.backbone.name == trial.best.name
    assert chosen.adapters == recipe.adapters
    assert chosen.model_copy(update={"backbone": recipe.backbone}) == recipe
    for row in trial.rows:
        assert f"# Trial: {row.name} {row.score:.4g}" in written
    assert "the best of the trial above" in written


def test_a_trial_gives_the_same_text_again(ward):
    folder, survey, proposal, recipe, trial = ward
    again = tried(recipe, survey, QUIET)
    one, other = (
        text(with_trial(proposal, each), folder, Path("recipe.yaml")) for each in (trial, again)
    )
    assert one == other


def test_without_a_trial_the_recipe_is_the_usual_one_and_says_so(ward):
    folder, _, proposal, recipe, _ = ward
    written = text(proposal, folder, Path("recipe.yaml"))
    assert "# Trial: none: no network was compared" in written
    assert recipe.backbone.name == "chronos2"


def test_values_of_test_subjects_change_nothing(ward, tmp_path):
    _, _, _, recipe, trial = ward
    tested = sorted({r.subject for r in prepare(recipe).recordings["test"]})
    assert len(tested) >= 5
    survey, _, other = proposed_from(vitals(tmp_path / "data", changed=tuple(tested)))
    assert other.data.split == recipe.data.split
    assert tried(other, survey, QUIET).rows == trial.rows
    learned = sorted({r.subject for r in prepare(recipe).recordings["val"]})
    survey, _, other = proposed_from(vitals(tmp_path / "data", changed=tuple(learned)))
    assert tried(other, survey, QUIET).rows != trial.rows, "else the test could not fail"


def test_values_of_test_subjects_change_nothing_for_classes(tmp_path):
    survey, _, recipe = proposed_from(trials(tmp_path / "data"))
    trial = tried(recipe, survey, QUIET)
    tested = {int(r.subject) for r in prepare(recipe).recordings["test"]}
    numbers = tuple(n for n in range(60) if n // 5 in tested)
    assert numbers
    survey, _, other = proposed_from(trials(tmp_path / "data", changed=numbers))
    assert tried(other, survey, QUIET).rows == trial.rows


def test_a_context_without_test_has_its_windows_nowhere(ward):
    _, _, _, recipe, _ = ward
    prepared = prepare(recipe)
    context = without_test(recipe, prepared)
    tested = {r.subject for r in prepared.recordings["test"]}
    seen = [*context.val.recordings, *context.test.recordings, *context.prepared.fit]
    assert not tested & {r.subject for r in seen}
    held = {r.subject for r in context.val.recordings}
    assert not held & {r.subject for r in context.prepared.fit}, "baselines learn from train"


def stopping(at, error):
    """A `piece` that stops at a number of calls."""
    calls = iter(range(10**6))
    real = ZeroShot.piece

    def piece(self, number, name):
        if next(calls) == at:
            raise error
        real(self, number, name)

    return piece


def test_an_interrupted_trial_has_the_rounds_that_are_whole(ward, monkeypatch):
    _, survey, _, recipe, _ = ward
    monkeypatch.setattr(ZeroShot, "piece", stopping(7, KeyboardInterrupt()))
    found = tried(recipe, survey, QUIET)
    assert "interrupted and 2 of 8 rounds" in found.on
    assert found.best is not None
    monkeypatch.setattr(ZeroShot, "piece", stopping(1, KeyboardInterrupt()))
    found = tried(recipe, survey, QUIET)
    assert found.best is None
    assert found.lines == ["none came to an end (interrupted): the usual network is proposed"]


def test_an_interruption_while_baselines_are_fitted_leaves_them_out(ward, monkeypatch):
    _, survey, _, recipe, _ = ward

    def interrupted(context, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr(zero_shot, "baselines", interrupted)
    found = tried(recipe, survey, QUIET)
    assert found.best is not None
    assert "interrupted and 8 of 8 rounds" in found.on
    assert found.rows[-1].score is None


def test_a_trial_ends_when_its_time_is_over(ward, monkeypatch):
    _, survey, proposal, recipe, _ = ward
    found = tried(recipe, survey, QUIET, budget_s=0)
    assert found.lines == [
        "none came to an end (stopped after 0 s): the usual network is proposed"
    ]
    assert with_trial(proposal, found).written == proposal.written
    clock = iter(range(10**6))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    found = tried(recipe, survey, QUIET, budget_s=9)
    assert "stopped after 9 s and 3 of 8 rounds" in found.on
    wanted = len(prepare(recipe).windows["val"])
    assert int(found.on.split()[2]) < wanted / 2


def test_what_cannot_be_tried_is_said(ward, monkeypatch):
    _, survey, _, recipe, _ = ward
    (line,) = tried(recipe, replace(survey, more=True), QUIET).lines
    assert line.startswith("none: which recordings are for test")
    broken = recipe.override({"data.channels": {"no_such": "bpm"}, "data.cleaning": {}})
    (line,) = tried(broken, survey, QUIET).lines
    assert "no recording has a channel 'no_such'" in line
    monkeypatch.setattr(type(recipe.task), "candidates", {})
    (line,) = tried(recipe, survey, QUIET).lines
    assert "nothing to choose from" in line
