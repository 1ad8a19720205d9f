"""Several readings of one channel and time: counted, merged, spread, or refused."""

from pathlib import Path
from statistics import mean, median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.repeats import (
    merged,
    refuse,
    repeated,
    separators,
    spread,
    too_many,
)

readings = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(-9, 9)), min_size=1, max_size=40
)


def table(**columns):
    return Table(Path("t.csv"), {name: np.array(own) for name, own in columns.items()}, 2)


def arrays(rows):
    time, channel, value = (np.array(own) for own in zip(*rows, strict=True))
    return time.astype(np.float64), channel.astype(np.int64), value.astype(np.float64)


@settings(deadline=None)
@given(readings)
def test_a_reading_repeats_where_an_earlier_one_has_its_time_and_channel(rows):
    seen = set()
    expected = []
    for time, channel, _ in rows:
        expected.append((time, channel) in seen)
        seen.add((time, channel))
    time, channel, _ = arrays(rows)
    assert repeated(time, channel).tolist() == expected


@settings(deadline=None)
@given(readings, st.sampled_from(["median", "mean", "first", "last"]))
def test_merged_readings_are_one_for_each_time_and_channel(rows, how):
    rows = sorted(rows, key=lambda row: row[0])
    of = {"median": median, "mean": mean, "first": lambda v: v[0], "last": lambda v: v[-1]}[how]
    keys = sorted({(time, channel) for time, channel, _ in rows})
    expected = [of([v for t, c, v in rows if (t, c) == key]) for key in keys]
    time, channel, value = merged(*arrays(rows), how)
    assert list(zip(time, channel, strict=True)) == keys
    np.testing.assert_allclose(value, expected)
    assert not repeated(time, channel).any()


@pytest.mark.parametrize(
    ("again", "rows", "stop"), [(9, 12, False), (10, 200, False), (11, 200, True), (0, 5, False)]
)
def test_a_few_repeats_are_never_too_many(again, rows, stop):
    assert too_many(np.arange(rows) < again) == stop


@settings(deadline=None)
@given(
    count=st.integers(2, 80),
    packets=st.integers(2, 30),
    rate_hz=st.sampled_from([1.0, 64.0, 130.0, 500.0]),
    start=st.integers(0, 10**6),
)
def test_samples_of_packets_are_spread_evenly(count, packets, rate_hz, start):
    exact = start + np.arange(count * packets) / rate_hz
    stamps = np.repeat(exact[::count], count)
    own = table(time=stamps)
    found = spread(own, stamps, np.zeros(len(stamps), dtype=np.int64))
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-6 / rate_hz + 1e-9 * start)
    ((note, rows),) = own.notes.items()
    assert f"{rate_hz:g} Hz" in note
    assert rows == len(stamps)


def test_packets_of_unequal_length_keep_one_interval_and_gaps_stay_gaps():
    lengths = [10, 12, 10, 11, 10]
    begin = np.array([0.0, 0.10, 0.22, 5.0, 5.11])  # at 100 Hz, with a gap
    stamps = np.repeat(begin, lengths)
    found = spread(table(time=stamps), stamps, np.zeros(len(stamps), dtype=np.int64))
    np.testing.assert_allclose(np.diff(found[:32]), 0.01)
    np.testing.assert_allclose(np.diff(found[32:]), 0.01)
    assert (found[0], found[32]) == (0, 5)


def test_records_are_spread_each_by_itself_also_where_they_are_mixed():
    stamps = np.repeat([0.0, 1.0, 2.0], 4)
    both = np.repeat(stamps, 2)
    group = np.tile([0, 1], 12)
    found = spread(table(time=both), both, group)
    for number in (0, 1):
        np.testing.assert_allclose(found[group == number], np.arange(12) / 4)


def test_one_packet_has_no_rate():
    with pytest.raises(DataError, match=r"t\.csv: .*packets needs two stamps.*rate_hz"):
        spread(table(time=[0.0, 0.0]), np.zeros(2), np.zeros(2, dtype=np.int64))


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        ({"bed": list("ab") * 6}, ["bed"]),
        ({"x": ["1.5", "2.5"] * 6}, []),  # measured
        ({"bed": ["a", ""] * 6}, []),  # not in every row
        ({"bed": ["a"] * 12}, []),
        ({"bed": ["a", "a", "b", "b"] * 3}, []),  # does not tell them apart
        ({"row": [str(n) for n in range(12)]}, []),  # tells every row apart
        ({"bed": list("ab") * 6, "patient_id": list("xy") * 6}, ["patient_id", "bed"]),
    ],
)
def test_columns_tell_rows_of_one_key_apart(columns, found):
    assert separators(table(**columns), np.repeat(np.arange(6), 2)) == found


def test_a_refusal_shows_rows_and_the_column_that_would_help():
    cells = {"time": np.repeat(["0", "1", "2"], 4), "HR": ["70"] * 12, "bed": list("abcd") * 3}
    rows = np.arange(12)
    key = np.repeat(np.arange(3), 4)
    again = np.tile([False, True, True, True], 3)
    with pytest.raises(Undecided, match=r"9 of 12 do \(row 2: time=0.*'bed' tells") as asked:
        refuse(table(**cells), rows, key, rows, again, {"time", "HR"})
    assert asked.value.settings == {"subject": "bed"}
    with pytest.raises(Undecided, match=r"No column tells them apart.*packets") as asked:
        refuse(table(**cells), rows, key, rows, again, {"time", "HR", "bed"})
    assert asked.value.settings == {"duplicates": "median"}
