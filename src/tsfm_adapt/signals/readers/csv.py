"""CSV tables: one row a reading (long) or one row a time (wide), one file or a folder of them."""

from __future__ import annotations

import codecs
import csv
import io
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from tsfm_adapt.signals.readers._cells import Table, read_csv
from tsfm_adapt.signals.readers._columns import FirstRows, TableSettings
from tsfm_adapt.signals.readers._tables import TableConfig

_HEAD_BYTES = 1 << 16
_HEAD_ROWS = 500


class Config(TableConfig):
    """A comma-separated table with a header row; every row has as many cells as the header."""

    suffix = ".csv"

    name: Literal["csv"] = "csv"
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = Field("utf-8-sig", description="utf-8 with or without a byte-order mark")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"Python knows no encoding '{value}'") from None
        return value

    @classmethod
    def first_rows(cls, path: Path) -> FirstRows | None:
        """The rows of the first 64 kB, with the delimiter that gives the most columns."""
        try:
            with path.open("rb") as file:
                start = file.read(_HEAD_BYTES)
        except OSError:
            return None
        whole = len(start) < _HEAD_BYTES
        body = start if whole else start[: start.rfind(b"\n") + 1]
        if not body.strip() or b"\0" in body:
            return None
        settings: TableSettings = {}
        try:
            text = body.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = body.decode("latin-1")
            settings["encoding"] = "latin-1"
        tables = {delimiter: _rows(text, delimiter) for delimiter in ",;\t|"}
        delimiter, rows = max(tables.items(), key=lambda item: len(item[1][0]) if item[1] else 0)
        if len(rows) < 3 or len(rows[0]) < 2:
            return None
        header = [cell.strip() for cell in rows[0]]
        if len(set(header)) != len(header) or not any(header) or all(map(_is_number, header)):
            return None
        cells = {
            name: [row[index].strip() for row in rows[1:]] for index, name in enumerate(header)
        }
        if delimiter != ",":
            settings["delimiter"] = delimiter
        return FirstRows(cells, settings=settings)

    def load(self, path: Path) -> Table:
        """Reads the columns as text; rows are numbered like lines, the header is row 1."""
        return read_csv(path, self.delimiter, self.encoding)


def _rows(text: str, delimiter: str) -> list[list[str]]:
    """The first rows; [] where they differ in length."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if len(rows) > _HEAD_ROWS:
                break
            if row:
                rows.append(row)
    except csv.Error:  # a quote that is still open where the text was cut
        return []
    return rows if len({len(row) for row in rows}) == 1 else []


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
