"""A small cohort, the ways in which devices and databases write it, and what the files then hold.

The truth is made from the cohort's numbers, never from the text that is written.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from pathlib import Path

import numpy as np

from contracts.readings import UNSTATED, Truth

EPOCH = datetime(1970, 1, 1)
MONDAY = datetime(2023, 3, 6, 20, 0)  # 06.03.2023: day and month can be confused
JUNE = datetime(2023, 6, 5, 7, 30)

Row = dict[str, str]  # a cell by column


@dataclass(frozen=True)
class Signal:
    """A quantity that wanders around a level of its subject's own."""

    level: float
    apart: float  # standard deviation of levels between subjects
    step: float
    low: float
    high: float
    places: int = 0  # decimals that are written


HR = Signal(78, 8, 2.0, 45, 150)
SPO2 = Signal(96, 1, 0.6, 86, 100)
RESP = Signal(16, 2, 0.8, 8, 32)
SBP = Signal(124, 9, 3.0, 85, 190)
TEMP = Signal(36.9, 0.3, 0.08, 35.2, 39.6, places=1)
GLUCOSE = Signal(140, 20, 6.0, 45, 320)  # mg/dL
GLUCOSE_MMOL = Signal(7.8, 1.1, 0.35, 2.6, 17.5, places=1)
GLUCOSE_G_L = Signal(1.4, 0.2, 0.06, 0.45, 3.2, places=2)
STEPS = Signal(2600, 500, 420.0, 0, 9800)
ECG = Signal(0.0, 0.05, 0.15, -1.8, 1.8, places=3)
ACTIVITY = Signal(900, 200, 240.0, 0, 4000)


@dataclass(frozen=True)
class Person:
    """One subject's rows."""

    id: str
    start: datetime
    offset_s: np.ndarray  # (N,) since start
    values: Mapping[str, np.ndarray]  # by column; NaN = not measured

    def __len__(self) -> int:
        return len(self.offset_s)

    def moment(self, row: int) -> datetime:
        """The time on the wall."""
        return self.start + timedelta(seconds=float(self.offset_s[row]))


def cohort(
    seed: int,
    ids: Sequence[str],
    signals: Mapping[str, Signal],
    step_s: float,
    start: datetime = MONDAY,
    apart_s: float = 0.0,
    rows: tuple[int, int] = (150, 400),
    missing: float = 0.04,
    outages: bool = True,
) -> list[Person]:
    """Subjects with rows `step_s` apart.

    Args:
        seed: of all that is drawn.
        ids: of the subjects.
        signals: by column.
        step_s: between rows.
        start: of the first subject.
        apart_s: by which each further subject starts later.
        rows: the least and the most of a subject.
        missing: share of cells without a value; first and last rows have all.
        outages: some rows are absent.
    """
    rng = np.random.default_rng(seed)
    people = []
    for number, id in enumerate(ids):
        count = int(rng.integers(rows[0], rows[1] + 1))
        offset_s = np.arange(count) * float(step_s)
        values = {name: _walk(rng, signal, count) for name, signal in signals.items()}
        for own in values.values():
            own[1:-1][rng.random(count - 2) < missing] = np.nan
        if outages:
            first = int(rng.integers(20, count - 30))
            keep = np.ones(count, dtype=bool)
            keep[first : first + int(rng.integers(3, 12))] = False
            offset_s = offset_s[keep]
            values = {name: own[keep] for name, own in values.items()}
        begin = start + timedelta(seconds=apart_s * number)
        people.append(Person(id, begin, offset_s, values))
    return people


def _walk(rng: np.random.Generator, signal: Signal, count: int) -> np.ndarray:
    level = signal.level + signal.apart * rng.normal()
    noise = rng.normal(size=count) * signal.step
    walk = np.empty(count)
    now = level
    for row in range(count):
        now = level + 0.95 * (now - level) + noise[row]
        walk[row] = now
    return np.round(np.clip(walk, signal.low, signal.high), signal.places) + 0.0


def numbered(prefix: str, count: int, first: int = 1, width: int = 2) -> list[str]:
    """Names of subjects, like P01, P02."""
    return [f"{prefix}{number:0{width}d}" for number in range(first, first + count)]


