"""One small cohort in sixty dialects of tables, and in plain tables as controls.

Each dialect is what some device, database or spreadsheet writes, holds one combination of its own,
and can be decided by a careful person who has the files and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from contracts.readings import Truth
from contracts.written import (
    ACTIVITY,
    ECG,
    EPOCH,
    GLUCOSE,
    GLUCOSE_G_L,
    GLUCOSE_MMOL,
    HR,
    JUNE,
    RESP,
    SBP,
    SPO2,
    STEPS,
    TEMP,
    Clock,
    File,
    Person,
    Spelling,
    blocks,
    cohort,
    counted,
    elapsed,
    excel,
    interleaved,
    long,
    newest_first,
    numbered,
    save,
    stamp,
    stamps,
    truth,
    wide,
)

Truths = tuple[Truth, ...]  # any of them is right


@dataclass(frozen=True)
class Dialect:
    """One way to write a cohort; `write` gives what its files hold."""

    name: str
    holds: str
    write: Callable[[Path], Truth | Truths]

    def truths(self, folder: Path) -> Truths:
        """Writes the files into a folder; each of the results is right."""
        found = self.write(folder)
        return found if isinstance(found, tuple) else (found,)


DIALECTS: list[Dialect] = []
CONTROLS: list[Dialect] = []

COMMA = Spelling(decimal=",")
DAY_S = 86400


def dialect(holds: str, room: list[Dialect] = DIALECTS):
    """Adds the function to the dialects, under its name."""

    def add(write: Callable[[Path], Truth | Truths]):
        room.append(Dialect(write.__name__, holds, write))
        return write

    return add


# --- dates in their orders, on clocks of 12 and 24 hours


@dialect("semicolons, decimal commas, latin-1, CRLF, d.m.Y beside a clock, units in brackets")
def ward_monitor_german(folder):
    columns = {"Herzfrequenz [1/min]": HR, "SpO2 [%]": SPO2, "Temperatur [°C]": TEMP}
    people = cohort(1, numbered("Pat", 7), columns, 600, apart_s=DAY_S)
    clock = stamps("Datum", "Uhrzeit", "%d.%m.%Y", "%H:%M:%S")
    rows = wide(people, clock, columns, "Patient", COMMA)
    file = File(";", "latin-1", "\r\n")
    save(folder / "Monitor_Export.csv", blocks(rows), file)
    units = {"Herzfrequenz [1/min]": "1/min", "SpO2 [%]": "%", "Temperatur [°C]": "degC"}
    return truth(people, clock, units)


@dialect("m/d/Y without zeros beside a clock of 12 hours, record numbers")
def bedside_american(folder):
    columns = {"HR (bpm)": HR, "SpO2 (%)": SPO2}
    ids = [str(4410021 + 37 * n) for n in range(8)]
    people = cohort(2, ids, columns, 900, apart_s=2 * DAY_S)
    clock = stamps("Date", "Time", "%-m/%-d/%Y", "%-I:%M %p")
    save(folder / "bedside.csv", blocks(wide(people, clock, columns, "MRN")))
    return truth(people, clock, {"HR (bpm)": "bpm", "SpO2 (%)": "%"})


@dialect("bars in a .txt, d/m/y with a year of two digits, accents in latin-1, decimal commas")
def french_study(folder):
    columns = {"FC (bpm)": HR, "Glycémie (g/L)": GLUCOSE_G_L}
    people = cohort(3, numbered("S-", 8), columns, 900, apart_s=2 * DAY_S)
    clock = stamp("Horodatage", "%d/%m/%y %H:%M")
    rows = wide(people, clock, columns, "ID_Sujet", COMMA)
    save(folder / "etude.txt", blocks(rows), File("|", "latin-1"))
    return truth(people, clock, {"FC (bpm)": "bpm", "Glycémie (g/L)": "g/L"})


@dialect("unique_id, ds, y; m/d/y of two digits with AM and PM, all cells quoted, interleaved")
def forecasting_frame(folder):
    columns = {"y": HR, "spo2": SPO2}
    people = cohort(4, numbered("series_", 6), columns, 1200, apart_s=3 * DAY_S)
    clock = stamp("ds", "%-m/%-d/%y %-I:%M %p")
    rows = wide(people, clock, columns, "unique_id")
    save(folder / "frame.csv", interleaved(rows), File(quote=True))
    return truth(people, clock)


@dialect("months as words, bars, stay_id, a line of totals at the end")
def named_months_and_totals(folder):
    columns = {"heart_rate": HR, "resp_rate": RESP}
    people = cohort(5, [str(30011200 + 13 * n) for n in range(7)], columns, 1800)
    clock = stamp("charttime", "%d-%b-%Y %H:%M:%S")
    rows = blocks(wide(people, clock, columns, "stay_id"))
    save(folder / "chart.psv", rows, File("|", after=("", f"({len(rows)} rows)")))
    return truth(people, clock)


@dialect("row names of R in a column without a name, all quoted, NA, times of SAS")
def row_names_and_sas_times(folder):
    columns = {"PULSE": HR, "TEMP": TEMP}
    people = cohort(6, numbered("101-", 6, width=3), columns, 1800)
    written = stamp("VSDTM", "%d%b%Y:%H:%M:%S")
    clock = replace(written, cells=lambda p, row: (written.cells(p, row)[0].upper(),))
    rows = blocks(wide(people, clock, columns, "SUBJID", Spelling(missing="NA")))
    rows = [{"": str(number), **row} for number, row in enumerate(rows, start=1)]
    save(folder / "vs.csv", rows, File(quote=True))
    return truth(people, clock)


@dialect("times as YYYYmmddHHMM in one number, tabs, ids with leading zeros")
def compact_times(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(7, numbered("0", 8, first=7, width=3), columns, 600)
    clock = stamp("Observed", "%Y%m%d%H%M")
    save(folder / "obx.tsv", blocks(wide(people, clock, columns, "pt_no")), File("\t"))
    return truth(people, clock)


@dialect("local times with an offset that changes in the night when summer ends")
def summer_time_ends(folder):
    columns = {"HR (bpm)": HR, "Glucose (mmol/L)": GLUCOSE_MMOL}
    start = datetime(2023, 10, 28, 9, 0)
    people = cohort(8, numbered("P", 6), columns, 600, start, apart_s=3600)
    berlin = ZoneInfo("Europe/Berlin")

    def cells(person: Person, row: int):
        return (person.moment(row).replace(tzinfo=UTC).astimezone(berlin).isoformat(),)

    clock = Clock(("timestamp",), cells, absolute=True)
    save(folder / "ring.csv", blocks(wide(people, clock, columns, "participant")))
    return truth(people, clock, {"HR (bpm)": "bpm", "Glucose (mmol/L)": "mmol/L"})


@dialect("a phone's export: three columns of times with +0100, long, units, one file a person")
def phone_health_export(folder):
    columns = {
        "HKQuantityTypeIdentifierHeartRate": HR,
        "HKQuantityTypeIdentifierBodyTemperature": TEMP,
    }
    people = cohort(9, numbered("person", 6), columns, 900)
    constants = {
        "HKQuantityTypeIdentifierHeartRate": {"unit": "count/min"},
        "HKQuantityTypeIdentifierBodyTemperature": {"unit": "degC"},
    }
    zoned = "%Y-%m-%d %H:%M:%S +0100"
    clock = stamp("startDate", zoned, zone_s=3600)
    for person in people:
        rows = long([person], clock, columns, "who", ("type", "value"), constants)[0]
        for row, cells in enumerate(rows):
            start = datetime.strptime(cells["startDate"], zoned)
            later = timedelta(seconds=120 + 7 * (row % 40))
            rows[row] = {
                "type": cells["type"],
                "sourceName": "Watch",
                "unit": cells["unit"],
                "creationDate": (start + later).strftime(zoned),
                "startDate": cells["startDate"],
                "endDate": cells["startDate"],
                "value": cells["value"],
            }
        save(folder / f"{person.id}.csv", rows)
    units = {name: own["unit"] for name, own in constants.items()}
    return replace(truth(people, clock, units), zones=("+01:00",))


@dialect("one signal a file for all people, ids of ten digits, m/d/Y with AM and PM")
def tracker_one_signal_a_file(folder):
    columns = {"HeartRate": HR, "Steps": STEPS}
    start = datetime(2016, 4, 12, 7, 21)
    people = cohort(10, [str(1503960366 + 7919 * n) for n in range(7)], columns, 900, start)
    clock = stamp("ActivityMinute", "%-m/%-d/%Y %-I:%M:%S %p")
    for name in columns:
        rows = blocks(wide(people, clock, {name: columns[name]}, "Id"))
        rows = [row for row in rows if row[name]]
        save(folder / f"minute{name}_merged.csv", rows)
    return truth(people, clock)


@dialect("d/m/Y where only late rows say which is the day")
def day_first_seen_late(folder):
    columns = {"HR": HR, "RESP": RESP}
    people = cohort(11, [f"{n}" for n in range(1, 9)], columns, 900, JUNE, 2 * DAY_S)
    clock = stamp("Timestamp", "%d/%m/%Y %H:%M:%S")
    save(folder / "icu.csv", blocks(wide(people, clock, columns, "Subject No.")), File(";"))
    return truth(people, clock)


@dialect("newest row first, a file a patient, ISO times with milliseconds")
def newest_first_files(folder):
    columns = {"sgv (mg/dL)": GLUCOSE}
    people = cohort(12, numbered("pump_", 6), columns, 900, apart_s=5 * 3600)
    stamped = stamp("created_at", "%Y-%m-%dT%H:%M:%S.%f")
    clock = replace(stamped, cells=lambda p, row: (stamped.cells(p, row)[0][:-3],))
    for person in people:
        rows = newest_first(wide([person], clock, columns))
        save(folder / f"{person.id}.csv", rows[0])
    return truth(people, clock, {"sgv (mg/dL)": "mg/dL"}, named=False)


@dialect("date only, one row a day, half a year")
def daily_values(folder):
    columns = {"resting_hr": HR, "steps": STEPS}
    people = cohort(13, numbered("u", 6), columns, DAY_S, datetime(2022, 11, 1), rows=(150, 200))
    clock = stamp("date", "%Y-%m-%d")
    save(folder / "daily.csv", blocks(wide(people, clock, columns, "user")))
    return truth(people, clock)


@dialect("local and UTC times side by side, tabs, interleaved")
def local_and_utc(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(14, numbered("N", 6), columns, 900, apart_s=DAY_S)
    clock = stamp("Local Time", "%Y/%m/%d %H:%M:%S")

    def utc(person: Person, row: int) -> str:
        return (person.moment(row) - timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M:%SZ")

    rows = wide(people, clock, columns, "Subject", extras={"UTC Time": utc})
    save(folder / "band.tsv", interleaved(rows), File("\t"))
    return truth(people, clock), truth(people, replace(clock, zone_s=9 * 3600))


# --- numbers as times


@dialect("serial dates of Excel with decimal commas, 'Patient No.'")
def serial_dates_with_commas(folder):
    columns = {"Puls": HR, "Temperatur": TEMP}
    people = cohort(15, [str(n) for n in range(11, 18)], columns, 900, apart_s=DAY_S)
    clock = excel("Zeit", 8, ",")
    rows = wide(people, clock, columns, "Patient No.", COMMA)
    save(folder / "tabelle.csv", blocks(rows), File(";"))
    return truth(people, clock)


@dialect("seconds since 1970, interleaved, vp_nr, tabs in a .txt")
def unix_interleaved(folder):
    columns = {"puls": HR, "spo2": SPO2}
    people = cohort(16, [str(n) for n in range(1, 9)], columns, 300)
    clock = counted("time", 1)
    save(folder / "probanden.txt", interleaved(wide(people, clock, columns, "vp_nr")), File("\t"))
    return truth(people, clock)


@dialect("milliseconds since 1970 beside a counter, signal strength, battery and flags")
def wristband(folder):
    columns = {"hr": HR, "skin_temp": TEMP}
    people = cohort(17, numbered("wb", 6), columns, 120, apart_s=DAY_S)
    clock = counted("ts", 1000)
    extras = {
        "seq": lambda p, row: str(row % 256),
        "hr_confidence": lambda p, row: str(40 + (row * 37) % 61),
        "rssi_dbm": lambda p, row: str(-50 - (row * 7) % 31),
        "battery_mv": lambda p, row: str(4100 - row),
        "lead_off": lambda p, row: str(int(row % 53 == 0)),
    }
    for person in people:
        rows = wide([person], clock, columns, extras=extras)[0]
        save(folder / f"{person.id}.csv", rows)
    return truth(people, clock, named=False)


@dialect("nanoseconds since 1970, the patient among tags")
def nanoseconds_and_tags(folder):
    columns = {"hr": HR, "spo2": SPO2}
    people = cohort(18, [f"patient=P{n:02d}" for n in range(1, 8)], columns, 60)
    clock = counted("time", 1_000_000_000)
    rows = blocks(wide(people, clock, columns, "tags"))
    rows = [{"name": "vitals", "tags": row["tags"], **row} for row in rows]
    save(folder / "query.csv", rows)
    return truth(people, clock, named=False)


@dialect("minutes since admission, also before it, admissionid")
def minutes_before_admission(folder):
    columns = {"hr": HR, "abp_systolic": SBP}
    people = cohort(19, [str(9001 + n) for n in range(8)], columns, 300)
    clock = elapsed("offset_min", 60, zero=-180)
    save(folder / "numerics.csv", blocks(wide(people, clock, columns, "admissionid")))
    return truth(people, clock)


@dialect("hours with decimal commas, unit of time in brackets, vp_nr")
def hours_with_commas(folder):
    columns = {"HF [1/min]": HR, "AF [1/min]": RESP}
    people = cohort(20, [str(n) for n in range(201, 209)], columns, 600)
    clock = elapsed("t [h]", 3600, 4, ",")
    rows = wide(people, clock, columns, "vp_nr", COMMA)
    save(folder / "versuch.csv", blocks(rows), File(";"))
    return truth(people, clock, {"HF [1/min]": "1/min", "AF [1/min]": "1/min"})


@dialect("milliseconds in the header, 250 Hz, semicolons, decimal commas, a file a subject")
def ecg_in_milliseconds(folder):
    columns = {"EKG (mV)": ECG}
    people = cohort(
        21, numbered("ekg", 6), columns, 0.004, rows=(400, 400), missing=0, outages=False
    )
    clock = elapsed("Zeit (ms)", 0.001)
    for person in people:
        rows = wide([person], clock, columns, spelling=COMMA)[0]
        save(folder / f"{person.id}.csv", rows, File(";"))
    return truth(people, clock, {"EKG (mV)": "mV"}, named=False)


@dialect("days since an implantation, animals")
def days_since_implantation(folder):
    columns = {"HR (bpm)": HR, "Body temperature (°C)": TEMP}
    people = cohort(22, ["rat 1", "rat 2", "rat 4", "rat 5", "rat 9", "rat 12"], columns, 1800)
    clock = elapsed("Study day (d)", DAY_S, 5)
    save(folder / "telemetry.csv", blocks(wide(people, clock, columns, "animal_id")))
    return truth(people, clock, {"HR (bpm)": "bpm", "Body temperature (°C)": "degC"})


@dialect("hours, minutes and seconds since the start, beyond 24 hours")
def elapsed_beyond_a_day(folder):
    columns = {"HR": HR, "Temp": TEMP}
    people = cohort(23, numbered("run", 7), columns, 900)

    def cells(person: Person, row: int):
        minutes, seconds = divmod(round(person.offset_s[row]), 60)
        return (f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}",)

    clock = Clock(("Elapsed",), cells, absolute=False)
    save(folder / "log.csv", blocks(wide(people, clock, columns, "Subject")))
    return truth(people, clock)


@dialect("nights without dates: each passes midnight, subjects one after another")
def nights_without_dates(folder):
    columns = {"SpO2": SPO2, "Puls": HR}
    start = datetime(2023, 3, 6, 22, 0)
    people = cohort(24, numbered("N", 8), columns, 180, start, 660, rows=(150, 200))
    clock = replace(stamp("Uhrzeit", "%H:%M:%S"), absolute=False)
    save(folder / "naechte.csv", blocks(wide(people, clock, columns, "ID")), File(";"))
    return truth(people, clock)


# --- layouts


@dialect("one column a subject, the signal and its unit above the header, decimal commas")
def one_column_a_subject(folder):
    people = cohort(25, numbered("P", 8), {"T": TEMP}, 900, rows=(300, 300), outages=False)
    clock = stamp("Zeit", "%d.%m.%Y %H:%M")
    rows = [
        {"Zeit": clock.cells(people[0], row)[0]}
        | {p.id: COMMA(p.values["T"][row], 1) for p in people}
        for row in range(300)
    ]
    file = File(";", before=("Körpertemperatur [°C]", ""))
    save(folder / "temperaturen.csv", rows, file)
    return replace(truth(people, clock, {"T": ("degC", "1")}), any_name=True)


def by_day(person: Person) -> list[tuple[datetime, Person]]:
    """The days of a subject with their rows."""
    days = np.array([person.moment(row).toordinal() for row in range(len(person))])
    return [
        (
            datetime.fromordinal(int(day)),
            replace(
                person,
                offset_s=person.offset_s[days == day],
                values={name: own[days == day] for name, own in person.values.items()},
            ),
        )
        for day in np.unique(days)
    ]


@dialect("a folder a patient with a file a day, d-m-Y, semicolons")
def folders_with_days(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(26, [f"patient_{n}" for n in (3, 4, 7, 8, 11, 12)], columns, 900)
    clock = stamp("Time", "%d-%m-%Y %H:%M")
    for person in people:
        for number, (_, part) in enumerate(by_day(person), start=1):
            rows = wide([part], clock, columns)[0]
            save(folder / person.id / f"day{number}.csv", rows, File(";"))
    return truth(people, clock)


@dialect("patient and date in the names of files, some of them in capitals")
def days_by_prefix(folder):
    columns = {"heart_rate": HR, "steps": STEPS}
    people = cohort(27, numbered("S", 6), columns, 900, apart_s=DAY_S)
    clock = stamp("timestamp", "%Y-%m-%d %H:%M:%S")
    for number, person in enumerate(people):
        for day, part in by_day(person):
            end = "CSV" if number % 2 else "csv"
            rows = wide([part], clock, columns)[0]
            save(folder / f"{person.id}-{day:%Y-%m-%d}.{end}", rows)
    return truth(people, clock)


@dialect("visits of a subject in files, the subject at the end of their names, seconds")
def visits_by_suffix(folder):
    columns = {"HR (bpm)": HR, "RESP (1/min)": RESP}
    first = cohort(28, numbered("subj", 6), columns, 60, rows=(150, 220))
    second = cohort(128, numbered("subj", 6), columns, 60, rows=(150, 220))
    clock = elapsed("time (s)", 1)
    for visit, people in (("visit1", first), ("visit2", second)):
        for person in people:
            save(folder / f"{visit}_{person.id}.csv", wide([person], clock, columns)[0])
    both = [
        replace(
            one,
            offset_s=np.concatenate([one.offset_s, other.offset_s]),
            values={
                name: np.concatenate([one.values[name], other.values[name]]) for name in columns
            },
        )
        for one, other in zip(first, second, strict=True)
    ]
    units = {"HR (bpm)": "bpm", "RESP (1/min)": "1/min"}
    return replace(truth(both, clock, units, named=False), recordings=12)


@dialect("a folder a patient with a file a signal")
def one_signal_a_file(folder):
    columns = {"HR": HR, "SpO2": SPO2, "Temp": TEMP}
    people = cohort(29, numbered("P", 6), columns, 600, apart_s=DAY_S)
    clock = stamp("time", "%Y-%m-%d %H:%M:%S")
    for person in people:
        for name in columns:
            rows = [r for r in wide([person], clock, {name: columns[name]})[0] if r[name]]
            save(folder / person.id / f"{name}.csv", rows)
    return replace(truth(people, clock), recordings=6)


@dialect("a file a signal, in each one column a subject")
def signal_files_of_subject_columns(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(30, numbered("P", 8), columns, 900, rows=(250, 250), outages=False)
    clock = stamp("time", "%Y-%m-%d %H:%M:%S")
    for name, signal in columns.items():
        rows = [
            {"time": clock.cells(people[0], row)[0]}
            | {p.id: Spelling()(p.values[name][row], signal.places) for p in people}
            for row in range(250)
        ]
        save(folder / f"{name}.csv", rows)
    return truth(people, clock)


@dialect("a row a trial, milliseconds as the header, a condition")
def trials_in_milliseconds(folder):
    samples, per_subject = 100, 25
    people = cohort(
        31, numbered("VP", 6), {"a": ECG}, 0.004, rows=(2500, 2500), missing=0, outages=False
    )
    rows, series = [], {}
    for person in people:
        trials = person.values["a"].reshape(per_subject, samples)
        for number, trial in enumerate(trials, start=1):
            cells = {"subject": person.id, "trial": str(number)}
            cells["condition"] = ("rest", "task")[number % 2]
            cells |= {f"{4 * n} ms": f"{value:.3f}" for n, value in enumerate(trial)}
            rows.append(cells)
        series[person.id] = {
            "a": (np.tile(np.arange(samples) * 0.004, per_subject), trials.ravel())
        }
    save(folder / "epochs.csv", rows)
    return Truth(series, {"a": ("1",)}, absolute=False, recordings=6 * per_subject, any_name=True)


@dialect("a row a beat with its class, samples without a rate")
def beats_without_a_rate(folder):
    people = cohort(
        32, numbered("b", 160, width=3), {"a": ECG}, 1, rows=(140, 140), missing=0, outages=False
    )
    rows, series = [], {}
    for number, person in enumerate(people):
        cells = {"id": person.id, "label": ("N", "V", "S")[number % 3]}
        value = person.values["a"]
        rows.append(cells | {f"x{n}": f"{v:.3f}" for n, v in enumerate(value, start=1)})
        series[person.id] = {"a": (np.arange(140.0), value)}
    save(folder / "beats.csv", rows)
    return Truth(
        series, {"a": ("1",)}, absolute=False, recordings=160, any_name=True, uniform=True
    )


@dialect("long with codes of variables, columns of states, and a second time")
def codes_of_an_icu(folder):
    columns = {"200": HR, "4000": SPO2, "100": SBP}
    people = cohort(33, [str(15 + 4 * n) for n in range(7)], columns, 300)
    clock = stamp("datetime", "%Y-%m-%d %H:%M:%S")

    def entered(person: Person, row: int) -> str:
        return (person.moment(row) + timedelta(seconds=90)).strftime("%Y-%m-%d %H:%M:%S")

    rows = blocks(
        long(
            people,
            clock,
            columns,
            "patientid",
            ("variableid", "value"),
            {},
            None,
            {"entertime": entered},
        )
    )
    order = (
        "patientid",
        "datetime",
        "entertime",
        "status",
        "stringvalue",
        "type",
        "value",
        "variableid",
    )
    more = {"status": "8", "stringvalue": "", "type": "o"}
    save(folder / "observation_tables.csv", [{n: (row | more)[n] for n in order} for row in rows])
    return truth(people, clock)


@dialect("long with concepts and names of channels side by side, units as codes and as words")
def common_data_model(folder):
    columns = {"3027018": HR, "3020891": TEMP}
    people = cohort(34, [str(101 + n) for n in range(7)], columns, 900)
    clock = stamp("measurement_datetime", "%Y-%m-%d %H:%M:%S")
    constants = {
        "3027018": {
            "unit_concept_id": "8541",
            "measurement_source_value": "HR",
            "unit_source_value": "bpm",
        },
        "3020891": {
            "unit_concept_id": "586323",
            "measurement_source_value": "Temp",
            "unit_source_value": "degC",
        },
    }
    rows = []
    named = ("measurement_concept_id", "value_as_number")
    for number, row in enumerate(
        blocks(long(people, clock, columns, "person_id", named, constants)), start=1
    ):
        rows.append(
            {
                "measurement_id": str(70000 + number),
                "person_id": row["person_id"],
                "measurement_concept_id": row["measurement_concept_id"],
                "measurement_date": row["measurement_datetime"][:10],
                "measurement_datetime": row["measurement_datetime"],
                "measurement_type_concept_id": "32817",
                "value_as_number": row["value_as_number"],
                "unit_concept_id": row["unit_concept_id"],
                "measurement_source_value": row["measurement_source_value"],
                "unit_source_value": row["unit_source_value"],
            }
        )
    save(folder / "measurement.csv", rows)
    names = {"3027018": "HR", "3020891": "Temp"}
    return (
        truth(people, clock, {"3027018": "bpm", "3020891": "degC"}),
        truth(people, clock, {"HR": "bpm", "Temp": "degC"}, called=names),
    )


@dialect("long as trials are submitted: USUBJID, sequence numbers, codes and names of tests")
def submitted_trial(folder):
    columns = {"HR": HR, "RESP": RESP}
    people = cohort(35, [f"ABC-01-{n:03d}" for n in range(1, 8)], columns, 1800)
    clock = stamp("VSDTC", "%Y-%m-%dT%H:%M")
    names = {"HR": "Heart Rate", "RESP": "Respiratory Rate"}
    units = {"HR": "beats/min", "RESP": "breaths/min"}
    rows = []
    for own in long(people, clock, columns, "USUBJID", ("VSTESTCD", "VSORRES"), {}):
        rows += [
            {
                "STUDYID": "ABC-01",
                "DOMAIN": "VS",
                "USUBJID": row["USUBJID"],
                "VSSEQ": str(number),
                "VSTESTCD": row["VSTESTCD"],
                "VSTEST": names[row["VSTESTCD"]],
                "VSORRES": row["VSORRES"],
                "VSORRESU": units[row["VSTESTCD"]],
                "VSDTC": row["VSDTC"],
            }
            for number, row in enumerate(own, start=1)
        ]
    save(folder / "vs.csv", rows)
    return (
        truth(people, clock, units),
        truth(people, clock, {names[n]: unit for n, unit in units.items()}, called=names),
    )


@dialect("long in German: d.m.y, decimal commas, units in a column, latin-1")
def long_in_german(folder):
    columns = {"Herzfrequenz": HR, "Körpertemperatur": TEMP}
    people = cohort(36, [f"F{n}" for n in range(5501, 5508)], columns, 1200, JUNE)
    clock = stamps("Datum", "Zeit", "%d.%m.%y", "%H:%M")
    constants = {"Herzfrequenz": {"Einheit": "/min"}, "Körpertemperatur": {"Einheit": "°C"}}
    rows = long(people, clock, columns, "Fall-Nr.", ("Parameter", "Wert"), constants, COMMA)
    save(folder / "kurve.csv", blocks(rows), File(";", "latin-1"))
    return truth(people, clock, {"Herzfrequenz": "/min", "Körpertemperatur": "degC"})


@dialect("long, minutes, channels of words among channels of numbers")
def nurse_charting(folder):
    columns = {"Heart Rate": HR, "Respiratory Rate": RESP}
    people = cohort(37, [str(141764 + n) for n in range(8)], columns, 600)
    clock = elapsed("nursingchartoffset", 60)
    named = ("nursingchartcelltypevalname", "nursingchartvalue")
    rows = []
    for own in long(people, clock, columns, "patientunitstayid", named, {}):
        for number, row in enumerate(own):
            rows.append(row)
            if number % 30 == 5:
                device = ("nasal cannula", "room air", "ventilator")[number // 30 % 3]
                rows.append({**row, named[0]: "O2 Admin Device", named[1]: device})
    rows = [{"nursingchartid": str(912000 + n), **row} for n, row in enumerate(rows)]
    save(folder / "nurseCharting.csv", rows)
    return truth(people, clock)


@dialect("the patient's name only in the first row of a block")
def merged_cells(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(38, numbered("Bed ", 6), columns, 1200)
    clock = stamp("Time", "%Y-%m-%d %H:%M")
    rows = wide(people, clock, columns, "Patient")
    rows = [[own[0], *({**row, "Patient": ""} for row in own[1:])] for own in rows]
    save(folder / "report.csv", blocks(rows))
    return truth(people, clock)


# --- oddities of files


@dialect("a first line sep=;, a byte-order mark, d-m-Y")
def separator_line(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(39, numbered("P", 7), columns, 600, apart_s=DAY_S)
    clock = stamp("Time", "%d-%m-%Y %H:%M")
    file = File(";", "utf-8-sig", "\r\n", before=("sep=;",))
    save(folder / "excel.csv", blocks(wide(people, clock, columns, "Subject")), file)
    return truth(people, clock)


@dialect("tabs in UTF-16, as spreadsheets save Unicode text, decimal commas")
def unicode_text(folder):
    columns = {"Pulse (1/min)": HR, "Température (°C)": TEMP}
    people = cohort(40, numbered("T", 6), columns, 900)
    clock = stamp("Date/heure", "%Y-%m-%d %H:%M")
    rows = blocks(wide(people, clock, columns, "Patient", COMMA))
    save(folder / "classeur.txt", rows, File("\t", "utf-16", "\r\n"))
    return truth(people, clock, {"Pulse (1/min)": "1/min", "Température (°C)": "degC"})


@dialect("row names of R without a name in the header: each row is one cell longer, at the left")
def header_one_short(folder):
    columns = {"HR": HR, "SpO2": SPO2, "RESP": RESP}
    people = cohort(41, numbered("P", 6), columns, 600)
    clock = elapsed("time", 1)
    rows = blocks(wide(people, clock, columns, "id", Spelling(missing="NA")))
    path = folder / "table.txt"
    save(path, rows, File("\t"))
    header, *lines = path.read_text().splitlines()
    shifted = [f"{number}\t{line}" for number, line in enumerate(lines, start=1)]
    path.write_text("\n".join([header, *shifted]) + "\n")
    return truth(people, clock)


@dialect("comments before the header, compressed, UTC")
def commented_and_compressed(folder):
    columns = {"hr_bpm": HR, "spo2_pct": SPO2}
    people = cohort(42, numbered("dev", 6), columns, 300, apart_s=DAY_S)
    clock = stamp("time_utc", "%Y-%m-%dT%H:%M:%SZ")
    before = ("# recorder 4.1, serial 00A7", "# exported 2023-03-20 08:00", "#")
    rows = blocks(wide(people, clock, columns, "device_user"))
    save(folder / "night.csv.gz", rows, File(before=before))
    return truth(people, clock, {"hr_bpm": ("bpm", "1"), "spo2_pct": ("%", "1")})


@dialect(
    "a sensor's export: rows about the person before the readings, Low and High, a second clock"
)
def glucose_sensor_export(folder):
    name = "Glucose Value (mg/dL)"
    people = cohort(43, numbered("Export_", 6), {name: GLUCOSE}, 900, apart_s=3 * DAY_S, missing=0)
    clock = stamp("Timestamp (YYYY-MM-DDThh:mm:ss)", "%Y-%m-%dT%H:%M:%S")
    columns = (
        "Index",
        clock.columns[0],
        "Event Type",
        "Event Subtype",
        "Patient Info",
        "Device Info",
        name,
        "Insulin Value (u)",
        "Transmitter Time (Long Integer)",
    )
    empty = dict.fromkeys(columns, "")
    censored: dict[tuple[str, str], dict[float, tuple[float, ...]]] = {}
    for person in people:
        rows = [
            empty | {"Event Type": "FirstName", "Patient Info": "A"},
            empty | {"Event Type": "LastName", "Patient Info": person.id},
            empty | {"Event Type": "Device", "Device Info": "G6 Mobile App"},
        ]
        zero = (person.start - EPOCH).total_seconds()
        for row in range(len(person)):
            value = f"{person.values[name][row]:.0f}"
            if row % 47 == 20:
                value = ("Low", "High")[row % 2]
                at = zero + person.offset_s[row]
                censored.setdefault((person.id, name), {})[at] = (40.0, 400.0)
                person.values[name][row] = np.nan
            rows.append(
                empty
                | {
                    clock.columns[0]: clock.cells(person, row)[0],
                    "Event Type": "EGV",
                    name: value,
                    columns[-1]: str(7346000 + round(person.offset_s[row])),
                }
            )
        rows = [{**row, "Index": str(n)} for n, row in enumerate(rows, start=1)]
        save(folder / f"{person.id}.csv", rows)
    return replace(truth(people, clock, {name: "mg/dL"}, named=False), censored=censored)


@dialect("a sensor's export in German: a line before the header, history and scans, d-m-Y")
def flash_sensor_german(folder):
    history, scan = "Glukosewert-Verlauf mg/dL", "Glukose-Scan mg/dL"
    people = cohort(44, numbered("LV", 6), {history: GLUCOSE, scan: GLUCOSE}, 900, missing=0)
    clock = stamp("Gerätezeitstempel", "%d-%m-%Y %H:%M")
    before = ("Glukose-Werte,Erstellt am,20-03-2023 10:12 UTC,Erstellt von,A B",)
    for number, person in enumerate(people):
        scanned = np.arange(len(person)) % 9 == 4
        person.values[history][scanned] = np.nan
        person.values[scan][~scanned] = np.nan
        rows = [
            {
                "Gerät": "FreeStyle LibreLink",
                "Seriennummer": f"a7f0-{number:04d}",
                "Gerätezeitstempel": clock.cells(person, row)[0],
                "Aufzeichnungstyp": str(int(scanned[row])),
                history: Spelling()(person.values[history][row], 0),
                scan: Spelling()(person.values[scan][row], 0),
                "Notizen": "",
            }
            for row in range(len(person))
        ]
        save(folder / f"{person.id}.csv", rows, File(before=before))
    units = {history: ("mg/dL", "1"), scan: ("mg/dL", "1")}
    return truth(people, clock, units, named=False)


@dialect("a diary: DAY, TIME, sparse and empty columns, a column of remarks")
def diary(folder):
    columns = {"UDT_CGMS": GLUCOSE, "BG_LEVEL": GLUCOSE}
    people = cohort(45, numbered("x", 6), columns, 1200, JUNE, DAY_S)
    clock = stamps("DAY", "TIME", "%d.%m.%Y", "%H:%M")
    extras = {
        "CH_GR": lambda p, row: "",
        "BOLUS": lambda p, row: "",
        "REMARK": lambda p, row: "calibrated" if row % 24 == 12 else "",
    }
    for person in people:
        often = np.arange(len(person)) % 12 == 0
        person.values["BG_LEVEL"][~often] = np.nan
        rows = wide([person], clock, columns, extras=extras)[0]
        save(folder / f"{person.id}.csv", rows, File(";"))
    return truth(people, clock, named=False)


@dialect("a row of units, header again after blank lines, m/d/Y with AM and PM")
def appended_sessions(folder):
    columns = {"HR": HR, "SpO2": SPO2}
    people = cohort(46, numbered("P", 6), columns, 600, JUNE, 3 * DAY_S)
    clock = stamp("Time", "%m/%d/%Y %I:%M:%S %p")
    file = File(below=("", "", "bpm", "%"), repeat=217, blank=True)
    save(folder / "sessions.csv", blocks(wide(people, clock, columns, "Subject")), file)
    return truth(people, clock, {"HR": "bpm", "SpO2": "%"})


@dialect("two rows of headers, the first for groups of columns")
def groups_of_columns(folder):
    columns = {"HR": HR, "SpO2": SPO2, "RESP": RESP}
    people = cohort(47, numbered("P", 7), columns, 600)
    clock = stamp("Time", "%Y-%m-%d %H:%M:%S")
    file = File(before=("Patient,,Vital signs,,",))
    save(folder / "grouped.csv", blocks(wide(people, clock, columns, "ID")), file)
    return truth(people, clock)


@dialect("tabs, a row of units in latin-1, a tab at the end of rows, a file a patient")
def monitor_with_tabs(folder):
    columns = {"HR": HR, "Tblood": TEMP}
    people = cohort(48, numbered("OR", 6), columns, 300)
    clock = stamp("Time", "%Y-%m-%d %H:%M:%S")
    file = File("\t", "latin-1", below=("", "/min", "°C"), trailing=True)
    for person in people:
        save(folder / f"{person.id}.txt", wide([person], clock, columns)[0], file)
    return truth(people, clock, {"HR": "/min", "Tblood": "degC"}, named=False)


@dialect("header and units in single quotes, seconds with three decimals")
def waveform_database_text(folder):
    columns = {"II": ECG, "V": ECG}
    people = cohort(
        49, numbered("s", 6), columns, 0.008, rows=(400, 400), missing=0, outages=False
    )
    clock = elapsed("Elapsed time", 1, 3)
    for person in people:
        rows = wide([person], clock, columns)[0]
        path = folder / f"{person.id}.csv"
        save(path, rows)
        _, *lines = path.read_text().splitlines()
        top = ["'Elapsed time','II','V'", "'seconds','mV','mV'"]
        path.write_text("\n".join([*top, *lines]) + "\n")
    return replace(truth(people, clock, {"II": "mV", "V": "mV"}, named=False), tolerance_s=0.001)


@dialect("annotations of a database before the header, an empty first column, constant times")
def annotated_query(folder):
    columns = {"hr": HR, "temp": TEMP}
    people = cohort(50, numbered("P", 6), columns, 300)
    clock = stamp("_time", "%Y-%m-%dT%H:%M:%SZ")
    before = (
        "#group,false,false,true,true,false,false,true,true,true",
        "#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339,dateTime:RFC3339,double,string,"
        "string,string",
        "#default,_result,,,,,,,,",
    )
    rows = []
    table = 0
    for person in people:
        for name, signal in columns.items():
            for row in range(len(person)):
                if np.isnan(person.values[name][row]):
                    continue
                rows.append(
                    {
                        "": "",
                        "result": "",
                        "table": str(table),
                        "_start": "2023-03-01T00:00:00Z",
                        "_stop": "2023-04-01T00:00:00Z",
                        "_time": clock.cells(person, row)[0],
                        "_value": Spelling()(person.values[name][row], signal.places),
                        "_field": name,
                        "_measurement": "vitals",
                        "patient": person.id,
                    }
                )
            table += 1
    save(folder / "query.csv", rows, File(before=before, newline="\r\n"))
    return truth(people, clock)


@dialect("compressed tabs without a header, names and rate in a JSON file beside")
def physio_of_a_scanner(folder):
    columns = {"cardiac": ECG, "respiratory": ECG}
    people = cohort(
        51, numbered("sub-", 6), columns, 0.02, rows=(400, 400), missing=0, outages=False
    )
    clock = elapsed("t", 1)
    beside = {"SamplingFrequency": 50, "StartTime": -1.5, "Columns": list(columns)}
    for person in people:
        stem = folder / person.id / "func" / f"{person.id}_task-rest_physio"
        rows = [{n: f"{person.values[n][row]:.3f}" for n in columns} for row in range(400)]
        save(stem.with_suffix(".tsv.gz"), rows, File("\t", header=False))
        stem.with_suffix(".json").write_text(json.dumps(beside))
    return replace(truth(people, clock, named=False), recordings=6)


@dialect("counts without times: start and length of an epoch stand above the header")
def accelerometer_counts(folder):
    columns = {"Axis1": ACTIVITY, "Axis2": ACTIVITY}
    people = cohort(52, numbered("AG", 6), columns, 60, rows=(300, 400), missing=0, outages=False)
    clock = stamp("", "")
    for person in people:
        before = (
            "------------ Data File Created By GT3X+ Firmware v3.2.1 date format M/d/yyyy ------",
            f"Serial Number: {person.id}",
            f"Start Time {person.start:%H:%M:%S}",
            f"Start Date {person.start:%-m/%-d/%Y}",
            "Epoch Period (hh:mm:ss) 00:01:00",
            "------------------------------------------------------------",
        )
        rows = [
            {name: f"{person.values[name][row]:.0f}" for name in columns}
            for row in range(len(person))
        ]
        save(folder / f"{person.id}.csv", rows, File(before=before))
    return truth(people, clock, named=False)


@dialect("a form of a study: repeat instances, a state of the form, record_id")
def study_form(folder):
    columns = {"vs_hr": HR, "vs_temp": TEMP}
    people = cohort(53, [str(n) for n in range(1, 9)], columns, 3600)
    clock = stamp("vs_datetime", "%Y-%m-%d %H:%M")
    rows = [
        {
            "record_id": row["record_id"],
            "redcap_event_name": "stay_arm_1",
            "redcap_repeat_instrument": "vital_signs",
            "redcap_repeat_instance": str(number),
            "vs_datetime": row["vs_datetime"],
            "vs_hr": row["vs_hr"],
            "vs_temp": row["vs_temp"],
            "vital_signs_complete": "2",
        }
        for own in wide(people, clock, columns, "record_id")
        for number, row in enumerate(own, start=1)
    ]
    save(folder / "Study_DATA.csv", rows)
    return truth(people, clock)


# --- cells


@dialect("points for thousands in one column, decimal commas in another")
def thousands_and_decimals(folder):
    columns = {"Schritte": STEPS, "Temp [°C]": TEMP}
    people = cohort(54, numbered("Proband ", 6, width=1), columns, 1800, apart_s=DAY_S)
    clock = stamp("Zeitpunkt", "%d.%m.%Y %H:%M")
    rows = wide(people, clock, columns, "Proband", Spelling(decimal=",", thousands="."))
    save(folder / "schritte.csv", blocks(rows), File(";"))
    return truth(people, clock, {"Temp [°C]": "degC"})


@dialect("decimal commas in quoted cells between commas, whole numbers without decimals")
def quoted_decimal_commas(folder):
    columns = {"temp_c": TEMP, "glucosa mmol/l": GLUCOSE_MMOL}
    people = cohort(55, [str(n) for n in range(21, 28)], columns, 900)
    clock = stamp("fecha", "%Y-%m-%d %H:%M:%S")
    rows = wide(people, clock, columns, "paciente", Spelling(decimal=",", plain=True))
    save(folder / "datos.csv", blocks(rows))
    return truth(people, clock, {"temp_c": ("degC", "1"), "glucosa mmol/l": ("mmol/L", "1")})


@dialect("units behind the numbers of cells, with a blank")
def units_behind_numbers(folder):
    columns = {"pulse": HR, "saturation": SPO2}
    people = cohort(56, numbered("p", 6), columns, 900)
    clock = stamp("when", "%Y-%m-%d %H:%M")
    endings = (("pulse", " bpm"), ("saturation", " %"))
    rows = wide(people, clock, columns, "patient", Spelling(endings=endings))
    save(folder / "diary.csv", blocks(rows))
    return truth(people, clock, {"pulse": "bpm", "saturation": "%"})


@dialect("limits of a sensor as <2.8 and >17.5, in late rows only")
def limits_late(folder):
    name = "glucose (mmol/L)"
    people = cohort(57, numbered("G", 7), {name: GLUCOSE_MMOL}, 900)
    clock = stamp("timestamp", "%Y-%m-%d %H:%M:%S")
    rows = wide(people, clock, {name: GLUCOSE_MMOL}, "study_id")
    censored: dict[tuple[str, str], dict[float, tuple[float, ...]]] = {}
    for person, own in list(zip(people, rows, strict=True))[4:]:
        for row in range(15, len(own) - 15, 41):
            limit = (2.8, 17.5)[row % 2]
            own[row][name] = f"{'<' if limit == 2.8 else '>'}{limit}"
            at = (person.start - EPOCH).total_seconds() + person.offset_s[row]
            censored.setdefault((person.id, name), {})[at] = (limit,)
            person.values[name][row] = np.nan
    save(folder / "cgm.csv", blocks(rows))
    return replace(truth(people, clock, {name: "mmol/L"}), censored=censored)


@dialect("a monitor's capture: a comma too many, milliseconds, d-m-Y, dashes in late rows only")
def captured_monitor(folder):
    columns = {"NOM_ECG_CARD_BEAT_RATE": HR, "NOM_PULS_OXIM_SAT_O2": SPO2}
    people = cohort(58, numbered("bed", 6), columns, 600, apart_s=DAY_S, missing=0)
    stamped = stamp("Time", "%d-%m-%Y %H:%M:%S.%f")
    clock = replace(stamped, cells=lambda p, row: (stamped.cells(p, row)[0][:-3],))
    for person in people[4:]:
        person.values["NOM_PULS_OXIM_SAT_O2"][10:-5:17] = np.nan
    rows = blocks(wide(people, clock, columns, "bed", Spelling(missing="-")))
    save(folder / "capture.csv", rows, File(trailing=True))
    return truth(people, clock)


@dialect("age, sex and ward of a patient, words and stages of sleep of a row")
def labels_and_facts(folder):
    columns = {"HR": HR, "Resp": RESP}
    people = cohort(59, numbered("P", 8), columns, 900)
    clock = stamp("time", "%Y-%m-%d %H:%M:%S")
    facts = {p.id: (str(34 + 5 * n), "FM"[n % 2]) for n, p in enumerate(people)}
    rows = [
        {
            "subject": row["subject"],
            "age": facts[row["subject"]][0],
            "sex": facts[row["subject"]][1],
            "ward": "ICU",
            "time": row["time"],
            "HR": row["HR"],
            "Resp": row["Resp"],
            "activity": ("lying", "sitting", "walking")[number // 25 % 3],
            "sleep_stage": str(number // 20 % 5),
        }
        for number, row in enumerate(blocks(wide(people, clock, columns, "subject")))
    ]
    save(folder / "lab.csv", rows)
    return truth(people, clock)


@dialect("blood pressures as 124/81 in one cell beside a pulse")
def two_pressures_in_a_cell(folder):
    columns = {"Puls (1/min)": HR}
    people = cohort(60, numbered("B", 6), columns, 1800, apart_s=DAY_S)
    clock = stamp("Datum/Uhrzeit", "%d.%m.%Y %H:%M")
    extras = {"RR (mmHg)": lambda p, row: f"{118 + row % 23}/{74 + row % 17}"}
    rows = wide(people, clock, columns, "Patient ID", extras=extras)
    save(folder / "blutdruck.csv", blocks(rows), File(";"))
    return replace(truth(people, clock, {"Puls (1/min)": "1/min"}), said=("RR (mmHg)",))


# --- plain tables: none may be refused, or need more than one look


def control(holds: str):
    return dialect(holds, CONTROLS)


def plain_cohort(seed: int, columns=None, step_s: float = 300, **more):
    return cohort(seed, numbered("p", 6), columns or {"HR": HR, "SpO2": SPO2}, step_s, **more)


@control("seconds, a subject column")
def plain_seconds(folder):
    people, clock = plain_cohort(201), elapsed("time", 1)
    save(folder / "t.csv", blocks(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "subject")))
    return truth(people, clock)


@control("ISO times with a blank")
def plain_iso(folder):
    people, clock = plain_cohort(202), stamp("timestamp", "%Y-%m-%d %H:%M:%S")
    save(folder / "t.csv", blocks(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "patient_id")))
    return truth(people, clock)


@control("ISO times with T, interleaved")
def plain_interleaved(folder):
    people, clock = plain_cohort(203), stamp("time", "%Y-%m-%dT%H:%M:%S")
    save(folder / "t.csv", interleaved(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "id")))
    return truth(people, clock)


@control("ISO times in UTC, units in brackets")
def plain_utc(folder):
    columns = {"HR (bpm)": HR, "glucose (mg/dL)": GLUCOSE}
    people, clock = plain_cohort(204, columns), stamp("time", "%Y-%m-%dT%H:%M:%SZ")
    save(folder / "t.csv", blocks(wide(people, clock, columns, "subject_id")))
    return truth(people, clock, {"HR (bpm)": "bpm", "glucose (mg/dL)": "mg/dL"})


@control("ISO times with a constant offset")
def plain_offset(folder):
    people = plain_cohort(205)
    clock = stamp("time", "%Y-%m-%dT%H:%M:%S-05:00", zone_s=-5 * 3600)
    save(folder / "t.csv", blocks(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "subject")))
    return replace(truth(people, clock), zones=("-05:00",))


@control("long with units")
def plain_long(folder):
    columns = {"HR": HR, "Temp": TEMP}
    people, clock = plain_cohort(206, columns), stamp("charttime", "%Y-%m-%d %H:%M:%S")
    constants = {"HR": {"unit": "bpm"}, "Temp": {"unit": "degC"}}
    rows = long(people, clock, columns, "subject_id", ("parameter", "value"), constants)
    save(folder / "t.csv", blocks(rows))
    return truth(people, clock, {"HR": "bpm", "Temp": "degC"})


@control("a file a subject")
def plain_files(folder):
    people, clock = plain_cohort(207), stamp("time", "%Y-%m-%d %H:%M:%S")
    for person in people:
        save(folder / f"{person.id}.csv", wide([person], clock, {"HR": HR, "SpO2": SPO2})[0])
    return truth(people, clock)


def parquet(folder, people, time: str, **columns):
    """A Parquet table with types of its own."""
    frames = [
        pd.DataFrame(
            {
                "subject": person.id,
                time: pd.to_datetime(person.start) + pd.to_timedelta(person.offset_s, unit="s"),
                **{name: person.values[name] for name in columns},
            }
        )
        for person in people
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pd.concat(frames, ignore_index=True).to_parquet(folder / "t.parquet")


@control("Parquet with types of times")
def plain_parquet(folder):
    people, clock = plain_cohort(208), stamp("time", "%Y")
    parquet(folder, people, "time", HR=HR, SpO2=SPO2)
    return truth(people, clock)


@control("semicolons, points before decimals")
def plain_semicolons(folder):
    columns = {"HR": HR, "Temp": TEMP}
    people, clock = plain_cohort(209, columns), stamp("time", "%Y-%m-%d %H:%M")
    save(folder / "t.csv", blocks(wide(people, clock, columns, "patient")), File(";"))
    return truth(people, clock)


@control("tabs in a .csv")
def plain_tabs(folder):
    people, clock = plain_cohort(210), elapsed("seconds", 1)
    rows = wide(people, clock, {"HR": HR, "SpO2": SPO2}, "subject")
    save(folder / "t.csv", blocks(rows), File("\t"))
    return truth(people, clock)


@control("seconds since 1970")
def plain_unix(folder):
    people, clock = plain_cohort(211), counted("time", 1)
    save(folder / "t.csv", blocks(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "user_id")))
    return truth(people, clock)


@control("a clock within one day, a file a subject")
def plain_clock(folder):
    start = datetime(2023, 3, 6, 8, 0)
    people = plain_cohort(212, step_s=60, start=start)
    clock = replace(stamp("time", "%H:%M:%S"), absolute=False)
    for person in people:
        save(folder / f"{person.id}.csv", wide([person], clock, {"HR": HR, "SpO2": SPO2})[0])
    return truth(people, clock)


@control("d.m.Y with a day above 12")
def plain_day_first(folder):
    people = plain_cohort(213, start=datetime(2023, 3, 20, 8, 0))
    clock = stamp("time", "%d.%m.%Y %H:%M:%S")
    save(folder / "t.csv", blocks(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "subject")))
    return truth(people, clock)


@control("m/d/Y with a day above 12")
def plain_month_first(folder):
    people = plain_cohort(214, start=datetime(2023, 3, 20, 8, 0))
    clock = stamp("datetime", "%m/%d/%Y %H:%M")
    save(folder / "t.csv", blocks(wide(people, clock, {"HR": HR, "SpO2": SPO2}, "participant_id")))
    return truth(people, clock)


@control("two stays of a patient")
def plain_stays(folder):
    people = plain_cohort(215)
    clock = stamp("time", "%Y-%m-%d %H:%M:%S")
    rows = wide(people, clock, {"HR": HR, "SpO2": SPO2}, "subject_id")
    rows = [
        {"subject_id": row["subject_id"], "stay_id": f"{10 * n + (k >= len(own) // 2)}", **row}
        for n, own in enumerate(rows, start=3)
        for k, row in enumerate(own)
    ]
    save(folder / "t.csv", rows)
    return replace(truth(people, clock), recordings=12)


@control("all cells quoted, CRLF, a byte-order mark")
def plain_quoted(folder):
    people, clock = plain_cohort(216), stamp("time", "%Y-%m-%d %H:%M:%S")
    rows = wide(people, clock, {"HR": HR, "SpO2": SPO2}, "subject")
    save(folder / "t.csv", blocks(rows), File(",", "utf-8-sig", "\r\n", quote=True))
    return truth(people, clock)


@control("few subjects, one channel, NA where missing")
def plain_one_channel(folder):
    columns = {"glucose (mmol/L)": GLUCOSE_MMOL}
    people, clock = plain_cohort(217, columns), stamp("time", "%Y-%m-%d %H:%M:%S")
    rows = wide(people, clock, columns, "subject", Spelling(missing="NA"))
    save(folder / "t.csv", blocks(rows))
    return truth(people, clock, {"glucose (mmol/L)": "mmol/L"})
