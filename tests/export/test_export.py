"""What stops an export, and that nothing half written is left behind."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import DataError, EnvironmentProblem, RecipeError
from tsfm_adapt.export.export import _check, _difference, _objections, _source, _whole, export
from tsfm_adapt.recipe.files import dumps, load

V0_1 = Path(__file__).parents[1] / "data" / "v0_1" / "forecast"
QUIET = Progress(quiet=True)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def run(tmp_path):
    shutil.copytree(V0_1, tmp_path / "run")
    return tmp_path / "run"


def changed(run, change):
    path = run / "scores.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return _objections(_source(run))


def test_a_model_that_was_shown_to_be_better_has_nothing_against_it(run):
    assert changed(run, lambda scores: scores["verdict"]["vs_zero_shot"].update(shown=True)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s["verdict"]["vs_zero_shot"].update(shown=False), "better than zero-shot"),
        (lambda s: s.update(verdict=None), "no verdict"),
        (lambda s: s.update(smoke=True), "smoke run"),
    ],
)
def test_scores_that_show_nothing_are_an_objection(run, change, words):
    (objection,) = changed(run, change)
    assert words in objection


def test_what_has_an_objection_or_a_target_that_exists_is_not_written(run, tmp_path):
    changed(run, lambda scores: scores.update(smoke=True))
    with pytest.raises(RecipeError, match="is not exported: it is a smoke run"):
        export(run, "bundle", tmp_path / "out", False, QUIET)
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="exists"):
        export(run, "bundle", run, True, QUIET)


def test_by_force_the_card_says_what_was_against_it(run, tmp_path):
    changed(run, lambda scores: scores.update(smoke=True))
    found = export(run, "bundle", tmp_path / "out", True, QUIET)
    assert found.folder == tmp_path / "out"
    assert "smoke run" in (found.folder / "README.md").read_text(encoding="utf-8")
    kept = {path.name for path in (run / "bundle").iterdir()}
    assert kept <= {path.name for path in found.folder.iterdir()}
    assert str(found.folder) in found.loading


def test_a_folder_without_trained_weights_has_nothing_to_export(run, tmp_path):
    shutil.rmtree(run / "bundle")
    with pytest.raises(DataError, match="no trained weights"):
        export(run, "bundle", tmp_path / "out", True, QUIET)
    plain = load(run / "recipe.yaml", ["search=null"]).override({"adapters": []})
    (run / "recipe.yaml").write_text(dumps(plain), encoding="utf-8")
    with pytest.raises(RecipeError, match="adapted nothing"):
        export(run, "bundle", tmp_path / "out", True, QUIET)


def stopped_while_writing(out):
    with _whole(out) as unfinished:
        (unfinished / "x").touch()
        raise KeyError


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with _whole(tmp_path / "a" / "out") as unfinished:
        (unfinished / "x").touch()
        assert not (tmp_path / "a" / "out").exists()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]
    with pytest.raises(KeyError):
        stopped_while_writing(tmp_path / "b" / "out")
    assert list((tmp_path / "b").iterdir()) == []
    with pytest.raises(EnvironmentProblem), _whole(tmp_path / "c" / "out"):
        raise OSError("disk full")


def test_differences_are_a_share_of_the_largest_value_of_each_series():
    expected = torch.tensor([[[100.0, 50.0], [1.0, -2.0]]])
    found = expected + torch.tensor([[[1.0, 0.0], [0.0, 0.1]]])
    assert _difference(found, expected) == pytest.approx(0.05)
    gap = expected.clone()
    gap[0, 0, 0] = torch.nan
    assert _difference(gap, gap) == 0
    assert _difference(gap, expected) == float("inf")


def test_an_export_that_says_something_else_is_refused_with_the_worst_windows():
    _check({"random windows": 1e-6, "test windows": 1e-5}, 1e-5, "merged")
    for worst in (2e-5, float("inf")):
        with pytest.raises(RecipeError, match=r"merged: .* on test windows"):
            _check({"random windows": 1e-6, "test windows": worst}, 1e-5, "merged")
