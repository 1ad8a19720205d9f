"""Workbooks as rows of cells."""

import zipfile
from datetime import datetime, time, timedelta

import pytest

from contracts.workbook import HEADER, changed, openpyxl, rows, write
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.sheets import ERRORS, book, texts


def read(path, name="S", most=None):
    with book(path) as opened:
        return opened.rows(name, most)


def test_cells_have_types_and_rows_end_at_the_last_filled_cell(tmp_path):
    moment = datetime(2024, 1, 2, 3, 4, 5, 123_000)
    cells = [[moment, 1, 2.5], [], [time(8, 5), "x", "  "], [timedelta(hours=30), None, True]]
    found = read(write(tmp_path / "x.xlsx", {"S": cells}))
    assert found.cells == [
        [moment, 1, 2.5],
        [],
        [time(8, 5), "x"],
        [timedelta(hours=30), None, True],
    ]
    assert (found.whole, found.width) == (True, 3)
    assert not read(tmp_path / "x.xlsx", most=2).whole
    assert texts(found.cells, 3, first=2)[1:3] == [[], ["08:05:00", "x", ""]]


@pytest.mark.parametrize(
    "epoch", [openpyxl.utils.datetime.WINDOWS_EPOCH, openpyxl.utils.datetime.MAC_EPOCH]
)
def test_hours_beyond_a_day_are_a_duration_in_both_calendars(tmp_path, epoch):
    made = openpyxl.Workbook()
    made.epoch = epoch
    made.active.title = "S"
    made.active["A1"] = 26 / 24
    made.active["A1"].number_format = "hh:mm:ss"
    made.active["A2"] = datetime(2024, 1, 2, 3)
    made.save(tmp_path / "x.xlsx")
    assert read(tmp_path / "x.xlsx").cells == [[timedelta(hours=26)], [datetime(2024, 1, 2, 3)]]


def test_hidden_and_empty_sheets_are_left_out_and_no_wrong_size_is_believed(tmp_path):
    path = write(tmp_path / "x.xlsx", {"S": [HEADER, *rows()], "blank": [], "H": [[1]]})
    made = openpyxl.load_workbook(path)
    made["H"].sheet_state = "hidden"
    made.save(path)
    changed(path, "xl/worksheets/sheet1.xml", 'dimension ref="A1:C21"', 'dimension ref="A1"')
    with book(path) as opened:
        assert opened.sheets() == ["S"]
        assert len(opened.rows("S").cells) == 21
        assert opened.rows("H").cells == [[1]]
        with pytest.raises(DataError, match=r"has no sheet 'T'\. Sheets: S, blank, H"):
            opened.rows("T")


def test_errors_of_excel_are_missing_with_a_note(tmp_path):
    found = read(write(tmp_path / "x.xlsx", {"S": [[1, error, 2] for error in ERRORS]}))
    assert found.cells == [[1, None, 2]] * len(ERRORS)
    assert found.notes["cells with Excel's error #N/A, read as missing"] == 1


def test_a_formula_has_its_value_in_the_file(tmp_path):
    path = write(tmp_path / "x.xlsx", {"S": [["a"], ["=1+1"], ['=""']]})
    with pytest.raises(DataError, match="sheet 'S', cell A2, is a formula that was never"):
        read(path)
    part = "xl/worksheets/sheet1.xml"
    changed(path, part, "<f>1+1</f><v />", "<f>1+1</f><v>2</v>")
    with pytest.raises(DataError, match="cell A3"):
        read(path)
    changed(path, part, '<c r="A3"><f>', '<c r="A3" t="str"><f>')
    assert read(path).cells == [["a"], [2], []]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no Excel workbook"),
        (b"time\tHR\n0\t70\n", "is no Excel workbook.*rename it where it is text"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), "Excel 97-2003 or one with a password.*save it as"),
        (b"PK\x03\x04 cut", "is a damaged workbook"),
        ("content.xml", "is an OpenDocument sheet"),
        ("xl/workbook.bin", "is a binary workbook"),
        ("word/document.xml", "is a damaged workbook, or another archive"),
        ("xl/workbook.xml", r"must be an Excel workbook: \w+"),
    ],
)
def test_what_is_no_workbook_is_named_with_what_to_do(tmp_path, content, message):
    path = tmp_path / "x.xls"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(content, "x")
    with pytest.raises(DataError, match=message), book(path):
        pass
