"""Workbooks: one sheet, or every sheet a record."""

import sys
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from contracts.reader import ReaderContract, same
from contracts.workbook import HEADER, START, openpyxl, rows, write
from tsfm_adapt.errors import DataError, EnvironmentProblem
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.signals.readers import csv
from tsfm_adapt.signals.readers.xlsx import Config

UNITS = {"HR (bpm)": "bpm", "SpO2 (%)": "%"}
WIDE = {"layout": "wide", "time": "Time", "units": UNITS}


class TestSheetContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        for name in ("p1", "deep/p2"):
            write(tmp_path / f"{name}.xlsx", {"S": [["Ward 3"], HEADER, *rows()]})
        return Config(root=str(tmp_path), **WIDE, skip_rows=1)


class TestEverySheetContract(ReaderContract):
    @pytest.fixture
    def config(self, tmp_path):
        sheets = {name: [HEADER, *rows(first=50 + 10 * len(name))] for name in ("a", "bb")}
        write(tmp_path / "x.xlsx", sheets)
        return Config(root=str(tmp_path / "x.xlsx"), **WIDE, sheet="*", subject="sheet")


def test_a_sheet_reads_the_same_as_its_text(tmp_path):
    table = [[*row[:2], None if n % 5 == 0 else row[2]] for n, row in enumerate(rows(50, 60.5))]
    write(tmp_path / "x.xlsx", {"S": [HEADER, *table]})
    pd.DataFrame(table, columns=HEADER).to_csv(tmp_path / "x.csv", index=False)
    (typed,) = Config(root=str(tmp_path / "x.xlsx"), **WIDE).read(())
    (text,) = csv.Config(root=str(tmp_path / "x.csv"), **WIDE).read(())
    assert same(typed, text)
    assert typed.start == np.datetime64("2024-01-02T08:00:00", "s")
    assert len(typed.value) == 90


def guess(tmp_path, cells):
    return recognised(write(tmp_path / "x.xlsx", {"Tabelle1": cells}))


@pytest.mark.parametrize(
    ("above", "settings"),
    [
        ([HEADER], {}),
        ([["Patient: X"], ["Exported", START], [], HEADER], {"skip_rows": 3}),
        ([["Time", "HR (bpm)", "SpO2 (%)"], ["", "bpm", "%"]], {"units_row": True}),
        ([["Name", "X"], ["Born", datetime(1980, 1, 2)], HEADER], {"skip_rows": 2}),
    ],
)
def test_the_header_is_found_below_what_stands_before_it(tmp_path, above, settings):
    found = guess(tmp_path, [*above, *rows(), HEADER, *rows(5)[:0], ["End of report"]])
    assert found.name == "xlsx"
    assert found.units == UNITS
    own = found.model_dump(exclude_defaults=True)
    assert {key: own[key] for key in settings} == settings
    assert own["footer_rows"] == 1
    (item,) = found.read(())
    assert item.time_s[-1] == 19 * 60
    assert item.notes == {"rows that repeat the header, skipped": 1}


def test_a_date_and_a_clock_of_excel_are_one_time(tmp_path):
    moments = [START + timedelta(minutes=7 * number) for number in range(300)]
    cells = [[m.date(), m.time(), 60 + n % 9] for n, m in enumerate(moments)]
    found = guess(tmp_path, [["Date", "Time", "HR"], *cells])
    assert (found.date, found.time) == ("Date", "Time")
    (item,) = found.read(())
    assert item.start == np.datetime64(START, "s")
    assert item.time_s[-1] == 299 * 7 * 60


def test_elapsed_times_beyond_a_day_go_on(tmp_path):
    cells = [[timedelta(minutes=20 * n), 60 + n % 9] for n in range(100)]
    (item,) = guess(tmp_path, [["Elapsed time", "HR"], *cells]).read(())
    assert item.start is None
    assert item.time_s[-1] == 99 * 1200


def test_numbers_that_are_text_are_read_by_their_marks(tmp_path):
    cells = [[START + timedelta(minutes=5 * n), f"{4 + n % 50 / 10:.1f}"] for n in range(99)]
    cells = [[time, "Low" if n == 9 else v.replace(".", ",")] for n, (time, v) in enumerate(cells)]
    found = guess(tmp_path, [["time", "glucose (mmol/L)"], *cells])
    assert (found.decimal, found.censored) == (",", "limit")
    (item,) = found.read(())
    assert item.value[:3].tolist() == [4.0, 4.1, 4.2]
    assert len(item.value) == 98


def test_sheets_with_the_same_columns_are_subjects(tmp_path):
    path = write(tmp_path / "x.xlsx", {name: [HEADER, *rows()] for name in ("P2", "P1")})
    found = recognised(path)
    assert (found.sheet, found.subject, found.record) == ("*", "sheet", None)
    assert [item.subject for item in found.read(())] == ["P2", "P1"]
    (item,) = Config(root=str(path), **WIDE, sheet="P1").read(())
    assert (item.id, item.subject) == ("x", "x")
    with pytest.raises(DataError, match=r"x\.xlsx has 2 \(P2, P1\)\. Set data\.reader\.sheet"):
        list(Config(root=str(path), **WIDE).read(()))


