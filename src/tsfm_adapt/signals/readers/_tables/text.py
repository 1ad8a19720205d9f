"""Delimited text as the columns of a table: what stands around the values, and broken rows."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._files import distinct
from tsfm_adapt.signals.readers._tables.cells import Table, TextColumns
from tsfm_adapt.signals.readers._tables.spelling import Spelling

Row = list[str]

REPEATED = "rows that repeat the header, skipped"
BLANK = "blank lines, skipped"


@dataclass(frozen=True)
class Dialect:
    """How a text file is divided into cells, and which rows are no values."""

    delimiter: str = ","  # '' = cells are cells, as in a spreadsheet
    encoding: str = "utf-8-sig"
    skip_rows: int = 0  # before the header
    header_rows: int = 1  # 0 = none: columns are called 'column 1', ...; 2 are joined
    units_row: bool = False  # below the header
    footer_rows: int = 0  # at the end


PLAIN = Dialect()


def opened(path: Path) -> gzip.GzipFile | io.BufferedReader:
    """The bytes of a file, decompressed where its name ends with .gz."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")


def read_text(path: Path, dialect: Dialect = PLAIN, spelling: Spelling | None = None) -> Table:
    """Reads the columns of a file as text; rows are numbered like lines, the first is row 1.

    Rows that repeat the header and blank lines are skipped and counted in the table's notes.
    Columns of one name are called 'ECG' and 'ECG#2'; what is empty beyond the last column of the
    header is dropped.

    Args:
        path: of the file; what ends with .gz is decompressed.
        dialect: how it is written.
        spelling: of its numbers.

    Raises:
        DataError: not such a file, or a row is too short or too long.
    """
    try:
        with opened(path) as file, io.TextIOWrapper(file, dialect.encoding, newline="") as lines:
            rows = list(cells_of(lines, dialect.delimiter))
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error) as problem:
        raise DataError(
            f"{path} must be a CSV file in {dialect.encoding}: {problem}. "
            "Correct the encoding or the file."
        ) from problem
    return table_of(path, rows, dialect, spelling or Spelling())


def cells_of(lines: IO[str], delimiter: str) -> Iterator[Row]:
    """The rows of a text; a blank as delimiter stands for any run of blanks.

    Raises:
        csv.Error: a quote is left open, or stands within a cell.
    """
    if delimiter == " ":
        return (line.split() for line in lines)
    return csv.reader(lines, delimiter=delimiter, strict=True)


def table_of(path: Path, rows: Sequence[Row], dialect: Dialect, spelling: Spelling) -> Table:
    """The table of a file's rows; `read_text` says what is done with them."""
    end = len(rows)
    while end and not any(rows[end - 1]):
        end -= 1
    end -= dialect.footer_rows
    top = dialect.skip_rows
    first = top + dialect.header_rows + dialect.units_row
    if end <= top:
        raise DataError(
            f"A table has a header row: {path} is empty"
            f"{f' after {top} rows' if top else ''}. Take it out of the folder, or correct "
            "data.reader.skip_rows."
        )
    names, renamed = _names(rows, dialect)
    if dialect.header_rows and _one_short(rows[first:end], len(names)):
        names.insert(0, "row")  # as R writes row names
    width = len(names)
    body: Sequence[Row] = rows[first:end]
    notes: Counter[str] = Counter()
    skipped: tuple[int, ...] = ()
    if {*map(len, body)} != {width}:
        body, skipped = _even(path, body, width, first, dialect, notes)
    if dialect.header_rows:
        body, skipped = _without_headers(body, rows[top:first], skipped, notes)
    columns: list[tuple[str, ...]] = list(zip(*body, strict=True)) or [() for _ in names]
    units = _units(rows[first - 1], names) if dialect.units_row and first <= end else {}
    if renamed:
        notes[f"columns whose name occurs before, read as {', '.join(renamed[:5])}"] += len(
            renamed
        )
    return Table(
        path,
        TextColumns(dict(zip(names, columns, strict=True))),
        first_row=first + 1,
        skipped=skipped,
        spelling=spelling,
        units=units,
        notes=notes,
    )


def bare(cell: str) -> str:
    """A cell of a header without blanks and quotes around it, a comment's sign before it."""
    return cell.strip().strip("\"'").lstrip("#").strip()


