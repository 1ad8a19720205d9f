"""Excel workbooks (.xlsx): a sheet is a table, or every sheet is a record; one file or a folder.

Rows are numbered as Excel shows them. Cells keep their types: moments and durations are times,
whatever their format on the screen. What a formula gave when the file was last saved is its value;
Excel's errors (`#N/A`) are missing, with a note.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.dialect import Sample, layout_of, spelled
from tsfm_adapt.signals.readers._tables.guess import settings_of_files
from tsfm_adapt.signals.readers._tables.sheets import Book, Cells, Rows, book, texts
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.text import Dialect, table_of
from tsfm_adapt.signals.readers._tables.typed import column_of
from tsfm_adapt.signals.readers._tables.written import RowsConfig

REQUIRES = ("openpyxl",)
EXTRA = "xlsx"

_HEAD_ROWS = 20_000
_SHEET = "sheet"  # the column with the sheet's name
_EVERY = "*"


class Config(RowsConfig):
    """A sheet with a header row; `sheet: "*"` reads all, and adds a column `sheet` to each.

    Sheets that are hidden or empty are left out, unless `sheet` names one.
    """

    patterns: ClassVar[tuple[str, ...]] = ("[!~]*.xlsx", "[!~]*.xlsm")
    guessed_patterns: ClassVar[tuple[str, ...]] = (*patterns, "*.xls", "*.xlsb", "*.ods")

    name: Literal["xlsx"] = "xlsx"
    sheet: str | None = Field(
        None,
        description="its name; '*' = every sheet, with the column `sheet` that `subject` or "
        "`record` may name; null = the only one",
    )

    @classmethod
    def parts(cls, path: Path) -> list[Path]:
        """The file, or its sheets where they have the same columns.

        Raises:
            DataError: no sheet is a table.
            Undecided: the sheets have other columns; the settings are those of the first.
        """
        with book(path) as opened:
            names = opened.sheets()
            if len(names) == 1:
                return [path]
            samples: dict[str, Sample] = {}
            problems: list[str] = []
            for name in names:
                try:
                    samples[name] = _sample(path, opened, name, {"sheet": name})
                except DataError as problem:
                    problems.append(str(problem))
        if not samples:
            raise DataError(
                problems[0] if problems else f"{path} must have a sheet; all are empty."
            )
        if len(samples) == len(names) and len({*map(_columns, samples.values())}) == 1:
            _refuse_channels(path, names)
            return [path / name for name in names]
        raise _of_several(path, names, samples)

    @classmethod
    def completed(cls, settings: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Sheets are subjects, or records where a column names the subject."""
        if settings.get("sheet") != _EVERY or _SHEET in (
            settings.get("subject"),
            settings.get("record"),
        ):
            return settings
        own = {key: value for key, value in settings.items() if key != "subject_pattern"}
        return {**own, "record" if "subject" in own else "subject": _SHEET}

    @classmethod
    def sample(cls, path: Path) -> Sample:
        """The first rows of a file's only sheet, or of the sheet that is named behind the file."""
        if path.is_file():
            with book(path) as opened:
                return _sample(path, opened, _only(path, opened), {})
        with book(path.parent) as opened:
            return _sample(path, opened, path.name, {"sheet": _EVERY})

    def load(self, path: Path) -> Table:
        """Reads one sheet; rows are numbered from 1."""
        with book(path) as opened:
            return self._table(path, opened, self.sheet or _only(path, opened))

    def tables(self, path: Path) -> Iterator[Table]:
        """One sheet, or every sheet with its name in a column."""
        if self.sheet != _EVERY:
            yield self.load(path)
            return
        with book(path) as opened:
            for number, name in enumerate(opened.sheets()):
                table = self._table(path.with_name(f"{path.name} [{name}]"), opened, name)
                if _SHEET in table.columns:
                    raise DataError(
                        f"data.reader.sheet: with '*' a column is called 'sheet'; {table.path} "
                        "has one. Name one sheet, or rename the column."
                    )
                names = np.full(table.rows, name)
                yield replace(table, columns={**table.columns, _SHEET: names}, begins=number == 0)

    def _table(self, path: Path, opened: Book, name: str) -> Table:
        return _typed(path, opened.rows(name), self.dialect(), self.spelling)