# --- cells


@dataclass(frozen=True)
class Clock:
    """How times are written, in one column or two."""

    columns: tuple[str, ...]
    cells: Callable[[Person, int], tuple[str, ...]]
    absolute: bool
    tolerance_s: float = 0.001
    zone_s: float = 0.0  # of what is on the wall, east of Greenwich
    decimals: bool = False  # the cells are numbers with decimals


def stamp(column: str, pattern: str, zone_s: float = 0.0) -> Clock:
    """One column; a pattern for strftime."""
    return Clock((column,), lambda p, row: (p.moment(row).strftime(pattern),), True, zone_s=zone_s)


def stamps(date: str, clock: str, day: str, time: str) -> Clock:
    """A column with the date and one with the clock."""

    def cells(person: Person, row: int) -> tuple[str, ...]:
        moment = person.moment(row)
        return moment.strftime(day), moment.strftime(time)

    return Clock((date, clock), cells, True)


def elapsed(
    column: str, unit_s: float, places: int = 0, decimal: str = ".", zero: float = 0.0
) -> Clock:
    """A number of units of time since the subject's own zero."""

    def cells(person: Person, row: int) -> tuple[str, ...]:
        return (f"{person.offset_s[row] / unit_s + zero:.{places}f}".replace(".", decimal),)

    tolerance_s = 0.001 + 0.5 * unit_s / 10**places * (places > 0)
    return Clock((column,), cells, False, tolerance_s, decimals=places > 0)


