"""How an unknown text file is written: encoding, delimiter, header, spelling of numbers."""

from __future__ import annotations

import csv
import io
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.spelling import (
    LIMIT_WORDS,
    MISSING,
    Spelling,
    number_like,
    plain,
    spelling_of,
    unit_of,
)
from tsfm_adapt.signals.readers._tables.text import Dialect, Row, bare, cells_of, opened, table_of
from tsfm_adapt.signals.units import canonical

_WHOLE = 4 << 20  # bytes of a file that are looked at
_TRIED = 1 << 17  # characters by which the delimiter is told
_DELIMITERS = ",;\t| "
_HEAD, _FOOT = 60, 5  # rows in which a header is looked for, and that may follow the last value
_TYPED = 0.7  # share of a column's cells that look like values
_WORDS = 0.8  # share of a column's cells that are numbers where words among them mean missing
_TIME = re.compile(r"\d:\d|\d{4}-\d|\d[./]\d+[./]\d")
_VALUE = re.compile(r"[-+<>≤≥=.]*\d.*|\w{3,9} \d.*")
_NOTHING = frozenset(("n/a", "missing", "invalid", "off", "none", "null", "na"))
_UNIT_NAMES = frozenset(
    (
        *("s", "sec", "ms", "us", "min", "h", "d", "hh:mm", "hh:mm:ss", "yyyy-mm-dd"),
        *("second", "seconds", "millisecond", "milliseconds", "minutes", "hours", "days"),
        *("a.u.", "au", "n/a", "-", "count", "counts", "g", "m/s", "beats", "rpm"),
    )
)


@dataclass(frozen=True)
class Sample:
    """The first rows of a file."""

    table: Table
    settings: Mapping[str, JsonValue] = field(default_factory=dict)  # how the file is written
    doubts: tuple[str, ...] = ()  # what `settings` decide, and could be otherwise


def sampled(path: Path) -> Sample:
    """The first rows of a text file, and the settings that read them.

    Raises:
        DataError: it is no table, or one of its rows is broken.
    """
    text = _decoded(path)
    if text is None:
        raise DataError(f"{path} must be text; it is empty, compressed otherwise or binary.")
    body, encoding, whole = text
    best = _divided(body)
    if best is None:
        raise DataError(
            f"{path} must have rows with equally many cells; none of the delimiters comma, "
            f"semicolon, tab, bar and blank gives them. It begins '{body[:60].strip()}'."
        )
    delimiter, rows = best
    dialect = _layout(rows, Dialect(delimiter=delimiter, encoding=encoding), whole)
    if dialect is None:
        raise DataError(
            f"{path} must have a column of numbers below its header; of its {len(rows)} rows "
            f"none begins them. The first is '{delimiter.join(rows[0])[:60]}'."
        )
    return spelled(path, table_of(path, rows, dialect, Spelling()), dialect)


def layout_of(rows: Sequence[Row], whole: bool) -> Dialect | None:
    """Where header, units and values are among rows that need no delimiter.

    Args:
        rows: of text; those above the header may be shorter.
        whole: True if these are all rows, so that some at the end may be no values.

    Returns:
        The dialect; None = no column of the rows holds values.
    """
    return _layout(rows, Dialect(delimiter=""), whole)


def settings_of(dialect: Dialect) -> dict[str, JsonValue]:
    """The settings of a dialect that are not the usual ones."""
    usual = Dialect() if dialect.delimiter else Dialect(delimiter="")
    return {
        name: getattr(dialect, name)
        for name in Dialect.__dataclass_fields__
        if getattr(dialect, name) != getattr(usual, name)
    }


