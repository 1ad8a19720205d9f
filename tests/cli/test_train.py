"""`train` on a small table: its outcome, its scores, and what Ctrl-C leaves."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contracts.processes import python


def test_train_ends_with_the_verdict_and_the_folder(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("train", written(recipe))
    assert outcome.code == 0, outcome.err
    *_, verdict, last = outcome.out.splitlines()
    assert verdict.startswith("adapted model against ")
    assert "zero-shot" in verdict
    assert "the best baseline" in verdict
    assert last.startswith("run: ")
    run = Path(last.removeprefix("run: "))
    assert {path.name for path in run.iterdir()} >= {
        "recipe.yaml",
        "env.json",
        "metrics.jsonl",
        "checkpoints",
        "scores.json",
        "predictions",
        "bundle",
    }


def test_scores_hold_what_the_reader_of_a_paper_would_ask_for(
    trained: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    scores = json.loads((trained / "scores.json").read_text())
    assert set(scores["models"]) == {
        "adapted",
        "zero_shot",
        "last_value",
        "mean_of_context",
        "mean_of_last_15",
        "ridge",
    }
    assert (scores["split"], scores["task"], scores["smoke"]) == ("test", "forecast", False)
    assert scores["windows"] == 2 * 11  # (120 - 40) // 8 + 1 of each test subject
    assert scores["subjects"] == 2
    assert scores["verdict"]["interval"] == "few subjects"
    assert scores["left_out"] == {"windows": 0, "pairs": 0, "recordings": {}}
    assert len(scores["protocol"]["origins_sha256"]) == 64
    assert 0 < scores["costs"]["trainable_parameters"] < scores["costs"]["total_parameters"]
    for model in scores["models"].values():
        assert set(model["channels"]) == {"HR", "RESP"}
        assert set(model["by_subject"]) == {"p6", "p7"}
        assert model["overall"]["mase"] > 0
        assert model["overall"]["mae"] is None, "bpm and breaths/min have no common mean"


def test_a_smoke_run_has_no_verdict(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("train", written(recipe), "--smoke", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    scores = json.loads(outcome.out)["scores"]
    assert scores["smoke"] is True
    assert scores["verdict"] is None
    assert scores["windows"] == 4
    assert scores["protocol"]["windows_by_split"] == {"train": 4, "val": 4, "test": 4}


def test_without_adapters_the_backbone_is_scored_zero_shot(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("train", written(recipe | {"adapters": []}), "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    scores = json.loads(outcome.out)["scores"]
    assert "adapted" not in scores["models"]
    assert scores["verdict"] is None
    assert scores["costs"]["trainable_parameters"] == 0


def test_ctrl_c_keeps_the_finished_steps_and_resume_ends_the_run(
    recipe: dict[str, Any], written: Callable[..., Path], table: Path, tmp_path: Path
) -> None:
    path = written(recipe | {"train": {"steps": 2000, "batch_size": 4, "validate_every": 1000}})
    command = ["-m", "tsfm_adapt", "train", path]
    process = python(*command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120

    def trains() -> bool:
        return any('"loss"' in p.read_text() for p in tmp_path.glob("runs/*/*/metrics.jsonl"))

    while not trains() and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=120)
    assert process.returncode == 130, message
    assert "tsfm-adapt resume" in message
    assert "Traceback" not in message
    (run,) = tmp_path.glob("runs/*/*")

    from tsfm_adapt.training.checkpoints import how_it_went

    stopped = how_it_went(run)
    assert stopped is not None
    assert 0 < stopped.step < 2000
    assert (run / "checkpoints" / "last.ckpt").stat().st_size > 0
