"""Small tables and records that people bring: each is read as its files hold it.

What is right was counted here from the files, by plain code: no reader of the package takes part.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from contracts.readings import (
    UNSTATED,
    Attempt,
    Truth,
    attempt,
    differences,
    plain,
    problems,
    right,
    series_of,
)
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.proposal import Proposal, propose
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.signals.units import canonical

CASES = Path(__file__).parents[2] / ".." / "shared" / "cases"
TABLES, FORMATS = CASES / "tables", CASES / "formats"
pytestmark = pytest.mark.skipif(
    not CASES.is_dir(), reason="the cases that people brought are not beside this checkout"
)
EPOCH = datetime(1970, 1, 1)
MG_PER_MMOL = 180.156 / 10

PATHS = [
    "tables/01-time-in-minutes/data",
    "tables/01-time-in-minutes/data_hours",
    "tables/01-time-in-minutes/data_ms",
    "tables/02-eicu-offset/data",
    "tables/03-date-and-time-columns/data",
    "tables/03-date-and-time-columns/data_icu",
    "tables/04-excel-serial-dates/data",
    "tables/04-excel-serial-dates/data_datenum",
    "tables/06-decimal-comma/data",
    "tables/07-decimal-comma-some/data",
    "tables/07-decimal-comma-some/data2",
    "tables/07-decimal-comma-some/data3",
    "tables/07-decimal-comma-some/data4",
    "tables/08-am-pm/data",
    "tables/09-two-digit-year/data",
    "tables/10-units-row/data",
    "tables/11-repeated-header/data",
    "tables/11-repeated-header/data2",
    "tables/13-gz/data",
    "tables/14-trailing-delimiter/data",
    "tables/16-several-files-a-patient/data",
    "tables/16-several-files-a-patient/data2",
    "tables/18-unit-in-cell/data",
    "tables/20-two-units-one-column/data",
    "tables/21-preamble/data",
    "tables/23-subject-column-of-another-name/icustay_hours",
    "tables/23-subject-column-of-another-name/item_id",
    "tables/23-subject-column-of-another-name/pt_no",
    "tables/23-subject-column-of-another-name/stay_id",
    "tables/23-subject-column-of-another-name/study_id",
    "tables/23-subject-column-of-another-name/unique_id",
    "tables/24-clock-past-midnight/data",
    "tables/26-one-stamp-a-packet/data",
    "tables/28-challenge2019-psv/data",
    "tables/28-challenge2019-psv/data_csv",
    "tables/29-no-time-column/data",
    "tables/29-no-time-column/data2",
    "tables/33-embraceplus/data",
    "tables/35-capital-suffix/mixed",
    "tables/35-capital-suffix/both",
    "tables/36-wfdb-dir-in-file-name/data",
    "tables/38-wfdb-uncalibrated/data",
    "tables/40-wfdb-latin1-header/data",
    "tables/40-wfdb-latin1-header/utf8",
    "tables/43-edf-dead-channels/data",
    "tables/48-edf-two-nights-a-person/data",
    "tables/53-chartevents-itemid/data",
    "tables/58-sample-counter/data",
    "tables/61-thousands-separator/data",
    "tables/63-device-columns/data",
    "tables/64-two-columns-of-one-name/data",
    "tables/68-tuh-montage-names/data",
    "tables/70-predict-utc/data",
    "formats/01-wfdb-format-61/big",
    "formats/01-wfdb-format-61/little",
    "formats/02-parquet-duration/td.parquet",
    "formats/02-parquet-duration/sec.parquet",
]
ELSEWHERE = {  # cases of another part: scores of mixed recordings, cards of exports
    "tables/69-api-order",
    "formats/03-merged-card",
}


@cache
def tried(case: str) -> Attempt:
    return attempt(CASES / case)


@cache
def proposed(case: str) -> Proposal | DataError | None:
    """What `init` would propose; None where the path was not read."""
    config = tried(case).config
    if config is None:
        return None
    try:
        return propose(look(config), config)
    except DataError as error:
        return error


def said(case: str) -> str:
    """All that a person is told of a case: notes of the reader, of the proposal, or the error."""
    found = proposed(case)
    told = [tried(case).message, tried(case).notes]
    if isinstance(found, Proposal):
        told += [*found.notes, *(f"{line.name}: {line.why}" for line in found.channels)]
    elif found is not None:
        told.append(str(found))
    return "\n".join(told)


def check(case: str, truth: Truth, refusal: str | None = None) -> None:
    """Stops unless the case is read right; or refused in such words, where that is right too."""
    got = tried(case)
    if got.how == "refused":
        refused(case, refusal)
    else:
        assert problems(got, truth) == []


def refused(case: str, words: str | None) -> None:
    """Stops unless the refusal says these words, its path aside; None = no refusal is right."""
    message = tried(case).message
    assert words is not None, message
    assert "after pasting" not in message, message
    for path in (CASES / case, (CASES / case).resolve()):
        message = message.replace(str(path), "")
    assert re.search(words, message, re.S), message


def rows(case: str, file: str, delimiter: str = ",", skip: int = 0) -> list[dict[str, str]]:
    """The rows of a table by the csv module, those that repeat the header left out."""
    path = CASES / case / file
    whole = gzip.decompress(path.read_bytes()) if file.endswith(".gz") else path.read_bytes()
    lines = whole.decode("utf-8-sig").splitlines()[skip:]
    header, *body = csv.reader(io.StringIO("\n".join(lines)), delimiter=delimiter)
    return [dict(zip(header, row, strict=False)) for row in body if row and row != header]


def number(cell: str) -> float:
    """A cell as a number, a comma before its decimals; NaN where nothing was measured."""
    return float(cell.replace(",", ".")) if cell not in ("", "NaN") else np.nan


def table(body, subject, time, channels, read=number):
    """Times and values of each channel by subject; `subject` a column or the one name there is."""
    by_subject = defaultdict(list)
    for row in body:
        by_subject[row.get(subject, subject)].append(row)
    return {
        name: {
            channel: (
                np.array([time(row) for row in own], dtype=float),
                np.array([read(row[channel]) for row in own]),
            )
            for channel in channels
        }
        for name, own in by_subject.items()
    }


def since_1970(pattern, *columns):
    """From a row to its time, of one column or of a date beside a clock."""

    def time(row):
        moment = datetime.strptime(" ".join(row[name] for name in columns), pattern)
        return (moment - EPOCH).total_seconds()

    return time


def times(column, factor):
    """From a row to its time, a count of units of so many seconds."""
    return lambda row: float(Decimal(row[column]) * Decimal(factor))


def units(**by_channel):
    return {name: (unit,) if isinstance(unit, str) else unit for name, unit in by_channel.items()}


def size(truth: Truth) -> tuple[int, int]:
    """How many subjects and rows the files hold, counted from what was made of them."""
    return len(truth.series), sum(
        len(next(iter(channels.values()))[0]) for channels in truth.series.values()
    )


def test_what_is_tested_here_is_there_and_some_cases_belong_elsewhere():
    assert [path for path in [*PATHS, *ELSEWHERE] if not (CASES / path).exists()] == []
    folders = {f"{path.parent.name}/{path.name}" for path in CASES.glob("*/*") if path.is_dir()}
    tested = {"/".join(case.split("/")[:2]) for case in PATHS}
    assert len(folders & (tested | ELSEWHERE)) == len(tested | ELSEWHERE)


@pytest.mark.parametrize("case", PATHS)
def test_a_proposal_is_made_or_refused_with_a_reason(case):
    found = proposed(case)
    if found is None:
        assert tried(case).message
    elif isinstance(found, DataError):
        assert len(str(found)) > 40
    else:
        assert found.kept


# --- times


def test_01_minutes_hours_and_milliseconds_in_the_header():
    # 600 min at 1/60 Hz, 59 h, 125 Hz; or a refusal
    case = "tables/01-time-in-minutes/"
    channels = ["HR (bpm)", "SpO2 (%)"]
    body = rows(case + "data", "vitals.csv")
    found = table(body, "subject", times("Time (min)", 60), channels)
    truth = Truth(found, {"HR (bpm)": ("bpm",), "SpO2 (%)": ("%",)}, absolute=False)
    assert size(truth) == (8, 4800)
    assert found["p0"]["HR (bpm)"][0][-1] == 599 * 60
    check(case + "data", truth, r"Time \(min\)")

    found = table(rows(case + "data_hours", "icu.csv"), "subject", times("time_h", 3600), ["HR"])
    truth = Truth(found, units(HR=UNSTATED), absolute=False)
    check(case + "data_hours", truth, "time_h")

    body = rows(case + "data_ms", "ppg.csv")
    found = table(body, "subject", times("Time (ms)", "0.001"), ["PPG (V)"])
    truth = Truth(found, {"PPG (V)": ("V",)}, absolute=False)
    assert np.allclose(np.diff(found["p0"]["PPG (V)"][0]), 1 / 125)
    check(case + "data_ms", truth, r"Time \(ms\)")


def test_02_an_offset_of_eicu_is_in_minutes():
    case = "tables/02-eicu-offset/data"
    body = rows(case, "vitalPeriodic.csv")
    channels = ["heartrate", "respiration", "sao2"]
    found = table(body, "patientunitstayid", times("observationoffset", 60), channels)
    truth = Truth(found, dict.fromkeys(channels, UNSTATED), absolute=False)
    span_s = max(own["heartrate"][0].max() for own in found.values())
    assert round(span_s / 3600, 1) == 24.9
    check(case, truth)


def test_03_a_date_beside_a_clock():
    case = "tables/03-date-and-time-columns/data"
    glucose = "Sensor Glucose (mg/dL)"
    time = since_1970("%Y/%m/%d %H:%M:%S", "Date", "Time")
    found = table(rows(case, "carelink.csv"), "carelink", time, [glucose])
    truth = Truth(found, {glucose: ("mg/dL",)}, absolute=True, recordings=1)
    assert size(truth) == (1, 2000)
    assert round(np.ptp(found["carelink"][glucose][0]) / 86400, 2) == 6.94
    check(case, truth)

    case = "tables/03-date-and-time-columns/data_icu"
    time = since_1970("%Y-%m-%d %H:%M", "date", "time")
    found = table(rows(case, "nurse.csv"), "patient_id", time, ["HR", "SBP"])
    assert all(len(own["HR"][0]) == 72 for own in found.values())
    check(case, Truth(found, units(HR=UNSTATED, SBP=UNSTATED), absolute=True, recordings=10))


def test_04_days_of_excel_and_of_matlab():
    case = "tables/04-excel-serial-dates/data"
    day_0 = (datetime(1899, 12, 30) - EPOCH).total_seconds()

    def from_day(zero, column):
        return lambda row: float(Decimal(row[column]) * 86400) + zero

    half = 0.5e-6 * 86400 + 0.001  # what the last decimal of a cell leaves open
    found = table(rows(case, "log.csv"), "id", from_day(day_0, "timestamp"), ["HR"])
    truth = Truth(found, units(HR=UNSTATED), absolute=True, tolerance_s=half)
    first = found["p0"]["HR"][0]
    assert (EPOCH + timedelta(seconds=first[0])).year == 2022
    assert np.allclose(np.diff(first), 60, atol=0.09)
    check(case, truth)

    case = "tables/04-excel-serial-dates/data_datenum"
    body = rows(case, "d.csv")
    found = table(body, "id", from_day(-719529 * 86400.0, "time"), ["HR"])
    truth = Truth(found, units(HR=UNSTATED), absolute=True, tolerance_s=half)
    check(case, truth, "datenum|matlab|days")


def test_08_am_and_pm():
    # the file says which is the month: 03-22
    case = "tables/08-am-pm/data"
    name = "Historic Glucose mg/dL"
    time = since_1970("%m-%d-%Y %I:%M %p", "Device Timestamp")
    found = table(rows(case, "libre_us.csv"), "libre_us", time, [name])
    truth = Truth(found, {name: ("mg/dL", *UNSTATED)}, absolute=True, named=False, recordings=1)
    assert size(truth) == (1, 1500)
    check(case, truth, "Device Timestamp")


def test_09_a_year_of_two_digits():
    # users one day apart, in January; the other order would put them a month apart
    case = "tables/09-two-digit-year/data"
    time = since_1970("%m/%d/%y %H:%M:%S", "dateTime")
    found = table(rows(case, "hr.csv"), "user", time, ["bpm"])
    truth = Truth(found, units(bpm=("bpm", *UNSTATED)), absolute=True, recordings=6)
    assert size(truth) == (6, 3000)
    check(case, truth, "dateTime")


def test_24_a_clock_that_passes_midnight():
    case = "tables/24-clock-past-midnight/data"
    body = rows(case, "oximeter.csv")
    clock = np.array([(datetime.strptime(r["Time"], "%H:%M:%S")).hour for r in body])
    assert (clock[0], clock[-1], len(body)) == (22, 6, 7200)
    time_s = np.arange(len(body)) * 4.0  # as the rows stand, one after another
    series = {
        name: (time_s, np.array([float(row[name]) for row in body]))
        for name in ("SpO2(%)", "PR(bpm)")
    }
    truth = Truth(
        {"oximeter": series},
        {"SpO2(%)": ("%",), "PR(bpm)": ("bpm",)},
        absolute=False,
        named=False,
        recordings=1,
    )
    check(case, truth)


def test_26_one_stamp_for_a_packet_is_130_hz_or_refused():
    case = "tables/26-one-stamp-a-packet/data"
    body = rows(case, "h10.csv")
    stamp = np.array([float(row["timestamp"]) for row in body])
    value = np.array([float(row["ECG (uV)"]) for row in body])
    got = tried(case)
    if got.how == "refused":
        refused(case, "timestamp.*(duplicates|packets)")
        return
    (channels,) = series_of(got.items).values()
    (name,) = channels
    read = channels[name]
    assert np.array_equal(read.value, value)
    assert np.allclose(np.diff(read.time_s), 1 / 130, rtol=0.02)
    assert abs(np.ptp(read.time_s) - (len(value) - 1) / 130) < 0.1
    assert np.abs(read.time_s - stamp).max() < 0.6  # a packet is 73 samples long
    assert read.units == {"uV"}


def test_28_hours_of_a_stay_separated_by_bars():
    for folder, delimiter in (("data", "|"), ("data_csv", ",")):
        case = f"tables/28-challenge2019-psv/{folder}"
        channels = ["HR", "O2Sat", "Temp", "SBP"]
        found = {}
        for path in sorted((CASES / case).iterdir()):
            body = rows(case, path.name, delimiter)
            assert [float(row["ICULOS"]) for row in body] == [*range(1, len(body) + 1)]
            found |= table(body, path.stem, times("ICULOS", 3600), channels)
        truth = Truth(found, dict.fromkeys(channels, UNSTATED), absolute=False, recordings=30)
        assert len(found) == 30
        check(case, truth, r"\.psv|ICULOS")


@pytest.mark.parametrize(("folder", "channels"), [("data", ["hart"]), ("data2", ["ppg", "ecg"])])
def test_29_without_times_the_rate_is_asked_for_and_then_the_rows_are_samples(folder, channels):
    case = f"tables/29-no-time-column/{folder}"
    body = rows(case, "ppg_s01.csv")
    assert len(body) == 6000
    asked_for_a_rate(case, body, channels)


def test_58_a_counter_of_samples_is_no_channel():
    case = "tables/58-sample-counter/data"
    body = rows(case, "openbci.csv")
    assert [int(row["sample"]) for row in body] == [n % 256 for n in range(5000)]
    asked_for_a_rate(case, body, ["PPG", "ACC_X"])


def asked_for_a_rate(case, body, channels):
    """Nobody but the person knows the rate; with it, all rows are samples."""
    got = tried(case)
    assert got.how != "read", "no file states the rate"
    assert "rate_hz" in got.message
    named = ", ".join(f"{name}: '1'" for name in channels)
    config = recognised(
        CASES / case, f"{{name: csv, layout: wide, time: null, rate_hz: 100, units: {{{named}}}}}"
    )
    (item,) = config.read(())
    for channel in channels:
        value = np.array([float(row[channel]) for row in body])
        right([item], item.subject, channel, np.arange(len(body)) / 100, value)
    assert set(item.channels) == set(channels)


def test_70_the_zone_of_the_stamps_is_kept():
    case = "tables/70-predict-utc/data"
    channels = {"glucose (mg/dL)": ("mg/dL",), "HR (bpm)": ("bpm",)}

    def time(row):
        return datetime.fromisoformat(row["time"]).astimezone(UTC).timestamp()

    found = table(rows(case, "offset.csv"), "subject_id", time, list(channels))
    truth = Truth(found, channels, absolute=True, zones=("-05:00",), recordings=1)
    truth = replace(truth, also=frozenset({"insulin (U)"}))  # 0 in every row
    assert found["new"]["HR (bpm)"][0][0] == datetime(2024, 3, 1, 5, tzinfo=UTC).timestamp()
    check(case, truth)


# --- cells


def test_06_a_comma_before_decimals():
    case = "tables/06-decimal-comma/data"
    name = "Glukose mmol/L"
    time = since_1970("%d-%m-%Y %H:%M", "Zeitstempel")
    found = table(rows(case, "libre.csv", ";"), "Geräte-ID", time, [name])
    truth = Truth(found, {name: ("mmol/L", *UNSTATED)}, absolute=True, named=False, recordings=1)
    assert size(truth) == (1, 1500)
    check(case, truth, "decimal")


@pytest.mark.parametrize(
    ("folder", "file", "channel", "unit", "count"),
    [
        ("data", "g.csv", "glucose", UNSTATED, 2400),
        ("data2", "t.csv", "temp", UNSTATED, 2400),
        ("data3", "t.csv", "temp", UNSTATED, 4000),
        ("data4", "s.csv", "SpO2 (%)", ("%",), 3200),
    ],
)
def test_07_a_comma_before_decimals_in_few_cells(folder, file, channel, unit, count):
    case = f"tables/07-decimal-comma-some/{folder}"
    found = table(rows(case, file, ";"), "id", times("time", 1), [channel])
    truth = Truth(found, {channel: unit}, absolute=False)
    assert size(truth)[1] == count
    check(case, truth)


def test_10_a_row_of_units():
    case = "tables/10-units-row/data"
    header, *body = rows(case, "monitor.csv")
    channels = ["HR", "SpO2", "Resp"]
    assert list(header.values()) == ["s", "bpm", "%", "1/min"]
    found = table(body, "monitor", times("Timestamp", 1), channels)
    truth = Truth(found, units(HR="bpm", SpO2="%", Resp="1/min"), absolute=False, named=False)
    assert size(truth) == (1, 3000)
    check(case, truth, "units_row|skip_rows")


@pytest.mark.parametrize("folder", ["data", "data2"])
def test_11_rows_that_repeat_the_header_are_skipped(folder):
    case = f"tables/11-repeated-header/{folder}"
    found = table(rows(case, "all.csv"), "subject", times("time", 1), ["HR"])
    truth = Truth(found, units(HR=UNSTATED), absolute=False, said=("header",))
    check(case, truth)


def test_13_a_compressed_table():
    case = "tables/13-gz/data"
    found = table(rows(case, "hr.csv.gz"), "subject", times("time", 1), ["HR"])
    check(case, Truth(found, units(HR=UNSTATED), absolute=False), "unpack|compress")


def test_14_a_delimiter_at_the_end_of_rows():
    case = "tables/14-trailing-delimiter/data"
    time = since_1970("%Y-%m-%d %H:%M:%S", "Time")
    found = table(rows(case, "vscapture.csv"), "vscapture", time, ["HR", "SpO2"])
    truth = Truth(found, units(HR=UNSTATED, SpO2=UNSTATED), absolute=True, named=False)
    assert size(truth) == (1, 3000)
    check(case, truth, "row 2")


def test_18_a_unit_in_the_cells():
    case = "tables/18-unit-in-cell/data"
    body = rows(case, "glucosio.csv")
    assert all(row["Concentration"].endswith("mmol/L") for row in body)
    found = table(
        body,
        "glucosio",
        since_1970("%m/%d/%y %H:%M", "Date", "Time"),
        ["Concentration"],
        lambda cell: float(cell.removesuffix("mmol/L")),
    )
    truth = Truth(found, units(Concentration="mmol/L"), absolute=True, named=False)
    check(case, truth, "Concentration")


def test_20_two_units_in_one_column_are_said():
    case = "tables/20-two-units-one-column/data"
    found = table(rows(case, "g.csv"), "patient_id", times("time", 1), ["glucose"])
    assert size(Truth(found, {}, absolute=False)) == (10, 5000)
    got = tried(case)
    if got.how == "refused":
        refused(case, "glucose")
        return
    accepted = units(glucose=("1", "mg/dL", "mmol/L"))
    assert differences(series_of(got.items), Truth(found, accepted, absolute=False)) == []
    stated = {
        subject: canonical("".join(own["glucose"].units)) or "".join(own["glucose"].units)
        for subject, own in series_of(got.items).items()
    }
    in_mmol = {subject for subject, own in found.items() if np.median(own["glucose"][1]) < 20}
    assert len(in_mmol) == 3
    if set(stated.values()) == {"1"}:
        told = said(case)
        assert "glucose" in told
        assert re.search("mmol|two units|differ", told), told
    else:
        assert {subject for subject, unit in stated.items() if unit == "mmol/L"} == in_mmol


def test_61_what_has_separators_of_thousands_is_read_or_said():
    case = "tables/61-thousands-separator/data"
    body = rows(case, "a.csv")
    got = tried(case)
    read = lambda cell: float(cell.replace(",", ""))  # noqa: E731
    both = table(body, "id", times("time", 1), ["HR", "steps"], read)
    assert both["p0"]["steps"][1][1] == 1007
    named = units(HR=UNSTATED, steps=UNSTATED)
    if got.how == "refused":
        refused(case, "steps")
    elif any("steps" in item.channels for item in got.items):
        assert problems(got, Truth(both, named, absolute=False)) == []
    else:
        only = {subject: {"HR": own["HR"]} for subject, own in both.items()}
        assert problems(got, Truth(only, named, absolute=False)) == []
        assert "steps" in said(case)


# --- files and headers


@pytest.mark.parametrize("folder", ["data", "data2"])
def test_16_the_files_of_a_patient_are_of_one_subject(folder):
    case = f"tables/16-several-files-a-patient/{folder}"
    time = since_1970("%Y-%m-%d %H:%M:%S", "time")
    parts = defaultdict(list)
    for path in sorted((CASES / case).rglob("*.csv")):
        parts[re.search(r"P0\d", str(path))[0]] += rows(case, str(path.relative_to(CASES / case)))
    found = {}
    for name, body in parts.items():
        found |= table(body, name, time, ["HR"])
    truth = Truth(found, units(HR=UNSTATED), absolute=True)
    assert size(truth) == (6, 6 * 3 * 400)
    check(case, truth, "subject_pattern")


def test_21_lines_before_the_header():
    case = "tables/21-preamble/data"
    body = rows(case, "polar.csv", skip=2)
    channels = ["HR (bpm)", "Speed (km/h)"]
    zero = datetime(1900, 1, 1)
    found = table(
        body,
        "polar",
        lambda row: (datetime.strptime(row["Time"], "%H:%M:%S") - zero).total_seconds(),
        channels,
    )
    named = {"HR (bpm)": ("bpm",), "Speed (km/h)": ("km/h",)}
    truth = Truth(found, named, absolute=False, named=False, recordings=1)
    assert size(truth) == (1, 3000)
    check(case, truth, "skip_rows")


@pytest.mark.parametrize(
    ("folder", "subject", "time", "channel"),
    [
        ("icustay_hours", "ICUSTAY_ID", "seconds", "HR"),
        ("item_id", "item_id", "timestamp", "target"),
        ("pt_no", "pt_no", "time", "HR"),
        ("stay_id", "stay_id", "charttime", "HR"),
        ("study_id", "study_id", "time", "HR"),
        ("unique_id", "unique_id", "ds", "y"),
    ],
)
def test_23_a_subject_column_of_another_name(folder, subject, time, channel):
    case = f"tables/23-subject-column-of-another-name/{folder}"
    body = rows(case, "d.csv")
    dated = "-" in body[0][time]
    read = since_1970("%Y-%m-%d %H:%M:%S", time) if dated else times(time, 1)
    found = table(body, subject, read, [channel])
    truth = Truth(found, {channel: UNSTATED}, absolute=dated, recordings=10)
    assert size(truth) == (10, 4000)
    check(case, truth)


def test_33_the_files_of_a_watch_are_joined_and_its_second_clock_is_no_channel():
    case = "tables/33-embraceplus/data"
    channels = {
        "pulse_rate_bpm": ("bpm", *UNSTATED),
        "temperature_celsius": ("degC", *UNSTATED),
    }
    time = since_1970("%Y-%m-%dT%H:%M:%SZ", "timestamp_iso")
    found = defaultdict(dict)
    for path in sorted((CASES / case).rglob("*.csv")):
        body = rows(case, str(path.relative_to(CASES / case)))
        (channel,) = set(body[0]) & set(channels)
        for name, own in table(body, "participant_full_id", time, [channel]).items():
            found[name] |= own
    truth = Truth(dict(found), channels, absolute=True, named=False, recordings=3)
    assert size(truth)[0] == 3
    check(case, truth)


@pytest.mark.parametrize(("folder", "count"), [("mixed", 6), ("both", 2)])
def test_35_suffixes_in_capitals(folder, count):
    case = f"tables/35-capital-suffix/{folder}"
    found = {}
    for path in (CASES / case).iterdir():
        found |= table(rows(case, path.name), path.stem, times("time", 1), ["HR"])
    assert len(found) == count
    check(case, Truth(found, units(HR=UNSTATED), absolute=False, recordings=count))


def test_53_codes_name_the_channels():
    case = "tables/53-chartevents-itemid/data"
    body = rows(case, "chartevents.csv")
    time = since_1970("%Y-%m-%d %H:%M:%S", "charttime")
    found = defaultdict(dict)
    named = {}
    for code in sorted({row["itemid"] for row in body}):
        own = [{**row, code: row["valuenum"]} for row in body if row["itemid"] == code]
        (unit,) = {row["valueuom"] for row in own}
        named[code] = (unit,)
        for subject, channels in table(own, "subject_id", time, [code]).items():
            found[subject] |= channels
    assert named == {"220045": ("bpm",), "223762": ("°C",)}
    check(case, Truth(dict(found), named, absolute=True, recordings=12))


def test_63_columns_about_the_device_are_no_channels():
    case = "tables/63-device-columns/data"
    time = since_1970("%Y-%m-%d %H:%M:%S", "timestamp")
    found = table(rows(case, "a.csv"), "participant", time, ["hr"])
    assert size(Truth(found, {}, absolute=True)) == (8, 3200)
    check(case, Truth(found, units(hr=UNSTATED), absolute=True, recordings=8))


def test_64_two_columns_of_one_name_are_both_read_or_named():
    case = "tables/64-two-columns-of-one-name/data"
    got = tried(case)
    if got.how == "refused":
        refused(case, "time, ECG, ECG|ECG.*(twice|two columns)")
        return
    whole = np.loadtxt(CASES / case / "a.csv", delimiter=",", skiprows=1)
    (channels,) = series_of(got.items).values()
    assert len(channels) == 2
    for read, column in zip(channels.values(), (1, 2), strict=True):
        assert np.array_equal(read.value, whole[:, column])
        assert np.allclose(read.time_s, whole[:, 0], atol=1e-6)


# --- other formats


def heads(path: Path) -> tuple[list[str], list[list[str]], np.ndarray]:
    """The labels and fields of an EDF header, and the samples as stored (records, signals, n)."""
    whole = path.read_bytes()
    count = int(whole[252:256])
    fields, at = [], 256
    for width in (16, 80, 8, 8, 8, 8, 8, 80, 8, 32):
        own = whole[at : at + width * count].decode("latin-1")
        fields.append([own[i * width : (i + 1) * width].strip() for i in range(count)])
        at += width * count
    (samples,) = set(map(int, fields[8]))
    return fields[0], fields, np.frombuffer(whole[at:], "<i2").reshape(-1, count, samples)


def physical(fields, stored, index):
    """One signal in its unit, by the four limits of the header."""
    low, high, least, most = (float(fields[field][index]) for field in (3, 4, 5, 6))
    digital = stored[:, index].reshape(-1).astype(float)
    return (digital - least) * (high - low) / (most - least) + low


def test_36_a_folder_in_a_record_line():
    case = "tables/36-wfdb-dir-in-file-name/data"
    got = tried(case)
    if got.how == "refused":
        refused(case, r"record line|_medians\.hea")
        return
    assert len(got.items) == 10
    for item, path in zip(got.items, sorted((CASES / case).rglob("*.hea")), strict=True):
        assert item.rate_hz == 500
        stored = np.fromfile(path.with_suffix(".dat"), "<i4").reshape(-1, 2).T
        for row, line in enumerate(path.read_text().splitlines()[1:3]):
            gain, zero = re.search(r"([\d.]+)\((-?\d+)\)/mV", line).groups()
            true = (stored[row] - int(zero)) / float(gain)
            assert np.allclose(item.values[row], true, atol=1e-6)
        assert set(item.units) == {"mV"}


def test_38_signals_without_a_gain_are_not_in_millivolts_unsaid():
    case = "tables/38-wfdb-uncalibrated/data"
    got = tried(case)
    assert got.how == "read", got.message
    assert len({item.subject for item in got.items}) == 8
    if any("mV" in item.units for item in got.items):
        assert re.search("uncalibrated|no gain", said(case)), said(case)


@pytest.mark.parametrize("folder", ["data", "utf8"])
def test_40_a_unit_in_microvolts_in_either_encoding(folder):
    case = f"tables/40-wfdb-latin1-header/{folder}"
    got = tried(case)
    assert got.how == "read", got.message
    assert len(got.items) == 8
    for item in got.items:
        stored = np.fromfile(CASES / case / f"{item.id}.dat", "<i2").reshape(-1, 2).T
        assert [canonical(unit) for unit in item.units] == ["uV", "uV"]
        assert np.allclose(item.values, stored / 200)
        assert item.channels == ("Fp1", "Atemfrequenz grün")


def test_43_a_dead_channel_is_left_out_with_a_note():
    case = "tables/43-edf-dead-channels/data"
    found = proposed(case)
    assert isinstance(found, Proposal), found or tried(case).message
    kept = {line.name for line in found.kept}
    assert "FP1-F7" in kept
    assert "-" not in kept
    assert re.search(r"\(-, |'-'|(^|\n)-: ", said(case)), said(case)
    for item in tried(case).items:
        labels, fields, stored = heads(CASES / case / f"{item.id}.edf")
        row = item.channels.index("FP1-F7")
        true = physical(fields, stored, labels.index("FP1-F7"))
        assert np.allclose(item.values[row], true, atol=1e-6)
        assert (item.units[row], item.rate_hz) == ("uV", 256)
        assert str(item.start) == "2024-01-01T22:00:00"


def test_48_two_nights_of_a_person_are_of_one_subject_or_said():
    case = "tables/48-edf-two-nights-a-person/data"
    got = tried(case)
    codes = {
        path.stem: path.read_bytes()[8:88].split()[0].decode()
        for path in (CASES / case).glob("*.edf")
    }
    assert (len(codes), len(set(codes.values()))) == (8, 4)
    assert len(got.items) == 8, got.message
    subjects = defaultdict(set)
    for item in got.items:
        subjects[codes[item.id]].add(item.subject)
    if all(len(own) == 1 for own in subjects.values()):
        assert len({item.subject for item in got.items}) == 4
    else:
        assert re.search("HOSP000[0-3]|SC4001.*SC4002", said(case)), said(case)


def test_68_names_of_two_montages_are_one_channel_or_said():
    case = "tables/68-tuh-montage-names/data"
    got = tried(case)
    assert len({item.subject for item in got.items}) == 10, got.message
    assert {str(item.start) for item in got.items} == {"2024-01-01T22:00:00"}
    names = {name for item in got.items for name in item.channels}
    in_files = {name for path in (CASES / case).rglob("*.edf") for name in heads(path)[0]}
    assert any("LE" in name for name in in_files)
    if names == in_files:
        told = said(case)
        assert re.search(r"-REF", told), told
        assert re.search(r"-LE", told), told
        assert re.search(r"montage|same electrode|alias|source|one channel", told), told
    else:
        assert all(
            plain(a) == plain(b) for a, b in zip(*[i.channels for i in got.items[:2]], strict=True)
        )


@pytest.mark.parametrize("folder", ["big", "little"])
def test_formats_01_either_order_of_bytes(folder):
    case = f"formats/01-wfdb-format-61/{folder}"
    got = tried(case)
    assert got.how == "read", got.message
    (item,) = got.items
    header = (CASES / case / f"{folder}.hea").read_text().splitlines()
    signals, rate_hz = header[0].split()[1:3]
    kind = {"61": ">i2", "16": "<i2"}[header[1].split()[1]]
    stored = np.fromfile(CASES / case / f"{folder}.dat", kind).reshape(-1, int(signals)).T
    gain = float(re.match(r"[\d.]+", header[1].split()[2])[0])
    assert np.allclose(item.values, stored / gain)
    assert item.values.size == 36000
    assert item.rate_hz == float(rate_hz)


@pytest.mark.parametrize("file", ["td.parquet", "sec.parquet"])
def test_formats_02_durations_are_seconds_or_refused_by_their_type(file):
    import pyarrow.parquet

    case = f"formats/02-parquet-duration/{file}"
    body = pyarrow.parquet.read_table(FORMATS / "02-parquet-duration" / "sec.parquet").to_pylist()
    found = table(body, "subject", lambda row: row["time"], ["HR"], float)
    truth = Truth(found, units(HR=UNSTATED), absolute=False, recordings=4)
    assert size(truth) == (4, 2400)
    check(case, truth, "'time'.*duration|duration.*'time'")
