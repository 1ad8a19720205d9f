"""Tables whose every property is drawn: separators, times, names, orders, what stands around them.

A mixture is written by drawing one of each property that goes with the others; all of them can be
decided by a person who looks at the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from contracts.readings import Truth
from contracts.written import (
    GLUCOSE,
    GLUCOSE_MMOL,
    HR,
    RESP,
    SPO2,
    STEPS,
    TEMP,
    Clock,
    File,
    Person,
    Row,
    Signal,
    Spelling,
    blocks,
    cohort,
    counted,
    elapsed,
    excel,
    interleaved,
    long,
    newest_first,
    save,
    stamp,
    stamps,
    truth,
    wide,
)

# Names of the subject's column, with ids that go with them.
_IDS: Sequence[tuple[str, Callable[[int], str]]] = (
    ("subject", lambda n: f"s{n:02d}"),
    ("Patient ID", lambda n: f"P-{100 + n}"),
    ("patient_id", lambda n: str(1 + n)),
    ("ID", lambda n: f"VP{n:02d}"),
    ("stay_id", lambda n: str(30_000_117 + 83 * n)),
    ("item_id", lambda n: f"T{n}"),
    ("unique_id", lambda n: f"id_{n}"),
    ("pt_no", lambda n: f"{n:03d}"),
    ("Patient No.", lambda n: str(11 + n)),
    ("ID_Sujet", lambda n: f"S{n}"),
    ("vp_nr", lambda n: str(1 + n)),
    ("Proband", lambda n: f"Proband {n}"),
    ("SUBJID", lambda n: f"101-{n:03d}"),
    ("participant_code", lambda n: "ABCDEFGH"[n] * 2 + str(n)),
    ("Case Number", lambda n: str(2_024_001 + n)),
    ("MRN", lambda n: str(88_120 + 7 * n)),
    ("animal", lambda n: f"rat {n}"),
    ("Versuchsperson", lambda n: f"VP {n}"),
    ("Kod pacjenta", lambda n: f"K{17 + 3 * n}"),
    ("sujeto", lambda n: str(4 + n)),
    ("code", lambda n: "GHJKLMNP"[n] + str(31 + 5 * n)),
    ("Monkey", lambda n: ("Otto", "Kaspar", "Zora", "Lilly", "Ben", "Mia", "Toni", "Ida")[n]),
)

# Ids that say by themselves that a column is of a person or an animal, and not of a sensor.
_PERSONS = ("Patient ID", "ID", "Proband", "animal", "Versuchsperson")

# Channels as headers write them, with the units that they state.
_CHANNELS: Sequence[tuple[str, Signal, tuple[str, ...]]] = (
    ("HR", HR, ("1",)),
    ("HR (bpm)", HR, ("bpm",)),
    ("Heart Rate [1/min]", HR, ("1/min",)),
    ("heart_rate", HR, ("1",)),
    ("Puls", HR, ("1",)),
    ("SpO2", SPO2, ("1",)),
    ("SpO2 (%)", SPO2, ("%",)),
    ("sao2", SPO2, ("1",)),
    ("Resp", RESP, ("1",)),
    ("RESP (breaths/min)", RESP, ("breaths/min",)),
    ("Temp (°C)", TEMP, ("degC",)),
    ("temperature", TEMP, ("1",)),
    ("Glucose (mg/dL)", GLUCOSE, ("mg/dL",)),
    ("glucose [mmol/L]", GLUCOSE_MMOL, ("mmol/L",)),
    ("Steps", STEPS, ("1",)),
)


def _clocks(step_s: float) -> list[Clock]:
    """The ways to write times that go with steps of whole minutes."""
    dates = [
        stamp("timestamp", "%Y-%m-%d %H:%M:%S"),
        stamp("time", "%Y-%m-%dT%H:%M:%S"),
        stamp("recorded at", "%Y-%m-%dT%H:%M:%SZ"),
        stamp("time", "%Y-%m-%d %H:%M:%S+02:00", zone_s=7200),
        stamp("Datum/Zeit", "%d.%m.%Y %H:%M"),
        stamp("Zeitstempel", "%d.%m.%y %H:%M:%S"),
        stamp("Date Time", "%d/%m/%Y %H:%M"),
        stamp("Datetime", "%m/%d/%Y %H:%M:%S"),
        stamp("charttime", "%m/%d/%Y %I:%M %p"),
        stamp("Timestamp", "%-m/%-d/%y %-I:%M:%S %p"),
        stamp("Tijdstip", "%d-%m-%Y %H:%M"),
        stamp("Date/Time", "%Y/%m/%d %H:%M:%S"),
        stamp("collected", "%d-%b-%Y %H:%M"),
        stamp("measured_at", "%d %b %Y %H:%M:%S"),
        stamps("Date", "Time", "%Y-%m-%d", "%H:%M:%S"),
        stamps("Datum", "Uhrzeit", "%d.%m.%Y", "%H:%M"),
        stamps("date", "time", "%m/%d/%Y", "%I:%M %p"),
        stamps("DATE", "TIME", "%d/%m/%y", "%H:%M:%S"),
        counted("unix", 1),
        counted("timestamp_ms", 1000),
        counted("epoch", 1),
        excel("Time", 8),
        elapsed("time", 1),
        elapsed("Time (s)", 1),
        elapsed("t_min", 60),
        elapsed("Time [min]", 60),
        elapsed("offset (ms)", 0.001),
        elapsed("elapsed_hours", 3600, 5),
        elapsed("Zeit (h)", 3600, 5),
    ]
    assert step_s % 60 == 0
    return dates


_BEFORE: Sequence[Callable[[str], tuple[str, ...]]] = (
    lambda d: (),
    lambda d: (),
    lambda d: ("Export of the monitoring system",),
    lambda d: ("# device 17", "# firmware 2.1"),
    lambda d: (f"Exported{d}2024-02-02 10:00", f"Site{d}North"),
    lambda d: ("Ward: 3B", "", ""),
)

_EXTRAS: dict[str, Callable[[Person, int], str]] = {
    "battery (%)": lambda p, row: str(100 - row // 6),
    "signal_quality": lambda p, row: str((row * 7) % 4),
    "firmware": lambda p, row: "2.1.0",
    "age": lambda p, row: str(30 + 3 * (sum(map(ord, p.id)) % 17)),
    "sex": lambda p, row: "FM"[sum(map(ord, p.id)) % 2],
    "comment": lambda p, row: "moved" if row % 50 == 7 else "",
    "row": lambda p, row: str(row),
    "posture": lambda p, row: ("lying", "sitting", "standing")[row // 40 % 3],
}


# Words of a unit row or a unit column.
_WORDS = {HR: "bpm", SPO2: "%", RESP: "1/min", TEMP: "°C", STEPS: "count", GLUCOSE: "mg/dL"}
_WORDS |= {GLUCOSE_MMOL: "mmol/L"}
_LONG_NAMES = {
    HR: ("HR", "Heart Rate", "heart_rate", "Puls"),
    SPO2: ("SpO2", "O2 saturation", "sao2", "Sättigung"),
    RESP: ("RR", "Respiratory Rate", "resp", "Atemfrequenz"),
    TEMP: ("Temp", "Body temperature", "temp_c", "Temperatur"),
    STEPS: ("Steps", "Step count", "steps", "Schritte"),
    GLUCOSE: ("Glucose", "Blood glucose", "glucose", "Glukose"),
    GLUCOSE_MMOL: ("CGM", "Sensor glucose", "cgm", "Gewebeglukose"),
}

# The columns of long tables: channel, value, unit.
_LONG = (
    ("parameter", "value", "unit"),
    ("Parameter", "Wert", "Einheit"),
    ("variable", "value", ""),
    ("vital_sign", "reading", "uom"),
    ("test", "result", "units"),
    ("item", "valuenum", "valueuom"),
    ("signal", "measurement", ""),
    ("Messgröße", "Messwert", "Einheit"),
    ("name", "val", ""),
)

LAYOUTS = (
    "one file",
    "one file",
    "one file",
    "a file a subject",
    "a folder a subject",
    "a file a day",
    "a folder a subject, a file a day",
    "a file a signal",
    "a folder a subject, a file a signal",
    "a column a subject",
    "long",
    "long",
    "long, a file a subject",
)


class _Draw:
    """Draws one of several; all follows from the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng((90210, seed))

    def one(self, choices: Sequence):
        return choices[int(self.rng.integers(len(choices)))]

    def some(self, choices: Sequence, count: int) -> list:
        return [choices[int(i)] for i in self.rng.permutation(len(choices))[:count]]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)


