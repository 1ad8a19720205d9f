"""Each verb on a small table of recordings, as a new user would call it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet
import pytest

import tsfm_adapt
from contracts.processes import python
from tsfm_adapt.components import PACKAGES, names

LAZY = ("torch", "lightning", "peft", "chronos", "transformers")


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


def test_evaluate_repeats_the_scores(cli: Callable[..., Any], trained: Path) -> None:
    before = json.loads((trained / "scores.json").read_text())
    outcome = cli("evaluate", trained, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["scores"] == before


def test_resuming_a_finished_run_changes_no_weights(
    cli: Callable[..., Any], trained: Path
) -> None:
    saved = (trained / "bundle" / "adapter_model.safetensors").read_bytes()
    outcome = cli("resume", trained, "--quiet")
    assert outcome.code == 0, outcome.err
    assert (trained / "bundle" / "adapter_model.safetensors").read_bytes() == saved


@pytest.mark.parametrize("inner", ["", "bundle"])
def test_predict_writes_a_row_a_channel_and_step_for_recordings_it_never_saw(
    cli: Callable[..., Any], trained: Path, tmp_path: Path, inner: str
) -> None:
    new = tmp_path / "new.csv"
    rows = "\n".join(f"stranger,{60 * t},{70 + t % 5},{15 + t % 2}" for t in range(40))
    new.write_text(f"patient,time,HR,RESP\n{rows}\n")
    outcome = cli("predict", trained / inner, new, "--out", "out.parquet")
    assert outcome.code == 0, outcome.err
    written = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert set(written["subject"]) == {"stranger"}
    assert written["channel"] == ["HR"] * 8 + ["RESP"] * 8
    assert written["time_s"] == [60.0 * (40 + step) for step in range(8)] * 2
    assert {"q0.1", "q0.5", "q0.9"} <= written.keys()


def test_predict_writes_what_the_name_of_the_file_says(
    cli: Callable[..., Any], trained: Path, table: Path, tmp_path: Path
) -> None:
    one = tmp_path / "one.csv"
    rows = "\n".join(f"only,{60 * t},{70 + t % 5},{15 + t % 2}" for t in range(40))
    one.write_text(f"patient,time,HR,RESP\n{rows}\n")
    outcome = cli("predict", trained, one, "--out", "fc.CSV")
    assert outcome.out == "16 rows of 1 subject: fc.CSV\n"
    assert cli("predict", trained, one, "--out", "fc.parquet").code == 0
    as_csv = pyarrow.csv.read_csv(tmp_path / "fc.CSV").to_pydict()
    assert as_csv["channel"] == ["HR"] * 8 + ["RESP"] * 8
    as_parquet = pyarrow.parquet.read_table(tmp_path / "fc.parquet").to_pydict()
    assert as_csv["q0.5"] == pytest.approx(as_parquet["q0.5"])
    assert list(as_csv) == list(as_parquet)


@pytest.mark.parametrize("name", ["fc.xlsx", "fc", "parquet"])
def test_predict_refuses_a_name_that_says_no_format_before_it_works(
    cli: Callable[..., Any], name: str
) -> None:
    outcome = cli("predict", "no_such_run", "no_such_file", "--out", name)
    assert outcome.code == 2
    assert f"--out: the name ends with one of .csv, .parquet, found '{name}'" in outcome.err


def test_predict_can_forecast_along_a_recording(
    cli: Callable[..., Any], trained: Path, table: Path, tmp_path: Path
) -> None:
    outcome = cli("predict", trained, table, "--every-s", "1200", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    # contexts of 32 end at samples 40, 60, 80, 100 and 120 of 8 subjects
    assert found["rows"] == 8 * 5 * 2 * 8
    assert found["subjects"] == 8


def test_predict_says_how_short_the_recordings_are(
    cli: Callable[..., Any], trained: Path, tmp_path: Path
) -> None:
    (tmp_path / "short.csv").write_text("patient,time,HR,RESP\na,0,70,15\na,60,71,15\n")
    outcome = cli("predict", trained, "short.csv")
    assert outcome.code == 3
    assert "32 samples" in outcome.err


def test_check_counts_windows_and_parameters_and_trains_nothing(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("check", written(recipe), "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["parts"]["train"] == {"windows": 4 * 81, "subjects": 4}
    # q and v of 2 layers' time and group attention, rank 2, width 32
    assert found["trainable_parameters"] == 2 * 2 * 2 * 2 * (32 + 32)
    assert not Path("runs").exists()


def test_schema_describes_every_component(cli: Callable[..., Any]) -> None:
    schema = json.loads(cli("schema").out)
    described = json.dumps(schema)
    for kind in PACKAGES:
        for name in names(kind):
            assert f'"const": "{name}"' in described, (kind, name)


@pytest.mark.parametrize("what", ["backbones", "adapters", "tasks", "readers"])
def test_list_names_every_component_and_its_state(cli: Callable[..., Any], what: str) -> None:
    listed = json.loads(cli("list", what, "--json").out)
    assert {"name", "ready", "reason"} <= listed[0].keys()
    assert all(entry["summary"] for entry in listed)


def test_doctor_reports_versions_and_exits_well(cli: Callable[..., Any]) -> None:
    outcome = cli("doctor", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["packages"]["torch"] != "missing"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["list", "backbones"], ["list", "readers"], ["check", "--schema-only", "RECIPE"]],
)
def test_light_verbs_import_nothing_heavy(arguments: list[str]) -> None:
    recipe = Path(__file__).parents[2] / "recipes" / "vitals_forecast.yaml"
    program = (
        "import sys\n"
        "from tsfm_adapt.cli import main\n"
        f"sys.argv = ['tsfm-adapt', *{arguments!r}]\n"
        f"sys.argv = [a.replace('RECIPE', {str(recipe)!r}) for a in sys.argv]\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        f"heavy = [name for name in {LAZY!r} if name in sys.modules]\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_where_no_recipes_are_list_says_where_they_are(cli: Callable[..., Any]) -> None:
    outcome = cli("list", "recipes")
    assert outcome.code == 0
    assert outcome.out.startswith("there are no recipes in ")
    assert "tsfm-adapt init" in outcome.out
    assert json.loads(cli("list", "recipes", "--json").out) == []


def test_doctor_shows_no_heading_without_entries(cli: Callable[..., Any]) -> None:
    lines = cli("doctor").out.splitlines()
    for heading, following in zip(lines, [*lines[1:], "end:"], strict=True):
        assert heading.startswith(" ") or following.startswith(" "), heading


def test_importing_the_package_imports_nothing_heavy() -> None:
    program = f"import sys, tsfm_adapt; assert not set({LAZY!r}) & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
    assert tsfm_adapt.__version__


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
