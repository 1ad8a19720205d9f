import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.binning import bin_readings, cut_at_gaps, to_rate
from tsfm_adapt.signals.recording import IrregularReadings, Recording, Span

NAN = np.nan


def recording(*rows, rate_hz=1.0, **fields):
    values = np.array(rows, dtype=np.float64)
    names = tuple(f"c{i}" for i in range(len(rows)))
    return Recording("r", "s", values, names, ("mV",) * len(rows), rate_hz, **fields)


def events(time_s, value, channel=None, channels=1, **fields):
    names = tuple(f"c{i}" for i in range(channels))
    numbers = np.zeros(len(time_s)) if channel is None else channel
    return IrregularReadings(
        "e",
        "s",
        np.array(time_s, dtype=np.float64),
        np.array(numbers, dtype=np.int64),
        np.array(value, dtype=np.float64),
        names,
        ("mV",) * channels,
        **fields,
    )


@pytest.mark.parametrize(
    ("resample", "expected"),
    [("median", [2.0, 5.5, NAN]), ("mean", [3.0, 5.5, NAN]), ("last", [6.0, 5.0, NAN])],
)
def test_a_bin_summarises_its_measured_values_and_an_empty_one_stays_missing(resample, expected):
    source = recording([1, 2, 6, 6, NAN, 5, NAN, NAN, NAN])
    np.testing.assert_array_equal(to_rate(source, 1 / 3, resample).values, [expected])


def test_a_recording_whose_rate_is_rounded_in_its_header_is_not_binned():
    source = recording([1, 2, 3], rate_hz=0.01667)
    result = to_rate(source, 1 / 60, "median")
    assert result.values is source.values
    assert result.rate_hz == 1 / 60


def test_a_slower_recording_is_refused_with_the_rate_it_has():
    with pytest.raises(DataError, match=r"r has 0\.2 samples.*rate_hz: 0\.2 or less"):
        to_rate(recording([1, 2], rate_hz=0.2), 1.0, "median")


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 400), st.floats(0.02, 0.95), st.sampled_from([1.0, 4.0, 125.0, 360.0]))
def test_every_sample_falls_into_the_bin_of_its_time_whatever_the_rates(samples, share, rate_hz):
    target_hz = rate_hz * share
    index = np.arange(samples, dtype=np.float64)
    result = to_rate(recording(index, rate_hz=rate_hz), target_hz, "last").values[0]
    last = np.floor(result[np.isfinite(result)])
    assert last[-1] == samples - 1
    bins = np.flatnonzero(np.isfinite(result))
    slack = 1e-5 / target_hz
    assert (last / rate_hz < (bins + 1) / target_hz + slack).all()
    assert ((last[:-1] + 1) / rate_hz >= (bins[:-1] + 1) / target_hz - slack).all()


def test_several_events_in_a_bin_give_their_median_and_empty_bins_are_missing():
    source = events([10, 20, 30, 61, 250], [1, 2, 9, 7, 4], channel=[0, 0, 0, 1, 0], channels=2)
    (result,) = bin_readings(source, 1 / 60, "median", None)
    np.testing.assert_array_equal(result.values, [[2, NAN, NAN, NAN, 4], [NAN, 7, NAN, NAN, NAN]])


def test_a_stated_duration_fixes_the_number_of_bins():
    (result,) = bin_readings(
        events([3600, 7199], [1, 3], duration_s=172800), 1 / 3600, "median", None
    )
    assert result.values.shape == (1, 48)
    assert result.values[0, 1] == 2
    assert np.isfinite(result.values).sum() == 1
    (nothing,) = bin_readings(events([], [], duration_s=172800), 1 / 3600, "median", None)
    assert nothing.values.shape == (1, 48)
    assert np.isnan(nothing.values).all()
    (partial,) = bin_readings(events([89.9999999], [5], duration_s=90), 1 / 60, "median", None)
    np.testing.assert_array_equal(partial.values, [[NAN, 5]])


def test_no_events_of_unknown_length_give_no_recording():
    assert bin_readings(events([], []), 1.0, "median", None) == []
    assert bin_readings(events([], [], duration_s=60), 1.0, "median", 5.0) == []


def test_a_gap_of_417_days_makes_two_pieces_and_no_417_day_grid():
    gap_s = 417 * 86400.0
    source = events(
        [120, 430, gap_s, gap_s + 310],
        [1, 2, 3, 4],
        start=np.datetime64("2014-02-03T08:42:12", "s"),
        spans=(Span(400, 500, "meal"),),
    )
    first, second = bin_readings(source, 1 / 300, "median", 1800.0)
    assert (first.id, second.id) == ("e#1", "e#2")
    np.testing.assert_array_equal(first.values, [[1, 2]])
    np.testing.assert_array_equal(second.values, [[3, 4]])
    assert first.start == np.datetime64("2014-02-03T08:44:12")
    assert second.start - first.start == np.timedelta64(int(gap_s) - 120, "s")
    assert first.spans == (Span(280, 380, "meal"),)
    assert second.spans == ()


def test_a_year_between_two_readings_at_a_high_rate_is_refused_before_any_grid_is_made():
    few = events([0.0, 0.5, 365 * 86400.0], [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match=r"365 days.*max_gap_s"):
        bin_readings(few, 250.0, "median", max_gap_s=None)
    assert [piece.samples for piece in bin_readings(few, 250.0, "median", max_gap_s=60)] == [
        126,
        1,
    ]


def test_readings_exactly_the_longest_gap_apart_are_not_cut():
    (whole,) = bin_readings(events([0, 1800], [1, 2]), 1 / 300, "median", 1800.0)
    assert whole.id == "e"
    assert whole.samples == 7
    assert len(bin_readings(events([0, 1801], [1, 2]), 1 / 300, "median", 1800.0)) == 2


def test_a_recording_is_cut_where_no_channel_has_a_value_for_too_long():
    source = recording(
        [NAN, 1, NAN, NAN, NAN, NAN, 2, 3, NAN],
        [NAN, NAN, NAN, 5, NAN, NAN, NAN, 6, NAN],
        start=np.datetime64("2020-01-01T00:00:00", "s"),
    )
    first, second = cut_at_gaps(source, 2.0)
    assert (first.id, second.id) == ("r#1", "r#2")
    np.testing.assert_array_equal(first.values, [[1, NAN, NAN], [NAN, NAN, 5]])
    np.testing.assert_array_equal(second.values, [[2, 3], [NAN, 6]])
    assert second.start == np.datetime64("2020-01-01T00:00:06")
    assert np.shares_memory(second.values, source.values)
    (whole,) = cut_at_gaps(source, 3.0)
    assert (whole.id, whole.samples) == ("r", 7)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(1, 8),
)
def test_cutting_loses_no_measured_value_and_leaves_no_longer_gap(values, max_gap):
    source = recording([NAN if v is None else v for v in values])
    pieces = cut_at_gaps(source, float(max_gap))
    joined = np.concatenate([p.values[0] for p in pieces]) if pieces else np.empty(0)
    measured = source.values[0][np.isfinite(source.values[0])]
    np.testing.assert_array_equal(joined[np.isfinite(joined)], measured)
    for piece in pieces:
        rows = np.flatnonzero(np.isfinite(piece.values[0]))
        assert rows[0] == 0
        assert rows[-1] == piece.samples - 1
        assert (np.diff(rows) <= max_gap).all()