@dataclass(frozen=True)
class Mixture:
    """One table or folder, all of whose properties follow from the seed."""

    seed: int

    @property
    def name(self) -> str:
        return f"mixture_{self.seed}"

    def write(self, folder: Path) -> tuple[str, Truth]:
        """Writes the files; returns what was drawn, and what the files hold."""
        draw = _Draw(self.seed)
        layout = draw.one(LAYOUTS)
        is_long, by_column = layout.startswith("long"), layout == "a column a subject"
        column, ids = draw.one([pair for pair in _IDS if not by_column or pair[0] in _PERSONS])
        columns, units = _channels(draw, 1 if by_column else int(draw.rng.integers(1, 4)), is_long)
        delimiter = draw.one([",", ",", ";", "\t", "|"])
        decimal = "," if draw.chance(0.3) else "."
        spelling = Spelling(
            decimal, missing=draw.one(["", "", "", "NA", "-", "--", "NaN", "null"])
        )
        step_s = float(draw.one([300, 600, 900, 1800]))
        dated = "day" in layout
        clock = draw.one([c for c in _clocks(step_s) if c.absolute or not dated])
        if decimal == "," and clock.decimals:
            clock = _with_commas(clock)
        people = cohort(
            1000 + self.seed,
            [ids(n) for n in range(int(draw.rng.integers(6, 9)))],
            columns,
            step_s,
            datetime(2023, 3, 6, 20) + timedelta(days=int(draw.rng.integers(0, 60))),
            0.0 if by_column else float(draw.one([0, 86400, 3 * 86400])),
            rows=(300, 300) if by_column else (150, 400),
            missing=float(draw.one([0, 0.04, 0.15])),
            outages=not by_column,
        )
        if draw.chance(0.25):
            _complete(people[:3])  # cells without a value are in late rows only
        who = column if layout in ("one file", "a file a signal", "long") else None
        extras = {n: _EXTRAS[n] for n in draw.some(list(_EXTRAS), int(draw.one([0, 0, 1, 2])))}
        order = draw.one(["blocks", "blocks", "interleaved", "newest first"])
        below = () if is_long or not draw.chance(0.25) else "units"
        file = File(
            delimiter,
            draw.one(["utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16"]),
            draw.one(["\n", "\n", "\r\n"]),
            quote=draw.chance(0.15),
            before=draw.one(_BEFORE)(delimiter),
            after=draw.one([(), (), (), ("",), ("End of export",)]),
            repeat=int(draw.one([0, 0, 0, 150])),
            trailing=draw.chance(0.12),
        )
        end = draw.one(
            [".csv", ".csv", ".txt", ".csv.gz", {"\t": ".tsv", "|": ".psv"}.get(delimiter, ".csv")]
        )
        if is_long:
            rows, units = _long_rows(draw, people, clock, columns, who, spelling)
        elif by_column:
            rows = [_beside_each_other(people, clock, columns, spelling)]
            extras, below, units = {}, (), {name: (*unit, "1") for name, unit in units.items()}
        else:
            rows = wide(people, clock, columns, who, spelling, extras)
        if order == "newest first":
            rows = newest_first(rows)
        if below and all(unit == ("1",) for unit in units.values()):
            words = {name: _WORDS[signal] for name, signal in columns.items()}
            units = {name: (word,) for name, word in words.items()}
            file = replace(file, below=tuple(words.get(name, "") for name in rows[0][0]))
        files = _files(layout, order, people, rows, list(columns), clock, who)
        for name, own in files.items():
            below = file.below
            if below and "signal" in layout:
                below = tuple(dict(zip(rows[0][0], below, strict=True))[n] for n in own[0])
            save(folder / f"{name}{end}", own, replace(file, below=below))
        if who is None and not by_column:
            people = [replace(person, id=_file_name(person.id)) for person in people]
        what = (
            f"{layout}, {order}, '{who}', {'+'.join(clock.columns)} {clock.cells(people[0], 1)}, "
            f"{delimiter!r} {decimal!r} {spelling.missing!r}, {', '.join(rows[0][0])}, "
            f"extras {', '.join(extras)}, {file}{end}"
        )
        found = truth(people, clock, units, named=who is not None)
        only = is_long and len(columns) == 1  # the name of the column of values is none the worse
        return what, replace(found, any_name=by_column or only)


