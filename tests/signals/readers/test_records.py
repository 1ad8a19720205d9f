"""Rows of a table into records: ids, times since their start, constants."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._records import Columns, records

COLUMNS = Columns("time", "auto", "id", None, (), ())


def table(**columns):
    return Table(Path("ward.csv"), {n: np.array(c) for n, c in columns.items()}, first_row=2)


def test_rows_of_a_record_are_sorted_by_time_and_those_of_one_time_stay_in_order():
    found = records(table(id=list("baab"), time=["5", "9", "1", "5"]), COLUMNS, "")
    assert [(r.id, r.subject, r.rows.tolist()) for r in found] == [
        ("a", "a", [2, 1]),
        ("b", "b", [0, 3]),
    ]
    assert [r.time_s.tolist() for r in found] == [[1, 9], [5, 5]]
    assert [r.start for r in found] == [None, None]


def test_calendar_times_count_from_the_whole_second_of_the_first_row():
    cells = table(id=["a", "a"], time=["2020-01-01 00:00:02", "2020-01-01 00:00:00.5"])
    (one,) = records(cells, COLUMNS, "")
    assert one.start == np.datetime64("2020-01-01T00:00:00", "s")
    assert one.time_s.tolist() == [0.5, 2]


@pytest.mark.parametrize(
    ("subject", "record", "below", "ids", "subjects"),
    [
        ("id", "stay", "", ["a/1", "a/2"], ["a", "a"]),
        ("id", "stay", "sub/x", ["sub/x/a/1", "sub/x/a/2"], ["a", "a"]),
        (None, None, "", ["ward"], ["ward"]),
        (None, "stay", "x", ["x/1", "x/2"], ["x", "x"]),
    ],
)
def test_an_id_is_made_of_file_subject_and_record(subject, record, below, ids, subjects):
    columns = replace(COLUMNS, subject=subject, record=record)
    found = records(table(id=["a", "a"], stay=["1", "2"], time=["0", "1"]), columns, below)
    assert ([r.id for r in found], [r.subject for r in found]) == (ids, subjects)


def test_what_is_constant_over_a_record_is_taken_from_the_rows_that_state_it():
    cells = table(
        id=list("aab"), time=list("012"), sex=["", "F", ""], age=["50", "50", "60"], died=["1"] * 3
    )
    first, second = records(
        cells, replace(COLUMNS, attributes=("sex", "age"), labels=("died",)), ""
    )
    assert (first.attributes, first.labels) == ({"sex": "F", "age": 50.0}, {"died": 1})
    assert type(first.labels["died"]) is int
    assert second.attributes == {"age": 60.0}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"id": [], "time": []}, "header only"),
        ({"id": ["a", ""], "time": ["0", "1"]}, "row 3, column 'id'"),
        ({"id": ["a", "a"], "time": ["0", "x"]}, "row 3, column 'time'"),
        ({"id": ["a", "a"]}, "no column 'time'"),
        ({"id": ["a", "a"], "time": ["0", "1"], "sex": ["F", "M"]}, "row 3, column 'sex'.*'F'"),
    ],
)
def test_rows_that_make_no_record_are_named(cells, message):
    columns = replace(COLUMNS, attributes=("sex",) if "sex" in cells else ())
    with pytest.raises(DataError, match=message):
        records(table(**{n: np.array(c, dtype=str) for n, c in cells.items()}), columns, "")
