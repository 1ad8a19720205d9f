"""The command line with components of another package alone, which no file of ours names."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml

from contracts.installed import describe_project

ROOT = Path(__file__).parents[2]
PROJECT = Path(__file__).parent
TOYS = {
    "backbones": "toy_encoder",
    "adapters": "toy_shift",
    "heads": "toy_horizon",
    "tasks": "toy_next",
    "readers": "toy_text",
}
RECIPE = {
    "name": "toys",
    "data": {
        "reader": {"name": "toy_text", "root": "recordings"},
        "channels": {"HR": "bpm", "MAP": "mmHg"},
        "rate_hz": 0.1,
        "split": {"train": 0.6, "val": 0.2, "test": 0.2},
    },
    "backbone": {"name": "toy_encoder", "checkpoint": "tiny"},
    "adapters": [{"name": "toy_shift"}],
    "head": {"name": "toy_horizon"},
    "task": {"name": "toy_next", "context_s": 320, "horizon_s": 100},
    "train": {"steps": 20, "batch_size": 8, "lr": 0.01, "accelerator": "cpu"},
    "evaluate": {"max_windows": 30},
}


def recordings(folder, subjects=10, samples=120):
    """Waves with noise and gaps, one file a subject."""
    generator = np.random.default_rng(3)
    folder.mkdir()
    for number in range(subjects):
        phase = np.arange(samples) / 7 + number
        rate = 70 + 8 * np.sin(phase) + generator.normal(0, 1, samples)
        pressure = 80 + 5 * np.sin(phase + 1) + generator.normal(0, 1, samples)
        gaps = generator.random(samples) < 0.05
        lines = [
            f"{'-' if gap else f'{hr:.2f}'} {mmhg:.2f}"
            for hr, mmhg, gap in zip(rate, pressure, gaps, strict=True)
        ]
        text = "\n".join(["0.1 HR:bpm MAP:mmHg", *lines])
        (folder / f"s{number:02d}.toy").write_text(f"{text}\n")


@pytest.fixture(scope="module")
def toys(tmp_path_factory):
    """Runs the command line where the toys are installed, or as an installer leaves them."""
    folder = tmp_path_factory.mktemp("toys")
    paths = [str(ROOT / "src")]
    if "toy-tsfm" not in {found.name for found in importlib.metadata.distributions()}:
        describe_project(folder / "installed", PROJECT)
        paths += [str(folder / "installed"), str(PROJECT / "src")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    recordings(folder / "recordings")
    (folder / "toys.yaml").write_text(yaml.safe_dump(RECIPE, sort_keys=False))

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-m", "tsfm_adapt", *map(str, words)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def trained(toys):
    """A run's folder, and what `train` printed."""
    printed = toys("train", "toys.yaml").splitlines()
    return toys.folder / printed[-1].removeprefix("run: "), printed


def test_no_file_of_ours_names_them():
    for path in (ROOT / "src").rglob("*.py"):
        assert "toy_" not in path.read_text(encoding="utf-8"), path


def test_where_it_is_installed_it_is_as_its_project_says():
    try:
        found = importlib.metadata.distribution("toy-tsfm")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(
            "toy-tsfm is not installed here: pip install --no-deps --editable tests/plugin"
        )
    groups = {(entry.group, entry.name, entry.value) for entry in found.entry_points}
    assert groups == {
        (f"tsfm_adapt.{kind}", name, f"toy_tsfm.{name}") for kind, name in TOYS.items()
    }


@pytest.mark.parametrize("kind", TOYS)
def test_list_names_them_and_their_package(toys, kind):
    (entry,) = [e for e in json.loads(toys("list", kind, "--json")) if e["name"] == TOYS[kind]]
    assert entry["ready"]
    assert entry["package"] == "toy-tsfm"
    assert entry["summary"].startswith("Toy ")
    assert re.search(rf"{TOYS[kind]} .*\(package toy-tsfm\)", toys("list", kind))


def test_the_schema_shows_their_settings(toys):
    definitions = json.loads(toys("schema"))["$defs"]
    named = {own["properties"].get("name", {}).get("const") for own in definitions.values()}
    assert set(TOYS.values()) <= named


def test_check_counts_what_would_train(toys):
    lines = toys("check", "toys.yaml").splitlines()
    # a vector of 16, a linear layer from 16 to 10 steps
    assert any(line.startswith(f"trains {16 + 16 * 10 + 10} of ") for line in lines)
    assert lines[-1] == "ok"