def _channels(draw: _Draw, count: int, is_long: bool):
    """Some columns with their signals and units, at most one of a kind."""
    drawn = {signal: (name, unit) for name, signal, unit in draw.some(_CHANNELS, count)}
    style = int(draw.rng.integers(4))
    if is_long:
        drawn = {signal: (_LONG_NAMES[signal][style], ("1",)) for signal in drawn}
    return (
        {name: signal for signal, (name, _) in drawn.items()},
        dict(drawn.values()),
    )


def _with_commas(clock: Clock) -> Clock:
    return replace(
        clock, cells=lambda p, row: tuple(c.replace(".", ",") for c in clock.cells(p, row))
    )


def _complete(people: Sequence[Person]) -> None:
    """Puts the value before into each cell without one."""
    for person in people:
        for own in person.values.values():
            for row in np.flatnonzero(np.isnan(own)):
                own[row] = own[row - 1]


def _long_rows(draw: _Draw, people, clock, columns, who, spelling):
    """Rows of a long table, and the units of its channels."""
    channel, value, unit = draw.one(_LONG)
    words = {name: _WORDS[signal] for name, signal in columns.items()}
    constants = {name: {unit: word} for name, word in words.items()} if unit else {}
    rows = long(people, clock, columns, who or "", (channel, value), constants, spelling)
    if who is None:
        rows = [[{k: v for k, v in row.items() if k} for row in own] for own in rows]
    units = {name: (word,) if unit else ("1",) for name, word in words.items()}
    return rows, units