def counted(
    column: str,
    per_s: int,
    zero: datetime = EPOCH,
    unit_s: float = 1.0,
    places: int = 0,
    decimal: str = ".",
) -> Clock:
    """A number since a date: unix (seconds and its fractions), Excel (days since 1899-12-30)."""

    def cells(person: Person, row: int) -> tuple[str, ...]:
        whole = person.moment(row) - zero
        if places == 0:
            return (str(round(whole / timedelta(microseconds=1)) * per_s // 1_000_000),)
        return (f"{whole.total_seconds() / unit_s:.{places}f}".replace(".", decimal),)

    tolerance_s = 0.001 + 0.5 * unit_s / 10**places * (places > 0)
    return Clock((column,), cells, True, tolerance_s, decimals=places > 0)


def excel(column: str, places: int = 6, decimal: str = ".") -> Clock:
    """Days since 1899-12-30."""
    return counted(column, 1, datetime(1899, 12, 30), 86400.0, places, decimal)


@dataclass(frozen=True)
class Spelling:
    """How values are written."""

    decimal: str = "."
    thousands: str = ""
    missing: str = ""
    endings: tuple[tuple[str, str], ...] = ()  # what stands behind the numbers of a column
    plain: bool = False  # whole numbers are written without decimals

    def __call__(self, value: float, places: int, column: str = "") -> str:
        """One cell."""
        if np.isnan(value):
            return self.missing
        text = f"{value:,.{places}f}".replace(",", "\0").replace(".", self.decimal)
        if self.plain and value == round(value):
            text = f"{value:,.0f}".replace(",", "\0")
        return text.replace("\0", self.thousands) + dict(self.endings).get(column, "")


Extras = Mapping[str, Callable[[Person, int], str]]


def wide(
    people: Sequence[Person],
    clock: Clock,
    signals: Mapping[str, Signal],
    who: str | None = None,
    spelling: Spelling | None = None,
    extras: Extras | None = None,
) -> list[list[Row]]:
    """One row a time, by subject; columns: subject, times, channels, extras."""
    spelling = spelling or Spelling()
    found = []
    for person in people:
        own = []
        for row in range(len(person)):
            cells: Row = {} if who is None else {who: person.id}
            cells |= dict(zip(clock.columns, clock.cells(person, row), strict=True))
            for name, signal in signals.items():
                cells[name] = spelling(person.values[name][row], signal.places, name)
            cells |= {name: cell(person, row) for name, cell in (extras or {}).items()}
            own.append(cells)
        found.append(own)
    return found


def long(
    people: Sequence[Person],
    clock: Clock,
    signals: Mapping[str, Signal],
    who: str,
    named: tuple[str, str],
    constants: Mapping[str, Mapping[str, str]],
    spelling: Spelling | None = None,
    extras: Extras | None = None,
) -> list[list[Row]]:
    """One row a reading, those that are missing left out.

    Args:
        named: the columns with the channel and with the value.
        constants: further cells of each channel, as its unit, by channel and column.
    """
    spelling = spelling or Spelling()
    found = []
    for person in people:
        own = []
        for row in range(len(person)):
            for name, signal in signals.items():
                value = person.values[name][row]
                if np.isnan(value):
                    continue
                cells = {who: person.id}
                cells |= dict(zip(clock.columns, clock.cells(person, row), strict=True))
                cells |= {named[0]: name, named[1]: spelling(value, signal.places, name)}
                cells |= constants.get(name, {})
                own.append(
                    cells | {key: cell(person, row) for key, cell in (extras or {}).items()}
                )
        found.append(own)
    return found


def blocks(rows: Iterable[list[Row]]) -> list[Row]:
    """One subject after another."""
    return [row for own in rows for row in own]


def interleaved(rows: Iterable[list[Row]]) -> list[Row]:
    """All first rows, then all second rows, and so on."""
    return [row for together in zip_longest(*rows) for row in together if row is not None]


def newest_first(rows: Iterable[list[Row]]) -> list[list[Row]]:
    """Each subject's rows backwards."""
    return [own[::-1] for own in rows]


@dataclass(frozen=True)
class File:
    """How a table is written down."""

    delimiter: str = ","
    encoding: str = "utf-8"
    newline: str = "\n"
    quote: bool | str = False  # True = all cells; a quoting character
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    below: tuple[str, ...] = ()  # a row of units below the header
    repeat: int = 0  # the header again after so many rows
    blank: bool = False  # an empty line before the repeated header
    trailing: bool = False  # a delimiter at the end of rows, not of the header
    header: bool = True
    names: Mapping[str, str] | None = None  # of columns as the header has them


def save(path: Path, rows: Sequence[Row], file: File | None = None) -> None:
    """Writes a table; compressed where the name ends in .gz."""
    file = file or File()
    columns = list(rows[0])
    header = file.delimiter.join(
        _cell((file.names or {}).get(name, name), file) for name in columns
    )
    lines = [*file.before]
    if file.header:
        lines.append(header)
    if file.below:
        lines.append(file.delimiter.join(_cell(cell, file) for cell in file.below))
    for number, row in enumerate(rows):
        if file.repeat and number and number % file.repeat == 0:
            lines += [""] * file.blank + [header]
        line = file.delimiter.join(_cell(row[name], file) for name in columns)
        lines.append(line + file.delimiter * file.trailing)
    lines += file.after
    whole = (file.newline.join(lines) + file.newline).encode(file.encoding)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(whole, mtime=0) if path.suffix == ".gz" else whole)


def _cell(text: str, file: File) -> str:
    if isinstance(file.quote, str):
        return f"{file.quote}{text}{file.quote}"
    if file.quote or file.delimiter in text or '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return text


# --- truth


def truth(
    people: Sequence[Person],
    clock: Clock,
    units: Mapping[str, str | tuple[str, ...]] | None = None,
    named: bool = True,
    called: Mapping[str, str] | None = None,
) -> Truth:
    """What a table of these people holds.

    Args:
        units: by channel, those that would be right; channels without one state none.
        named: False = the files only tell subjects apart.
        called: the name of a column in the file, where it is not the cohort's.
    """
    called = called or {}
    names = list(people[0].values)
    stated = {
        called.get(name, name): (unit,) if isinstance(unit, str) else unit
        for name, unit in (units or {}).items()
    }
    series = {}
    for person in people:
        zero = (person.start - EPOCH).total_seconds() - clock.zone_s if clock.absolute else 0.0
        series[person.id] = {
            called.get(name, name): (zero + person.offset_s, person.values[name]) for name in names
        }
    return Truth(
        series,
        {called.get(name, name): stated.get(called.get(name, name), UNSTATED) for name in names},
        absolute=clock.absolute,
        tolerance_s=clock.tolerance_s,
        named=named,
    )
