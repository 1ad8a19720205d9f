"""What the columns of an unknown table are: identifiers, channels, labels, or no signals."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.spelling import (
    MISSING,
    Column,
    NotANumber,
    Spelling,
    number_like,
    plain,
)
from tsfm_adapt.signals.recording import FloatArray, IntArray

NUMBERS = 0.8  # share of a channel's filled cells that are numbers
_CODES = 6  # distinct values of a column of codes
_SOME = 200  # cells: where none of the first ones is a number, the column has none
_RISING = 0.999  # share of steps that are equal in a counter


@dataclass
class Roles:
    """The columns that are left once time and identity are known, by what they are."""

    channels: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    row_labels: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)  # column: why


def roles(
    table: Table, names: Collection[str], group: IntArray, times: FloatArray | None
) -> Roles:
    """Sorts columns by their names and by how their values behave.

    Args:
        table: the rows of some files.
        names: of the columns to sort.
        group: (N,) number of each row's record.
        times: (N,) of the rows; None = there are none.
    """
    found = Roles()
    numbers = {name: numbers_of(table, name) for name in names}
    for name in names:
        number = numbers[name]
        if vocabulary.is_row_number(name):
            found.ignored[name] = "the numbers of rows"
        elif number is None:
            _text_role(table, name, group, found)
        else:
            _number_role(name, number, group, times, found)
    return found


def numbers_of(table: Table, name: str, least: float = NUMBERS) -> FloatArray | None:
    """A column (N,) as numbers, NaN where it is none.

    None = a smaller share of its filled cells than `least` are numbers.
    """
    column = table.columns[name]
    if column.dtype.kind in "iuf":
        return column.astype(np.float64)
    if column.dtype.kind in "Mm":
        return None
    if column.dtype.kind == "b":
        return column.astype(np.float64)
    text = table.text(name)
    some = [cell for cell in text[:_SOME].tolist() if cell not in MISSING]
    if len(some) == _SOME and not any(map(number_like, some)) and not table.units.get(name):
        return None
    cells, which, counts = np.unique(text, return_inverse=True, return_counts=True)
    spelling = table.spelling
    values = np.array(
        [_number(cell, spelling, table.units.get(name, "")) for cell in cells.tolist()]
    )
    filled = ~np.isin(cells, MISSING)
    if not counts[filled].sum():
        return np.full(table.rows, np.nan)
    known = np.isfinite(values) | np.isin(cells, spelling.missing)
    if counts[filled & known].sum() < least * counts[filled].sum():
        return None
    if not np.isfinite(values).any():
        return None
    return values[which.reshape(-1)]


def _number(cell: str, spelling: Spelling, unit: str) -> float:
    try:
        number = spelling.number(cell, unit)
    except NotANumber:
        return np.nan
    return number if np.isfinite(number) else np.nan


def identifies(table: Table, name: str, *, lax: bool = False) -> bool:
    """True if a column is complete, no measurement, and repeats.

    Laxly, a column that names people may have empty cells, which its reader then refuses, and
    may have as many people as rows.
    """
    people = lax and vocabulary.names_people(name)
    column = table.columns[name]
    if column.dtype.kind == "f" and not (np.isfinite(column) & (column == np.round(column))).all():
        return False
    if column.dtype.kind in "Mm":
        return False
    text = table.text(name)
    if (text == "").any() and not (people and (text != "").any()):
        return False
    codes = np.unique(text)
    numbers = [plain(code) for code in codes.tolist()]
    if any(number is not None and not float(number).is_integer() for number in numbers):
        return False
    return people or len(codes) <= max(1, table.rows // 2)


def constant(codes: Column, group: IntArray) -> bool:
    """True if a column (N,) has one value in each record."""
    _, which = np.unique(codes, return_inverse=True)
    pairs = np.unique(np.stack([group, which.reshape(-1)]), axis=1).shape[1]
    return bool(pairs == len(np.unique(group)))


def _text_role(table: Table, name: str, group: IntArray, found: Roles) -> None:
    text = table.text(name)
    filled = text[~np.isin(text, MISSING)]
    if not filled.size:
        found.ignored[name] = "empty"
    elif vocabulary.is_label(name) and len(np.unique(filled)) <= 50:
        (found.labels if constant(text, group) else found.row_labels).append(name)
    elif vocabulary.is_static(name) and constant(text, group):
        found.attributes.append(name)
    else:
        share = np.mean([number_like(cell) for cell in filled[:1000].tolist()])
        example = next((c for c in filled.tolist() if plain(c) is None), str(filled[0]))
        found.ignored[name] = (
            f"text, such as '{example[:24]}'"
            if share < 0.2
            else (f"cells such as '{example[:24]}' are no numbers")
        )


def _number_role(
    name: str,
    number: FloatArray,
    group: IntArray,
    times: FloatArray | None,
    found: Roles,
) -> None:
    """Puts a column of numbers where it belongs."""
    finite = np.isfinite(number)
    distinct = np.unique(number[finite])
    known = vital(name) is not None
    if not finite.any():
        found.ignored[name] = "empty"
        return
    same = constant(np.where(finite, number, -1e300), group)
    whole = bool((distinct == np.round(distinct)).all())
    if vocabulary.is_label(name) and whole and len(distinct) <= 50:
        (found.labels if same else found.row_labels).append(name)
    elif vocabulary.is_static(name) and same:
        found.attributes.append(name)
    elif vocabulary.plain(name) in ("age", "sex", "gender"):
        found.ignored[name] = "a fact about a person, not a signal"
    elif not known and len(distinct) == 1:
        found.ignored[name] = f"always {distinct[0]:g}"
    elif not known and same and len(number) > len(np.unique(group)):
        found.ignored[name] = "constant within each record"
    elif vocabulary.is_numbered_person(name):
        found.channels.append(name)
    elif not known and vocabulary.is_identifier(name) and whole and _is_id(name):
        found.ignored[name] = "an identifier by its name"
    elif not known and (reason := _clockwise(name, number, group, times)):
        found.ignored[name] = reason
    elif not known and vocabulary.is_quality(name):
        found.ignored[name] = "quality or a flag, by its name"
    elif not known and vocabulary.is_device(name):
        found.ignored[name] = "of the device, by its name"
    elif (
        not known
        and whole
        and (
            (vocabulary.is_state(name) and len(distinct) <= _CODES)
            or {*distinct.tolist()} == {0.0, 1.0}
        )
    ):
        found.row_labels.append(name)
    elif not known and vocabulary.is_kind(name) and whole and len(distinct) <= _CODES:
        found.ignored[name] = f"{len(distinct)} codes: a kind of row, by its name"
    else:
        found.channels.append(name)


def _is_id(name: str) -> bool:
    return bool(re.search(r"(?i)id$|_no$|_nr$|number", name)) or vocabulary.names_people(name)


def _clockwise(
    name: str, number: FloatArray, group: IntArray, times: FloatArray | None
) -> str | None:
    """Why a column is a clock or a counter: it rises by one step, or as the time does."""
    if not np.isfinite(number).all() or len(number) < 8:
        return None
    inside = np.diff(group) == 0
    step = np.diff(number)[inside]
    if (step < 0).sum() > (step > 0).sum():  # the newest row stands first
        step = -step
    if not step.size or (step < 0).mean() > 0.02 or not (step > 0).any():
        return None
    if times is not None:
        apart = np.abs(np.diff(times)[inside])
        both = (step > 0) & (apart > 0)
        if both.sum() >= 0.9 * (apart > 0).sum() and both.any():
            ratio = step[both] / apart[both]
            middle = float(np.median(ratio))
            alike = middle > 0 and (np.abs(ratio - middle) <= 0.02 * middle).mean() > 0.95
            named = vocabulary.is_counting(name) or _named_time(name)
            if alike and (named or len(np.unique(apart)) > 2):
                return "another clock: it rises as the time does"
    usual = float(np.median(step))
    named = vocabulary.is_counting(name)
    same = float((step == usual).mean())
    if (usual == 1 and same >= _RISING) or (named and same > 0.98):
        return "a counter: it rises by the same step from row to row"
    return None


def _named_time(name: str) -> bool:
    own = {*vocabulary.words(name), vocabulary.plain(name)}
    return bool(own & {*vocabulary.TIMES, "epoch", "unix", "stamp", "ms"})


def unit_columns(channels: Sequence[str], names: Mapping[str, str], table: Table) -> str | None:
    """The column that states the unit of the one channel; None = there is none."""
    unit = next(filter(vocabulary.is_unit_column, names.values()), None)
    if unit is None or len(channels) != 1 or (table.text(unit) == "").all():
        return None
    return unit