def _names(rows: Sequence[Row], dialect: Dialect) -> tuple[list[str], list[str]]:
    """The names of the columns, and those of them that were changed because they occur twice.

    Two header rows are joined, the upper one filled to the right.
    """
    header = rows[dialect.skip_rows : dialect.skip_rows + dialect.header_rows]
    if not header:
        width = len(rows[dialect.skip_rows])
        return [f"column {number + 1}" for number in range(width)], []
    names, changed = _of_header(tuple(map(tuple, header)))
    return [*names], [*changed]


@lru_cache(maxsize=8)
def _of_header(header: tuple[tuple[str, ...], ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`_names` of header rows; files of a folder have the same ones."""
    width = max(map(len, header))
    parts: list[list[str]] = []
    for number, row in enumerate(header):
        cells = [bare(cell) for cell in row] + [""] * (width - len(row))
        if number < len(header) - 1:
            for index in range(1, width):
                cells[index] = cells[index] or cells[index - 1]
        parts.append(cells)
    names = [" ".join(filter(None, own)) for own in zip(*parts, strict=True)]
    while names and not names[-1]:
        names.pop()
    filled = [name or f"column {index + 1}" for index, name in enumerate(names)]
    unlike = distinct(filled)
    changed = (name for name, before in zip(unlike, filled, strict=True) if name != before)
    return tuple(unlike), tuple(changed)


def _one_short(body: Sequence[Row], width: int) -> bool:
    """True if every row has one cell more than the header, and begins with its name or number."""
    if not body or {*map(len, body)} != {width + 1} or not any(row[-1].strip() for row in body):
        return False
    first = [row[0].strip() for row in body]
    numbered = all(cell == str(number + 1) for number, cell in enumerate(first))
    return numbered or (all(c[:1].isalpha() for c in first) and len({*first}) == len(first))


def _units(row: Row, names: Sequence[str]) -> dict[str, str]:
    """The units of a row below the header, without brackets."""
    cells = (bare(cell).strip("[]()").strip() for cell in row)
    return {name: unit for name, unit in zip(names, cells, strict=False) if unit}


def _even(
    path: Path,
    body: Sequence[Row],
    width: int,
    first: int,
    dialect: Dialect,
    notes: Counter[str],
) -> tuple[list[Row], tuple[int, ...]]:
    """Rows of equal length, and the indices of those that were skipped.

    Raises:
        DataError: a row is too short, or has a filled cell too many.
    """
    even: list[Row] = []
    skipped: list[int] = []
    for index, row in enumerate(body):
        if len(row) == width:
            even.append(row)
        elif not any(row):
            skipped.append(index)
        elif len(row) > width and not any(cell.strip() for cell in row[width:]):
            even.append(row[:width])
        else:
            settings = "delimiter, skip_rows" if dialect.delimiter else "skip_rows"
            shown = (dialect.delimiter or " ").join(row)[:60]
            raise DataError(
                f"Every row has as many cells as the header, {width}: {path}, row "
                f"{first + index + 1}, has {len(row)} ('{shown}'). Correct it, "
                f"or set data.reader.{settings} (before the header, now {dialect.skip_rows}) "
                f"or footer_rows (at the end, now {dialect.footer_rows})."
            )
    if skipped:
        notes[BLANK] += len(skipped)
    return even, tuple(skipped)


def _without_headers(
    body: Sequence[Row], header: Sequence[Row], skipped: tuple[int, ...], notes: Counter[str]
) -> tuple[Sequence[Row], tuple[int, ...]]:
    """Drops the rows that are the header or the units again."""
    width = len(body[0]) if body else 0
    again = [(row + [""] * width)[:width] for row in header]
    firsts = {row[0] for row in again if row}
    repeats = [index for index, row in enumerate(body) if row[0] in firsts and row in again]
    if not repeats:
        return body, skipped
    notes[REPEATED] += len(repeats)
    places = np.delete(np.arange(len(body) + len(skipped)), list(skipped))  # in the file
    both = sorted([*skipped, *places[repeats].tolist()])
    gone = {*repeats}
    return [row for index, row in enumerate(body) if index not in gone], tuple(both)
