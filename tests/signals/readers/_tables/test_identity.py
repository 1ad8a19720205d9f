"""Who and what tells the rows of an unknown table apart."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.combined import combined
from tsfm_adapt.signals.readers._tables.identity import identified
from tsfm_adapt.signals.readers._tables.time_columns import chosen_time

PEOPLE, MINUTES = 4, 40
RNG = np.random.default_rng(0)


def mixed(**columns):
    """Rows of some people, each with a reading at each of the same minutes."""
    person = np.tile(np.arange(PEOPLE), MINUTES)
    rows = {"time": np.repeat(60 * np.arange(MINUTES), PEOPLE)}
    rows |= {name: make(person) for name, make in columns.items()}
    return rows


def found(columns, order=None, files=None):
    cells = {name: np.array(own).astype(np.str_) for name, own in columns.items()}
    if order is not None:
        cells = {name: own[order] for name, own in cells.items()}
    parts = files or [cells]
    rows = combined([Table(Path(f"f{n}.csv"), part, 2) for n, part in enumerate(parts)])
    names = {vocabulary.plain(name): name for name in reversed([*rows.table.columns])}
    settings, doubts = {}, []
    own = identified(rows, names, chosen_time(rows, names), settings, doubts)
    return own, settings, doubts


def signal(person):
    return RNG.normal(70 + 5 * person, 2).round(1)


@pytest.mark.parametrize(
    "name",
    [
        "patient",
        "pt_no",
        "stay_id",
        "ICUSTAY_ID",
        "study_id",
        "item_id",
        "unique_id",
        "case",
        "id",
    ],
)
@settings(deadline=None, max_examples=5)
@given(blocks=st.booleans(), text=st.booleans())
def test_the_subject_is_found_by_its_name_in_blocks_or_mixed(name, blocks, text):
    columns = mixed(**{name: lambda p: [f"x{n}" for n in p] if text else 1000 + p, "HR": signal})
    order = np.argsort(columns[name], kind="stable") if blocks else None
    own, settings, doubts = found(columns, order)
    assert (own.subject, settings, doubts) == (name, {"subject": name}, [])


def test_a_stay_beside_a_subject_is_the_record():
    columns = mixed(subject_id=lambda p: p // 2, stay_id=lambda p: 100 + p, HR=signal)
    own, settings, _ = found(columns)
    assert (own.subject, own.record) == ("subject_id", "stay_id")
    assert settings == {"subject": "subject_id", "record": "stay_id"}


def test_a_column_that_tells_equal_times_apart_is_asked_about():
    bed = {"bed": lambda p: [f"bed {n}" for n in p]}
    own, settings, doubts = found(mixed(**bed, HR=signal, SpO2=signal))
    assert (own.subject, settings["subject"]) == ("bed", "bed")
    assert "'bed' tells them apart: is it the subject?" in doubts[0]
    assert "f0.csv, row 2: time=0" in doubts[0]
    with pytest.raises(DataError, match=r"subject: bed, .*channel: bed, value: HR"):
        found(mixed(**bed, HR=signal))  # or the channel of a long table


def test_visits_of_a_subject_are_records():
    columns = mixed(patient=lambda p: p // 2, visit=lambda p: p % 2 + 1, HR=signal)
    own, _, doubts = found(columns)
    assert (own.subject, own.record, doubts) == ("patient", "visit", [])


@pytest.mark.parametrize("step", [1, 15, 60])
def test_people_that_no_column_names_are_asked_about(step):
    columns = mixed(HR=signal)
    _, settings, doubts = found(columns | {"time": columns["time"] // 60 * step})
    assert settings == {"duplicates": "packets"}
    assert "subjects or channels that no column names?" in doubts[0]


def test_repeats_that_nothing_tells_apart_are_asked_about():
    columns = mixed(HR=signal)
    uneven = np.sort(RNG.permutation(PEOPLE * MINUTES)[:90])
    _, settings, doubts = found({name: np.array(own)[uneven] for name, own in columns.items()})
    assert settings == {"duplicates": "median"}
    assert "no column tells them apart" in doubts[0]


@pytest.mark.parametrize("wave", ["noise", "pulse", "drift"])
@pytest.mark.parametrize("count", [4, 73])
def test_samples_of_packets_are_not_asked_about(wave, count):
    samples = np.arange(30 * count)
    ecg = {
        "noise": RNG.normal(0, 100, len(samples)),
        "pulse": 100 * np.sin(samples / count * 2 * np.pi * 1.13) + RNG.normal(0, 5, len(samples)),
        "drift": np.cumsum(RNG.normal(0, 1, len(samples))),
    }[wave]
    _, settings, doubts = found({"time": np.repeat(np.arange(30), count), "ECG": ecg.round(2)})
    assert (settings, doubts) == ({"duplicates": "packets"}, [])


def test_rows_of_one_time_that_measure_different_columns_repeat_nothing():
    columns = {
        "time": np.repeat(np.arange(40), 2),
        "HR": [f"{70 + n % 5}" if n % 2 else "" for n in range(80)],
        "SpO2": ["" if n % 2 else f"{97 + n % 3}" for n in range(80)],
    }
    _, settings, doubts = found(columns)
    assert (settings, doubts) == ({}, [])


@pytest.mark.parametrize(
    ("channel", "value", "codes"),
    [
        ("variable", "value", ["HR", "RR"]),
        ("itemid", "valuenum", [220045, 220210]),
        ("Parameter", "Messwert", ["Puls", "Atmung"]),
        ("LBTESTCD", "LBORRES", ["GLUC", "NA+"]),
        ("vital sign name", "measured", ["HR", "RR"]),  # by structure
    ],
)
def test_a_long_table_is_told_by_names_or_by_what_its_rows_measure(channel, value, codes):
    columns = {
        "subject": np.repeat([1, 2, 3], 80),
        "time": np.tile(np.repeat(60 * np.arange(40), 2), 3),
        channel: np.tile(codes, 120),
        value: RNG.normal(70, 5, 240).round(1),
    }
    own, settings, doubts = found(columns)
    assert (own.channel, own.value, own.subject) == (channel, value, "subject")
    assert (settings, doubts) == ({"subject": "subject"}, [])


def test_readings_are_no_identifiers():
    columns = {"time": np.arange(160), "id": RNG.normal(70, 5, 160).round(1), "HR": np.arange(160)}
    assert found(columns)[0].subject is None
    empty = {"time": np.arange(160), "id": [""] * 160, "HR": RNG.normal(70, 5, 160)}
    assert found(empty)[0].subject is None


def test_a_file_each_needs_no_subject():
    parts = [
        {"time": np.arange(40).astype(np.str_), "HR": RNG.normal(70, 5, 40).astype(np.str_)}
        for _ in range(3)
    ]
    own, settings, doubts = found({}, files=parts)
    assert (own.subject, settings, doubts) == (None, {}, [])


def test_steps_back_are_asked_about_and_summer_time_is_sure():
    twice = {"time": [*range(40), *range(40)], "HR": RNG.normal(70, 5, 80).round(1)}
    _, settings, doubts = found(twice)
    assert doubts
    stamps = [
        f"2023-10-29 0{h}:{m:02d}:00" for h in (*range(3), *range(2, 10)) for m in range(0, 60, 15)
    ]
    _, settings, doubts = found({"time": stamps, "HR": RNG.normal(70, 5, len(stamps)).round(1)})
    assert (settings, doubts) == ({"backward": "summer_time"}, [])
