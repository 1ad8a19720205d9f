import numpy as np
import pytest
from pydantic import ValidationError

from contracts.reader import ReaderContract, same
from tsfm_adapt.components import config_class
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers.manifest import Config

CSV = {"name": "csv", "layout": "wide", "units": {"HR": "bpm", "RESP": "pm"}}
TABLE = """file,subject,stay,part,start,age,ward,died
day 1/a.csv,p1,s1,train,2014-02-03 08:42:12,61.5,ICU,0
b.csv,p1,s2,train,,61.5,,1
c.csv,p2,s3,test,2896-10-10T00:31:25,NA,CCU,
"""
FULL = {
    "id": "stay",
    "part": "part",
    "start": "start",
    "attributes": ("age", "ward"),
    "labels": ("died",),
}


def rows(count=4, first=60):
    return "time,HR,RESP\n" + "".join(f"{60 * i},{first + i},{16 + i}\n" for i in range(count))


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "cohort"
    (root / "day 1").mkdir(parents=True)
    (root / "day 1" / "a.csv").write_text(rows())
    (root / "b.csv").write_text(rows(3, 70))
    (root / "c.csv").write_text(rows(5, 80))
    (root / "manifest.csv").write_text(TABLE)
    return root


def read(root, wanted=(), reader=CSV, **fields):
    return list(Config(root=str(root), reader=reader, **fields).read(wanted))


class TestManifestContract(ReaderContract):
    @pytest.fixture
    def config(self, root):
        return Config(root=str(root), reader=CSV, **FULL)


def test_the_table_says_whose_a_file_is_and_what_goes_with_it(root):
    a, b, c = read(root, **FULL)
    assert [(e.id, e.subject) for e in (a, b, c)] == [("s1", "p1"), ("s2", "p1"), ("s3", "p2")]
    assert a.start == np.datetime64("2014-02-03T08:42:12", "s")
    assert b.start is None
    assert c.start == np.datetime64("2896-10-10T00:31:25", "s")
    assert [e.attributes for e in (a, b, c)] == [
        {"age": 61.5, "ward": "ICU"},
        {"age": 61.5},
        {"ward": "CCU"},
    ]
    assert [e.labels for e in (a, b, c)] == [
        {"died": 0, "part": "train"},
        {"died": 1, "part": "train"},
        {"part": "test"},
    ]


def test_what_was_read_is_that_of_the_reader_itself(root):
    for name, found in zip(("day 1/a.csv", "b.csv", "c.csv"), read(root), strict=True):
        (alone,) = config_class("reader", "csv")(**CSV, root=str(root / name)).read(())
        np.testing.assert_array_equal(found.value, alone.value)
        np.testing.assert_array_equal(found.time_s, alone.time_s)
        assert (found.channels, found.units) == (alone.channels, alone.units)


def test_ids_and_subjects_are_those_of_the_files_where_the_table_has_none(root):
    assert [e.id for e in read(root)] == ["day 1/a", "b", "c"]
    assert [e.subject for e in read(root, subject=None)] == ["a", "b", "c"]


def test_only_listed_files_are_read_in_the_order_of_the_table(root):
    (root / "unlisted.csv").write_text("broken")
    (root / "other.tsv").write_text("path\twho\nc.csv\tp9\nb.csv\tp8\n")
    found = read(root, table="other.tsv", file="path", subject="who")
    assert [(e.id, e.subject) for e in found] == [("c", "p9"), ("b", "p8")]


def test_files_are_read_one_after_the_other(root):
    (root / "c.csv").write_text("time,HR\nbroken\n")
    stream = Config(root=str(root), reader=CSV).read(())
    assert [next(stream).id, next(stream).id] == ["day 1/a", "b"]
    with pytest.raises(DataError, match=r"c\.csv"):
        next(stream)


