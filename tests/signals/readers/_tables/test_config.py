"""What tables have in common: the files of a folder, and what several files must agree on."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.config import TableConfig
from tsfm_adapt.signals.readers._tables.dialect import Sample
from tsfm_adapt.signals.readers._tables.paths import without_suffix
from tsfm_adapt.signals.readers._tables.text import read_text

PLAIN = {"layout": "wide", "units": {"HR": "bpm"}, "time_format": "seconds"}


class Plain(TableConfig):
    """Tables with commas, under a suffix of their own."""

    patterns = ("*.tab",)
    name: str = "plain"

    @classmethod
    def sample(cls, path: Path):
        return Sample(read_text(path))

    def load(self, path: Path) -> Table:
        return read_text(path, spelling=self.spelling)


def rows(names="HR", count=30, first=0):
    text = f"time,{names}\n"
    for n in range(count):
        cells = [str(60 + (n * (k + 3)) % 11) for k in range(len(names.split(",")))]
        text += f"{60 * (n + first)},{','.join(cells)}\n"
    return text


@pytest.fixture
def root(tmp_path):
    for name in ("b.tab", "a/c.TAB", ".hidden/d.tab", "a/.e.tab", "f.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("time,HR\n0,70\n60,71\n")
    return tmp_path


def test_a_folder_is_read_file_by_file_and_an_id_is_the_path_below_it(root):
    config = Plain(root=str(root), **PLAIN)
    assert config.files() == [root / "a" / "c.TAB", root / "b.tab"]
    items = list(config.read(()))
    assert [item.id for item in items] == ["a/c", "b"]
    assert any("csv" in note for note in items[0].notes)
    assert not items[1].notes
    (one,) = Plain(root=str(root / "b.tab"), **PLAIN).read(())
    assert one.id == "b"


def test_a_pattern_names_the_files_whatever_their_case(root):
    config = Plain(root=str(root), pattern="*.CSV", **PLAIN)
    assert config.files() == [root / "f.csv"]


def test_a_folder_without_such_files_is_refused(tmp_path):
    (tmp_path / "x.txt").touch()
    with pytest.raises(DataError, match=r"holds \*\.tab files: .* has none \(\.txt"):
        list(Plain(root=str(tmp_path), **PLAIN).read(()))


def test_a_rate_makes_recordings_and_none_makes_events(root):
    (events,) = Plain(root=str(root / "b.tab"), **PLAIN).read(())
    (regular,) = Plain(root=str(root / "b.tab"), **PLAIN, rate_hz="1/60").read(())
    assert events.time_s.tolist() == [0, 60]
    assert (regular.rate_hz, regular.values.tolist()) == (1 / 60, [[70, 71]])


def test_the_subject_may_stand_in_the_path(root):
    config = Plain(root=str(root), subject_pattern=r"([^/]+)$", **PLAIN)
    assert [(i.id, i.subject) for i in config.read(())] == [("a/c", "c"), ("b", "b")]
    assert config.names_subjects
    assert not Plain(root=str(root), **PLAIN).names_subjects
    with pytest.raises(DataError, match="finds no subject in 'b'"):
        list(Plain(root=str(root), subject_pattern="(.)/", **PLAIN).read(()))


def test_files_of_a_subject_are_joined_where_asked(tmp_path):
    for person in ("p1", "p2"):
        (tmp_path / person).mkdir()
        (tmp_path / person / "hr.tab").write_text(rows("HR"))
        (tmp_path / person / "rr.tab").write_text(rows("RR", first=10))
    fields = PLAIN | {"units": {"HR": "bpm", "RR": "1/min"}, "subject_pattern": "^([^/]+)/"}
    apart = list(Plain(root=str(tmp_path), **fields).read(()))
    both = list(Plain(root=str(tmp_path), join=True, **fields).read(()))
    assert [item.id for item in apart] == ["p1/hr", "p1/rr", "p2/hr", "p2/rr"]
    assert [(item.id, item.channels) for item in both] == [
        ("p1", ("HR", "RR")),
        ("p2", ("HR", "RR")),
    ]
    assert [len(item.value) for item in both] == [60, 60]
    (tmp_path / "one.tab").write_text(rows("HR,RR"))


def test_columns_that_are_neither_read_nor_ignored_are_noted(tmp_path):
    (tmp_path / "a.tab").write_text(rows("HR,x,y"))
    (item,) = Plain(root=str(tmp_path), ignored={"x": "a flag"}, **PLAIN).read(())
    assert item.notes == {"file(s) with columns that are not read: y": 1}


def test_files_that_agree_are_guessed_together_and_their_units_joined(root):
    (root / "b.tab").write_text(rows("HR"))
    (root / "a" / "c.TAB").write_text(rows("HR,T (degC)"))
    found = Plain.guess(root)
    assert (found.root, found.time, found.layout) == (str(root), "time", "wide")
    assert found.units == {"HR": "1", "T (degC)": "degC"}
    (root / "b.tab").write_text(rows("HR").replace("time", "t"))  # which is in no other file
    with pytest.raises(DataError, match="no column is a time"):
        Plain.guess(root)


def test_a_guess_leaves_files_about_data_out_and_says_nothing_of_other_folders(tmp_path):
    assert Plain.guess(tmp_path) is None
    (tmp_path / "README.tab").write_text("nothing\n")
    assert Plain.guess(tmp_path) is None
    (tmp_path / "x.tab").write_text(rows())
    assert Plain.guess(tmp_path).root == str(tmp_path / "x.tab")


def refused(config_of):
    with pytest.raises(DataError) as problem:
        config_of()
    line = problem.value.remedy.removeprefix("reader=")
    return str(problem.value), json.loads(line)


def test_what_is_not_sure_stops_with_settings_that_read_it(tmp_path):
    path = tmp_path / "a.tab"
    path.write_text("time,HR\n" + "".join(f"{n % 40},{60 + n % 7}\n" for n in range(80)))
    message, settings = refused(lambda: Plain.guess(path))
    assert "runs backwards" in message
    assert (settings["name"], settings["backward"]) == ("plain", "session")
    items = list(Plain(root=str(path), **settings).read(()))
    assert [item.id for item in items] == ["a#1", "a#2"]
    own = {"layout": "wide", "units": {"HR": "bpm"}}
    message, settings = refused(lambda: list(Plain(root=str(path), **own).read(())))
    assert settings == {"name": "plain", **own, "backward": "session"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"units": {}}, "needs `units`"),
        ({"units": {"HR": " "}}, "a unit for every channel"),
        ({"units": {"HR": "bpm", "x": "1"}, "unit": "unit"}, "one channel only"),
        ({"layout": "long", "unit": "unit"}, "either `unit`"),
        ({"layout": "long", "units": {}}, "either `unit`"),
        ({"layout": "long", "rate_hz": 1.0}, "only wide tables"),
        ({"layout": "subjects", "rate_hz": 1.0}, "only wide tables"),
        ({"layout": "trials"}, "trials have `rate_hz`"),
        ({"layout": "trials", "rate_hz": 1.0}, "trials have `rate_hz`"),
        ({"time": None}, "samples a second"),
        ({"join": True, "rate_hz": 1.0}, "leave rate_hz out"),
        ({"subject": "id", "subject_pattern": "(.)"}, "not both"),
        ({"subject_pattern": "(.)(.)"}, "needs one"),
        ({"time_format": "fortnights"}, "is one of auto"),
        ({"time_zone": "Europe/Nowhere"}, "no time zone"),
        ({"backward": "shrug"}, "backward"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_reading(changes, message):
    with pytest.raises(ValidationError, match=message):
        Plain(root="x", **PLAIN | changes)


def test_an_id_lacks_the_ends_of_the_files_name():
    names = ["p1/hr.csv.gz", "p1/hr.csv", "a.b/x.tsv", "", "plain", "x.CSV.GZ"]
    assert [without_suffix(name) for name in names] == [
        "p1/hr",
        "p1/hr",
        "a.b/x",
        "",
        "plain",
        "x",
    ]
