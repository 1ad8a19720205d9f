"""Times that run backwards: what is sure is done, what is not is asked about."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.order import SORTED, in_order, meaning_of
from tsfm_adapt.signals.readers._tables.times import DAY_S, Times

US = 1_000_000


def table(times):
    return Table(Path("t.csv"), {"time": np.array([str(own) for own in times.value])}, 2)


def clock(seconds):
    return Times(np.array(seconds, dtype=np.float64) % DAY_S, calendar=False, of_day=True)


def stamps(seconds):
    return Times(np.round(np.array(seconds, dtype=np.float64) * US).astype(np.int64), True)


def elapsed(seconds):
    return Times(np.array(seconds, dtype=np.float64), calendar=False)


def ordered(times, group=None, series=None, backward=None):
    own = table(times)
    groups = np.zeros(len(times.value), dtype=np.int64) if group is None else np.array(group)
    value, divided = in_order(
        own, "time", times, groups, None if series is None else np.array(series), backward
    )
    return value / US if times.calendar else value, divided, own.notes


@settings(deadline=None)
@given(
    begin=st.integers(0, DAY_S - 1),
    step=st.integers(1, 3 * 3600),
    count=st.integers(1, 200),
    newest_first=st.booleans(),
)
def test_a_clock_past_midnight_rises(begin, step, count, newest_first):
    exact = begin + step * np.arange(count)
    turn = slice(None, None, -1 if newest_first else 1)
    value, divided, notes = ordered(clock(exact[turn]))
    midnights = (exact[-1] // DAY_S) - (begin // DAY_S)
    if newest_first and midnights and 9 * midnights >= count - 1 - midnights:
        return  # too few rows a day to tell in which direction the file runs
    np.testing.assert_array_equal(value[turn] - value[turn][0], exact - begin)
    assert sum(notes.values()) == midnights
    assert not divided.any()


def test_clocks_of_several_people_pass_midnight_each_by_itself():
    exact = np.array([80_000, 84_000, 88_000, 92_000])
    times = np.concatenate([exact, exact + 7000])
    blocks, _, _ = ordered(clock(times), [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(blocks[:4] - blocks[0], exact - exact[0])
    np.testing.assert_array_equal(blocks[4:] % DAY_S, (exact + 7000) % DAY_S)
    assert (np.diff(blocks[4:]) > 0).all()
    mixed = [0, 4, 1, 5, 2, 6, 3, 7]
    value, _, _ = ordered(clock(times[mixed]), [n // 4 for n in mixed])
    np.testing.assert_array_equal(value[np.argsort(mixed)], blocks)


@settings(deadline=None)
@given(st.permutations(range(60)))
def test_rows_in_no_order_are_left_to_be_sorted(order):
    for times in (stamps(np.array(order) * 60), elapsed(np.array(order) * 60)):
        try:
            value, divided, notes = ordered(times)
        except Undecided:
            continue  # a few steps back may mean a thing
        np.testing.assert_array_equal(value, np.array(order) * 60)
        assert not divided.any()
        assert (SORTED in notes) or order in ([*range(60)], [*range(60)][::-1])


@settings(deadline=None)
@given(st.lists(st.integers(8 * 60, 20 * 60), min_size=2, max_size=4, unique=True))
def test_a_few_clocks_on_each_of_some_days_are_never_sorted_into_one_day(minutes):
    day = [60 * own for own in sorted(minutes)]
    times = clock([own + shift for shift in (0, 7, 13, 29) for own in day])
    exact = [own + shift + DAY_S * n for n, shift in enumerate((0, 7, 13, 29)) for own in day]
    assume(4 * 3600 + 60 < day[-1] - day[0] < 12 * 3600)
    with pytest.raises(Undecided, match="passes midnight") as asked:
        ordered(times)
    assert asked.value.settings == {"backward": "midnight"}
    value, _, _ = ordered(times, backward="midnight")
    assert value.tolist() == exact


@pytest.mark.parametrize("interval", [60, 300, 600, 900, 1800])
def test_the_end_of_summer_time_is_asked_about_and_keeps_both_hours_apart(interval):
    exact = np.arange(0, 24 * 3600, interval)
    local = np.where(exact < 3 * 3600, exact, exact - 3600)
    with pytest.raises(Undecided, match="summer time ends") as asked:
        ordered(stamps(local))
    assert asked.value.settings == {"backward": "summer_time"}
    value, _, notes = ordered(stamps(local), backward="summer_time")
    np.testing.assert_array_equal(value, exact)
    assert list(notes.values()) == [1]
    none = np.zeros(len(exact), dtype=np.int64)
    assert meaning_of(table(stamps(local)), "time", stamps(local), none) == "summer_time"
    assert meaning_of(table(stamps(exact)), "time", stamps(exact), none) is None


@pytest.mark.parametrize(
    ("times", "likely"),
    [
        (stamps([*range(0, 7200, 60), *(n - DAY_S for n in range(7260, 14400, 60))]), "midnight"),
        (elapsed([*range(0, 7200, 60), *range(0, 7200, 60)]), "session"),
        (clock([*range(30000, 37200, 60), *range(30600, 37800, 60)]), "midnight"),
    ],
)
def test_a_step_back_that_may_mean_two_things_is_asked_about_with_its_rows(times, likely):
    with pytest.raises(Undecided, match=r"t\.csv, row \d+, column 'time': .*backwards") as asked:
        ordered(times)
    assert asked.value.settings == {"backward": likely}
    row = int(np.flatnonzero(np.diff(times.value) < 0)[0]) + 1
    assert f"row {row + 2}," in str(asked.value)
    value, divided, notes = ordered(times, backward=likely)
    assert sum(notes.values()) == 1
    for number in np.unique(divided):
        assert (np.diff(value[divided == number]) > 0).all()
    assert len(np.unique(divided)) == (2 if likely == "session" else 1)


def test_sessions_divide_each_record_and_a_long_tables_channels_alike():
    one = [0, 1, 2, 0, 1, 2]
    value, divided, _ = ordered(
        elapsed([*one, *one]), [0] * 12, [0] * 6 + [1] * 6, backward="session"
    )
    assert value.tolist() == [*one, *one]
    assert divided.tolist() == [0, 0, 0, 1, 1, 1] * 2
    _, divided, _ = ordered(elapsed([*one, *one]), [0] * 6 + [1] * 6, backward="session")
    assert divided.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]


def test_times_that_rise_within_each_record_are_left_alone():
    times = elapsed([0, 5, 1, 6, 2, 7])
    value, divided, notes = ordered(times, [0, 1, 0, 1, 0, 1])
    assert value is times.value
    assert divided.tolist() == [0, 1] * 3
    assert not notes
    channels, _, notes = ordered(elapsed([0, 1, 2, 0, 1, 2]), series=[0, 0, 0, 1, 1, 1])
    assert channels.tolist() == [0, 1, 2, 0, 1, 2]
    assert not notes


def test_a_meaning_that_is_set_is_taken():
    times = stamps([0, 60, 30, 90])
    value, _, notes = ordered(times, backward="sort")
    assert value.tolist() == [0, 60, 30, 90]
    assert notes == {SORTED: 1}
    value, _, _ = ordered(times, backward="midnight")
    assert value.tolist() == [0, 60, 30 + DAY_S, 90 + DAY_S]