def _only(path: Path, opened: Book) -> str:
    """The name of the only sheet."""
    names = opened.sheets()
    if len(names) != 1:
        raise DataError(
            f"A workbook has one sheet, or data.reader.sheet names one: {path} has "
            f"{len(names)} ({', '.join(names[:8]) or 'all are empty'}). Set data.reader.sheet; "
            "'*' reads all."
        )
    return names[0]


def _sample(path: Path, opened: Book, name: str, settings: Mapping[str, JsonValue]) -> Sample:
    """The first rows of a sheet, with the dialect that fits them and some more settings."""
    rows = opened.rows(name, _HEAD_ROWS)
    first = _first_full(rows.cells)
    lines = texts(rows.cells, rows.width, first)
    if rows.whole:
        lines = _without_remarks(lines)
    dialect = layout_of(lines, rows.whole)
    if dialect is None:
        raise DataError(
            f"A sheet has a column of numbers below its header: of the {len(lines)} rows of "
            f"'{name}' in {path} none begins them."
        )
    found = spelled(path, _typed(path, rows, dialect, Spelling()), dialect)
    return replace(found, settings={**settings, **found.settings})


def _typed(path: Path, rows: Rows, dialect: Dialect, spelling: Spelling) -> Table:
    """The table of a sheet; columns of one type keep it."""
    end = len(rows.cells)
    while end and not rows.cells[end - 1]:
        end -= 1
    width = max(map(len, rows.cells[dialect.skip_rows : end - dialect.footer_rows]), default=0)
    table = table_of(path, texts(rows.cells, width, dialect.skip_rows), dialect, spelling)
    table.notes.update(rows.notes)
    numbers = np.arange(table.rows + len(table.skipped)) + table.first_row - 1
    kept = [rows.cells[row] for row in np.delete(numbers, list(table.skipped)).tolist()]
    columns = {
        name: column_of([cells[index] if index < len(cells) else None for cells in kept])
        for index, name in enumerate(table.columns)
    }
    return replace(table, columns=columns)


def _first_full(rows: Sequence[Cells]) -> int:
    """The first row with as many cells as most rows have: the header, or the first of values."""
    lengths = [len(cells) for cells in rows if cells]
    if not lengths:
        return 0
    usual = max({*lengths}, key=lengths.count)
    return next(number for number, cells in enumerate(rows) if len(cells) >= usual)


def _without_remarks(lines: list[list[str]]) -> list[list[str]]:
    """Rows at the end with one word or sentence are cut to it, as those of a text file are."""
    result = list(lines)
    for number in range(len(lines) - 1, max(len(lines) - 6, 0), -1):
        filled = [cell for cell in lines[number] if cell]
        if len(filled) > 1 or (filled and filled[0][:1].isdigit()):
            break
        result[number] = filled
    return result


def _refuse_channels(path: Path, names: Sequence[str]) -> None:
    """Stops where sheets are called by signals, which are no subjects."""
    if all(vital(name) is not None for name in names):
        raise DataError(
            f"Sheets with the same columns are records: those of {path} are called by signals "
            f"({', '.join(names[:8])}). Put them below each other on one sheet, with a column "
            "that names the signal, or save each as a file of its own."
        )


def _of_several(path: Path, names: Sequence[str], samples: Mapping[str, Sample]) -> DataError:
    """The error for sheets with other columns, with the settings of the longest with signals."""
    shown = "; ".join(f"'{name}' ({_shown(samples.get(name))})" for name in names[:8])
    text = (
        f"A workbook has one sheet, or sheets with the same columns: {path} has {shown}. Set "
        "data.reader.sheet."
    )
    for name in sorted(samples, key=lambda name: -samples[name].table.rows):
        own = samples[name]
        try:
            settings = settings_of_files(path, [path / name], lambda _, own=own: own)  # type: ignore[misc]
        except Undecided as problem:
            return Undecided(f"{text} {problem}", {"sheet": name, **problem.settings})
        except DataError:
            continue
        return Undecided(text, {"sheet": name, **settings})
    return DataError(text)


def _columns(sample: Sample) -> tuple[str, ...]:
    return tuple(sample.table.columns)


def _shown(sample: Sample | None) -> str:
    return "no table" if sample is None else ", ".join(_columns(sample)[:5])