def test_train_scores_the_run_beside_baselines_and_says_who_is_better(trained):
    run, printed = trained
    scores = json.loads((run / "scores.json").read_text())
    assert set(scores["models"]) >= {"adapted", "toy_mean"}
    assert scores["models"]["adapted"]["overall"]["mase"] > 0
    assert any("toy_mean" in line for line in printed)


def test_a_metric_of_their_own_is_named_and_directed_as_its_scoring_says(toys, trained):
    run, printed = trained
    scores = json.loads((run / "scores.json").read_text())
    assert [scores[key] for key in ("metric", "metric_label", "better", "metric_unit")] == [
        "toy_skill",
        "toy skill",
        "higher",
        "points",
    ]
    assert "toy_skill" in printed[1]
    ranked = [own["overall"]["toy_skill"] for own in scores["models"].values()]
    best = max(ranked)
    first = printed[2].split()
    assert float(first[1]) == pytest.approx(best, abs=1e-4)
    assert re.search(r": toy skill \d+\.\d points (higher|lower)", printed[-2])
    card = (run / "bundle" / "README.md").read_text(encoding="utf-8")
    assert "| model (higher is better) | toy skill |" in card
    page = toys("compare", run, run, "--out", "metric").splitlines()[-1].removeprefix("report: ")
    text = (toys.folder / page).read_text(encoding="utf-8")
    assert "Models are ranked by toy skill; higher is better." in text
    assert "points of toy skill" in text


def test_what_is_kept_of_predictions_is_a_table(trained):
    run, _ = trained
    table = pyarrow.parquet.read_table(run / "predictions" / "test.parquet")
    assert set(table.column("channel").to_pylist()) == {"HR", "MAP"}


def test_evaluate_gives_the_same_scores_again(toys, trained):
    run, _ = trained
    before = json.loads((run / "scores.json").read_text())["models"]["adapted"]
    toys("evaluate", run)
    assert json.loads((run / "scores.json").read_text())["models"]["adapted"] == before


def test_predict_reads_new_recordings_with_the_reader(toys, trained):
    run, _ = trained
    printed = toys("predict", run, "recordings", "--out", "ahead.csv")
    assert printed == "200 rows of 10 subjects: ahead.csv\n"
    from_bundle = toys("predict", run / "bundle", "recordings", "--out", "again.csv")
    assert from_bundle.startswith("200 rows")
    ahead, again = ((toys.folder / name).read_text() for name in ("ahead.csv", "again.csv"))
    assert ahead == again


def test_embed_gives_a_vector_a_window_and_channel(toys, trained):
    run, _ = trained
    toys("embed", run, "--out", "vectors.parquet")
    table = pyarrow.parquet.read_table(toys.folder / "vectors.parquet")
    assert table.num_rows > 0
    vectors = np.stack(table.column(table.column_names[-1]).to_numpy(zero_copy_only=False))
    assert vectors.shape[1] == 16
    assert np.isfinite(vectors).all()


def test_export_writes_a_bundle_that_predicts(toys, trained):
    run, _ = trained
    toys("export", run, "--to", "bundle", "--out", "handed_on", "--force")
    assert toys("predict", "handed_on", "recordings", "--out", "b.csv").startswith("200 rows")


def test_compare_ranks_them(toys, trained):
    printed = toys("compare", "toys.yaml", "--adapters", "none,toy_shift", "--jobs", "1")
    encoder = "toy_encoder (tiny)"
    *rows, last = printed.splitlines()
    for name in (f"{encoder}, toy_shift + toy_horizon ", f"{encoder}, toy_horizon ", "toy_mean "):
        assert [row for row in rows if row.startswith(name) and " toy_skill " in row]
    report = toys.folder / last.removeprefix("report: ")
    assert "toy_shift" in report.read_text(encoding="utf-8")
    assert toys("compare", trained[0], trained[0]).splitlines()[-1].startswith("report: ")


def test_init_recognises_the_readers_files(toys):
    printed = toys("init", "recordings", "--out", "proposed.yaml")
    assert printed.startswith("recordings: toy_text, 10 files (.toy)")
    assert "name: toy_text" in (toys.folder / "proposed.yaml").read_text()
