"""Models beside each other: the same windows for all, nothing computed twice, nothing hidden."""

import json
import signal
import subprocess
import time

import pytest

from contracts.processes import python
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.comparison import cells as comparison
from tsfm_adapt.comparison import ranking
from tsfm_adapt.errors import RecipeError, TsfmAdaptError
from tsfm_adapt.evaluation import paired
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.runs import lifecycle
from tsfm_adapt.runs.run import Run
from tsfm_adapt.training.checkpoints import read

QUIET = Progress(quiet=True)


def test_cells_are_every_backbone_with_every_adapter_and_seed(recipe):
    wanted = comparison.cells(recipe, ["chronos_bolt", "chronos2"], ["lora+norm", "none"], [1, 2])
    assert [cell.name for cell in wanted] == [
        "chronos_bolt-none",
        "chronos2-none",
        "chronos_bolt-lora+norm-1",
        "chronos_bolt-lora+norm-2",
        "chronos2-lora+norm-1",
        "chronos2-lora+norm-2",
    ]
    last = wanted[-1].recipe
    assert [adapter.name for adapter in last.adapters] == ["lora", "norm"]
    assert last.adapters[0].rank == 2, "the recipe's own settings"
    assert (last.seed, last.data.split.seed) == (2, 5), "the split does not follow the seed"
    assert (wanted[1].recipe.backbone.checkpoint, wanted[0].recipe.backbone.checkpoint) == (
        "embedded",
        "tiny",
    )


@pytest.mark.parametrize(
    ("backbones", "adapters", "said"),
    [(["chronos3"], [], "chronos2"), ([], ["lorra"], "lora")],
)
def test_a_name_that_does_not_exist_stops_before_anything_runs(recipe, backbones, adapters, said):
    with pytest.raises(RecipeError, match=said):
        comparison.cells(recipe, backbones, adapters, [])


def test_every_model_is_scored_on_the_same_windows(compared):
    _, _, finished = compared
    scores = [Run(folder).scores for folder in finished.folders]
    assert len({each.protocol.origins_sha256 for each in scores}) == 1
    files = [paired.read(folder / "predictions" / "paired.npz") for folder in finished.folders]
    counts = {kept["count"].tobytes() for file in files for kept in file.models.values()}
    assert len(counts) == 1


def test_zero_shot_is_scored_once_a_backbone_and_baselines_once(compared):
    _, _, finished = compared
    scored = [name for folder in finished.folders for name in Run(folder).scores.models]
    assert scored.count("zero_shot") == 2
    assert scored.count("adapted") == 4
    assert scored.count("ridge") == 1


def test_a_failing_cell_is_a_row_with_its_reason(compared, ranked):
    _, _, finished = compared
    assert list(finished.failures) == ["<b>broken</b>"]
    assert "bias" in finished.failures["<b>broken</b>"]
    assert ranked.rows[-1].failure == finished.failures["<b>broken</b>"]


def test_finished_runs_are_not_computed_again(recipe, compared, monkeypatch):
    folder, wanted, finished = compared
    trained = []

    def train(recipe, *_, **__):
        trained.append(recipe.backbone.name)
        raise TsfmAdaptError("not now")

    monkeypatch.setattr(lifecycle, "train", train)
    monkeypatch.setattr(comparison, "score_baselines", lambda *_: pytest.fail("scored again"))
    again = comparison.run(recipe, wanted, folder, QUIET)
    assert again.folders == finished.folders
    assert trained == ["chronos_t5"], "the failed one alone is tried again"
    changed = [cell for cell in wanted if cell.name == "chronos_bolt-lora-1"]
    changed = [comparison.Cell(c.name, c.recipe.override({"train.steps": 4})) for c in changed]
    monkeypatch.setattr(comparison, "score_baselines", lambda *_: {})
    assert comparison.run(recipe, changed, folder, QUIET).failures, "another setting, another run"


def test_processes_find_what_one_process_finds(recipe, compared, tmp_path):
    _, wanted, finished = compared
    some = [cell for cell in wanted if cell.name in ("chronos_bolt-none", "chronos_bolt-lora-1")]
    apart = comparison.run(recipe, some, tmp_path, QUIET, jobs=2)

    def overall(folders):
        found = {}
        for folder in folders:
            for name, scores in Run(folder).scores.models.items():
                key = (name, Run(folder).recipe.backbone.name, Run(folder).recipe.seed)
                found[key] = scores.overall["mase"]
        return found

    assert len(overall(apart.folders)) > 2
    assert overall(apart.folders).items() <= overall(finished.folders).items()


def test_unless_asked_every_core_works_up_to_four_and_no_gpu_is_shared(recipe, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    for cores, jobs in ((None, 1), (1, 1), (2, 2), (64, 4)):
        monkeypatch.setattr("os.cpu_count", lambda cores=cores: cores)
        assert comparison.default_jobs(recipe) == jobs
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert comparison.default_jobs(recipe) == 1
    assert comparison.default_jobs(recipe.override({"train.accelerator": "cpu"})) == 4


def test_an_interrupt_of_the_first_process_stops_all_and_their_steps_are_kept(recipe, tmp_path):
    endless = {"train.steps": 10**6, "train.checkpoint_every": 10**6}
    (tmp_path / "endless.yaml").write_text(dumps(recipe.override(endless)))
    command = ["-m", "tsfm_adapt", "compare", "endless.yaml", "--adapters", "lora,norm"]
    process = python(*command, "--jobs", 2, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 300
        while len(list(tmp_path.glob("runs/small/compare/cells/*/*/*/metrics.jsonl"))) < 2:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, said
    assert "0 of 2 runs are finished. Repeat the command to resume." in said
    assert "Traceback" not in said
    stopped = [
        read(path)
        for path in tmp_path.glob("runs/small/compare/cells/*/*/*/checkpoints/last.ckpt")
    ]
    assert len(stopped) == 2
    assert all(state["fitted"]["step"] > 0 for state in stopped)


def test_a_run_that_was_scored_alone_gets_its_verdict_when_it_is_evaluated(recipe, tmp_path):
    wanted = comparison.cells(recipe, [], ["lora"], [])
    finished = comparison.run(recipe, wanted, tmp_path, QUIET)
    run = Run(finished.folders[1])
    assert run.scores.verdict is None
    before = run.scores.models["adapted"]
    lifecycle.evaluate(run, QUIET)
    assert run.scores.verdict.reference.difference is not None
    assert run.scores.models["adapted"] == before
    assert json.loads((run.folder / "bundle" / "scores.json").read_text())["verdict"]
    again = comparison.run(recipe, wanted, tmp_path, QUIET)
    assert again.folders == finished.folders
    assert len(ranking.rank(again.folders).rows) == 6


def test_no_time_left_is_told_before_a_run_that_trains_is_done():
    from tsfm_adapt.comparison.cells import _LONGER, _eta

    assert _eta(10.0, 1, 3 * _LONGER) == ""
    assert _eta(30.0, 1 + _LONGER, 2 * _LONGER) == ", about 57 s left"
    assert _eta(100.0, _LONGER, 3 * _LONGER) == ", about 5 min left"