def _decoded(path: Path) -> tuple[str, str, bool] | None:
    """The beginning of a file as text, its encoding, and whether that is all of it."""
    try:
        with opened(path) as file:
            start = file.read(_WHOLE)
            whole = not file.read(1)
    except (OSError, EOFError, zlib.error):
        return None
    encoding = "utf-16" if start[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    if encoding != "utf-16" and (b"\0" in start or not start.strip()):
        return None
    if not whole:
        start = start[: start.rfind(b"\n") + 1]
    try:
        return start.decode(encoding), encoding, whole
    except UnicodeDecodeError:
        return start.decode("latin-1"), "latin-1", whole


def _divided(body: str) -> tuple[str, list[Row]] | None:
    """The delimiter that gives the most columns to the most rows, and all rows."""
    cut = body.rfind("\n", 0, _TRIED) + 1
    best = _delimiter(body[:cut] if len(body) > _TRIED and cut else body)
    if best is None:
        return None
    try:
        return best, list(cells_of(io.StringIO(body, newline=""), best))
    except csv.Error:
        return None


def _delimiter(body: str) -> str | None:
    """The delimiter of some lines; None = no delimiter divides them alike."""
    best: tuple[float, bool, float, int, str] | None = None
    for delimiter in _DELIMITERS:
        try:
            rows = list(cells_of(io.StringIO(body, newline=""), delimiter))
        except csv.Error:
            continue
        width, share = _width(rows)
        if width < 2 or share < 0.7 or (delimiter == " " and best is not None):
            continue
        merit = (
            round(_undivided(rows, delimiter), 1),
            _names_columns(rows, width),
            round(share, 1),
            width,
        )
        if best is None or merit > best[:4]:
            best = (*merit, delimiter)
    if best is not None:
        return best[4]
    lines = [[line] for line in body.splitlines()]
    numbers = [line[0] for line in lines[1:] if line[0].strip()]
    if len(numbers) >= 3 and all(map(number_like, numbers)):  # one column
        return ","
    return None


def _undivided(rows: Sequence[Row], delimiter: str) -> float:
    """The share of rows without another delimiter in a cell; a comma may be a decimal's."""
    others = {*";|\t"} - {delimiter}
    some = rows[: 10 * _HEAD]
    return sum(not others & {*"".join(row)} for row in some) / len(some)


def _names_columns(rows: Sequence[Row], width: int) -> bool:
    """True if values follow a row of names, which decimal commas do not divide."""
    valued = [any(_VALUE.fullmatch(cell.strip()) for cell in row) for row in rows[:_HEAD]]
    return any(
        len(above) >= max(2, width - 1) and len(row) == width and own and not before
        for (above, row), (before, own) in zip(
            pairwise(rows[:_HEAD]), pairwise(valued), strict=True
        )
    )


def _filled(row: Row) -> int:
    """The number of cells up to the last that is filled."""
    width = len(row)
    while width and not row[width - 1].strip():
        width -= 1
    return width


def _width(rows: Sequence[Row]) -> tuple[int, float]:
    """The commonest number of cells in a row, and the share of the rows that have it."""
    counts = Counter(len(row) for row in rows if any(row))
    if not counts:
        return 0, 0.0
    width, many = counts.most_common(1)[0]
    return width, many / sum(counts.values())


def _layout(rows: Sequence[Row], dialect: Dialect, whole: bool) -> Dialect | None:
    """Where header, units and values are; None = this is no table."""
    width, _ = _width(rows)
    end = len(rows)
    while end and not any(rows[end - 1]):
        end -= 1
    footer = 0
    while whole and footer < _FOOT and len(rows[end - footer - 1]) != width and end - footer > 3:
        footer += 1
    if len(rows[end - footer - 1]) != width:
        footer = 0
    body = [row for row in rows[end // 2 : end - footer] if len(row) == width]
    typed = [
        index
        for index in range(width)
        if _is_typed([row[index].strip() for row in body[: 20 * _HEAD]])
    ]
    if not typed:
        return None
    first = next(
        (
            index
            for index, row in enumerate(rows[:_HEAD])
            if len(row) == width and _conforms(row, typed) and any(row[i].strip() for i in typed)
        ),
        None,
    )
    if first is None:
        return None
    first = _after_units(rows, first, typed, width)
    if first and _only_units(rows[first]):
        first += 1
    return _headed(rows, replace(dialect, footer_rows=footer), first)


def _after_units(rows: Sequence[Row], first: int, typed: Sequence[int], width: int) -> int:
    """The first row of values; values of a preamble, above the header, are passed over."""
    for index in range(first + 1, min(len(rows), _HEAD)):
        row = rows[index]
        if (
            len(row) >= width - 1
            and _filled(row) > 1
            and not _conforms(row, typed)
            and not any(_VALUE.fullmatch(row[i].strip()) for i in typed if i < len(row))
            and index + 1 < len(rows)
            and row not in rows[:first]
        ):
            return _after_units(rows, index + 1, typed, width)
    return first


def _headed(rows: Sequence[Row], dialect: Dialect, first: int) -> Dialect:
    """The dialect by what stands above the first row of values."""
    if first == 0:
        numbers = [plain(cell) for cell in rows[0]]
        known = [number for number in numbers if number is not None]
        steps = {after - before for before, after in pairwise(known)}
        if len(numbers) >= 16 and len(known) == len(numbers) and steps == {1.0}:
            return dialect  # samples of trials, numbered
        return replace(dialect, header_rows=0)
    above = rows[first - 1]
    if first >= 2 and _are_units(above, rows[first - 2]):
        return replace(dialect, skip_rows=first - 2, units_row=True)
    names = [cell.strip() for cell in above if cell.strip()]
    if first >= 2 and len(set(names)) < len(names) and _filled(rows[first - 2]) > 1:
        return replace(dialect, skip_rows=first - 2, header_rows=2)
    return replace(dialect, skip_rows=first - 1)


def _are_units(row: Row, names: Row) -> bool:
    """True if a row between names and values holds units."""
    cells = [bare(cell).strip("[]()").strip() for cell in row]
    filled = [cell for cell in cells if cell]
    if any(cell != "1" and (plain(cell) is not None or _TIME.search(cell)) for cell in filled):
        return False
    known = [c for c in filled if canonical(c) or c.casefold() in _UNIT_NAMES]
    bracketed = [cell for cell in row if re.fullmatch(r"\s*[\[(].*[\])]\s*", cell)]
    return (
        bool(filled)
        and _filled(names) >= _filled(row)
        and (len(known) >= 0.5 * len(filled) or len(bracketed) >= 0.5 * len(filled))
    )


def _only_units(row: Row) -> bool:
    """True if a row holds units and nothing else."""
    cells = [bare(cell).strip("[]()").strip() for cell in row]
    filled = [cell for cell in cells if cell]
    return bool(filled) and all(
        canonical(cell) is not None and not number_like(cell) for cell in filled
    )


def _is_typed(cells: Sequence[str]) -> bool:
    """True if a column holds values: numbers, times, or numbers with marks and units."""
    filled = [cell for cell in cells if cell not in MISSING]
    return bool(filled) and sum(map(_value_like, filled)) >= _TYPED * len(filled)


def _value_like(cell: str) -> bool:
    return _VALUE.fullmatch(cell) is not None or cell.casefold() in LIMIT_WORDS


def _conforms(row: Row, typed: Sequence[int]) -> bool:
    cells = [row[index].strip() for index in typed if index < len(row)]
    return all(cell in MISSING or _value_like(cell) or _says_nothing(cell) for cell in cells)


def _says_nothing(cell: str) -> bool:
    """True if a cell may stand for a missing value: marks without letters, or a usual word."""
    return not any(map(str.isalpha, cell)) or cell.casefold() in _NOTHING


def spelled(path: Path, table: Table, dialect: Dialect) -> Sample:
    """The table with the spelling of its text, and all settings of how the file is written."""
    settings = settings_of(dialect)
    counts = {
        name: Counter(table.text(name).tolist())
        for name, column in table.columns.items()
        if column.dtype.kind == "U"
    }
    units = dict(table.units)
    numbers: dict[str, list[str]] = {}
    with_units = False
    for name, cells in counts.items():
        filled = [cell for cell in cells if cell not in MISSING]
        many = sum(cells[cell] for cell in filled)
        own = {unit_of(cell) for cell in filled} - {None}
        unit = next(iter(own)) if len(own) == 1 else ""
        if unit and _is_unit(unit) and 2 * sum(cells[c] for c in filled if unit_of(c)) > many:
            units[name], with_units = unit, True
        else:
            unit = ""
        bare = {cell: cell.removesuffix(unit).strip() or cell for cell in filled}
        if many and sum(cells[c] for c in filled if number_like(bare[c])) >= _WORDS * many:
            numbers[name] = [*bare.values()]
    fitting = spelling_of(numbers.values(), dialect.delimiter)
    if not fitting:
        raise DataError(_at_odds(path, numbers))
    doubts = (_two_ways(path, table, numbers, fitting),) if len(fitting) > 1 else ()
    spelling = fitting[0] if fitting else Spelling()
    words = {cell for cells in numbers.values() for cell in cells if not number_like(cell)}
    limits = {w for w in words if w.casefold() in LIMIT_WORDS} | {
        cell for cells in numbers.values() for cell in cells if cell[0] in "<>≤≥"
    }
    missing = tuple(sorted(w for w in words - limits if not re.search(r"\d", w)))
    spelling = replace(
        spelling,
        missing=missing,
        censored="limit" if limits else "error",
        unit_in_cells=with_units,
    )
    for name in ("decimal", "thousands", "unit_in_cells", "censored"):
        if getattr(spelling, name) != getattr(Spelling(), name):
            settings[name] = getattr(spelling, name)
    if missing:
        settings["missing_values"] = list(missing)
    return Sample(replace(table, spelling=spelling, units=units), settings, doubts)


def _is_unit(unit: str) -> bool:
    return canonical(unit) is not None or re.fullmatch(r"[^\W\d_]+(/[^\W\d_]+)?", unit) is not None


def _at_odds(path: Path, numbers: Mapping[str, Sequence[str]]) -> str:
    """That columns write numbers in ways that no one spelling reads."""
    shown = [
        f"'{name}' has '{next((cell for cell in cells if not cell.isdigit()), cells[0])}'"
        for name, cells in numbers.items()
    ]
    return (
        f"{path}: the numbers of a table are written in one way; {', '.join(shown[:4])}. If one "
        "of these is no number but a clock or a date, write it as such, like 20:00."
    )


def _two_ways(
    path: Path,
    table: Table,
    numbers: Mapping[str, Sequence[str]],
    fitting: Sequence[Spelling],
) -> str:
    """That a cell is one number or another."""
    name, cell = next(
        (name, cell) for name, cells in numbers.items() for cell in cells if plain(cell) is None
    )
    row = next(row for row, own in enumerate(table.text(name)) if own.startswith(cell))
    ways = " or ".join(
        f"{spelling.number(cell):g} (decimal: '{spelling.decimal}', thousands: "
        f"'{spelling.thousands}')"
        for spelling in fitting
    )
    return f"{path}, row {table.number_of(row)}, column '{name}': '{cell}' can be {ways}."
