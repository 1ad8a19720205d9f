"""Which headers of a folder are records."""

import pytest

from contracts.wfdb_formats import write_record
from contracts.wfdb_record import read, rewrite
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._wfdb_folder import far_files, header_of, listing
from tsfm_adapt.signals.readers.wfdb import Config

ROWS = {"A": [1, 2, 3]}


@pytest.fixture
def root(tmp_path):
    write_record(tmp_path, "a", ROWS, "16")
    write_record(tmp_path / "ward", "b", ROWS, "16")
    return tmp_path


def test_records_are_all_headers_with_signals_but_segments(root):
    (root / "m.hea").write_text("m/1 1 100 3\na 3\n")
    (root / "only_annotations.hea").write_text("only_annotations 0 100 3\n")
    (root / ".hidden.hea").write_text("nonsense")
    assert list(listing(root).records) == ["m", "ward/b"]
    assert listing(root).notes == {}


def test_suffixes_in_capitals_are_read(root):
    for path in (root / "a.hea", root / "a.dat"):
        path.rename(path.with_suffix(path.suffix.upper()))
    found = read(root)
    assert [r.id for r in found] == ["a", "ward/b"]
    assert found[0].values.tolist() == [[1, 2, 3]]
    assert header_of(root / "a.DAT") == root / "a.HEA"
    assert Config.guess(root / "a.DAT") is not None
    assert [r.id for r in read(root / "a.DAT")] == ["a"]


def test_two_headers_of_one_id_are_refused(root):
    (root / "a.HEA").write_bytes((root / "a.hea").read_bytes())
    with pytest.raises(DataError, match="would share an id"):
        listing(root)


def test_signal_files_without_a_header_are_noted_on_the_first_recording(root):
    for name in ("lost.dat", "ward/lost.DAT", "lost.mat", "notes.txt"):
        (root / name).write_bytes(b"1234")
    first, second = read(root)
    assert list(first.notes.values()) == [3]
    assert "that no header names, not read" in next(iter(first.notes))
    assert second.notes == {}


def test_links_to_folders_are_followed_once(root, tmp_path_factory):
    far = tmp_path_factory.mktemp("far")
    write_record(far, "c", ROWS, "16")
    (root / "link").symlink_to(far, target_is_directory=True)
    (root / "again").symlink_to(root / "ward", target_is_directory=True)
    (root / "ward" / "up").symlink_to(root, target_is_directory=True)
    assert [r.id for r in read(root)] == ["a", "link/c", "ward/b"]


def test_files_elsewhere_that_headers_name_are_files_of_the_reader(root):
    write_record(root / "signals", "x", ROWS, "16")
    header = root / "ward" / "b.hea"
    rewrite(header, "b.dat", "../signals/x.dat")
    stored = root / "ward" / ".." / "signals" / "x.dat"
    assert list(far_files([header])) == [stored]
    assert stored in set(Config(root=str(header)).files())
    assert {header, root / "signals" / "x.dat"} <= set(Config(root=str(root)).files())


def test_a_header_that_cannot_be_read_is_named(root, monkeypatch):
    (root / "gone.hea").symlink_to(root / "nowhere.hea")
    with pytest.raises(DataError, match=r"gone\.hea must be a readable file: No such file"):
        listing(root)
