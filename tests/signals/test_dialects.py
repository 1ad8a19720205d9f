"""Dialects of tables: read right, or refused with what to say; never wrong in silence.

What the files hold is known from the generators (`dialects.py`, `exports.py`), which are checked
here by reading some of their files with pandas.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from contracts.outcomes import (
    CRASHED,
    MISLED,
    NAMED,
    PASTED,
    READ,
    UNNAMED,
    WRONG,
    judged,
    of,
    table,
)
from contracts.readings import Truth
from signals.dialects import CONTROLS, DIALECTS
from signals.exports import EXPORTS

SETS = {"dialects": DIALECTS, "exports": EXPORTS}
LEAST_READ = {"dialects": 48, "exports": 33}  # alone or after pasting the line of the error

# What is refused still, each with a row, a column or a setting. May only become fewer.
REFUSED: dict[str, set[str]] = {
    "dialects": {
        "accelerometer_counts",  # start and step stand in lines above the header
    },
    "exports": {
        *("sessions", "times_of_c", "times_of_a_database", "times_of_another_database"),
        *("durations_as_text", "clock_with_a_point"),  # times in other forms
        "sections_of_a_report",  # several tables in one file
        "columns_of_subjects_and_signals",
    },
}


def outcome(dialect, folder):
    return judged(dialect.name, folder, dialect.truths(folder))


@pytest.fixture(scope="module", params=SETS)
def outcomes(request, tmp_path_factory):
    """The name of a set, and how its dialects were read."""
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, [outcome(one, folder / one.name) for one in SETS[request.param]]


@pytest.fixture(scope="module")
def read_controls(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    return [outcome(dialect, folder / dialect.name) for dialect in CONTROLS]


def test_there_are_sixty_dialects_and_no_two_hold_the_same():
    assert len(DIALECTS) == 60
    assert len(EXPORTS) == 42
    assert len(CONTROLS) >= 15
    every = [*DIALECTS, *EXPORTS, *CONTROLS]
    assert len({dialect.name for dialect in every}) == len(every)
    assert len({dialect.holds for dialect in every}) == len(every)


def test_none_is_wrong_in_silence_and_none_ends_in_a_traceback(outcomes):
    _, read = outcomes
    assert not of(read, MISLED, WRONG, CRASHED), table(read)


def test_most_are_read(outcomes):
    name, read = outcomes
    assert len(of(read, READ, PASTED)) >= LEAST_READ[name], table(read)


def test_the_others_are_refused_with_what_to_say_and_their_list_shrinks(outcomes):
    name, read = outcomes
    assert not of(read, UNNAMED), table(read)
    refused = {one.name for one in of(read, NAMED)}
    assert refused - REFUSED[name] == set(), table(read)
    assert REFUSED[name] - refused == set(), "take them out of the list"


def test_plain_tables_are_read_at_once(read_controls):
    assert of(read_controls, READ) == read_controls, table(read_controls)


# --- the generator


def same_folder(first, second):
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert files == sorted(p.relative_to(second) for p in second.rglob("*") if p.is_file())
    return all((first / file).read_bytes() == (second / file).read_bytes() for file in files)


@pytest.mark.parametrize("dialect", [*DIALECTS, *EXPORTS], ids=lambda dialect: dialect.name)
def test_a_dialect_is_written_the_same_each_time_and_is_a_cohort(dialect, tmp_path):
    one = dialect.truths(tmp_path / "one")
    dialect.truths(tmp_path / "two")
    assert same_folder(tmp_path / "one", tmp_path / "two")
    assert len(one[0].series) >= 6
    for truth in one:
        for channels in truth.series.values():
            for name, (time_s, value) in channels.items():
                assert truth.units[name]
                assert len(time_s) == len(value)
                assert len(value) >= 60
                assert np.isfinite(value).sum() >= 5
                assert np.isfinite(time_s).all()


def seconds(moments) -> np.ndarray:
    return (pd.DatetimeIndex(moments) - pd.Timestamp(0)) / pd.Timedelta(seconds=1)


def dated(column, pattern):
    return lambda frame: seconds(pd.to_datetime(frame[column], format=pattern))


def dates_beside(date, clock, pattern):
    return lambda frame: seconds(
        pd.to_datetime(frame[date].str.cat(frame[clock], sep=" "), format=pattern)
    )


@dataclass(frozen=True)
class ByPandas:
    """How a person would read a dialect with pandas, who has looked at the file."""

    subject: str
    time: object  # from the frame to seconds
    channels: tuple[str, ...]
    options: dict
    clean: object = None  # from a cell to a number


def cleaned(*ends):
    def number(cells):
        for end in ends:
            cells = cells.str.replace(end, "", regex=False)
        return cells.astype(float)

    return number


BY_PANDAS = {
    "ward_monitor_german": ByPandas(
        "Patient",
        dates_beside("Datum", "Uhrzeit", "%d.%m.%Y %H:%M:%S"),
        ("Herzfrequenz [1/min]", "SpO2 [%]", "Temperatur [°C]"),
        {"sep": ";", "decimal": ",", "encoding": "latin-1"},
    ),
    "bedside_american": ByPandas(
        "MRN",
        dates_beside("Date", "Time", "%m/%d/%Y %I:%M %p"),
        ("HR (bpm)", "SpO2 (%)"),
        {"dtype": {"MRN": str}},
    ),
    "french_study": ByPandas(
        "ID_Sujet",
        dated("Horodatage", "%d/%m/%y %H:%M"),
        ("FC (bpm)", "Glycémie (g/L)"),
        {"sep": "|", "decimal": ",", "encoding": "latin-1"},
    ),
    "forecasting_frame": ByPandas(
        "unique_id", dated("ds", "%m/%d/%y %I:%M %p"), ("y", "spo2"), {}
    ),
    "named_months_and_totals": ByPandas(
        "stay_id",
        dated("charttime", "%d-%b-%Y %H:%M:%S"),
        ("heart_rate", "resp_rate"),
        {"sep": "|", "skipfooter": 1, "engine": "python", "dtype": {"stay_id": str}},
    ),
    "row_names_and_sas_times": ByPandas(
        "SUBJID", dated("VSDTM", "%d%b%Y:%H:%M:%S"), ("PULSE", "TEMP"), {}
    ),
    "compact_times": ByPandas(
        "pt_no",
        dated("Observed", "%Y%m%d%H%M"),
        ("HR", "SpO2"),
        {"sep": "\t", "dtype": {"pt_no": str, "Observed": str}},
    ),
    "day_first_seen_late": ByPandas(
        "Subject No.",
        dated("Timestamp", "%d/%m/%Y %H:%M:%S"),
        ("HR", "RESP"),
        {"sep": ";", "dtype": {"Subject No.": str}},
    ),
    "serial_dates_with_commas": ByPandas(
        "Patient No.",
        lambda frame: (frame["Zeit"] - 25569) * 86400,
        ("Puls", "Temperatur"),
        {"sep": ";", "decimal": ",", "dtype": {"Patient No.": str}},
    ),
    "unix_interleaved": ByPandas(
        "vp_nr",
        lambda frame: frame["time"],
        ("puls", "spo2"),
        {"sep": "\t", "dtype": {"vp_nr": str}},
    ),
    "nanoseconds_and_tags": ByPandas(
        "tags", lambda frame: frame["time"] / 1e9, ("hr", "spo2"), {}
    ),
    "minutes_before_admission": ByPandas(
        "admissionid",
        lambda frame: 60 * (frame["offset_min"] + 180),
        ("hr", "abp_systolic"),
        {"dtype": {"admissionid": str}},
    ),
    "hours_with_commas": ByPandas(
        "vp_nr",
        lambda frame: 3600 * frame["t [h]"],
        ("HF [1/min]", "AF [1/min]"),
        {"sep": ";", "decimal": ",", "dtype": {"vp_nr": str}},
    ),
    "days_since_implantation": ByPandas(
        "animal_id",
        lambda frame: 86400 * frame["Study day (d)"],
        ("HR (bpm)", "Body temperature (°C)"),
        {},
    ),
    "elapsed_beyond_a_day": ByPandas(
        "Subject",
        lambda frame: pd.to_timedelta(frame["Elapsed"]) / pd.Timedelta(seconds=1),
        ("HR", "Temp"),
        {},
    ),
    "separator_line": ByPandas(
        "Subject", dated("Time", "%d-%m-%Y %H:%M"), ("HR", "SpO2"), {"sep": ";", "skiprows": 1}
    ),
    "unicode_text": ByPandas(
        "Patient",
        dated("Date/heure", "%Y-%m-%d %H:%M"),
        ("Pulse (1/min)", "Température (°C)"),
        {"sep": "\t", "encoding": "utf-16", "decimal": ","},
    ),
    "header_one_short": ByPandas(
        "id", lambda frame: frame["time"], ("HR", "SpO2", "RESP"), {"sep": "\t", "index_col": 0}
    ),
    "commented_and_compressed": ByPandas(
        "device_user",
        dated("time_utc", "%Y-%m-%dT%H:%M:%SZ"),
        ("hr_bpm", "spo2_pct"),
        {"comment": "#"},
    ),
    "groups_of_columns": ByPandas(
        "ID", dated("Time", "%Y-%m-%d %H:%M:%S"), ("HR", "SpO2", "RESP"), {"skiprows": 1}
    ),
    "study_form": ByPandas(
        "record_id",
        dated("vs_datetime", "%Y-%m-%d %H:%M"),
        ("vs_hr", "vs_temp"),
        {"dtype": {"record_id": str}},
    ),
    "thousands_and_decimals": ByPandas(
        "Proband",
        dated("Zeitpunkt", "%d.%m.%Y %H:%M"),
        ("Schritte", "Temp [°C]"),
        {"sep": ";", "decimal": ",", "thousands": ".", "dtype": {"Zeitpunkt": str}},
    ),
    "quoted_decimal_commas": ByPandas(
        "paciente",
        dated("fecha", "%Y-%m-%d %H:%M:%S"),
        ("temp_c", "glucosa mmol/l"),
        {"decimal": ",", "dtype": {"paciente": str}},
    ),
    "units_behind_numbers": ByPandas(
        "patient",
        dated("when", "%Y-%m-%d %H:%M"),
        ("pulse", "saturation"),
        {},
        cleaned(" bpm", " %"),
    ),
    "cyrillic": ByPandas(
        "Пациент",
        dates_beside("Дата", "Время", "%d.%m.%Y %H:%M"),
        ("ЧСС (уд/мин)", "Температура (°C)"),
        {"sep": ";", "decimal": ","},
    ),
    "chinese": ByPandas(
        "患者编号",
        dated("时间", "%Y/%m/%d %H:%M"),
        ("心率(次/分)", "血氧(%)"),
        {"dtype": {"患者编号": str}},
    ),
    "aligned_by_blanks": ByPandas(
        "subject", lambda frame: frame["time"], ("HR", "SpO2"), {"sep": r"\s+"}
    ),
    "times_of_c": ByPandas("user", dated("when", "%a %b %d %H:%M:%S %Y"), ("HR", "SpO2"), {}),
    "apostrophes_for_thousands": ByPandas(
        "Person",
        dated("Zeit", "%d.%m.%Y %H:%M"),
        ("Schritte", "Puls (1/min)"),
        {"sep": ";", "thousands": "'"},
    ),
    "shuffled_rows": ByPandas(
        "participant_id", dated("taken", "%Y-%m-%d %H:%M"), ("hr", "temp"), {}
    ),
    "ventilator": ByPandas(
        "Patient",
        dated("Zeitstempel", "%d.%m.%Y %H:%M:%S"),
        ("AMV (l/min)", "Ppeak (mbar)", "etCO2 [kPa]"),
        {"sep": ";", "decimal": ","},
    ),
    "labels_and_facts": ByPandas(
        "subject", dated("time", "%Y-%m-%d %H:%M:%S"), ("HR", "Resp"), {}
    ),
}


@pytest.mark.parametrize("name", BY_PANDAS)
def test_pandas_reads_what_the_generator_says(name, tmp_path):
    (dialect,) = [one for one in [*DIALECTS, *EXPORTS] if one.name == name]
    truth: Truth = dialect.truths(tmp_path)[0]
    how = BY_PANDAS[name]
    (file,) = tmp_path.iterdir()
    frame = pd.read_csv(file, **how.options)
    frame["second"] = np.asarray(how.time(frame), dtype=float)
    assert set(frame[how.subject].astype(str)) == set(truth.series)
    assert set(truth.units) == set(how.channels)
    for subject, own in frame.groupby(frame[how.subject].astype(str)):
        own = own.sort_values("second", kind="stable")
        for channel in how.channels:
            time_s, value = truth.series[subject][channel]
            read = how.clean(own[channel]) if how.clean else own[channel]
            assert np.abs(own["second"] - time_s).max() <= truth.tolerance_s
            assert np.array_equal(read.to_numpy(dtype=float), value, equal_nan=True)
