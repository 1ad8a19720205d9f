"""The reader that is chosen for a path, and what is said where none fits."""

from __future__ import annotations

import os

import numpy as np
import pytest

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.proposal.formats import recognised


def test_a_special_format_goes_before_a_table_and_two_are_asked_about(tmp_path, monkeypatch):
    rows = "".join(f"a,{t},{80 + t % 7}\n" for t in range(20))
    (tmp_path / "t.csv").write_text("id,time,HR\n" + rows)
    np.save(tmp_path / "x.npy", np.ones((5, 2, 8)))
    assert recognised(tmp_path).name == "npy"
    assert recognised(tmp_path, "csv").name == "csv"
    found = recognised(tmp_path, "{name: csv, layout: wide, units: {HR: bpm}}")
    assert found.root == str(tmp_path)
    from tsfm_adapt.signals.readers import empatica

    claims = classmethod(lambda cls, path: cls(root=str(path)))
    monkeypatch.setattr(empatica.Config, "guess", claims)
    with pytest.raises(DataError, match=r"empatica and npy.*Name the reader"):
        recognised(tmp_path)


def test_a_reader_that_is_asked_for_must_exist_and_fit(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(RecipeError, match="Did you mean 'csv'"):
        recognised(tmp_path, "cvs")
    with pytest.raises(DataError, match="does not look like it"):
        recognised(tmp_path, "csv")
    with pytest.raises(RecipeError, match="layout"):
        recognised(tmp_path, "{name: csv}")


def test_paths_without_recordings_are_told_apart(tmp_path):
    for path, said in ((tmp_path / "no", "does not exist"), (tmp_path, "has none")):
        with pytest.raises(DataError, match=said):
            recognised(path)
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match="0 bytes"):
        recognised(tmp_path / "empty.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(DataError, match="neither a file nor a folder"):
        recognised(tmp_path / "pipe.csv")
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(DataError, match=r"csv: .*empty\.csv must be text"):
        recognised(tmp_path)
    (tmp_path / "empty.csv").unlink()
    (tmp_path / "photo.jpeg").write_bytes(b"\xff\xd8")
    with pytest.raises(DataError, match=r"No reader knows.*\.jpeg\); tried were") as unknown:
        recognised(tmp_path)
    assert "name: csv" in unknown.value.remedy


def test_a_table_that_is_not_sure_is_answered_with_the_line_that_goes_on(tmp_path):
    rows = "".join(f"{t % 40},{60 + t % 7}\n" for t in range(80))
    (tmp_path / "t.csv").write_text("time,HR\n" + rows)
    with pytest.raises(
        DataError, match=r"csv: .*runs backwards.*data\.reader\.backward"
    ) as unsure:
        recognised(tmp_path)
    line = unsure.value.remedy.removeprefix("reader=")
    found = recognised(tmp_path, line)
    assert (found.name, found.backward) == ("csv", "session")
    assert len(list(found.read(()))) == 2
    with pytest.raises(DataError, match="runs backwards"):
        recognised(tmp_path, "csv")
