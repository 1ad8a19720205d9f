"""JSON as rows of cells."""

import gzip

import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.json_rows import looks_like_rows, rows_of


def written(tmp_path, text, name="x.jsonl"):
    path = tmp_path / name
    content = text if isinstance(text, bytes) else text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    return path


LINES = '\ufeff{"t": 0, "heart": {"rate": 70, "raw": [1, 2]}}\n\n{"t": 1.5, "note": "ü"}\n'
LISTED = '[{"t": 0, "heart": {"rate": 70, "raw": [1, 2]}},\n {"t": 1.5, "note": "ü"}]'


@pytest.mark.parametrize("name", ["x.jsonl", "x.json.gz"])
@pytest.mark.parametrize(("text", "numbers"), [(LINES, [1, 3]), (LISTED, [1, 2])])
def test_keys_become_columns_in_the_order_of_their_appearance(tmp_path, name, text, numbers):
    rows = rows_of(written(tmp_path, text, name))
    assert rows.columns == {
        "t": [0, 1.5],
        "heart.rate": [70, None],
        "heart.raw": ["[1, 2]", None],
        "note": [None, "ü"],
    }
    assert rows.numbers == numbers
    assert rows.skipped == ((1,) if numbers == [1, 3] else ())


def test_only_so_many_rows_are_read(tmp_path):
    path = written(tmp_path, '{"t": 0}\n{"t": 1}\nbroken')
    assert rows_of(path, 2).columns == {"t": [0, 1]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"t": 0}\n{"t": 1\n', "row 2: Expecting"),
        ('{"t": 0}\n[1, 2]\n', r"row 2: found \[1, 2\]"),
        ('{"t": 0}\n3\n', "row 2: found 3"),
        ('[{"t": 0}, 5]', "row 2: found 5"),
        ('[{"t": 0}, ', r"x\.jsonl: Expecting"),
        ('{"t": 0}\n{"t": 1, "t": 2}\n', "row 2: the key 't' occurs twice"),
        ('{"a": {"b": 0}, "a.b": 2}\n', "row 1: the key 'a.b' occurs twice"),
        (b'{"t": "\xff"}\n', "row 1: .*codec can't decode"),
        ('{"t": ' * 100_000, "row 1: "),
    ],
)
def test_what_is_no_object_is_named_by_its_row(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        rows_of(written(tmp_path, text))


def test_a_broken_archive_is_named(tmp_path):
    path = written(tmp_path, LINES, "x.jsonl.gz")
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(DataError, match=r"x\.jsonl\.gz"):
        rows_of(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINES, True),
        (LISTED, True),
        (' [ {"a": 1}', True),
        ('{"a": 1}', False),
        ('{\n"a": 1\n}', False),
        ("[1, 2]", False),
        ("1\n2\n", False),
        ("", False),
    ],
)
def test_a_single_object_is_no_table(tmp_path, text, expected):
    assert looks_like_rows(written(tmp_path, text, "x.json")) is expected
