"""Every recipe file is found, read, and run from reading its data to its scores."""

import json
import os
import sys
from pathlib import Path

import pytest

from tsfm_adapt.cli import main
from tsfm_adapt.components import component
from tsfm_adapt.recipe.files import dumps, load, loads

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
FOLDERS = ("recipes", "experiments")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.yaml"))]

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def forecast_adds(task, scores):
    assert "ridge" in scores["models"]
    assert "last_value" in scores["models"]
    assert list(scores["horizons"]) == [f"{seconds:g}" for seconds in task.horizons_s]


def impute_adds(task, scores):
    assert {"linear", "carry_forward", "mean_of_window", "ridge"} <= scores["models"].keys()
    names = {"point", "channel"} | {
        f"{hiding.pattern}_{seconds:g}"
        for hiding in task.missingness
        for seconds in hiding.lengths_s
    }
    assert 0 < len(scores["gaps"].keys()) <= len(names)
    assert scores["gaps"].keys() <= names


def classify_adds(task, scores):
    assert {"majority", "statistics_logistic", "random_convolutions", "frozen_probe"} <= set(
        scores["models"]
    )
    assert "zero_shot" not in scores["models"]
    assert "frozen_probe" in scores["reasons"]["zero_shot"]
    assert scores["metric"] == task.metric


# What a task adds to scores.json, by the task's name.
ADDED = {"forecast": forecast_adds, "impute": impute_adds, "classify": classify_adds}


def test_every_recipe_file_is_found():
    on_disk = [
        Path(folder) / name
        for top in FOLDERS
        for folder, _, names in os.walk(ROOT / top)
        for name in names
        if name.lower().endswith((".yaml", ".yml"))
    ]
    assert sorted(on_disk) == sorted(FILES)
    assert len(FILES) >= 15
    assert {path.suffix for path in (ROOT / "recipes").iterdir()} == {".yaml"}


@each_file
def test_a_resolved_recipe_is_the_recipe(path):
    recipe = load(path)
    assert loads(dumps(recipe)) == recipe
    assert dumps(loads(dumps(recipe))) == dumps(recipe)


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.parent.name == "recipes"], ids=lambda path: path.name
)
def test_its_first_lines_say_what_it_does_how_to_run_it_and_what_it_needs(path):
    title, run, third = path.read_text(encoding="utf-8").splitlines()[:3]
    assert title.startswith("# ")
    assert title.endswith(".")
    assert run.startswith("# Run:   ")
    assert run.endswith(f"tsfm-adapt train {path.relative_to(ROOT)}")
    assert third.startswith("# Needs: ")
    assert ("SYNTHETIC" in title) == load(path).data.reader.synthetic


def test_no_two_recipes_share_a_name():
    names = [load(path).name for path in FILES]
    assert sorted(set(names)) == sorted(names)


@each_file
def test_its_smoke_run_goes_from_data_to_scores(path, tmp_path, monkeypatch, capsys):
    recipe = load(path, to_tune=False)
    reader = recipe.data.reader
    if problem := component("reader", reader.name).problem:
        pytest.skip(f"reader '{reader.name}' {problem}")
    root = getattr(reader, "root", None)  # some recordings come with a package
    if root is not None and not (DATA / root).exists():
        pytest.skip(f"the development recordings ({root}) are not beside this checkout")
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(DATA))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tsfm-adapt", "train", str(path), "--smoke", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        main()
    output = capsys.readouterr()
    assert ended.value.code == 0, output.err
    run = Path(output.out.splitlines()[-1].removeprefix("run: "))
    assert run.parent == Path("runs") / recipe.name
    scores = json.loads((run / "scores.json").read_text())
    assert scores["smoke"]
    assert scores["verdict"] is None
    assert 1 <= scores["windows"] <= 4
    assert scores["synthetic"] == reader.synthetic
    assert "adapted" in scores["models"]
    assert ("zero_shot" in scores["models"]) != ("zero_shot" in scores["reasons"])
    ADDED[recipe.task.name](recipe.task, scores)
    by_gradient = recipe.adapters or recipe.head.name != "probe"
    assert bool(scores["costs"]["trainable_parameters"]) == bool(by_gradient)
    assert (run / "bundle" / "bundle.json").exists()
    assert load(run / "recipe.yaml").override({"train": recipe.train.model_dump()}) == recipe