def test_sheets_are_records_of_the_subjects_in_a_column(tmp_path):
    cells = [["id", *HEADER], *([person, *row] for person in (1, 2) for row in rows())]
    found = recognised(write(tmp_path / "x.xlsx", {"Mon": cells, "Tue": cells}))
    assert (found.subject, found.record) == ("id", "sheet")
    ids = [(item.id, item.subject) for item in found.read(())]
    assert ids == [("1/Mon", "1"), ("2/Mon", "2"), ("1/Tue", "1"), ("2/Tue", "2")]


def test_a_cell_of_one_of_many_sheets_is_named_with_its_sheet(tmp_path):
    bad = [*rows(3), [START + timedelta(hours=1), "?", 97]]
    write(tmp_path / "x.xlsx", {"a": [HEADER, *rows()], "b": [HEADER, *bad]})
    fields = {**WIDE, "sheet": "*", "subject": "sheet"}
    with pytest.raises(DataError, match=r"x\.xlsx \[b\], row 5, column 'HR \(bpm\)'"):
        list(Config(root=str(tmp_path / "x.xlsx"), **fields).read(()))


def test_sheets_with_other_columns_are_listed_with_the_line_for_the_longest(tmp_path):
    info = [["name", "Bob"], ["age", 7]]
    sheets = {"Info": info, "HR": [HEADER[:2], *(row[:2] for row in rows())]}
    path = write(tmp_path / "x.xlsx", sheets)
    with pytest.raises(DataError, match=r"'Info' \(name, Bob\); 'HR' \(Time, HR") as caught:
        recognised(path)
    line = caught.value.remedy.removeprefix("reader=")
    found = recognised(path, line)
    assert found.sheet == "HR"
    (item,) = found.read(())
    assert len(item.value) == 20


def test_sheets_that_are_called_by_signals_are_no_subjects(tmp_path):
    cells = [["Time", "Value"], *(row[:2] for row in rows())]
    path = write(tmp_path / "x.xlsx", {"HR": cells, "SpO2": cells})
    with pytest.raises(DataError, match=r"called by signals \(HR, SpO2\)"):
        recognised(path)


def test_subjects_of_a_folder_are_found_by_names_and_open_files_are_no_tables(tmp_path):
    for name in ("a_day1", "a_day2", "b_day1", "b_day2"):
        write(tmp_path / f"{name}.xlsx", {name: [HEADER, *rows()]})
    (tmp_path / "~$a_day1.xlsx").write_bytes(b"\x05user")
    found = recognised(tmp_path)
    assert [item.subject for item in found.read(())] == ["a", "a", "b", "b"]


@pytest.mark.parametrize("name", ["x.xls", "x.xlsb", "x.ods"])
def test_other_formats_of_sheets_are_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(DataError, match=rf"{name} is a workbook of Excel 97-2003.*save it as"):
            recognised(path)


def test_init_says_which_extra_is_needed(tmp_path, monkeypatch):
    path = write(tmp_path / "x.xlsx", {"S": [HEADER, *rows()]})
    real = __import__("importlib").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "openpyxl" else real(name)
    )
    monkeypatch.delitem(sys.modules, "openpyxl")
    with pytest.raises(EnvironmentProblem, match=r"pip install 'tsfm-adapt\[xlsx\]'"):
        recognised(path)
    (tmp_path / "x.csv").write_text("time,HR\n" + "".join(f"{n},7{n % 9}\n" for n in range(9)))
    assert recognised(tmp_path).name == "csv"


def test_a_sheet_without_values_is_named(tmp_path):
    with pytest.raises(DataError, match=r"of the 3 rows of 'Tabelle1' in .* none"):
        guess(tmp_path, [["a", "b"], ["x", "y"], ["z", "w"]])
    openpyxl.Workbook().save(tmp_path / "x.xlsx")
    with pytest.raises(DataError, match="must have a sheet; all are empty"):
        recognised(tmp_path / "x.xlsx")


def test_a_column_called_sheet_and_a_row_that_is_too_long_are_refused(tmp_path):
    write(tmp_path / "x.xlsx", {"S": [["Time", "sheet"], *(row[:2] for row in rows())]})
    own = {"layout": "wide", "time": "Time", "units": {"sheet": "1"}, "sheet": "*"}
    with pytest.raises(DataError, match="a column is called 'sheet'"):
        list(Config(root=str(tmp_path / "x.xlsx"), **own).read(()))
    write(tmp_path / "y.xlsx", {"S": [HEADER, *rows(3), [START, 1, 2, None, "note"]]})
    with pytest.raises(
        DataError, match=r"row 5, has 5 .*Correct it, or set data.reader.skip_rows"
    ):
        list(Config(root=str(tmp_path / "y.xlsx"), **WIDE).read(()))
