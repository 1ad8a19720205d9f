"""Rows of a comparison: means over seeds, from best to worst, of runs that fit each other."""

import re

import pytest

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.comparison import ranking
from tsfm_adapt.errors import DataError
from tsfm_adapt.runs import lifecycle
from tsfm_adapt.runs.run import Run

QUIET = Progress(quiet=True)


def test_seeds_are_one_row_and_their_mean(compared, ranked):
    _, _, finished = compared
    lora = next(row for row in ranked.rows if row.name == "chronos_bolt (tiny), lora")
    single = [
        Run(folder).scores.models["adapted"].overall["mase"]
        for folder in finished.folders
        if folder.parts[-3].startswith("chronos_bolt-lora")
    ]
    assert lora.seeds == len(single) == 2
    assert lora.overall["mase"] == pytest.approx(sum(single) / 2)
    assert lora.vs_reference.name == "zero-shot"
    assert lora.vs_reference.p_holm >= lora.vs_reference.comparison.p
    zero_shot = next(row for row in ranked.rows if row.name == "chronos_bolt (tiny), zero-shot")
    gain = 100 * (1 - lora.overall["mase"] / zero_shot.overall["mase"])
    assert lora.vs_reference.comparison.difference == pytest.approx(gain)


def test_rows_are_from_best_to_worst(ranked):
    scores = [row.overall["mase"] for row in ranked.rows if row.scores]
    assert scores == sorted(scores)
    assert {"ridge", "last_value"} <= {row.name for row in ranked.rows}


def test_run_folders_compare_too_and_say_in_what_they_differ(recipe, compared, tmp_path):
    folder, _, _ = compared
    run = lifecycle.train(recipe.override({"data.split.seed": 5}), tmp_path, QUIET)
    cell = next(folder.glob("cells/chronos_bolt-lora-1/*/*"))
    both = ranking.rank([run.folder, cell])
    lora = [row for row in both.rows if row.adapters == "lora"]
    assert [row.seeds for row in lora] == [2], "recipes that differ in the seed alone"
    other = lifecycle.train(recipe.override({"train.steps": 2}), tmp_path, QUIET)
    names = [row.name for row in ranking.rank([run.folder, other.folder]).rows if row.adapters]
    assert sorted(re.search(r"steps \d", name).group() for name in names) == ["steps 2", "steps 3"]
    shorter = lifecycle.train(recipe.override({"task.horizon_s": 300}), tmp_path, QUIET)
    with pytest.raises(DataError, match="differ in task"):
        ranking.rank([run.folder, shorter.folder])
    (other.folder / "predictions" / "paired.npz").unlink()
    with pytest.raises(DataError, match="tsfm-adapt evaluate"):
        ranking.rank([run.folder, other.folder])
