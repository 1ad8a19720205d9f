"""Rows of a table into records: ids, times since their start, constants, labelled spans."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.records import Columns, records
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.times import TimeColumns
from tsfm_adapt.signals.recording import Span

COLUMNS = Columns(TimeColumns("time"), subject="id")


def table(spelling=None, **columns):
    cells = {name: np.array(own) for name, own in columns.items()}
    return Table(Path("ward.csv"), cells, 2, spelling=spelling or Spelling())


def test_rows_of_a_record_are_sorted_by_time_and_those_of_one_time_stay_in_order():
    found = records(table(id=list("baab"), time=["5", "9", "1", "5"]), COLUMNS, "")
    assert [(r.id, r.subject, r.rows.tolist()) for r in found] == [
        ("a", "a", [2, 1]),
        ("b", "b", [0, 3]),
    ]
    assert [r.time_s.tolist() for r in found] == [[1, 9], [5, 5]]
    assert [r.start for r in found] == [None, None]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 30)), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_rows_in_blocks_mixed_or_shuffled_make_the_same_records(rows, random):
    found = []
    for order in (
        sorted(rows),
        sorted(rows, key=lambda row: row[1]),
        random.sample(rows, len(rows)),
    ):
        ids, times = zip(*order, strict=True)
        columns = replace(COLUMNS, backward="sort")
        made = records(table(id=ids, time=[str(time) for time in times]), columns, "")
        found.append([(r.id, r.time_s.tolist()) for r in made])
        assert sorted(n for r in made for n in r.rows.tolist()) == [*range(len(rows))]
    assert found[0] == found[1] == found[2]


def test_calendar_times_count_from_the_whole_second_of_the_first_row():
    cells = table(id=["a", "a"], time=["2020-01-01 00:00:02", "2020-01-01 00:00:00.5"])
    (one,) = records(cells, COLUMNS, "")
    assert one.start == np.datetime64("2020-01-01T00:00:00", "s")
    assert one.time_s.tolist() == [0.5, 2]


def test_a_clock_in_the_day_counts_from_the_first_row_and_one_near_0_is_what_has_passed():
    day = table(id=list("aabb"), time=["22:30", "22:45", "08:00", "09:00"])
    assert [r.time_s.tolist() for r in records(day, COLUMNS, "")] == [[0, 900], [0, 3600]]
    assert day.notes["record(s) with a clock and no date, counted from the first row"] == 2
    passed = table(id=["a", "a"], time=["00:30", "01:45"])
    assert [r.time_s.tolist() for r in records(passed, COLUMNS, "")] == [[1800, 6300]]
    assert not passed.notes


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


def test_the_subject_may_be_that_of_the_file():
    columns = replace(COLUMNS, subject=None, file_subject="P04")
    (found,) = records(table(time=["0", "1"]), columns, "P04/day1")
    assert (found.id, found.subject) == ("P04/day1", "P04")


def test_sessions_are_records_of_their_own():
    cells = table(id=["a"] * 4 + ["b"] * 2, time=["0", "1", "0", "1", "0", "1"])
    found = records(cells, replace(COLUMNS, backward="session"), "")
    assert [(r.id, r.subject, r.rows.tolist()) for r in found] == [
        ("a#1", "a", [0, 1]),
        ("a#2", "a", [2, 3]),
        ("b#1", "b", [4, 5]),
    ]


def test_rows_without_times_are_samples_in_their_order():
    columns = Columns(None, subject="id", rate_hz=4.0)
    found = records(table(id=list("abab")), columns, "")
    assert [(r.rows.tolist(), r.time_s.tolist()) for r in found] == [
        ([0, 2], [0, 0.25]),
        ([1, 3], [0, 0.25]),
    ]


def test_packets_are_spread_in_each_record_and_each_channel_of_a_long_table():
    times = [f"{n}" for n in range(3) for _ in range(4)]
    columns = replace(COLUMNS, packets=True)
    (one,) = records(table(id=["a"] * 12, time=times), columns, "")
    np.testing.assert_allclose(one.time_s, np.arange(12) / 4)
    long = table(id=["a"] * 12, time=times, what=["ecg", "ppg"] * 6)
    (one,) = records(long, replace(columns, series="what"), "")
    for name in ("ecg", "ppg"):
        own = long.columns["what"][one.rows] == name
        np.testing.assert_allclose(one.time_s[own], np.arange(6) / 2)


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


def test_numbers_of_attributes_have_the_tables_decimal_mark():
    cells = table(Spelling(decimal=","), id=["a"], time=["0"], weight=["61,5"], code=["1e999"])
    (one,) = records(cells, replace(COLUMNS, attributes=("weight", "code")), "")
    assert one.attributes == {"weight": 61.5, "code": "1e999"}


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "0", "1", "2", "wake", "NA"]), min_size=1, max_size=12))
def test_spans_cover_the_rows_of_their_label_and_no_others(cells):
    times = [f"{10 * n}" for n in range(len(cells))]
    columns = replace(COLUMNS, row_labels=("stage",))
    made = table(id=["a"] * len(cells), time=times, stage=np.array(cells, dtype=np.str_))
    (one,) = records(made, columns, "")
    names = {"1": "stage", "2": "stage=2", "wake": "wake"}
    for row, cell in enumerate(cells):
        own = {s.label for s in one.spans if s.start_s <= 10 * row < s.stop_s}
        last = row == len(cells) - 1
        assert own == ({names[cell]} if cell in names and not last else set())
    assert one.spans == tuple(sorted(one.spans, key=lambda span: span.start_s))
    if cells[-1] in names:
        assert one.spans[-1].stop_s == 10 * (len(cells) - 1)


def test_a_span_lasts_to_the_row_after_its_run():
    cells = table(id=["a"] * 4, time=["0", "30", "60", "90"], sleep=["0", "1", "1", "0"])
    (one,) = records(cells, replace(COLUMNS, row_labels=("sleep",)), "")
    assert one.spans == (Span(30, 90, "sleep"),)


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


def test_times_that_begin_again_are_asked_about():
    cells = table(id=["a"] * 60, time=[str(n % 30) for n in range(60)])
    with pytest.raises(Undecided, match=r"row 32, column 'time': .*'29' to '0'"):
        records(cells, COLUMNS, "")


def test_a_column_of_people_is_likelier_than_sessions_where_time_begins_again():
    own = table(
        pt_no=[str(p) for p in (1, 2, 3) for _ in range(40)],
        time=[str(t) for _ in range(3) for t in range(40)],
        HR=["70"] * 120,
    )
    with pytest.raises(Undecided, match=r"'pt_no' tells rows of one time apart") as stopped:
        records(own, Columns(times=TimeColumns("time", "seconds")), "")
    assert stopped.value.settings == {"subject": "pt_no"}
