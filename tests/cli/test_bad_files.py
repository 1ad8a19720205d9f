"""Files that are not what a recipe takes them for end in a message, whatever reads them."""

from __future__ import annotations

import copy
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECIPE, DATA, ENVIRONMENT = 2, 3, 4

TABLE = {"name": "csv", "layout": "wide", "units": {"HR": "bpm"}}
ENTRY = '{"start": "2014-01-01", "target": [1, 2, 3]}\n'
MANIFEST = {"name": "manifest", "root": "data", "reader": TABLE}
GLUONTS = {"name": "gluonts", "root": "data", "unit": "bpm", "rate_hz": "1/60"}
ARCHIVE = {"name": "ts", "root": "data", "unit": "bpm", "rate_hz": "1/60"}


@pytest.fixture
def refused(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path]
) -> Callable[..., str]:
    """Checks a recipe with another reader, expects an exit code, returns the message."""

    def check(code: int, reader: dict[str, Any]) -> str:
        tree = copy.deepcopy(recipe)
        tree["data"]["reader"] = reader
        tree["data"]["channels"] = {"HR": "bpm"}
        outcome = cli("check", written(tree))
        assert outcome.code == code, outcome.err
        assert "Traceback" not in outcome.err
        assert len(outcome.err) < 1200
        return outcome.err

    return check


@pytest.mark.parametrize(
    ("file", "content", "reader", "said"),
    [
        ("a.jsonl", b"", GLUONTS, ["a.jsonl", "is empty"]),
        ("a.jsonl", ENTRY.encode()[:20], GLUONTS, ["a.jsonl", "line 1"]),
        ("a.jsonl", b"time,HR\n0,1\n", GLUONTS, ["a.jsonl", "line 1"]),
        (
            "a.json.gz",
            gzip.compress(ENTRY.encode() * 99, mtime=0)[:-9],
            GLUONTS,
            ["a.json.gz", "line"],
        ),
        ("a.parquet", b"PAR1", GLUONTS, ["a.parquet", "Arrow or Parquet"]),
        ("x.txt", b"", GLUONTS, [".jsonl", "has none"]),
        ("a_TRAIN.arff", b"", ARCHIVE, ["a_TRAIN.arff", "no cases"]),
        ("a_TRAIN.ts", b"\x00\xff" * 99, ARCHIVE, ["a_TRAIN.ts", "text"]),
        ("1.txt", b"", {"name": "challenge2012", "root": "data"}, ["1.txt", "row 1"]),
        ("manifest.csv", b"", MANIFEST, ["manifest.csv", "empty"]),
        ("manifest.csv", b"file,subject\nb.csv,p\n", MANIFEST, ["row 2", "b.csv", "exists"]),
        ("manifest.csv", b"file,subject\n../b.csv,p\n", MANIFEST, ["row 2", "stays below"]),
        ("other.csv", b"", MANIFEST, ["manifest.csv", "other.csv"]),
    ],
)
def test_a_broken_file_is_named(
    refused: Callable[..., str],
    tmp_path: Path,
    file: str,
    content: bytes,
    reader: dict[str, Any],
    said: list[str],
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / file).write_bytes(content)
    message = refused(DATA, reader)
    for words in said:
        assert words in message


def test_the_reader_inside_a_manifest_is_checked_with_the_recipe(
    refused: Callable[..., str],
) -> None:
    message = refused(RECIPE, MANIFEST | {"reader": TABLE | {"layoot": "wide"}})
    assert "data.reader.reader: layoot is no setting of the reader csv" in message
    assert "Did you mean 'layout'?" in message


def test_records_of_physionet_without_a_network_are_a_problem_of_the_environment(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    wfdb = pytest.importorskip("wfdb", reason="the wfdb extra is not installed")
    monkeypatch.setattr(wfdb.io.download.config, "db_index_url", "http://127.0.0.1:9/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    message = refused(ENVIRONMENT, {"name": "wfdb", "pn_dir": "mitdb/1.0.0", "records": ["100"]})
    assert "mitdb/1.0.0/100.hea could not be fetched" in message
    assert "data.reader.root" in message
    message = refused(RECIPE, {"name": "wfdb", "pn_dir": "mitdb"})
    assert "data.reader.pn_dir" in message
