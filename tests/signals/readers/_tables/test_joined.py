"""Files of one subject that hold different channels are one recording."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.joined import joined
from tsfm_adapt.signals.recording import IrregularReadings, Span

START = np.datetime64("2020-01-01T00:00:00", "s")


def readings(subject, channel, rows, start_s=None, unit="1", **fields):
    time_s, value = (np.array(own, dtype=np.float64) for own in zip(*rows, strict=True))
    start = None if start_s is None else START + np.timedelta64(start_s, "s")
    return IrregularReadings(
        id=f"{subject}/{channel}",
        subject=subject,
        time_s=time_s - (start_s or 0),
        channel=np.zeros(len(time_s), dtype=np.int64),
        value=value,
        channels=(channel,),
        units=(unit,),
        start=start,
        **fields,
    )


rows = st.lists(
    st.tuples(st.integers(100, 9999), st.integers(0, 99)),
    min_size=1,
    max_size=15,
    unique_by=lambda r: r[0],
).map(sorted)


@settings(deadline=None)
@given(
    heart=rows, breath=rows, shifts=st.none() | st.tuples(st.integers(0, 99), st.integers(0, 99))
)
def test_what_is_joined_is_what_one_file_would_hold(heart, breath, shifts):
    first, second = shifts or (None, None)
    (one,) = joined([readings("p", "HR", heart, first), readings("p", "RR", breath, second)])
    begin = 0 if shifts is None else min(shifts)
    expected = sorted((t - begin, c, v) for c, own in enumerate((heart, breath)) for t, v in own)
    assert sorted(zip(one.time_s, one.channel, one.value, strict=True)) == expected
    assert (np.diff(one.time_s) >= 0).all()
    assert (one.id, one.subject, one.channels) == ("p", "p", ("HR", "RR"))
    assert one.start == (None if shifts is None else START + np.timedelta64(begin, "s"))


def test_subjects_come_in_their_order_with_notes_labels_and_facts_of_all_files():
    items = [
        readings("b", "HR", [(0, 1)], notes={"blank lines": 2}, attributes={"age": 60.0}),
        readings("a", "HR", [(0, 1)]),
        readings("b", "RR", [(0, 1)], notes={"blank lines": 1}, labels={"died": 0}, zone="+01:00"),
    ]
    b, a = joined([replace(items[0], zone="+01:00"), *items[1:]])
    assert (b.subject, a.subject) == ("b", "a")
    assert b.notes == {"blank lines": 3, "files joined with others of their subject": 2}
    assert (b.attributes, b.labels, b.zone) == ({"age": 60.0}, {"died": 0}, "+01:00")


def test_labelled_spans_are_kept_at_their_times_and_each_once():
    heart = readings("p", "HR", [(60, 1)], 60, spans=(Span(0, 30, "sleep"),))
    breath = readings("p", "RR", [(0, 1)], 0, spans=(Span(60, 90, "sleep"), Span(5, 6, "cough")))
    (one,) = joined([heart, breath])
    assert one.spans == (Span(5, 6, "cough"), Span(60, 90, "sleep"))


def test_units_are_those_of_the_first_file():
    parts = [
        readings("p", "temperature", [(0, 36)], unit="degC"),
        readings("p", "temperature", [(60, 98.6)], unit="degF"),
    ]
    (one,) = joined(parts)
    np.testing.assert_allclose(one.value, [36, 37])
    assert one.units == ("degC",)
    with pytest.raises(DataError):
        list(joined([parts[0], replace(parts[1], units=("mV",))]))


def test_what_cannot_lie_on_one_clock_or_is_held_twice_is_refused():
    with pytest.raises(DataError, match=r"p/RR has no dates.*join: false"):
        list(joined([readings("p", "HR", [(0, 1)], 0), readings("p", "RR", [(0, 1)])]))
    many = [(n, n) for n in range(20)]
    with pytest.raises(DataError, match=r"the same channel at the same times.*join: false"):
        list(joined([readings("p", "HR", many), readings("p", "HR", many)]))
