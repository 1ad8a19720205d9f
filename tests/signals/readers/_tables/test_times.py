"""Times of a table: numbers of some unit, clocks and stamps, in whatever form they are written."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.times import (
    NUMERIC,
    TimeColumns,
    auto,
    seconds_of_clock,
    times_of,
    unit_in_name,
)

US = 1_000_000


def table(spelling=None, **columns):
    cells = {name.replace("_", " "): np.array(own) for name, own in columns.items()}
    return Table(Path("t.csv"), cells, 2, spelling=spelling or Spelling())


def read(cells, how="auto", name="time", **fields):
    own = Table(Path("t.csv"), {name: np.array(cells)}, 2)
    return times_of(own, TimeColumns(name, how, **fields))


@pytest.mark.parametrize(
    ("cells", "how", "times", "calendar"),
    [
        (["0.5", "2"], "auto", [0.5, 2], False),
        (["07:30", "47:59:30.5"], "auto", [27000, 172770.5], False),
        (["1970-01-02", "1970-01-01T00:00:00.25"], "auto", [86400 * US, US // 4], True),
        (["1970/01/02 00:00:01"], "auto", [86401 * US], True),
        (["1970-01-01T01:00:00+01:00"], "iso", [0], True),
        (["1.25"], "unix", [5 * US // 4], True),
        (["1250"], "unix_ms", [5 * US // 4], True),
        (["2/1/1970 0:01"], "%d/%m/%Y %H:%M", [86460 * US], True),
        (["90"], "minutes", [5400], False),
        (["250"], "milliseconds", [0.25], False),
        (["25569.5"], "excel", [43200 * US], True),
        (["719529.5"], "matlab", [43200 * US], True),
        (["08:00 PM", "08:00:30 PM"], "clock", [72000, 72030], False),
        (["12:15 AM"], "clock", [900], False),
    ],
)
def test_times_are_seconds_or_microseconds_of_the_calendar(cells, how, times, calendar):
    found = read(cells, how)
    assert (found.value.tolist(), found.calendar) == (times, calendar)


moments = st.datetimes(datetime(1902, 1, 1), datetime(2250, 1, 1)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)


@settings(deadline=None)
@given(
    st.lists(moments, min_size=1, max_size=5),
    st.sampled_from(["%Y-%m-%d %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S.%f", "%m/%d/%Y %I:%M:%S.%f %p"]),
)
def test_a_moment_is_the_same_however_it_is_written(stamps, pattern):
    epoch = datetime(1970, 1, 1)
    exact = [(stamp - epoch) // timedelta(microseconds=1) for stamp in stamps]
    iso = [stamp.isoformat(sep=" ") for stamp in stamps]
    assert read(iso).value.tolist() == exact
    assert read([stamp.strftime(pattern) for stamp in stamps], pattern).value.tolist() == exact
    typed = np.array(stamps, dtype="datetime64[us]")
    assert read(typed).value.tolist() == exact
    milliseconds = [f"{own // 1000}" for own in exact]
    assert read(milliseconds, "unix_ms").value.tolist() == exact


@settings(deadline=None)
@given(st.lists(moments, min_size=1, max_size=5), st.integers(-14 * 60, 14 * 60))
def test_stamps_with_an_offset_become_utc_and_keep_it_as_their_zone(stamps, minutes):
    zone = timezone(timedelta(minutes=minutes))
    utc = [stamp.replace(tzinfo=UTC) for stamp in stamps]
    local = read([own.astimezone(zone).isoformat() for own in utc])
    assert local.value.tolist() == read([s.isoformat() for s in stamps]).value.tolist()
    assert (
        local.zone
        == f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    )


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**6), min_size=1), st.sampled_from(sorted(NUMERIC)))
def test_numbers_of_every_unit_keep_their_distances(numbers, how):
    scale_s, origin_s = NUMERIC[how]
    found = read([str(number) for number in numbers], how)
    seconds = found.value / US if found.calendar else found.value
    assert found.calendar == (origin_s is not None)
    np.testing.assert_allclose(seconds - (origin_s or 0), np.array(numbers) * scale_s, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("Time (min)", "minutes"),
        ("time_ms", "milliseconds"),
        ("t [h]", "hours"),
        ("Elapsed Seconds", "seconds"),
        ("t_us", "microseconds"),
        ("time µs", "microseconds"),
        ("days", "days"),
        ("ICULOS", "hours"),
        ("observationoffset", "minutes"),
        ("time", None),
        ("timestamp", None),
        ("charttime", None),
        ("minimum", None),
    ],
)
def test_a_name_states_its_unit(name, unit):
    assert unit_in_name(name) == unit
    assert auto(name, np.array(["1"]), Spelling()) == (unit or "seconds")


def test_a_time_without_a_unit_is_noted_once_a_file():
    bare = table(time=["0", "1"])
    times_of(bare, TimeColumns("time"))
    assert bare.notes == {"file(s) whose column 'time' states no unit, read as seconds": 1}
    for own, how in ((table(time=["0"]), "seconds"), (table(time=["0:30"]), "auto")):
        times_of(own, TimeColumns("time", how))
        assert not own.notes
    stated = table(time_s=["0"])
    assert times_of(stated, TimeColumns("time s")).value.tolist() == [0]
    assert not stated.notes


def test_numbers_of_times_have_the_tables_decimal_mark_and_not_its_missing_values():
    german = table(Spelling(decimal=","), time=["0,5", "1"])
    assert times_of(german, TimeColumns("time")).value.tolist() == [0.5, 1]
    zero = table(Spelling(missing=("0",)), time=["0", "1"])
    assert times_of(zero, TimeColumns("time")).value.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("day", "clock", "how", "seconds"),
    [
        ("2020-01-02", "07:30:00", "auto", 86400 + 27000),
        ("20200102", "7:30", "auto", 86400 + 27000),
        ("02.01.2020", "07:30", "%d.%m.%Y %H:%M", 86400 + 27000),
        ("2020-01-02", "12:30 AM", "clock", 86400 + 1800),
    ],
)
def test_a_day_and_a_clock_make_a_stamp(day, clock, how, seconds):
    own = table(date=[day], time=[clock])
    found = times_of(own, TimeColumns("time", how, "date"))
    start = np.datetime64("2020-01-01", "us").astype(np.int64)
    assert (found.value.tolist(), found.calendar) == ([start + seconds * US], True)


def test_a_count_of_days_and_a_clock_have_no_calendar():
    own = table(day=["1", "2"], time=["23:00", "01:00"])
    found = times_of(own, TimeColumns("time", "auto", "day"))
    assert (found.value.tolist(), found.calendar) == ([82800, 86400 + 3600], False)  # from day 1


def test_only_a_clock_that_stays_below_a_day_begins_again_at_midnight():
    assert read(["22:30", "06:30"]).of_day
    assert not read(["22:30", "30:30"]).of_day
    assert not read(["0", "60"]).of_day


@settings(deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2030, 1, 1)).map(
        lambda d: d.replace(microsecond=0)
    ),
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_local_times_of_both_equal_hours_become_utc(begin, zone):
    utc = [begin.replace(tzinfo=UTC) + timedelta(minutes=15 * n) for n in range(500)]
    local = [own.astimezone(ZoneInfo(zone)) for own in utc]
    assume(
        local[0].fold == 0
    )  # a file that begins in the second of two equal hours does not say so
    cells = [own.replace(tzinfo=None).isoformat(sep=" ") for own in local]
    found = read(cells, zone=zone)
    assert found.value.tolist() == [int(own.timestamp()) * US for own in utc]
    assert found.zone == zone


def test_typed_times_are_taken_as_they_are_and_an_absent_one_is_named():
    stamps = np.array(["1970-01-01T00:00:01", "NaT"], "datetime64[ns]")
    assert read(stamps[:1]).value.tolist() == [US]
    with pytest.raises(DataError, match="row 3, column 'time'"):
        read(stamps)
    apart = np.array([1500, 250], "timedelta64[ms]")
    assert read(apart).value.tolist() == [1.5, 0.25]
    known = Table(Path("t"), {"time": stamps[:1]}, 0, zones={"time": "Europe/Paris"})
    assert times_of(known, TimeColumns("time")).zone == "Europe/Paris"


@pytest.mark.parametrize(
    ("cells", "how"),
    [
        (["1", ""], "seconds"),
        (["1:00", "1:75"], "clock"),
        (["1:00", "13:00 PM"], "clock"),
        (["2020-01-01", "2020-13-01"], "iso"),
        (["2020-01-01 00:00", "2020-02-30 00:00"], "iso"),
        (["2020-01-01T00:00Z", "2020-01-01T00:01"], "auto"),
        (["2020-01-01T00:00", "2020-01-01T00:01+01:00"], "auto"),
        (["1/2/2020 8:00", "13/13/2020 8:00"], "%d/%m/%Y %H:%M"),
        (["0", "0:30"], "auto"),
        (["0:30", "5"], "auto"),
    ],
)
def test_a_time_that_is_none_is_named(cells, how):
    with pytest.raises(DataError, match="row 3, column 'time'"):
        read(cells, how)


def test_a_clock_is_seconds():
    assert seconds_of_clock("1:02:03,5") == 3723.5
    for cell in ("1", "1:2", "noon", "1:02:60", ""):
        with pytest.raises(ValueError, match=f"^{cell}$"):
            seconds_of_clock(cell)
