import errno
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt._util.atomic import write_bytes, write_text
from tsfm_adapt.errors import EnvironmentProblem


def failing(number):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_missing_folders_are_made_and_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"old, and longer than the new one")
    write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert names(path.parent) == ["file"]


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_is_written_as_utf8_without_changing_a_character(tmp_path_factory, text):
    path = tmp_path_factory.getbasetemp() / "text"
    write_text(path, text)
    assert path.read_bytes() == text.encode("utf-8")


@pytest.mark.parametrize("fails", ["os.fsync", "pathlib.Path.open", "pathlib.Path.replace"])
def test_a_failure_at_any_stage_keeps_the_old_file_whole_and_leaves_nothing_else(
    tmp_path, monkeypatch, fails
):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(fails, failing(errno.ENOSPC))
        with pytest.raises(EnvironmentProblem, match=r"disk is full\. The previous version"):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_the_data_is_on_disk_before_the_new_name_points_to_it(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda file: calls.append("fsync") or fsync(file))
    monkeypatch.setattr(
        Path, "replace", lambda path, target: calls.append("replace") or replace(path, target)
    )
    write_bytes(tmp_path / "file", b"data")
    assert calls[:2] == ["fsync", "replace"]


def test_without_a_previous_version_none_is_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(errno.EIO))
    with pytest.raises(EnvironmentProblem) as told:
        write_bytes(tmp_path / "file", b"new")
    assert "previous version" not in str(told.value)
    assert str(tmp_path / "file") in str(told.value)
    assert "Input/output error" in str(told.value)
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_named(tmp_path):
    write_bytes(tmp_path / "file", b"not a folder")
    with pytest.raises(EnvironmentProblem, match=r"cannot write.*give another folder"):
        write_bytes(tmp_path / "file" / "inner", b"data")
    assert (tmp_path / "file").read_bytes() == b"not a folder"


def test_a_target_that_is_a_folder_is_named(tmp_path):
    (tmp_path / "folder" / "inner").mkdir(parents=True)
    with pytest.raises(EnvironmentProblem, match=r"cannot write.*give another folder"):
        write_bytes(tmp_path / "folder", b"data")
    assert names(tmp_path) == ["folder"]
