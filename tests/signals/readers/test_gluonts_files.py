"""Files of GluonTS entries: which are read, what is an entry, which rate holds."""

import gzip
import json

import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._gluonts_files import (
    entries_of,
    files_of,
    first_keys,
    metadata_of,
    stated_rate,
)

ENTRY = {"start": "2020-01-01", "target": [1.0, 2.0]}


def written(path, *entries):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_files_of_a_folder_come_in_order_without_metadata_and_hidden_ones(tmp_path):
    for name in ("b.json", "a.jsonl.gz", "metadata.json", ".c.json", "note.txt", "d.parquet"):
        written(tmp_path / name, ENTRY)
    assert [p.name for p in files_of(tmp_path, None)] == ["a.jsonl.gz", "b.json", "d.parquet"]
    assert files_of(tmp_path / "b.json", None) == [tmp_path / "b.json"]


def test_of_parts_one_has_to_be_named_and_be_there(tmp_path):
    path = written(tmp_path / "train" / "data.json", ENTRY)
    assert files_of(tmp_path, "train") == [path]
    for part in (None, "test"):
        with pytest.raises(DataError, match="train"):
            files_of(tmp_path, part)
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="has none"):
        files_of(tmp_path, "test")


@pytest.mark.parametrize("name", ["x.json", "x.jsonl.gz"])
def test_entries_have_their_numbers_and_blank_lines_have_none(tmp_path, name):
    path = written(tmp_path / name, ENTRY, ENTRY | {"item_id": "b"})
    if name == "x.json":
        path.write_text(path.read_text().replace("\n", "\n\n"))
    found = list(entries_of(path))
    assert [number for _, number, _ in found] == [0, 1]
    assert found[1][2]["item_id"] == "b"
    assert found[1][0] == f"{path}, entry 2"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "is empty"),
        ('{"target": [1]}\n{"start": 1}\n', "entry 2"),
        ("[1]\n", "entry 1"),
        ('{"target": [1]}\n{"target": \n', "line 2"),
    ],
)
def test_what_is_no_entry_is_named_by_its_place(tmp_path, text, place):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=place) as refused:
        list(entries_of(tmp_path / "x.json"))
    assert "x.json" in str(refused.value)


def test_the_rate_is_that_of_the_metadata_and_the_recipe_must_agree(tmp_path):
    path = written(tmp_path / "train" / "data.json", ENTRY)
    with pytest.raises(DataError, match=r"data\.reader\.rate_hz"):
        stated_rate(tmp_path, None)
    assert stated_rate(tmp_path, 0.25) == 0.25
    (tmp_path / "metadata.json").write_text('{"freq": "5min"}')
    for place in (tmp_path, tmp_path / "train", path):  # beside the parts too
        assert metadata_of(place) == [tmp_path / "metadata.json"]
        assert stated_rate(place, None) == pytest.approx(1 / 300)
    assert stated_rate(tmp_path, 0.0033333) == 0.0033333
    with pytest.raises(DataError, match="5min"):
        stated_rate(tmp_path, 1 / 60)
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(DataError, match=r"metadata\.json"):
        stated_rate(tmp_path, None)


def test_the_keys_of_a_file_are_seen_without_reading_it_all(tmp_path):
    assert first_keys(written(tmp_path / "x.json.gz", ENTRY)) == {"start", "target"}
    assert first_keys(written(tmp_path / "y.json", [1])) == set()
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"start": ["2020"], "target": [[1.0]]})
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    assert first_keys(tmp_path / "x.parquet") == {"start", "target"}
    (tmp_path / "broken.arrow").write_bytes(b"no")
    assert first_keys(tmp_path / "broken.arrow") == set()
