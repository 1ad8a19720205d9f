"""`tune` on a small table: what it finds, what it never sees, what outlives a kill."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest

from contracts.process_state import process_state
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.studies import trials, tuning

SEARCH = {
    "trials": 4,
    "pruner": "none",
    "space": {
        "train.lr": {"low": 1e-4, "high": 0.1, "log": True},
        "adapters.lora.rank": {"choices": [1, 2, 4]},
    },
}


@pytest.fixture
def searched(recipe: dict[str, Any], table: Path) -> dict[str, Any]:
    """A recipe of four quick steps, with a search."""
    recipe["search"] = json.loads(json.dumps(SEARCH))
    recipe["train"] |= {"accelerator": "cpu", "val_windows": 8, "validate_every": 2}
    return recipe


def rows(study: Path) -> list[dict[str, str]]:
    with (study / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def told(study: Path) -> list[float]:
    """The values of complete trials as the journal has them."""
    lines = map(json.loads, (study / "journal.log").read_text().splitlines())
    return [line["values"][0] for line in lines if line["op_code"] == 6 and line["state"] == 1]


def the_study() -> Path:
    (study,) = Path("runs/wards").glob("study-*")
    return study


class Untouchable:
    """The windows of a part that nobody may look at."""

    def __getattribute__(self, name: str) -> None:
        raise AssertionError(f"somebody looked at {name} of the test part")


def test_a_study_trains_the_best_and_scores_test_once(
    cli: Callable[..., Any],
    searched: dict[str, Any],
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def guarded(*arguments: Any, **options: Any) -> Any:
        parts = prepare(*arguments, **options)
        nothing: Any = Untouchable()
        return replace(
            parts,
            windows={**parts.windows, "test": nothing},
            recordings={**parts.recordings, "test": nothing},
        )

    monkeypatch.setattr(tuning, "prepare", guarded)  # of trials; the best recipe's run has its own
    path, before = written(searched), process_state()
    outcome = cli("tune", path, "--set", "train.lr=0.001")
    assert outcome.code == 0, outcome.err
    assert process_state() == before, "a study leaves no logger, filter or signal changed"
    study = the_study()
    first, *_, last = outcome.out.splitlines()
    best = min(told(study))
    assert len(told(study)) == 4
    assert first.startswith(f"validation loss {best:.4f}, trial ")
    assert "(4 complete); the recipe as it stands: " in first
    run = Path(last.removeprefix("run: "))
    assert [p.parent for p in study.rglob("scores.json") if p.parent.name != "bundle"] == [run]
    assert outcome.err.count("score: ") == 1

    found = rows(study)
    assert [row["state"] for row in found] == ["complete"] * 4
    assert (float(found[0]["train.lr"]), found[0]["adapters.lora.rank"]) == (0.001, "2")
    winner = min(found, key=lambda row: float(row["value"]))
    assert float(winner["value"]) == best
    resolved = load(study / "best.yaml")
    assert resolved.search is None
    assert resolved == load(run / "recipe.yaml")
    assert resolved.train.lr == float(winner["train.lr"])
    assert resolved == load(path).override(
        {
            "search": None,
            "train.lr": float(winner["train.lr"]),
            "adapters.lora.rank": int(winner["adapters.lora.rank"]),
        }
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert min(line["val_loss"] for line in lines if "val_loss" in line) == best
    assert {plot.name for plot in (study / "plots").iterdir()} == {"history.png", "importance.png"}
    assert not list((study / "trials").rglob("*.ckpt")), "a finished trial keeps no weights"

    again = cli("tune", "--resume", study, "--json", "--quiet")
    assert again.code == 0, again.err
    report = json.loads(again.out)
    assert (report["study"], report["run"]) == (str(study), str(run))
    assert report["best"]["value"] == best
    assert report["trials"] == {"complete": 4, "pruned": 0, "failed": 0}
    assert report["as_it_stands"] == float(found[0]["value"])
    assert len(told(study)) == 4


def test_the_same_recipe_gives_the_same_trials(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path]
) -> None:
    searched["search"] |= {"trials": 3, "metric": "score"}
    tables = []
    for runs in ("one", "two"):
        outcome = cli("tune", written(searched), "--quiet", "--smoke", "--runs", runs)
        assert outcome.code == 0, outcome.err
        assert outcome.out.startswith("validation score ")
        (study,) = Path(runs).glob("wards/study-*")
        tables.append([{**row, "seconds": ""} for row in rows(study)])
        assert len({row["value"] for row in rows(study)}) > 1
    assert tables[0] == tables[1]


def test_a_trial_that_diverges_fails_with_its_reason_and_the_study_goes_on(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path]
) -> None:
    searched["train"] |= {"clip": None, "warmup": 0.0}
    searched["search"] |= {
        "sampler": "grid",
        "space": {"train.lr": {"choices": [1e25, 0.01]}, "train.steps": {"choices": [3, 4]}},
    }
    outcome = cli("tune", written(searched))
    assert outcome.code == 0, outcome.err
    assert "(2 complete, 2 failed)" in outcome.out
    failed = [row for row in rows(the_study()) if row["state"] == "failed"]
    assert {float(row["train.lr"]) for row in failed} == {1e25}
    assert all("training diverged" in row["reason"] for row in failed)


def test_where_no_trial_has_a_value_the_first_reason_is_told(
    cli: Callable[..., Any],
    searched: dict[str, Any],
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pruner = optuna.pruners.ThresholdPruner(upper=-1.0)  # no loss is below
    monkeypatch.setattr("tsfm_adapt.studies.storage._pruner", lambda search, steps: pruner)
    searched["search"] |= {"trials": 2, "pruner": "median"}
    outcome = cli("tune", written(searched))
    assert outcome.code == 2
    assert "none of 2 trials has a value; the first: pruned at step 2 of 4" in outcome.err
    assert [row["state"] for row in rows(the_study())] == ["pruned"] * 2
    assert not (the_study() / "refit").exists()


def test_what_stops_a_trial_from_outside_stops_the_study_and_it_goes_on_later(
    cli: Callable[..., Any],
    searched: dict[str, Any],
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As Ctrl-C in the third validation of the second trial."""
    plain, calls = trials._Watch.__call__, []

    def interrupting(self: Any, step: int, loss: float) -> None:
        calls.append(step)
        plain(self, step, loss)
        if calls == [0, 2, 4, 0, 2]:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(trials._Watch, "__call__", interrupting)
    searched["search"]["trials"] = 3
    outcome = cli("tune", written(searched), "--quiet")
    assert outcome.code == 130
    study = the_study()
    assert f"Go on with: tsfm-adapt tune --resume {study}" in outcome.err
    assert [row["state"] for row in rows(study)] == ["complete", "broken"]
    outcome = cli("tune", "--resume", study, "--quiet")
    assert outcome.code == 0, outcome.err
    found = rows(study)
    assert [row["state"] for row in found] == ["complete", "broken", "complete", "complete"]
    assert found[1]["reason"] == "stopped; again as 2"
    assert found[1]["train.lr"] == found[2]["train.lr"]
    assert calls[5:] == [4, 0, 2, 4], "the stopped trial goes on from its checkpoint"


