"""A text file as the columns of a table, and which line of the file a row is."""

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.text import BLANK, REPEATED, Dialect, opened, read_text


def columns(table):
    return {name: table.text(name).tolist() for name in table.columns}


def read(tmp_path, text, **dialect):
    path = tmp_path / "t.csv"
    path.write_text(text, encoding=dialect.get("encoding", "utf-8"), newline="")
    return read_text(path, Dialect(**dialect))


def test_a_csv_file_is_its_columns_as_text(tmp_path):
    found = read(tmp_path, ' id ; x\n"a;b";1\n;\nc;2\n;\n\n', delimiter=";")
    assert columns(found) == {"id": ["a;b", "", "c"], "x": ["1", "", "2"]}
    assert (found.rows, found.first_row) == (3, 2)


cell = st.text(st.characters(categories=["L", "N", "P"], exclude_characters='"'), max_size=4)


@given(
    rows=st.lists(st.tuples(st.text("abc", min_size=1), cell, cell), max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(deadline=None, max_examples=60)
def test_what_is_written_is_read_also_compressed(tmp_path_factory, rows, delimiter, end):
    folder = tmp_path_factory.mktemp("text")
    quoted = [[f'"{own}"' for own in row] for row in rows]
    text = "".join(delimiter.join(row) + end for row in [["k", "x", "y"], *quoted])
    (folder / "t.csv").write_text(text, encoding="utf-8", newline="")
    with gzip.open(folder / "t.csv.GZ", "wt", encoding="utf-8", newline="") as file:
        file.write(text)
    for name in ("t.csv", "t.csv.GZ"):
        found = read_text(folder / name, Dialect(delimiter=delimiter))
        assert columns(found) == {
            name: [row[index].strip() for row in rows] for index, name in enumerate("kxy")
        }
        with opened(folder / name) as file:
            assert file.read() == text.encode()


@given(kinds=st.lists(st.sampled_from(["value", "blank", "header"]), max_size=12))
@settings(deadline=None, max_examples=60)
def test_a_row_keeps_the_number_of_its_line_whatever_is_skipped_before(tmp_path_factory, kinds):
    lines = ["preamble", "time,HR"]
    for number, kind in enumerate(kinds):
        lines.append({"value": f"{number},70", "blank": "", "header": "time,HR"}[kind])
    lines.append("99,7o")
    path = tmp_path_factory.mktemp("rows") / "t.csv"
    path.write_text("\n".join(lines))
    found = read_text(path, Dialect(skip_rows=1))
    for row in range(found.rows):
        assert (
            lines[found.number_of(row) - 1] == f"{found.text('time')[row]},{found.text('HR')[row]}"
        )
    assert found.rows == kinds.count("value") + 1
    assert found.notes.get(BLANK, 0) == kinds.count("blank")
    assert found.notes.get(REPEATED, 0) == kinds.count("header")
    with pytest.raises(DataError, match=f"row {len(lines)}, column 'HR'"):
        found.numbers("HR")


@pytest.mark.parametrize(
    ("text", "dialect", "names"),
    [
        ("time,ECG,ECG\n0,1,2\n", {}, ["time", "ECG", "ECG#2"]),
        ("time,,HR\n0,1,2\n", {}, ["time", "column 2", "HR"]),
        ("0,1,2\n", {"header_rows": 0}, ["column 1", "column 2", "column 3"]),
        (",Finger,\nt,HR,SpO2\n0,1,2\n", {"header_rows": 2}, ["t", "Finger HR", "Finger SpO2"]),
        ("time,HR,SpO2,\n0,1,2,\n", {}, ["time", "HR", "SpO2"]),
        (
            "made by hand\n\ntime;HR;x\n0;1;2\n",
            {"skip_rows": 2, "delimiter": ";"},
            ["time", "HR", "x"],
        ),
        ("time  HR x\n 0   1  2\n", {"delimiter": " "}, ["time", "HR", "x"]),
    ],
)
def test_columns_are_called_by_the_header(tmp_path, text, dialect, names):
    found = read(tmp_path, text, **dialect)
    assert list(found.columns) == names
    assert [cells[0] for cells in columns(found).values()] == ["0", "1", "2"]
    assert bool(found.notes) == ("ECG#2" in names)


@pytest.mark.parametrize(
    ("first", "named"),
    [
        (["1", "2", "3"], True),
        (["r1", "r2", "x"], True),
        (["0", "60", "120"], False),
        (["2020-01-01", "2020-01-02", "2020-01-03"], False),
        (["a", "a", "b"], False),
    ],
)
def test_a_header_one_short_stands_for_row_names_only_where_there_are_some(tmp_path, first, named):
    text = "time,HR\n" + "".join(f"{own},{n},7{n}\n" for n, own in enumerate(first))
    if named:
        found = columns(read(tmp_path, text))
        assert found == {"row": first, "time": ["0", "1", "2"], "HR": ["70", "71", "72"]}
        return
    with pytest.raises(DataError, match="row 2, has 3"):
        read(tmp_path, text)


def test_units_below_the_header_are_kept_without_brackets(tmp_path):
    found = read(tmp_path, "time,HR,note\n[s],(bpm),\n0,70,x\n", units_row=True)
    assert found.units == {"time": "s", "HR": "bpm"}
    assert (found.rows, found.first_row) == (1, 3)
    assert read(tmp_path, "time,HR\n", units_row=True).rows == 0


def test_rows_at_the_end_are_left_out_after_blank_ones(tmp_path):
    found = read(tmp_path, "time,HR\n0,1\n1,2\nsum,,3\n\n,\n", footer_rows=1)
    assert columns(found) == {"time": ["0", "1"], "HR": ["1", "2"]}


def test_encodings_are_read(tmp_path):
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "latin-1"):
        (tmp_path / "t.csv").write_text("time,Größe\n0,1\n", encoding=encoding)
        own = "utf-8-sig" if encoding == "utf-8" else encoding
        assert list(read_text(tmp_path / "t.csv", Dialect(encoding=own)).columns)[1] == "Größe"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n1\n", "row 2, has 1"),
        (b"a,b\n1,2\n\n1,2,3\n", "row 4, has 3"),
        (b"a,b\n1,2\n1,2,,3\n", "row 3, has 4"),
        (b"a,b\n\xff,2\n", "utf-8"),
        (b'a,b\n"1,2\n', "CSV"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        read_text(tmp_path / "t.csv")
    assert "t.csv" in str(refused.value)


@pytest.mark.parametrize("keep", [5, 30, -4])
def test_a_truncated_gzip_file_is_named(tmp_path, keep):
    packed = gzip.compress(b"time,HR\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(99)))
    (tmp_path / "t.csv.gz").write_bytes(packed[:keep])
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        read_text(tmp_path / "t.csv.gz")
