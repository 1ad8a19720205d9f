"""Bad input ends in a message of one screen: where, what was found, what to do; no traceback."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPE, DATA, ENVIRONMENT = 2, 3, 4


@pytest.fixture
def refused(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> Callable[..., str]:
    """Trains a changed recipe, expects an exit code, returns the message."""

    def train(code: int, *sets: str, change: Callable[[Any], None] = lambda tree: None) -> str:
        tree = copy.deepcopy(recipe)
        change(tree)
        outcome = cli("train", written(tree), "--quiet", *(f"--set={entry}" for entry in sets))
        assert outcome.code == code, outcome.err
        assert outcome.out == ""
        assert "Traceback" not in outcome.err
        assert len(outcome.err.splitlines()) < 24
        assert not Path("runs").exists(), "a refused recipe leaves no run behind"
        return outcome.err

    return train


def test_a_misspelt_key_is_named_with_the_closest_one(refused: Callable[..., str]) -> None:
    message = refused(RECIPE, "train.stepz=3")
    assert "train.stepz" in message
    assert "Did you mean 'steps'?" in message


def test_a_misspelt_key_of_an_adapter_is_named_by_the_adapter(
    refused: Callable[..., str],
) -> None:
    message = refused(RECIPE, "adapters.lora.rnak=3")
    assert "adapters.lora.rnak" in message
    assert "Did you mean 'rank'?" in message


def test_an_unknown_backbone_is_answered_with_the_known_ones(refused: Callable[..., str]) -> None:
    message = refused(RECIPE, "backbone.name=chronos3")
    assert "backbone.name" in message
    assert "Did you mean 'chronos2'?" in message


def test_an_absent_channel_is_answered_with_those_of_the_file(
    refused: Callable[..., str],
) -> None:
    message = refused(DATA, "data.channels.RSEP=breaths/min")
    assert "data.channels.RSEP" in message
    assert "Did you mean 'RESP'?" in message


def test_a_unit_that_does_not_convert_is_refused(refused: Callable[..., str]) -> None:
    message = refused(DATA, "data.channels.HR=mmHg")
    assert "data.channels.HR" in message
    assert "bpm" in message
    assert "mmHg" in message


def test_recordings_shorter_than_a_window_stop_the_run(refused: Callable[..., str]) -> None:
    message = refused(DATA, "task.context_s=9600")
    assert "120 samples" in message
    assert "160 + 8" in message
    assert "task.context_s" in message


def test_a_channel_that_is_never_measured_stops_the_run(refused: Callable[..., str]) -> None:
    message = refused(DATA, "data.cleaning.ranges={RESP: [500, 600]}")
    assert "RESP" in message
    assert "cleaning.ranges" in message


def test_a_context_longer_than_the_model_takes_is_refused(refused: Callable[..., str]) -> None:
    message = refused(RECIPE, "task.context_s=5400", "data.rate_hz=1/20", "task.horizon_s=20")
    assert "270 samples" in message
    assert "256" in message


def test_a_folder_without_records_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    def other(tree: Any) -> None:
        tree["data"]["reader"] = {"name": "wfdb", "root": "empty"}

    pytest.importorskip("wfdb", reason="the wfdb extra is not installed")
    assert "empty" in refused(DATA, change=other)


def test_a_truncated_signal_file_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    wfdb = pytest.importorskip("wfdb", reason="the wfdb extra is not installed")
    import numpy as np

    wfdb.wrsamp(
        "ward1",
        fs=1,
        units=["bpm"],
        sig_name=["HR"],
        p_signal=80 + np.arange(400.0)[:, None] % 7,
        fmt=["16"],
        write_dir=str(tmp_path),
    )
    signal = tmp_path / "ward1.dat"
    signal.write_bytes(signal.read_bytes()[:-200])

    def other(tree: Any) -> None:
        tree["data"]["reader"] = {"name": "wfdb", "root": "ward1"}
        tree["data"]["channels"] = {"HR": "bpm"}

    assert "ward1" in refused(DATA, change=other)


@pytest.mark.parametrize("reader", ["edf", "vitaldb"])
@pytest.mark.parametrize("content", [b"", b"time,HR\n0,60\n", b"0       " + b" " * 600])
def test_a_file_that_is_not_what_its_name_says_is_refused(
    refused: Callable[..., str], tmp_path: Path, reader: str, content: bytes
) -> None:
    package = {"edf": "edfio"}.get(reader, reader)
    pytest.importorskip(package, reason=f"the {reader} extra is not installed")
    file = tmp_path / "cases" / ("1.edf" if reader == "edf" else "1.vital")
    file.parent.mkdir()
    file.write_bytes(content)
    (file.parent / "up").symlink_to(tmp_path)

    def other(tree: Any) -> None:
        tree["data"]["reader"] = {"name": reader, "root": "cases"}
        tree["data"]["channels"] = {"HR": "bpm"}

    assert file.name in refused(DATA, change=other)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_checkpoint_folder_that_lacks_a_file_is_refused(
    refused: Callable[..., str], checkpoint: Path, tmp_path: Path, missing: str
) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    for path in checkpoint.iterdir():
        if path.name != missing:
            (folder / path.name).write_bytes(path.read_bytes())
    message = refused(RECIPE, f"backbone.checkpoint={folder}")
    assert "backbone.checkpoint" in message
    assert missing in message


def test_a_broken_weights_file_is_refused(
    refused: Callable[..., str], checkpoint: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    for path in checkpoint.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "model.safetensors").write_bytes(b"\x10" * 100)
    assert "backbone.checkpoint" in refused(RECIPE, f"backbone.checkpoint={folder}")


def test_a_checkpoint_that_is_nowhere_is_refused(refused: Callable[..., str]) -> None:
    assert "backbone.checkpoint" in refused(RECIPE, "backbone.checkpoint=./nowhere")


def test_a_hub_id_without_a_connection_says_so(refused: Callable[..., str]) -> None:
    message = refused(ENVIRONMENT, "backbone.checkpoint=nobody/nothing")
    assert "nobody/nothing" in message
    assert "HF_HUB_OFFLINE" in message


def test_a_key_that_appears_twice_is_refused(cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "twice.yaml").write_text("name: a\nseed: 1\nseed: 2\n")
    outcome = cli("check", "twice.yaml")
    assert outcome.code == RECIPE
    assert "line 3" in outcome.err
    assert "'seed' appears twice" in outcome.err


def test_a_tag_that_would_run_code_is_refused_and_not_run(
    cli: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.mkdir [owned]\n")
    outcome = cli("check", "evil.yaml")
    assert outcome.code == RECIPE
    assert "tag" in outcome.err
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("arguments", [["train"], ["train", "a.yaml", "--stes=1"], ["trian"]])
def test_a_wrong_command_line_is_explained(cli: Callable[..., Any], arguments: list[str]) -> None:
    outcome = cli(*arguments)
    assert outcome.code == RECIPE
    assert "Usage" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_recipe_that_does_not_exist_is_named(cli: Callable[..., Any]) -> None:
    outcome = cli("train", "nothing.yaml")
    assert outcome.code == RECIPE
    assert "nothing.yaml" in outcome.err


def test_data_that_does_not_exist_is_named_with_the_variable(
    cli: Callable[..., Any],
    recipe: dict[str, Any],
    written: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TSFM_ADAPT_DATA", raising=False)
    outcome = cli("train", written(recipe))
    assert outcome.code == DATA
    assert "vitals.csv" in outcome.err
    assert "TSFM_ADAPT_DATA" in outcome.err


def test_a_folder_that_is_no_run_is_named(cli: Callable[..., Any], tmp_path: Path) -> None:
    for verb in (("evaluate", "."), ("resume", "."), ("predict", ".", "vitals.csv")):
        outcome = cli(*verb)
        assert outcome.code == DATA, verb
        assert "recipe.yaml" in outcome.err