def test_a_study_killed_in_a_trial_and_resumed_by_two_workers_has_all_its_trials(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path], tmp_path: Path
) -> None:
    searched["search"]["trials"] = 5
    searched["train"] |= {"steps": 16, "checkpoint_every": 2, "validate_every": 8}
    command = [sys.executable, "-m", "tsfm_adapt", "tune", str(written(searched)), "--quiet"]
    process = subprocess.Popen(command, cwd=tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/wards/study-*/trials/[1-3]/checkpoints/last.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL
    before = told(the_study())
    dead = len(before)
    assert 1 <= dead <= 3

    outcome = cli("tune", "--resume", the_study(), "--workers", "2", "--set", "train.steps=1")
    assert outcome.code == 2
    assert "--set" in outcome.err
    outcome = cli("tune", "--resume", the_study(), "--workers", "2")
    assert outcome.code == 0, outcome.err
    study = the_study()
    found = rows(study)
    after = ["complete"] * (5 - dead)
    assert [row["state"] for row in found] == ["complete"] * dead + ["broken"] + after
    assert found[dead]["reason"] == f"its process died; again as {dead + 1}"
    same = ("train.lr", "adapters.lora.rank")
    assert [found[dead][key] for key in same] == [found[dead + 1][key] for key in same]
    assert told(study)[:dead] == before
    assert f"validation loss {min(told(study)):.4f}, trial " in outcome.out
    assert len(list((study / "trials").iterdir())) == 5
    workers = {
        json.loads(line)["user_attr"]["process"]["pid"]
        for line in (study / "journal.log").read_text().splitlines()
        if '"process"' in line
    }
    assert 2 <= len(workers) <= 3, "the one that was killed, and others after it"


def test_train_takes_adapters_that_the_search_does_not_fit(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path]
) -> None:
    path, other = written(searched), "adapters=[{name: affine}]"
    outcome = cli("tune", path, "--set", other)
    assert outcome.code == 2
    assert "search.space.adapters.lora.rank" in outcome.err
    outcome = cli("train", path, "--set", other, "--smoke", "--quiet")
    assert outcome.code == 0, outcome.err


def test_what_cannot_be_tuned_is_refused_before_anything_is_made(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path]
) -> None:
    path = written(searched)
    for arguments, code, said in (
        ([path, "--set", "search=null"], 2, "search: missing. Say what to vary"),
        ([path, "--set", "train.devices=2"], 2, "train.devices is 2"),
        ([path, "--set", "search.space.train.lr={low: -1.0, high: 1.0}"], 2, "search.space"),
        ([], 2, "either RECIPE or --resume STUDY"),
        ([path, "--resume", "x"], 2, "either RECIPE or --resume STUDY"),
        (["--resume", "nowhere"], 3, "'nowhere' is no study"),
        ([path, "--workers", "0"], 2, "workers"),
    ):
        outcome = cli("tune", *arguments)
        assert outcome.code == code, outcome.err
        assert said in outcome.err
        assert "Traceback" not in outcome.err
        assert not Path("runs").exists()


def test_without_validation_subjects_nothing_can_be_compared(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path]
) -> None:
    outcome = cli("tune", written(searched), "--set", "data.split.val=0")
    assert outcome.code == 2
    assert "trials are compared on the validation windows" in outcome.err


def test_train_ignores_the_search(
    cli: Callable[..., Any], searched: dict[str, Any], written: Callable[..., Path]
) -> None:
    outcome = cli("train", written(searched), "--smoke", "--quiet")
    assert outcome.code == 0, outcome.err
    assert list(Path("runs/wards").glob("study-*")) == []
