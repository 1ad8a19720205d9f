"""What tables have in common: the files of a folder, and what several files must agree on."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Table, read_csv
from tsfm_adapt.signals.readers._columns import FirstRows
from tsfm_adapt.signals.readers._tables import TableConfig

PLAIN = {"layout": "wide", "units": {"HR": "bpm"}}


class Plain(TableConfig):
    """Tables with commas, under a suffix of their own."""

    suffix = ".tab"
    name: str = "plain"

    @classmethod
    def first_rows(cls, path: Path):
        rows = [line.split(",") for line in path.read_text().splitlines()]
        return FirstRows(dict(zip(rows[0], map(list, zip(*rows[1:], strict=True)), strict=True)))

    def load(self, path: Path) -> Table:
        return read_csv(path, ",", "utf-8")


@pytest.fixture
def root(tmp_path):
    for name in ("b.tab", "a/c.tab", ".hidden/d.tab", "a/.e.tab", "f.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("time,HR\n0,70\n60,71\n")
    return tmp_path


def test_a_folder_is_read_file_by_file_and_an_id_is_the_path_below_it(root):
    config = Plain(root=str(root), **PLAIN)
    assert config.files() == [root / "a" / "c.tab", root / "b.tab"]
    assert [item.id for item in config.read(())] == ["a/c", "b"]
    (one,) = Plain(root=str(root / "b.tab"), **PLAIN).read(())
    assert one.id == "b"


def test_a_folder_without_such_files_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"\*\.tab"):
        list(Plain(root=str(tmp_path), **PLAIN).read(()))


def test_a_rate_makes_recordings_and_none_makes_events(root):
    (events,) = Plain(root=str(root / "b.tab"), **PLAIN).read(())
    (regular,) = Plain(root=str(root / "b.tab"), **PLAIN, rate_hz="1/60").read(())
    assert events.time_s.tolist() == [0, 60]
    assert (regular.rate_hz, regular.values.tolist()) == (1 / 60, [[70, 71]])


def test_files_that_agree_are_guessed_together_and_their_units_joined(root):
    (root / "b.tab").write_text("time,HR,T (degC)\n0,70,36\n60,71,37\n")
    found = Plain.guess(root)
    assert (found.root, found.time, found.layout) == (str(root), "time", "wide")
    assert found.units == {"HR": "1", "T (degC)": "degC"}
    (root / "b.tab").write_text("t,HR\n0,70\n60,71\n")
    assert Plain.guess(root) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"units": {}},
        {"units": {"HR": " "}},
        {"unit": "unit"},
        {"layout": "long", "unit": "unit"},
        {"layout": "long", "rate_hz": 1.0},
        {"time_format": "minutes"},
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_reading(changes):
    with pytest.raises(ValidationError):
        Plain(root="x", **PLAIN | changes)
