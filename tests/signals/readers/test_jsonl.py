"""JSON tables."""

import gzip
import json

import numpy as np
import pytest

from contracts.reader import ReaderContract
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.signals.readers.jsonl import Config


def rows(count=20, **more):
    return [
        {
            "time": f"2024-01-02T08:{n:02d}:00-05:00",
            "vitals": {"HR": 60 + n % 7, "SpO2": 97.5 - n % 3},
            **more,
        }
        for n in range(count)
    ]


def write(path, objects, listed=False):
    text = json.dumps(objects) if listed else "".join(f"{json.dumps(o)}\n" for o in objects)
    content = text.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


WIDE = {"layout": "wide", "units": {"vitals.HR": "bpm", "vitals.SpO2": "%"}}


class TestJsonContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        write(tmp_path / "a.jsonl", rows())
        write(tmp_path / "b.ndjson.gz", rows(9))
        return Config(root=str(tmp_path), **WIDE)


@pytest.mark.parametrize("name", ["x.jsonl", "x.ndjson", "x.jsonl.gz", "x.json", "x.json.gz"])
@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("folder", [False, True])
def test_rows_are_recognised_and_read(tmp_path, name, listed, folder):
    path = write(tmp_path / name, rows(note="x"), listed)
    found = recognised(tmp_path if folder else path)
    assert found.name == "jsonl"
    assert list(found.units) == ["vitals.HR", "vitals.SpO2"]
    (item,) = found.read(())
    assert (item.id, item.zone) == ("x", "-05:00")
    assert item.start == np.datetime64("2024-01-02T13:00:00", "s")
    assert item.time_s[-1] == 19 * 60
    assert item.value[:2].tolist() == [60, 97.5]


def test_objects_that_lack_a_key_have_no_reading(tmp_path):
    objects = [{"id": p, "t": n, "HR": 60 + n} for p in (1, 2) for n in range(9)]
    objects[3]["HR"] = None
    del objects[4]["HR"]
    found = recognised(write(tmp_path / "x.jsonl", objects))
    assert (found.subject, found.time) == ("id", "t")
    one, two = found.read(())
    assert one.value.tolist() == [60, 61, 62, 65, 66, 67, 68]
    assert len(two.value) == 9


def test_numbers_and_words_under_one_key(tmp_path):
    objects = [{"time": 300 * n, "glucose": "Low" if n == 4 else 90 + n} for n in range(20)]
    objects[7]["glucose"] = "97"
    found = recognised(write(tmp_path / "x.jsonl", objects))
    assert found.censored == "limit"
    (item,) = found.read(())
    assert item.value[:6].tolist() == [90, 91, 92, 93, 95, 96]
    assert item.notes["cells 'Low', beyond the sensor's range, read as missing"] == 1


def test_a_broken_line_is_named_where_the_format_is_looked_for_and_read(tmp_path):
    path = write(tmp_path / "x.jsonl", rows(3))
    path.write_text(path.read_text() + '\n{"time": \n')
    for read in (lambda: recognised(path), lambda: list(Config(root=str(path), **WIDE).read(()))):
        with pytest.raises(DataError, match=r"x\.jsonl, row 5: Expecting value"):
            read()


def test_a_cell_is_named_by_its_line(tmp_path):
    path = write(tmp_path / "x.jsonl", rows(3))
    last = json.dumps({"time": "2024-01-02T09:00:00-05:00", "vitals": {"HR": [1, 2]}})
    path.write_text(path.read_text() + f"\n{last}\n")
    with pytest.raises(DataError, match=r"row 5, column 'vitals\.HR': .*found '\[1, 2\]'"):
        list(Config(root=str(path), **WIDE).read(()))


def test_entries_of_gluonts_and_settings_are_no_tables(tmp_path):
    entries = [{"start": "2024-01-02", "target": [1, 2, 3], "item_id": "a"}] * 3
    assert recognised(write(tmp_path / "x.jsonl", entries)).name == "gluonts"
    (tmp_path / "x.jsonl").unlink()
    (tmp_path / "settings.json").write_text(json.dumps({"rate": 1}, indent=1))
    with pytest.raises(DataError, match="No reader knows"):
        recognised(tmp_path)


def test_rows_are_needed(tmp_path):
    with pytest.raises(DataError, match="must have rows; it has none, or one"):
        recognised(write(tmp_path / "x.json", rows(1), listed=True))
