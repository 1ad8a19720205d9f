"""The form of a column of times: found where values decide, doubted where they do not."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.time_guess import TimeForm, date_and_clock, form_of


def form(cells, name="time", group=None, spelling=None):
    own = np.array(cells)
    groups = np.zeros(len(own), dtype=np.int64) if group is None else np.array(group)
    return form_of(name, own, groups, spelling)


def written(pattern, *, start=datetime(2021, 3, 9, 8), step=timedelta(hours=7), count=80):
    return [(start + n * step).strftime(pattern) for n in range(count)]


@pytest.mark.parametrize(
    "pattern",
    [
        "%d/%m/%Y %H:%M",
        "%m/%d/%Y %H:%M:%S",
        "%d.%m.%Y %H:%M",
        "%m-%d-%Y %I:%M %p",
        "%d-%b-%Y %H:%M:%S",
        "%b %d %Y %H:%M",
        "%d/%m/%y %H:%M",
        "%d/%m/%Y %H:%M:%S.%f",
        "%d/%m/%Y",
    ],
)
def test_a_pattern_is_found_where_the_days_show_it(pattern):
    found = form(written(pattern))
    assert found.format == pattern
    assert found.kind == ("stamp" if "H" in pattern or "I" in pattern else "date")
    assert not found.doubt


@settings(deadline=None)
@given(st.permutations(range(10)))
def test_the_order_of_rows_does_not_matter_to_the_pattern(order):
    cells = written("%d/%m/%Y %H:%M", step=timedelta(days=2), count=10)
    assert form([cells[n] for n in order]).format == "%d/%m/%Y %H:%M"


@pytest.mark.parametrize(
    ("first", "day"), [("%d/%m/%Y", timedelta(days=1)), ("%m/%d/%Y", timedelta(days=1))]
)
def test_days_and_months_are_told_apart_by_the_shorter_span(first, day):
    found = form(written(f"{first} %H:%M", start=datetime(2020, 2, 1), step=day, count=6))
    assert (found.format, found.doubt) == (f"{first} %H:%M", "")


def test_a_day_that_may_be_a_month_is_a_doubt():
    found = form(written("%d/%m/%Y %H:%M", start=datetime(2020, 2, 1), step=timedelta(minutes=5)))
    assert "01 February 2020" in found.doubt
    assert "02 January 2020" in found.doubt
    same = form(["03/03/2020 10:00", "03/03/2020 11:00"])
    assert same.format.endswith("%Y %H:%M")


@pytest.mark.parametrize(
    ("cells", "name", "expected"),
    [
        (["0", "0.5"], "time", TimeForm("auto", "elapsed")),
        (["1600000000", "1600000060"], "time", TimeForm("unix", "stamp")),
        (["1600000000000", "1600000060000"], "time_ms", TimeForm("unix_ms", "stamp")),
        (["1600000000000000"], "t", TimeForm("unix_us", "stamp")),
        (["1600000000000000000"], "time_ns", TimeForm("unix_ns", "stamp")),
        (["300000000", "301000000"], "time_us", TimeForm("microseconds", "elapsed")),
        (["300000000", "300001000"], "Time (ms)", TimeForm("milliseconds", "elapsed")),
        (["0", "5"], "observationoffset", TimeForm("minutes", "elapsed")),
        (["44562.5", "44562.500694"], "time", TimeForm("excel", "stamp")),
        (["738522.5", "738522.500694"], "time", TimeForm("matlab", "stamp")),
        (["7:30", "25:00:10"], "time", TimeForm("clock", "clock")),
        (["08:00 PM", "09:00 PM"], "time", TimeForm("clock", "clock")),
        (["2020-01-01 00:00", "2020-01-01 00:05"], "x", TimeForm("auto", "stamp")),
        (["2020-01-01", "2020-01-02"], "x", TimeForm("auto", "date")),
        (["20200101 08:30:00", "20200131_083000"], "x", TimeForm("auto", "stamp")),
        (["20200101", "20200102"], "x", TimeForm("iso", "date")),
        (np.array(["2020-01-01"], "datetime64[us]"), "x", TimeForm("auto", "stamp")),
        (np.array([1], "timedelta64[us]"), "x", TimeForm("auto", "elapsed")),
        ([0.0, 0.5], "t", TimeForm("auto", "elapsed")),
    ],
)
def test_forms_are_told_by_values_and_the_names_unit(cells, name, expected):
    assert form(cells, name) == expected


@pytest.mark.parametrize(
    "cells",
    [
        [],
        ["0", ""],
        ["0", "x"],
        ["2020-01-01", "later"],
        ["01/02/2020", "40/40/2020"],
        ["good", "bad"],
        ["7:30", "7"],
    ],
)
def test_what_is_no_time_has_no_form(cells):
    assert form(np.array(cells, dtype=np.str_)) is None


def test_numbers_of_times_are_read_in_the_tables_spelling():
    assert form(["0,5", "1,5"], spelling=Spelling(decimal=",")).kind == "elapsed"
    assert form(["0,5", "1,5"]) is None


@pytest.mark.parametrize(("step", "likely"), [(86_400, "seconds"), (60_000, "milliseconds")])
def test_rows_that_would_lie_hours_apart_are_a_doubt(step, likely):
    found = form([str(n * step) for n in range(40)])
    assert (found.format, found.kind) == (likely, "elapsed")
    assert "time_format" in found.doubt
    assert not form([str(n * step) for n in range(40)], "seconds").doubt


def test_rows_that_would_lie_microseconds_apart_are_a_doubt():
    found = form([f"{n / 86_400:.9f}" for n in range(40)])
    assert found.format == "days"
    assert "every 1 s in days" in found.doubt
    assert not form([f"{n / 1000:.9f}" for n in range(40)]).doubt


def test_steps_from_one_group_to_the_next_do_not_count():
    cells = [str(n * 60 + 100_000 * (n // 30)) for n in range(90)]
    assert not form(cells, group=[n // 30 for n in range(90)]).doubt


@pytest.mark.parametrize(
    ("days", "clocks", "expected"),
    [
        (["2020-01-02"], ["07:30"], "auto"),
        (["31.01.2020"], ["07:30:10"], "%d.%m.%Y %H:%M:%S"),
        (["01/31/2020"], ["07:30 AM"], "%m/%d/%Y %I:%M %p"),
        (["monday"], ["07:30"], None),
        (["2020-01-02"], ["soon"], None),
    ],
)
def test_a_day_and_a_clock_have_a_form_together(days, clocks, expected):
    found = date_and_clock(np.array(days), np.array(clocks), np.zeros(1, dtype=np.int64))
    assert (found and found.format) == expected
