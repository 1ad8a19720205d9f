"""How an unknown text file is written; what is found reads the file as it was meant."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.dialect import sampled, settings_of
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.text import Dialect, read_text

MARKS = {"decimal", "thousands", "missing_values", "censored", "unit_in_cells"}


def sample(tmp_path, text, encoding="utf-8", name="t.csv"):
    path = tmp_path / name
    path.write_text(text, encoding=encoding, newline="")
    return sampled(path)


def dialect(found):
    return {name: value for name, value in found.settings.items() if name not in MARKS}


def rows(count=30, delimiter=",", decimal=".", start=0):
    return "".join(
        delimiter.join([str(start + n), f"{60 + n % 7}{decimal}{n % 10}", f"{97 - n % 3}"]) + "\n"
        for n in range(count)
    )


@given(
    delimiter=st.sampled_from(",;\t|"),
    decimal=st.sampled_from(".,"),
    preamble=st.sampled_from(["", "made by a monitor\n", "Name: x\nBorn: y\n\n", "a,b\nc,d\n"]),
    units=st.booleans(),
    count=st.integers(4, 40),
    end=st.sampled_from(["\n", "\r\n"]),
)
@settings(deadline=None, max_examples=120)
def test_settings_that_are_found_read_the_file_as_it_was_written(
    tmp_path_factory, delimiter, decimal, preamble, units, count, end
):
    if delimiter == ",":
        decimal = "."
    header = delimiter.join(["time", "HR", "SpO2"]) + "\n"
    header += delimiter.join(["s", "bpm", "%"]) + "\n" if units else ""
    text = preamble + header + rows(count, delimiter, decimal)
    path = tmp_path_factory.mktemp("dialect") / "t.csv"
    path.write_text(text.replace("\n", end), newline="")
    found = sampled(path)
    assert not found.doubts
    own = Dialect(**dialect(found))
    assert (own.delimiter, own.units_row) == (delimiter, units)
    spelling = Spelling(decimal=found.settings.get("decimal", "."))
    for read in (found.table, read_text(path, own, spelling)):
        assert list(read.columns) == ["time", "HR", "SpO2"]
        assert read.numbers("time").tolist() == list(range(count))
        np.testing.assert_allclose(
            read.numbers("HR"), [60 + n % 7 + n % 10 / 10 for n in range(count)]
        )
        assert dict(read.units) == ({"time": "s", "HR": "bpm", "SpO2": "%"} if units else {})
        assert read.number_of(0) == 1 + text.splitlines().index(rows(1, delimiter, decimal)[:-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("time,HR\n0,70\n1,71\n2,72\n3,73\n", {}),
        ("0,70\n1,71\n2,72\n3,73\n", {"header_rows": 0}),
        ("time  HR\n0   70\n1 71\n2  72\n3 73\n", {"delimiter": " "}),
        ("HR\n70\n71\n72\n73\n", {}),
        (",ECG,ECG\nt,I,II\n" + rows(), {"skip_rows": 1}),
        (",left,right\ntime,HR,HR\n" + rows(), {"header_rows": 2}),
        ("time,HR,x\n" + rows() + "end\n", {"footer_rows": 1}),
        ("time,HR,x\n" + rows() + "\nn=30\n", {"footer_rows": 2}),
        (",".join(map(str, range(20))) + "\n" + (",".join("1234567890" * 2) + "\n") * 9, {}),
    ],
)
def test_rows_that_are_no_values_are_found(tmp_path, text, expected):
    assert dialect(sample(tmp_path, text)) == expected


def test_what_is_usual_needs_no_setting():
    assert settings_of(Dialect()) == {}
    assert settings_of(Dialect(delimiter=";", skip_rows=2)) == {"delimiter": ";", "skip_rows": 2}


def test_encodings_and_compressed_files_are_found(tmp_path):
    text = "time,Größe\n" + "".join(f"{n},{n}\n" for n in range(9))
    for encoding, setting in (("utf-8", None), ("utf-8-sig", None), ("utf-16", "utf-16")):
        found = sample(tmp_path, text, encoding)
        assert (found.settings.get("encoding"), list(found.table.columns)[1]) == (setting, "Größe")
    assert sample(tmp_path, text, "latin-1").settings["encoding"] == "latin-1"
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert list(sampled(tmp_path / "t.csv.gz").table.columns)[1] == "Größe"


def test_words_among_numbers_mean_missing_and_limits_are_limits(tmp_path):
    words = ["Low", ">400", "no signal", "?", "NA", ""]
    cells = [words[n // 6 % 6] if n % 6 == 0 else "90" for n in range(99)]
    found = sample(tmp_path, "time,gl\n" + "".join(f"{n},{own}\n" for n, own in enumerate(cells)))
    assert found.settings["censored"] == "limit"
    assert found.settings["missing_values"] == ["?", "no signal"]
    read = found.table.numbers("gl")
    assert np.isfinite(read).sum() == cells.count("90") + cells.count(">400")


def test_units_in_cells_are_found(tmp_path):
    found = sample(tmp_path, "time,gl\n" + "".join(f"{n},{4 + n}.5 mmol/L\n" for n in range(9)))
    assert found.settings["unit_in_cells"] is True
    assert found.table.units["gl"] == "mmol/L"
    assert found.table.numbers("gl", unit="mmol/L")[0] == 4.5


def test_a_cell_that_is_a_unit_only_or_two_numbers_with_one_is_no_crash(tmp_path):
    rows = "".join(f"{n};{1 + n},{n}00 mg\n" for n in range(1, 9))
    (doubt,) = sample(tmp_path, "time;dose\n" + rows).doubts
    assert "row 2, column 'dose': '2,100'" in doubt
    found = sample(tmp_path, "time;dose\n" + rows.replace(",", ".") + "9;mg\n")
    assert found.settings["unit_in_cells"] is True


def test_a_number_that_can_be_two_is_a_doubt_that_names_both(tmp_path):
    found = sample(tmp_path, "time;steps\n" + "".join(f"{n};{1 + n},{n}00\n" for n in range(1, 9)))
    (doubt,) = found.doubts
    assert "row 2, column 'steps': '2,100' can be" in doubt
    assert {"2.1", "2100"} <= {*doubt.replace("(", " ").split()}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be text"),
        (b"\0\0\0\n\0", "must be text"),
        (b"\x1f\x8b\x08\x00broken", "equally many cells|must be"),
        (b"words, just words; without end", "equally many cells|column of numbers"),
        (b"time,HR\n", "column of numbers"),
        (b"a,b\nx,y\nz,w\n", "column of numbers"),
        (b"time,HR\n0,70\n60,71,72\n", "equally many cells"),
        (b"time,HR\n" + b"".join(b"%d,70\n" % n for n in range(9)) + b"9\n1,2\n", "row 11, has 1"),
    ],
)
def test_what_is_no_table_is_refused_with_a_reason(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        sampled(tmp_path / "t.csv")
    assert "t.csv" in str(refused.value)
