"""Cells of experiments: what is finished stays finished; a bench scores as the product does."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import DataError
from tsfm_adapt.runs import lifecycle

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "experiments"))
grid = importlib.import_module("grid")

SMALL = {
    "data.reader": {"name": "synthetic", "subjects": 6, "hours": 7},
    "data.split": {"by": "subject", "order": "name", "train": 3, "val": 1, "test": 2},
    "backbone": {"name": "chronos_bolt"},
    "train.steps": 2,
    "train.batch_size": 2,
    "train.val_windows": 4,
}


def cell(name="small", **changes):
    return grid.Condition(name, "vitals_forecast", SMALL | changes)


def test_finished_cells_are_not_run_again_and_failed_ones_are(tmp_path, capsys):
    cells = [cell("a"), cell("b"), cell("c")]
    ran = []

    def work(one):
        ran.append(one.name)
        if one.name == "b" and ran.count("b") == 1:
            raise DataError("the first time.")
        return {"mase": len(ran)}

    assert grid.finish(cells, tmp_path, work) == ["b"]
    assert "b failed: the first time." in capsys.readouterr().out
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert sorted(before) == ["a.json", "c.json"]
    assert grid.finish(cells, tmp_path, work) == []
    assert ran == ["a", "b", "c", "b"]
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
    assert grid.read(tmp_path, "b")["mase"] == 4


def test_a_bench_trains_once_and_scores_as_a_run_of_the_product_does(tmp_path, monkeypatch):
    recipe, losses = cell().load(), tmp_path / "validation.json"
    bench = grid.Bench(tmp_path / "bench")
    found = grid.validate([cell()], losses, bench)
    scores = bench.scores(recipe)
    assert scores["training"]["best_loss"] == pytest.approx(found["small"]["loss"], abs=1e-5)
    assert bench.scores(recipe)["training"] == scores["training"]  # seconds too: not trained again
    monkeypatch.setattr(grid.Bench, "train", None)
    assert grid.validate([cell()], losses, bench) == found == json.loads(losses.read_text())

    whole = lifecycle.train(recipe, tmp_path / "runs", Progress(quiet=True)).scores
    mine, theirs = scores["models"]["model"], whole.models["adapted"]
    assert mine["overall"] == theirs.overall
    assert scores["origins_sha256"] == whole.protocol.origins_sha256
    assert scores["trainable_parameters"] == whole.costs.trainable_parameters
    absolute, count = bench.errors(scores).sums()
    by_channel = absolute.sum(0) / count.sum(0) / scores["mase_scale"]
    assert by_channel.mean() == pytest.approx(mine["overall"]["mase"], rel=1e-6)


def test_a_bench_reads_again_where_the_split_follows_the_seed(tmp_path):
    bench = grid.Bench(tmp_path)
    for order, windows in (("name", 1), ("seed", 2)):
        split = {"data.split": {"by": "subject", "order": order}}
        found = [bench.prepared(cell(seed=seed, **split).load()) for seed in (1, 2)]
        assert len({prepared.windows["test"].origins_sha256() for prepared in found}) == windows


def test_another_recipe_has_another_folder(tmp_path):
    bench = grid.Bench(tmp_path)
    folders = {bench.run_folder(cell(seed=seed).load()) for seed in (1, 2, 2)}
    assert len(folders) == 2


def test_averaged_errors_have_the_mean_of_the_scores():
    rng = np.random.default_rng(0)
    target = rng.normal(size=(6, 2, 5))
    unknown = np.full_like(target, np.nan)
    scored = rng.random(target.shape) < 0.8
    seeds = [
        grid.ForecastErrors(
            tuple("aabbcc"),
            target,
            scored,
            target + rng.normal(size=target.shape),
            *[unknown] * 3,
        )
        for _ in range(3)
    ]
    sums = [each.sums()[0].sum(0) for each in seeds]
    mean = grid.averaged(seeds)
    np.testing.assert_allclose(mean.sums()[0].sum(0), np.mean(sums, axis=0))
    np.testing.assert_array_equal(mean.scored, scored)
