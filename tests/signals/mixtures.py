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
    Signal,
    Spelling,
    blocks,
    cohort,
    counted,
    elapsed,
    excel,
    interleaved,
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


@dataclass(frozen=True)
class Mixture:
    """One table or folder, all of whose properties follow from the seed."""

    seed: int

    @property
    def name(self) -> str:
        return f"mixture_{self.seed}"

    def write(self, folder: Path) -> tuple[str, Truth]:
        """Writes the files; returns what was drawn, and what the files hold."""
        rng = np.random.default_rng((90210, self.seed))

        def one(choices: Sequence):
            return choices[int(rng.integers(len(choices)))]

        def chance(share: float) -> bool:
            return bool(rng.random() < share)

        column, ids = one(_IDS)
        count = int(rng.integers(1, 4))
        drawn = [_CHANNELS[i] for i in rng.permutation(len(_CHANNELS))[:count]]
        kinds = {id(signal): (name, signal, unit) for name, signal, unit in drawn}  # one of a kind
        columns = {name: signal for name, signal, _ in kinds.values()}
        units = {name: unit for name, _, unit in kinds.values()}
        step_s = float(one([300, 600, 900, 1800]))
        delimiter = one([",", ",", ";", "\t", "|"])
        decimal = "," if chance(0.3) else "."
        missing = one(["", "", "", "NA", "-", "--", "NaN", "null"])
        clock = one(_clocks(step_s))
        if decimal == "," and clock.decimals:
            plain = clock.cells
            clock = replace(clock, cells=lambda p, row: (plain(p, row)[0].replace(".", ","),))
        start = datetime(2023, 3, 6) + timedelta(days=int(rng.integers(0, 60)), hours=20)
        people = cohort(
            1000 + self.seed,
            [ids(n) for n in range(int(rng.integers(6, 9)))],
            columns,
            step_s,
            start,
            float(one([0, 86400, 3 * 86400])),
            missing=float(one([0, 0.04, 0.15])),
        )
        layout = one(
            ["one file", "one file", "one file", "a file a subject", "a folder a subject"]
        )
        extras = {n: _EXTRAS[n] for n in rng.permutation(list(_EXTRAS))[: int(one([0, 0, 1, 2]))]}
        spelling = Spelling(decimal, missing=missing)
        who = column if layout == "one file" else None
        rows = wide(people, clock, columns, who, spelling, extras)
        order = one(["blocks", "blocks", "interleaved", "newest first"])
        if order == "newest first":
            rows = newest_first(rows)
        width = len(rows[0][0])
        below: tuple[str, ...] = ()
        stated = all(unit == ("1",) for unit in units.values())
        if stated and chance(0.25):
            words = {HR: "bpm", SPO2: "%", RESP: "1/min", TEMP: "°C", STEPS: "count"}
            below = tuple(words[columns[n]] if n in columns else "" for n in rows[0][0])
            units = {name: (words[columns[name]],) for name in columns}
        accents = any("°" in text for text in [*rows[0][0], *below])
        file = File(
            delimiter,
            one(["utf-8", "utf-8", "utf-8-sig", "latin-1" if accents else "utf-8", "utf-16"]),
            one(["\n", "\n", "\r\n"]),
            quote=chance(0.15),
            before=one(_BEFORE)(delimiter),
            after=one([(), (), (), ("",), ("End of export",)]),
            below=below,
            repeat=int(one([0, 0, 0, 150])),
            trailing=chance(0.12),
        )
        end = one(
            [".csv", ".csv", ".txt", ".csv.gz", {"\t": ".tsv", "|": ".psv"}.get(delimiter, ".csv")]
        )
        if layout == "one file":
            body = interleaved(rows) if order == "interleaved" else blocks(rows)
            save(folder / f"export{end}", body, file)
        for person, own in zip(people, rows, strict=True):
            if layout == "a file a subject":
                save(folder / f"{_file_name(person.id)}{end}", own, file)
            if layout == "a folder a subject":
                save(folder / _file_name(person.id) / f"data{end}", own, file)
        if who is None:
            people = [replace(person, id=_file_name(person.id)) for person in people]
        what = (
            f"{layout}, {order}, '{who}', {'+'.join(clock.columns)} {clock.cells(people[0], 1)}, "
            f"{delimiter!r} {decimal!r} {missing!r}, {', '.join(rows[0][0])} ({width}), "
            f"extras {list(extras)}, {file}{end}"
        )
        return what, truth(people, clock, units, named=who is not None)


def _file_name(id: str) -> str:
    return id.replace(" ", "_")
