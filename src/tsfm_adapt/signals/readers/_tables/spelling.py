"""How a table's cells write numbers: decimal marks, groups of digits, units, sensors' limits."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.units import canonical

Column = npt.NDArray[Any]  # text ('' = empty), numbers, datetime64, or timedelta64
Censored = Literal["limit", "missing", "error"]

MISSING = ("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None")
_MISSING = frozenset(MISSING)
LIMIT_WORDS = ("low", "high", "lo", "hi")  # what sensors write beyond their range

_LIMIT = re.compile(r"([<>≤≥]=?)\s*(.*)")
_WITH_UNIT = re.compile(r"([-+]?[\d.,' \u00a0\u202f]*\d)\s*([^\d\s.,].*)")
_SPACES = " \u00a0\u202f"


class NotANumber(ValueError):
    """A cell that is neither a number nor missing; `args[0]` is what was expected."""


@dataclass(frozen=True)
class Spelling:
    """How the cells of a table write numbers."""

    decimal: str = "."
    thousands: str = ""  # between groups of three digits; '' = none
    missing: tuple[str, ...] = ()  # besides `MISSING`
    censored: Censored = "error"  # what `>300` and `Low` become
    unit_in_cells: bool = False  # `7.2 mmol/L`

    @property
    def tokens(self) -> tuple[str, ...]:
        """Every cell that means missing."""
        return (*MISSING, *self.missing)

    @property
    def missing_numbers(self) -> tuple[float, ...]:
        """The tokens that are numbers, such as -1."""
        return tuple(number for number in map(plain, self.missing) if number is not None)

    def plain_numbers(self, cells: Sequence[str]) -> FloatArray | None:
        """Cells (N,) as finite numbers where all are plain ones or usual words for missing.

        None = there are others, which `numbers` may read. Several times faster than that.
        """
        if self.decimal != "." or self.missing or self.unit_in_cells:
            return None
        try:
            number = np.fromiter(map(float, cells), np.float64, len(cells))
        except ValueError:
            try:
                number = np.array([np.nan if c in _MISSING else float(c) for c in cells])
            except ValueError:
                return None
        return None if "_" in "".join(cells) or np.isinf(number).any() else number

    def numbers(
        self, text: Column, unit: str = "", notes: Counter[str] | None = None
    ) -> FloatArray:
        """Cells (N,) as numbers; NaN where missing.

        Args:
            text: the cells, stripped.
            unit: that a cell may bear, where `unit_in_cells`.
            notes: what was changed is counted here, as `Recording.notes` has it.

        Raises:
            NotANumber: with the rule that the first such cell breaks.
        """
        if self.decimal == "." and not self.unit_in_cells:
            empty = np.isin(text, self.tokens)
            try:
                number: FloatArray = np.where(empty, "nan", text).astype(np.float64)
            except ValueError:
                pass
            else:
                if "_" not in "".join(text.tolist()):  # Python's 1_000
                    return number
        cells, which, counts = np.unique(text, return_inverse=True, return_counts=True)
        parsed = np.array([self.number(cell, unit) for cell in cells.tolist()], dtype=np.float64)
        if notes is not None and self.censored != "error":
            self._note(cells.tolist(), counts.tolist(), notes)
        return parsed[which]

    def number(self, cell: str, unit: str = "") -> float:
        """One cell as a number; NaN where missing.

        Raises:
            NotANumber: it is neither.
        """
        if cell in self.tokens:
            return np.nan
        limit = _LIMIT.fullmatch(cell)
        if limit or cell.casefold() in LIMIT_WORDS:
            return self._at_limit(limit.group(2) if limit else None, unit)
        number = self.plain(cell)
        if number is None and self.unit_in_cells:
            number = self.plain(_without_unit(cell, unit))
        if number is None:
            expected = "a number or one of missing_values"
            raise NotANumber(f"expected {expected}{self._hint(cell)}")
        return number

    def _at_limit(self, number: str | None, unit: str) -> float:
        if self.censored == "error":
            raise NotANumber(
                "this is a sensor's limit and no value: set data.reader.censored to limit (the "
                "number stands for it; a word is missing) or missing; expected a number"
            )
        if number is None or self.censored == "missing":
            return np.nan
        return self.number(number, unit)

    def plain(self, cell: str) -> float | None:
        """The number, or None; groups of digits have to be groups of three."""
        if self.thousands and _separator(self.thousands, cell):
            grouped = grouping(self.thousands, self.decimal)
            if not grouped.fullmatch(cell):
                return None
            cell = re.sub(f"[{re.escape(_alike(self.thousands))}]", "", cell)
        if self.decimal != ".":
            if "." in cell:
                return None
            cell = cell.replace(self.decimal, ".")
        return plain(cell)

    def _hint(self, cell: str) -> str:
        """The setting under which the cell would be a number; '' = none is known."""
        for spelling, setting in (
            (Spelling(decimal=","), "decimal: ','"),
            (Spelling(thousands=","), "thousands: ','"),
            (Spelling(decimal=",", thousands="."), "decimal: ',' and thousands: '.'"),
        ):
            if spelling.plain(cell) is not None:
                return f" (with data.reader.{setting} it would be one)"
        if _WITH_UNIT.fullmatch(cell):
            return " (with data.reader.unit_in_cells: true a unit may stand behind it)"
        return ""

    def _note(self, cells: Sequence[str], counts: Sequence[int], notes: Counter[str]) -> None:
        """Counts the cells at a sensor's limit."""
        for cell, count in zip(cells, counts, strict=True):
            limit = _LIMIT.fullmatch(cell)
            if limit and self.censored == "limit":
                notes[f"cells '{cell}', beyond the sensor's range, read as the limit"] += count
            elif limit or cell.casefold() in LIMIT_WORDS:
                notes[f"cells '{cell}', beyond the sensor's range, read as missing"] += count