def _beside_each_other(people, clock, columns, spelling) -> list[Row]:
    """A column a subject."""
    ((name, signal),) = columns.items()
    return [
        dict(zip(clock.columns, clock.cells(people[0], row), strict=True))
        | {p.id: spelling(p.values[name][row], signal.places) for p in people}
        for row in range(len(people[0]))
    ]


def _files(layout, order, people, rows, names, clock, who) -> dict[str, list[Row]]:
    """The rows of each file by its name without the end."""
    together = interleaved(rows) if order == "interleaved" else blocks(rows)
    if layout == "a column a subject":
        return {_file_name(names[0]): together}
    if layout in ("one file", "long"):
        return {"export": together}
    found: dict[str, list[Row]] = {}
    if layout == "a file a signal":
        for name in names:
            others = set(names) - {name}
            found[_file_name(name)] = [_without(row, others) for row in together]
        return found
    for person, own in zip(people, rows, strict=True):
        stem = _file_name(person.id)
        if layout in ("a file a subject", "long, a file a subject"):
            found[stem] = own
        elif layout == "a folder a subject":
            found[f"{stem}/data"] = own
        elif layout.endswith("a file a signal"):
            for name in names:
                others = set(names) - {name}
                found[f"{stem}/{_file_name(name)}"] = [_without(row, others) for row in own]
        else:
            between = "/" if "folder" in layout else "_"
            cells = [clock.cells(person, row) for row in range(len(person))]
            days = {cell: person.moment(row).date() for row, cell in enumerate(cells)}
            for row in own:
                day = days[tuple(row[name] for name in clock.columns)]
                found.setdefault(f"{stem}{between}{day}", []).append(row)
    return found


def _without(row: Row, names: set[str]) -> Row:
    return {name: cell for name, cell in row.items() if name not in names}


def _file_name(name: str) -> str:
    return "_".join("".join(c if c.isalnum() or c in "-." else " " for c in name).split())
