"""Cells of a table as numbers and times; what does not fit is named by row and column."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import MISSING, Table, moment, read_csv


def table(**columns):
    return Table(Path("t.csv"), {n: np.array(cells) for n, cells in columns.items()}, first_row=2)


def test_numbers_are_those_of_the_cells_and_what_means_missing_is_nan():
    cells = table(HR=[" 70 ", *MISSING, "-1", "1e2"])
    rows = np.arange(len(MISSING) + 3)
    found = cells.numbers("HR", rows, ("-1",))
    np.testing.assert_array_equal(found, [70, *[np.nan] * (len(MISSING) + 1), 100])
    assert cells.numbers("HR", np.array([9, 0]), ()).tolist() == [-1, 70]
    typed = table(HR=np.array([70, -1, 71]))
    np.testing.assert_array_equal(typed.numbers("HR", np.arange(3), ("-1",)), [70, np.nan, 71])


@pytest.mark.parametrize(("cell", "row"), [("fast", 3), ("inf", 3), ("7O", 3)])
def test_a_cell_that_is_no_finite_number_is_named_as_a_viewer_counts(cell, row):
    cells = table(HR=["70", cell, "71"])
    with pytest.raises(DataError, match=rf"t\.csv, row {row}, column 'HR'.*'{cell}'"):
        cells.numbers("HR", np.arange(3), ())
    assert cells.numbers("HR", np.array([0, 2]), ()).tolist() == [70, 71]


def test_a_column_that_is_absent_is_answered_with_the_closest():
    table(HR=["1"]).require(["HR"], "units")
    with pytest.raises(DataError, match=r"data\.reader\.units: t\.csv has no column 'HRR'.*'HR'"):
        table(HR=["1"], SpO2=["2"]).require(["HRR"], "units")


US = 1_000_000


@pytest.mark.parametrize(
    ("cells", "how", "times", "calendar"),
    [
        (["0.5", "2"], "auto", [0.5, 2], False),
        (["07:30", "47:59:30.5"], "auto", [27000, 172770.5], False),
        (["1970-01-02", "1970-01-01T00:00:00.25"], "auto", [86400 * US, US // 4], True),
        (["1970-01-01T01:00:00+01:00"], "iso", [0], True),
        (["1.25"], "unix", [5 * US // 4], True),
        (["2/1/1970 0:01"], "%d/%m/%Y %H:%M", [86460 * US], True),
    ],
)
def test_times_are_seconds_or_microseconds_of_the_calendar(cells, how, times, calendar):
    found, is_calendar = table(time=cells).times("time", how)
    assert (found.tolist(), is_calendar) == (times, calendar)


def test_typed_times_are_taken_as_they_are_and_an_absent_one_is_named():
    stamps = np.array(["1970-01-01T00:00:01", "NaT"], "datetime64[ns]")
    assert table(time=stamps[:1]).times("time", "auto") == (np.array([US]), True)
    with pytest.raises(DataError, match="row 3, column 'time'"):
        table(time=stamps).times("time", "auto")


@pytest.mark.parametrize(
    ("cells", "how"),
    [(["1", ""], "seconds"), (["1:00", "1:75"], "clock"), (["2020-01-01", "2020-13-01"], "iso")],
)
def test_a_time_that_is_none_is_named(cells, how):
    with pytest.raises(DataError, match="row 3, column 'time'"):
        table(time=cells).times("time", how)


def test_a_moment_is_in_whole_seconds_of_utc():
    assert moment("2014-02-03 08:42:12.9") == np.datetime64("2014-02-03T08:42:12", "s")
    assert moment("2014-02-03T08:42:12+02:00") == np.datetime64("2014-02-03T06:42:12", "s")
    with pytest.raises(ValueError, match="noon"):
        moment("noon")


def test_a_csv_file_is_its_columns_as_text(tmp_path):
    (tmp_path / "t.csv").write_text(' id ; x\n"a;b";1\n;\n\n\n', encoding="utf-8")
    found = read_csv(tmp_path / "t.csv", ";", "utf-8")
    assert {name: cells.tolist() for name, cells in found.columns.items()} == {
        "id": ["a;b", ""],
        "x": ["1", ""],
    }
    assert (found.rows, found.first_row) == (2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"a,a\n1,2\n", "a, a"),
        (b"a,b\n1\n", "row 2"),
        (b"a,b\n1,2\n1,2,3\n", "row 3"),
        (b"a,b\n\xff,2\n", "utf-8"),
        (b'a,b\n"1,2\n', "CSV"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path, content, message):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as refused:
        read_csv(tmp_path / "t.csv", ",", "utf-8")
    assert "t.csv" in str(refused.value)
