"""Readings and samples out of tables of each layout."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.layouts import Plan, read_table
from tsfm_adapt.signals.readers._tables.records import Columns
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.times import TimeColumns

UNITS = {"HR": "bpm", "T": "degC"}
WIDE = {
    "id": list("aaab"),
    "time": ["0", "60", "120", "0"],
    "HR": ["70", "", "72", "80"],
    "T": ["36", "37", "NA", "-1"],
}
LONG = {
    "id": list("aaab"),
    "time": ["0", "0", "60", "9"],
    "what": ["HR", "T", "HR", "T"],
    "is": ["70", "36", "", "37"],
    "unit": ["bpm", "degC", "bpm", "degC"],
}


def table(cells, spelling=None, units=None):
    columns = {name: np.array(column, dtype=str) for name, column in cells.items()}
    known = spelling or Spelling(missing=("-1",))
    return Table(Path("t.csv"), columns, 2, spelling=known, units=units or {})


def plan(layout, **fields):
    times = fields.pop("times", TimeColumns("time", "seconds"))
    columns = fields.pop("columns", {})
    own = {"subject": "id", "series": "what" if layout == "long" else None} | columns
    usual = {
        "channel": "what",
        "value": "is",
        "unit": "unit" if layout == "long" and "units" not in fields else None,
        "units": {} if layout == "long" else UNITS,
        "units_by_subject": {},
        "ignored": frozenset(),
        "duplicates": None,
        "rate_hz": None,
    }
    return Plan(layout=layout, columns=Columns(times, **own), **(usual | fields))


def wide(cells=WIDE, channels=(), below="", **fields):
    return list(read_table(table(cells), plan("wide", **fields), channels, below))


def long(cells=LONG, channels=(), below="", **fields):
    return list(read_table(table(cells), plan("long", **fields), channels, below))


def triples(events):
    names = [events.channels[number] for number in events.channel]
    return list(zip(events.time_s.tolist(), names, events.value.tolist(), strict=True))


def test_a_wide_table_has_an_event_for_each_cell_that_is_not_missing():
    a, b = wide()
    assert triples(a) == [(0, "HR", 70), (0, "T", 36), (60, "T", 37), (120, "HR", 72)]
    assert triples(b) == [(0, "HR", 80)]
    assert a.units == b.units == ("bpm", "degC")


def test_a_long_table_has_an_event_a_row_with_a_reading():
    a, b = long()
    assert triples(a) == [(0, "HR", 70), (0, "T", 36)]
    assert triples(b) == [(9, "T", 37)]
    assert a.channels == b.channels == ("HR", "T")
    assert [triples(e) for e in long(units=UNITS)] == [triples(a), triples(b)]


@pytest.mark.parametrize("read", [wide, long])
def test_only_the_channels_that_are_asked_for_are_read_in_their_order(read):
    for asked, found in ((("T",), ("T",)), (("T", "HR"), ("T", "HR")), (("T", "no"), ("T",))):
        assert all(events.channels == found for events in read(channels=asked))


def test_one_row_a_sample_is_a_recording_at_the_stated_rate():
    a, b = wide(rate_hz=1 / 60)
    np.testing.assert_array_equal(a.values, [[70, np.nan, 72], [36, 37, np.nan]])
    assert (a.rate_hz, a.channels, b.samples) == (1 / 60, ("HR", "T"), 1)


def test_rows_without_times_are_samples_in_their_order():
    columns = {"rate_hz": 4.0}
    a, b = wide(rate_hz=4.0, times=None, columns=columns)
    np.testing.assert_array_equal(a.values[0], [70, np.nan, 72])
    assert (a.rate_hz, b.values[0].tolist()) == (4.0, [80])


@pytest.mark.parametrize("times", [["0", "60", "181", "0"], ["0", "60", "60", "0"]])
def test_a_row_off_the_clock_is_named(times):
    with pytest.raises(DataError, match="row 4, column 'time'"):
        wide(WIDE | {"time": times}, rate_hz=1 / 60)


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ({"what": ["HR", "", "HR", "T"]}, {}, "row 3, column 'what'"),
        ({"is": ["70", "warm", "1", "2"]}, {}, "row 3, column 'is'"),
        ({"unit": ["bpm", "degC", "mV", "degC"], "is": list("1234")}, {}, "row 4, .*'HR', bpm"),
        ({"unit": ["bpm", "", "bpm", ""]}, {}, "column 'unit'"),
        ({}, {"units": {"HR": "bpm"}}, r"'T' of t\.csv has none"),
    ],
)
def test_readings_of_a_long_table_need_channel_number_and_one_unit(changes, fields, message):
    with pytest.raises(DataError, match=message):
        long(LONG | changes, **fields)


def test_units_of_one_quantity_are_converted_to_the_records_first():
    mixed = LONG | {
        "what": ["T", "T", "T", "T"],
        "time": ["0", "1", "2", "9"],
        "is": ["36", "98.6", "37", "99.5"],
        "unit": ["degC", "degF", "degC", "degF"],
    }
    a, b = long(mixed)
    np.testing.assert_allclose(a.value, [36, 37, 37])
    assert (a.units, b.units, b.value.tolist()) == (("degC",), ("degF",), [99.5])
    cells = {"id": list("aab"), "time": list("012"), "glucose": ["5", "90", "180"]}
    units = {"unit": ["mmol/L", "mg/dL", "mg/dL"]}
    a, b = wide(cells | units, units={"glucose": "mg/dL"}, unit="unit")
    np.testing.assert_allclose(a.value, [5, 5], rtol=0.01)
    assert (a.units, b.units) == (("mmol/L",), ("mg/dL",))


@pytest.mark.parametrize(("read", "fields"), [(wide, {}), (long, {"units": UNITS})])
def test_a_subject_may_have_units_of_its_own(read, fields):
    a, b = read(units_by_subject={"b": {"T": "degF"}}, **fields)
    assert (a.units, b.units) == (("bpm", "degC"), ("bpm", "degF"))


def test_cells_may_bear_their_unit_in_both_layouts():
    spelling = Spelling(unit_in_cells=True)
    cells = table(WIDE | {"HR": ["70 bpm", "71", "72bpm", ""], "T": [""] * 4}, spelling)
    a, _ = read_table(cells, plan("wide"), (), "")
    assert triples(a) == [(0, "HR", 70), (60, "HR", 71), (120, "HR", 72)]
    own = table(LONG | {"is": ["70 bpm", "36 °C", "71", "37.5°C"]}, spelling)
    a, b = read_table(own, plan("long", units=UNITS), (), "")
    assert triples(a) + triples(b) == [(0, "HR", 70), (0, "T", 36), (60, "HR", 71), (9, "T", 37.5)]
    wrong = table(LONG | {"is": ["70 bpm", "36 bpm", "", ""]}, spelling)
    with pytest.raises(DataError, match="row 3, column 'is': expected a number in degC"):
        list(read_table(wrong, plan("long", units=UNITS), (), ""))


def test_wide_columns_that_are_asked_for_need_a_unit_and_one_has_to_be_there():
    with pytest.raises(DataError, match="'T'"):
        wide(channels=("T",), units={"HR": "bpm"})
    with pytest.raises(DataError, match="no column 'ABP'"):
        wide(units={"ABP": "mmHg"})


def repeating(count=12):
    return {
        "id": ["a"] * (2 * count),
        "time": [str(n // 2) for n in range(2 * count)],
        "HR": [str(60 + 10 * (n % 2) + n // 2) for n in range(2 * count)],
        "bed": ["x", "y"] * count,
    }


def as_long(cells):
    return {**cells, "what": ["HR"] * len(cells["id"]), "is": cells["HR"]}


@pytest.mark.parametrize("layout", ["wide", "long"])
def test_readings_of_one_channel_and_time_are_merged_as_stated_or_refused(layout):
    cells = repeating() if layout == "wide" else as_long(repeating())
    fields = {"units": {"HR": "bpm"}}
    with pytest.raises(Undecided, match=r"12 of 24 do .*'bed' tells them apart") as asked:
        list(read_table(table(cells), plan(layout, **fields), (), ""))
    assert asked.value.settings == {"subject": "bed"}
    for how, first in (("first", 60), ("last", 70), ("mean", 65), ("median", 65)):
        own = table(cells)
        (one,) = read_table(own, plan(layout, duplicates=how, **fields), (), "")
        assert one.value.tolist() == [first + n for n in range(12)]
        ((note, count),) = one.notes.items()
        assert how in note
        assert count == 12
    apart = list(
        read_table(table(cells), plan(layout, columns={"record": "bed"}, **fields), (), "")
    )
    assert [one.id for one in apart] == ["a/x", "a/y"]


def test_packets_are_samples_one_after_the_other():
    cells = repeating() | {"time": [str(n // 4) for n in range(24)]}
    packets = {"packets": True}
    (one,) = wide(cells, units={"HR": "bpm"}, duplicates="packets", columns=packets)
    np.testing.assert_allclose(one.time_s, np.arange(24) / 4)
    assert len(one.value) == 24


def test_a_column_may_be_a_subject():
    cells = {"time": ["0", "60"], "p1": ["70", ""], "p2": ["80", "81"]}
    own = plan("subjects", channel="HR", columns={"subject": None})
    one, two = read_table(table(cells), own, (), "f")
    assert [(i.id, i.subject, triples(i)) for i in (one, two)] == [
        ("f/p1", "p1", [(0, "HR", 70)]),
        ("f/p2", "p2", [(0, "HR", 80), (60, "HR", 81)]),
    ]
    assert one.units == ("bpm",)
    assert list(read_table(table(cells), own, ("T",), "")) == []


def test_a_row_may_be_a_recording():
    cells = {
        "id": ["a", "b"],
        "x0": ["1", "4"],
        "x1": ["2", ""],
        "x2": ["3", "6"],
        "y": ["0", "1"],
    }
    columns = {"labels": ("y",)}
    fields = {"value": "ECG", "units": {"ECG": "mV"}, "rate_hz": 250.0, "times": None}
    one, two = read_table(table(cells), plan("trials", columns=columns, **fields), (), "")
    np.testing.assert_array_equal(two.values, [[4, np.nan, 6]])
    assert [(i.id, i.subject, i.labels) for i in (one, two)] == [
        ("t/2", "a", {"y": 0}),
        ("t/3", "b", {"y": 1}),
    ]
    assert (one.rate_hz, one.channels, one.units) == (250, ("ECG",), ("mV",))
    with pytest.raises(DataError, match="row 3, column 'x1'"):
        list(
            read_table(
                table(cells | {"x1": ["1", "?"]}),
                plan("trials", columns=columns, **fields),
                (),
                "",
            )
        )


def test_notes_of_a_file_go_with_its_first_recording():
    own = table(WIDE)
    own.notes["things done"] = 3
    a, b = read_table(own, plan("wide"), (), "")
    assert (a.notes, b.notes) == ({"things done": 3}, {})


def test_a_plan_knows_the_columns_that_it_reads():
    assert plan("wide", columns={"labels": ("y",)}).used == {"time", "id", "HR", "T", "y"}
    assert plan("long").used == {"time", "id", "what", "is", "unit"}
