"""Excel workbooks as rows of typed cells, sheet by sheet; read as a stream, by openpyxl."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, Any
from xml.etree import ElementTree

from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.typed import Cell, text_of

Cells = list[Cell]

ERRORS = ("#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA")
_OLE = b"\xd0\xcf\x11\xe0"  # of .xls, and of workbooks with a password
_ZIP = b"PK\x03\x04"
_MAIN = "xl/workbook.xml"
_CHUNK = 1 << 20
_DURATION = timedelta(days=60)  # a moment so soon after the calendar's zero is a duration


@dataclass
class Rows:
    """Rows of a sheet, each up to its last filled cell."""

    cells: list[Cells]
    whole: bool  # False: there are more
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def width(self) -> int:
        """The largest number of cells in a row."""
        return max(map(len, self.cells), default=0)


class Book:
    """An open workbook."""

    def __init__(self, path: Path, opened: Any) -> None:
        self.path = path
        self._opened = opened
        self._zero = opened.epoch + timedelta(days=opened.epoch.year == 1899)

    def sheets(self) -> list[str]:
        """The names of the visible sheets that hold anything; charts are no sheets."""
        return [
            sheet.title
            for sheet in self._opened.worksheets
            if sheet.sheet_state == "visible" and any(self._rows(sheet))
        ]

    def rows(self, name: str, most: int | None = None) -> Rows:
        """The rows of a sheet, at most `most` of them.

        Raises:
            DataError: there is no such sheet, or a formula's value is not in the file.
        """
        found = [sheet for sheet in self._opened.worksheets if sheet.title == name]
        if not found:
            raise DataError(
                f"data.reader.sheet: {self.path} has no sheet '{name}'. "
                f"Sheets: {', '.join(sheet.title for sheet in self._opened.worksheets)}."
            )
        rows = Rows([], whole=True)
        for cells in self._rows(found[0], rows.notes):
            if most is not None and len(rows.cells) == most:
                rows.whole = False
                break
            rows.cells.append(cells)
        _refuse_formulas(self.path, name, found[0])
        return rows

    def _rows(self, sheet: Any, notes: Counter[str] | None = None) -> Iterator[Cells]:
        sheet.reset_dimensions()  # what the file states is often wrong
        for cells in sheet.iter_rows(values_only=True):
            own = [self._cell(cell, notes) for cell in cells]
            while own and own[-1] is None:
                own.pop()
            yield own

    def _cell(self, cell: Any, notes: Counter[str] | None) -> Cell:
        """A cell; errors and blanks are empty, hours beyond a day a duration."""
        if isinstance(cell, str):
            if cell in ERRORS:
                if notes is not None:
                    notes[f"cells with Excel's error {cell}, read as missing"] += 1
                return None
            return cell if cell.strip() else None
        typed: Cell = cell
        if isinstance(cell, datetime):
            since: timedelta = cell - self._zero
            return since if timedelta() <= since < _DURATION else cell
        return typed


@contextmanager
def book(path: Path) -> Iterator[Book]:
    """Opens a workbook.

    Raises:
        DataError: it is none, or cannot be read; the text says what to do.
        EnvironmentProblem: the extra `xlsx` is not installed.
    """
    refuse_others(path)
    require("reader", "xlsx")
    import openpyxl

    opened = None
    try:
        # openpyxl closes no file that it cannot read
        with path.open("rb") as file:
            try:
                opened = openpyxl.load_workbook(file, read_only=True, data_only=True)
                yield Book(path, opened)
            except (DataError, GeneratorExit):
                raise
            except Exception as problem:  # whatever a broken part provokes in openpyxl
                raise DataError(
                    f"{path} must be an Excel workbook: {type(problem).__name__}: {problem}. "
                    "Open and save it in Excel or LibreOffice, or fetch it again."
                ) from problem
    finally:
        if opened is not None:
            opened.close()


def refuse_others(path: Path) -> None:
    """Stops where a file is no workbook that can be read, by its first bytes and its parts.

    Raises:
        DataError: what it is in its place, and what to do.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as problem:
        raise DataError(f"{path} must be readable: {problem}. Give another file.") from problem
    if start == _OLE:
        what = "a workbook of Excel 97-2003 or one with a password"
        raise DataError(
            f"A workbook is an .xlsx file without a password: {path} is {what}. Open it in Excel "
            "or LibreOffice and save it as .xlsx without a password, or as .csv."
        )
    parts: list[str] = []
    if start == _ZIP:
        with suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as packed:
            parts = packed.namelist()
    if _MAIN in parts:
        return
    kind = "is no Excel workbook"
    if "xl/workbook.bin" in parts:
        kind = "is a binary workbook (.xlsb)"
    elif "content.xml" in parts:
        kind = "is an OpenDocument sheet (.ods)"
    elif start == _ZIP:
        kind = "is a damaged workbook, or another archive"
    raise DataError(
        f"A workbook is an .xlsx file: {path} {kind}. Open it in Excel or LibreOffice and save it "
        "as .xlsx, or as .csv; rename it where it is text."
    )


def _refuse_formulas(path: Path, name: str, sheet: Any) -> None:
    """Stops where a program wrote formulas without their values, which would read as empty."""
    with zipfile.ZipFile(path) as packed, packed.open(sheet._worksheet_path.lstrip("/")) as part:
        if not _has_formulas(part):
            return
    with zipfile.ZipFile(path) as packed, packed.open(sheet._worksheet_path.lstrip("/")) as part:
        for _, element in ElementTree.iterparse(part):  # noqa: S314
            tag = element.tag.rpartition("}")[2]
            if tag == "c" and element.get("t", "n") != "str":
                held = {child.tag.rpartition("}")[2]: child.text for child in element}
                if "f" in held and not held.get("v"):
                    raise DataError(
                        f"Values stand in the file: {path}, sheet '{name}', cell "
                        f"{element.get('r')}, is a formula that was never calculated. Open the "
                        "file in Excel or LibreOffice and save it."
                    )
            if tag == "row":
                element.clear()


def _has_formulas(part: IO[bytes]) -> bool:
    before = b""
    while chunk := part.read(_CHUNK):
        both = before + chunk
        if b"<f>" in both or b"<f " in both:
            return True
        before = chunk[-2:]
    return False


def texts(rows: Sequence[Cells], width: int, first: int = 0) -> list[list[str]]:
    """Rows of text; those from `first` on that hold anything have `width` cells."""
    result = []
    for number, cells in enumerate(rows):
        own = [text_of(cell) for cell in cells]
        result.append(own + [""] * (width - len(own)) if own and number >= first else own)
    return result
