"""`embed`: vectors of a run's or a recipe's windows, or one line that says why not."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch

from tsfm_adapt.batches import collate
from tsfm_adapt.heads.base import pooled
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.runs import embeddings
from tsfm_adapt.runs.run import load as load_run


@pytest.fixture
def trained(cli, recipe, written, table):
    """The folder of a finished run."""
    outcome = cli("train", written(recipe), "--quiet", "--set", "train.lr=0.05")
    assert outcome.code == 0, outcome.err
    return Path(outcome.out.splitlines()[-1].removeprefix("run: "))


def vectors(model, windows, how):
    """(N, C, D) by hand."""
    with torch.inference_mode():
        batch = collate(windows.gather(np.arange(len(windows))))
        return pooled(model.encode(batch), how).numpy()


def test_the_embeddings_of_a_run_are_its_encoders_pooled_tokens(cli, trained, written, recipe):
    outcome = cli("embed", trained, "--part", "test", "--pooling", "max", "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    said = json.loads(outcome.out)
    found = pyarrow.parquet.read_table(said["embeddings"])
    model, own = load_run(trained)
    windows = prepare(own).windows["test"]
    expected = vectors(model, windows, "max")
    got = np.array(found.column("embedding").to_pylist(), dtype=np.float32)
    np.testing.assert_allclose(got, expected.reshape(got.shape), rtol=1e-4, atol=1e-5)
    assert said["rows"] == len(got) == len(windows) * 2
    assert said["windows"] == len(windows)
    assert (said["subjects"], said["width"]) == (2, expected.shape[-1])
    rows = found.select(["subject", "recording", "part", "origin_s", "channel"]).to_pylist()
    first = windows.recordings[0]
    assert rows[0] == {
        "subject": first.subject,
        "recording": first.id,
        "part": "test",
        "origin_s": 1920.0,
        "channel": "HR",
    }
    assert [row["channel"] for row in rows[:4]] == ["HR", "RESP", "HR", "RESP"]
    about = {k.decode(): v.decode() for k, v in found.schema.metadata.items()}
    assert about["backbone"] == "chronos2"
    assert (about["adapters"], about["pooling"], about["context_s"]) == ("lora", "max", "1920")

    other = cli("embed", trained, "--set", "backbone.name=moment", "--quiet")
    assert other.code == 2
    assert "as it was trained" in other.err

    plain = cli("embed", written(recipe), "--part", "test", "--pooling", "max", "--quiet")
    assert plain.code == 0, plain.err
    untrained = pyarrow.parquet.read_table("embeddings.parquet").column("embedding").to_pylist()
    assert not np.allclose(np.array(untrained, dtype=np.float32), got), "without what was trained"


def test_a_recipe_embeds_all_parts_and_names_classes(cli, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        """
name: classes
data:
  reader: {name: synthetic, subjects: 6, hours: 12}
  channels: {HR: bpm, MAP: mmHg}
  rate_hz: 1/300
  split: {train: 2, val: 2, test: 2}
backbone: {name: chronos_bolt, checkpoint: embedded}
head: {name: linear}
task:
  name: classify
  context_s: 14400
  labels: {of: future, spans: [deterioration], within_s: 7200}
"""
    )
    outcome = cli("embed", path, "--out", "deep/e.parquet", "--quiet")
    assert outcome.code == 0, outcome.err
    found = pyarrow.parquet.read_table("deep/e.parquet")
    assert set(found.column("part").to_pylist()) == {"train", "val", "test"}
    assert set(found.column("label").to_pylist()) <= {"no deterioration", "deterioration"}
    assert [entry.name for entry in Path("deep").iterdir()] == ["e.parquet"]
    windows = prepare(load(path)).windows["test"]
    assert found.column("part").to_pylist().count("test") == 2 * len(windows)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["missing.yaml"], 2, "missing.yaml"),
        (["."], 3, "holds no trained weights yet"),
        (["recipe.yaml", "--set", "task.context_s=1e9"], 2, "context_s"),
        (["recipe.yaml", "--out", "vitals.csv/e.parquet"], 4, "vitals.csv"),
    ],
)
def test_what_cannot_be_embedded_is_one_line(cli, recipe, written, table, arguments, code, words):
    written(recipe)
    outcome = cli("embed", *arguments, "--quiet")
    assert outcome.code == code, outcome.err
    assert words in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1
    assert not list(Path().glob("**/.*.tmp"))


def test_ctrl_c_leaves_the_file_that_was_there(cli, recipe, written, table, monkeypatch):
    path = written(recipe)
    Path("embeddings.parquet").write_text("before")
    calls = []

    def stopped(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*arguments)

    original = embeddings._vectors
    monkeypatch.setattr(embeddings, "_vectors", stopped)
    outcome = cli("embed", path, "--set", "evaluate.batch_size=4", "--quiet")
    assert outcome.code == 130
    assert Path("embeddings.parquet").read_text() == "before"
    assert not list(Path().glob(".*.tmp"))
