"""A first look at unknown data: few files, nearest to the top, and never more than their heads."""

import gzip

from tsfm_adapt.signals.readers import _heads
from tsfm_adapt.signals.readers._heads import head, some_files


def test_files_nearest_to_the_top_come_first_then_by_name(tmp_path):
    for name in ("z.csv", "b/a.csv", "a/deep/x.csv", "a/b.CSV", ".hid.csv", ".git/x.csv", "n.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    names = [p.relative_to(tmp_path).as_posix() for p in some_files(tmp_path, (".csv",))]
    assert names == ["z.csv", "a/b.CSV", "b/a.csv", "a/deep/x.csv"]
    assert len(some_files(tmp_path, (".csv", ".txt"), most=2)) == 2


def test_a_file_is_its_own_answer_where_its_name_fits(tmp_path):
    path = tmp_path / "x.CSV"
    path.touch()
    assert some_files(path, (".csv",)) == [path]
    assert some_files(path, (".hea",)) == []
    assert some_files(tmp_path / "nowhere", (".csv",)) == []


def test_the_search_gives_up_where_there_are_too_many_entries(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.csv").touch()
    for number in range(20):
        (tmp_path / f"{number}.txt").touch()
    assert some_files(tmp_path, (".csv",)) == [tmp_path / "a" / "x.csv"]
    monkeypatch.setattr(_heads, "_ENTRIES", 10)
    assert some_files(tmp_path, (".csv",)) == []


def test_a_head_is_text_of_at_most_64_kb_compressed_or_not(tmp_path):
    text = "\ufefftime,HR\n" + "0,70\n" * 50_000
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(text.encode()))
    for name in ("x.csv", "x.csv.gz"):
        found = head(tmp_path / name)
        assert found.startswith("time,HR\n0,70\n")
        assert len(found) == 65536 - 3  # without the three bytes of the mark


def test_what_cannot_be_read_has_no_head(tmp_path):
    (tmp_path / "x.gz").write_bytes(b"not compressed")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a" * 100)[:-6])
    for name in ("x.gz", "cut.gz", "nowhere"):
        assert head(tmp_path / name) == ""
    (tmp_path / "latin").write_bytes(b"\xe9")
    assert head(tmp_path / "latin") == "\ufffd"