def test_several_recordings_of_a_file_add_their_own_ids(root):
    (root / "b.csv").write_text("who,time,HR,RESP\nx,0,1,2\ny,0,3,4\n")
    (root / "manifest.csv").write_text("file,subject,stay\nb.csv,ward 3,s2\n")
    found = read(root, reader=CSV | {"subject": "who"}, id="stay")
    assert [(e.id, e.subject) for e in found] == [("s2/x", "ward 3"), ("s2/y", "ward 3")]
    found = read(root, reader=CSV | {"subject": "who"}, subject=None)
    assert [(e.id, e.subject) for e in found] == [("b/x", "x"), ("b/y", "y")]


def test_parquet_and_numpy_files_are_read_through_their_readers(root):
    import pandas as pd

    pd.DataFrame({"time": [0.0, 60.0], "HR": [60.0, 61.0]}).to_parquet(root / "a.parquet")
    (root / "manifest.csv").write_text("file,subject\na.parquet,p1\n")
    (found,) = read(root, reader=CSV | {"name": "parquet"})
    assert (found.id, found.subject, found.value.tolist()) == ("a", "p1", [60, 61])


def test_wfdb_records_are_listed_with_their_header_or_without_suffix(root):
    wfdb = pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")
    for name, per_frame in (("r1", [1, 1]), ("r2", [1, 4])):
        wfdb.wrsamp(
            name,
            fs=125,
            units=["mV", "mmHg"],
            sig_name=["II", "ABP"],
            e_p_signal=[np.arange(8.0 * samples) for samples in per_frame],
            samps_per_frame=per_frame,
            fmt=["16", "16"],
            write_dir=str(root),
        )
    (root / "manifest.csv").write_text("file,subject\nr1.hea,p1\nr2,p2\n")
    first, slow, fast = read(root, reader={"name": "wfdb"})
    assert (first.id, first.multirate_id, first.subject) == ("r1", None, "p1")
    assert [slow.id, fast.id] == ["r2/125Hz", "r2/500Hz"]
    assert slow.multirate_id == fast.multirate_id == "r2"
    assert read(root, ("II",), reader={"name": "wfdb"})[1].id == "r2"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", r"manifest\.csv is empty"),
        ("file,subject\n", "header only"),
        ("file,subject\nb.csv\n", "Every row has as many cells as the header"),
        ("name,subject\nb.csv,p1\n", "data.reader.file: .* has no column 'file'"),
        ("file,patient\nb.csv,p1\n", "data.reader.subject: .* no column 'subject'"),
        ("file,subject\nb.csv,\n", "row 2, column 'subject': expected a name"),
        ("file,subject\n,p1\n", "row 2, column 'file': expected a name"),
        ("file,subject\nb.csv,p1\nmissing.csv,p1\n", "row 3, column 'file': .* exists below"),
        ("file,subject\nno/where.csv,p1\n", "row 2, column 'file': .* exists below"),
        ("file,subject\n../secret.csv,p1\n", "row 2, column 'file': .* stays below"),
        ("file,subject\nday 1/../../secret.csv,p1\n", "row 2, column 'file': .* stays below"),
        ("file,subject\n/etc/passwd,p1\n", "row 2, column 'file': .* stays below"),
        ("file,subject\n.,p1\n", "row 2, column 'file': .* stays below"),
        ("file,subject\nlink.csv,p1\n", "row 2, column 'file': .* stays below"),
        ("file,subject\nloop/a.csv,p1\n", "row 2, column 'file': .* stays below"),
        ("file,subject\nb.csv,p1\nb.csv,p2\n", "row 3, column 'file': .* another than in row 2"),
        ("file,subject\nb.csv,p1\nday 1/../b.csv,p2\n", "row 3, .* another than in row 2"),
    ],
)
def test_a_broken_table_is_named_with_the_row(root, table, message):
    (root.parent / "secret.csv").write_text(rows())
    (root / "link.csv").symlink_to(root.parent / "secret.csv")
    (root / "loop").symlink_to(root / "loop")
    (root / "manifest.csv").write_text(table)
    with pytest.raises(DataError, match=message) as caught:
        read(root)
    assert "manifest.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("train", "training", "row 2, column 'part': expected train, val or test, found 'trai"),
        ("2896-10-10T00:31:25", "soon", "row 4, column 'start': expected a time .*found 'soon'"),
        ("s2", "s1", "row 3, column 'stay': expected another than in row 2, found 's1'"),
    ],
)
def test_a_broken_cell_is_named(root, old, new, message):
    (root / "manifest.csv").write_text(TABLE.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read(root, **FULL)


def test_a_folder_that_leads_back_to_the_root_is_no_other_file(root):
    (root / "again").symlink_to(root, target_is_directory=True)
    (root / "manifest.csv").write_text("file,subject\nb.csv,p1\nagain/b.csv,p2\n")
    with pytest.raises(DataError, match=r"row 3, column 'file': .* another than in row 2"):
        read(root)


def test_a_broken_file_is_named_by_its_reader(root):
    for content in (b"", b"\x89PNG\r\n\x1a\n\xff\xfe", b"time,HR\n0,60,1\n"):
        (root / "b.csv").write_bytes(content)
        with pytest.raises(DataError, match=r"b\.csv"):
            read(root)


def test_an_absent_table_is_answered_with_those_that_are_there(root):
    with pytest.raises(DataError, match=r"files\.csv does not exist; .* b\.csv, c\.csv, manifest"):
        read(root, table="files.csv")
    with pytest.raises(DataError, match=r"b\.csv is a file\. Give its folder, or .* with csv"):
        read(root / "b.csv")


@pytest.mark.parametrize(
    ("reader", "message"),
    [
        ({}, "name is that of a reader of files, found None"),
        ({"name": "cvs"}, "found 'cvs'. Did you mean 'csv'"),
        ({"name": "manifest"}, "found 'manifest'"),
        ({"name": "synthetic"}, "found 'synthetic'"),
        (CSV | {"root": "here"}, "root is each file of the table in turn"),
        (CSV | {"layoot": 1}, "layoot is no setting of the reader csv. Did you mean 'layout'"),
        (CSV | {"layout": "broad"}, "layout: Input should be 'long', 'wide'"),
        ({"name": "csv", "layout": "wide"}, "a wide table needs `units`"),
    ],
)
def test_a_wrong_inner_reader_is_explained(root, reader, message):
    with pytest.raises(ValidationError, match=message):
        Config(root=str(root), reader=reader)


def test_a_folder_with_a_table_is_recognised_by_its_first_file(root):
    guessed = Config.guess(root)
    assert guessed is not None
    assert (guessed.file, guessed.subject, guessed.part, guessed.start) == (
        "file",
        "subject",
        "part",
        "start",
    )
    assert guessed.reader["name"] == "csv"
    assert set(guessed.attributes) == {"stay", "age", "ward", "died"}
    assert [e.subject for e in guessed.read(())] == ["p1", "p1", "p2"]
    again = Config.model_validate(guessed.model_dump(mode="json"))
    assert all(same(a, b) for a, b in zip(again.read(()), guessed.read(()), strict=True))


def test_other_folders_are_not_recognised(root):
    (root / "manifest.csv").write_text("a,b\n1,2\n")
    assert Config.guess(root) is None
    (root / "manifest.csv").write_text("file,subject\nabsent.csv,p1\n")
    assert Config.guess(root) is None
    (root / "manifest.csv").write_bytes(b"")
    assert Config.guess(root) is None
    (root / "manifest.csv").unlink()
    assert Config.guess(root) is None
    assert Config.guess(root / "b.csv") is None


def test_a_gap_of_a_year_and_readings_of_one_time_pass_through(root):
    (root / "b.csv").write_text("time,HR,RESP\n0,60,16\n0,61,16\n31536000,62,17\n")
    events = read(root)[1]
    heart = events.channel == events.channels.index("HR")
    assert events.time_s[heart].tolist() == [0, 0, 31536000]
    assert events.value[heart].tolist() == [60, 61, 62]