def plain(cell: str) -> float | None:
    """A number as Python writes it; None = it is none."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def grouping(thousands: str, decimal: str) -> re.Pattern[str]:
    """The form of a number with groups of three digits."""
    group = f"[{re.escape(_alike(thousands))}]"
    return re.compile(rf"[-+]?\d{{1,3}}({group}\d{{3}})+({re.escape(decimal)}\d*)?")


_NUMBER_LIKE = re.compile(r"[-+<>≤≥=]*[\d.,'\s]*\d")
_SPELLINGS = (
    Spelling(),
    Spelling(decimal=","),
    Spelling(thousands=","),
    Spelling(decimal=",", thousands="."),
    Spelling(decimal=",", thousands=" "),
    Spelling(thousands=" "),
    Spelling(thousands="'"),
)


def number_like(cell: str) -> bool:
    """True if a cell is made of digits and marks only."""
    return _NUMBER_LIKE.fullmatch(cell) is not None


def spelling_of(columns: Iterable[Iterable[str]], delimiter: str) -> list[Spelling]:
    """The ways in which a table may write its numbers, the likeliest first; [] = none fits.

    Args:
        columns: the distinct cells of each column; those that are no numbers are passed over, and
            so is a column that no spelling reads, such as dates.
        delimiter: of the file: beside a comma, cells with commas are quoted, as groups of digits
            are; elsewhere both readings of '1,234' stay.
    """
    fitting = set(_SPELLINGS)
    bare: list[str] = []
    for column in columns:
        cells = [_LIMIT.sub(r"\2", cell) for cell in column if number_like(cell)]
        own = {spelling for spelling in _SPELLINGS if _reads(spelling, cells)}
        if not own:
            continue
        fitting &= own
        marks = [cell for cell in cells if plain(cell) is None]
        bare += [cell for cell in cells if marks and plain(cell) is not None]
    if Spelling() in fitting:
        return [Spelling()]
    likely = [spelling for spelling in _SPELLINGS if spelling in fitting]
    single = [s for s in likely if not (s.thousands and s.decimal == ",")]
    grouped = [spelling for spelling in single if spelling.thousands]
    if len(single) == 2 and delimiter == ",":
        small = all(abs(float(cell)) < 1000 for cell in bare)
        return grouped if small else [*grouped, *(s for s in single if not s.thousands)]
    return single or likely


def _reads(spelling: Spelling, cells: Sequence[str]) -> bool:
    return all(spelling.plain(cell) is not None for cell in cells)


def _separator(mark: str, cell: str) -> bool:
    return any(own in cell for own in _alike(mark))


def _alike(mark: str) -> str:
    """The marks that stand for each other: blanks of several widths."""
    return _SPACES if mark in _SPACES else mark


def unit_of(cell: str) -> str | None:
    """The unit behind a number in a cell; None = there is none."""
    match = _WITH_UNIT.fullmatch(cell)
    return match.group(2).strip() if match else None


def _without_unit(cell: str, unit: str) -> str:
    """The number of `7.2 mmol/L`; the unit has to be the channel's."""
    found = unit_of(cell)
    if found is None:
        return cell
    if (canonical(found) or found) != (canonical(unit) or unit):
        raise NotANumber(f"expected a number in {unit or 'one unit'}")
    match = _WITH_UNIT.fullmatch(cell)
    assert match is not None
    return match.group(1)
