"""Readings out of long and wide tables."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._layouts import readings_of_long, readings_of_wide, regular_of_wide
from tsfm_adapt.signals.readers._records import Columns, records

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


def table(cells):
    columns = {name: np.array(column, dtype=str) for name, column in cells.items()}
    return Table(Path("t.csv"), columns, first_row=2)


def of(cells):
    made = table(cells)
    return made, records(made, Columns("time", "auto", "id", None, (), ()), "")


def wide(cells=WIDE, channels=(), units=UNITS, missing=("-1",)):
    return list(readings_of_wide(*of(cells), channels, units, missing))


def long(cells=LONG, channels=(), unit="unit"):
    return list(readings_of_long(*of(cells), channels, "what", "is", unit, ()))


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
    assert [triples(e) for e in long(unit=UNITS)] == [triples(a), triples(b)]


@pytest.mark.parametrize("read", [wide, long])
def test_only_the_channels_that_are_asked_for_are_read_in_their_order(read):
    for asked, found in ((("T",), ("T",)), (("T", "HR"), ("T", "HR")), (("T", "no"), ("T",))):
        assert all(events.channels == found for events in read(channels=asked))


def test_one_row_a_sample_is_a_recording_at_the_stated_rate():
    made, found = of(WIDE)
    a, b = regular_of_wide(made, found, (), UNITS, ("-1",), "time", 1 / 60)
    np.testing.assert_array_equal(a.values, [[70, np.nan, 72], [36, 37, np.nan]])
    assert (a.rate_hz, a.channels, b.samples) == (1 / 60, ("HR", "T"), 1)


@pytest.mark.parametrize("times", [["0", "60", "181", "0"], ["0", "60", "60", "0"]])
def test_a_row_off_the_clock_is_named(times):
    made, found = of(WIDE | {"time": times})
    with pytest.raises(DataError, match="row 4, column 'time'"):
        list(regular_of_wide(made, found, (), UNITS, ("-1",), "time", 1 / 60))


@pytest.mark.parametrize(
    ("changes", "unit", "message"),
    [
        ({"what": ["HR", "", "HR", "T"]}, "unit", "row 3, column 'what'"),
        ({"is": ["70", "warm", "1", "2"]}, "unit", "row 3, column 'is'"),
        ({"unit": ["bpm", "degC", "Hz", "degC"]}, "unit", "row 4, column 'unit'.*'HR'"),
        ({"unit": ["bpm", "", "bpm", ""]}, "unit", "column 'unit'"),
        ({}, {"HR": "bpm"}, r"'T' of t\.csv has none"),
    ],
)
def test_readings_of_a_long_table_need_channel_number_and_one_unit(changes, unit, message):
    with pytest.raises(DataError, match=message):
        long(LONG | changes, unit=unit)


def test_wide_columns_that_are_asked_for_need_a_unit_and_one_has_to_be_there():
    with pytest.raises(DataError, match="'T'"):
        wide(channels=("T",), units={"HR": "bpm"})
    with pytest.raises(DataError, match="no column 'ABP'"):
        wide(units={"ABP": "mmHg"})
