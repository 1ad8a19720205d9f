"""Channels of several rates on one clock, and the words for it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import channels_of_first, clean
from tsfm_adapt.signals.rates import ChannelRate, channel_rates
from tsfm_adapt.signals.recording import IrregularReadings, Recording, Span

NAN = np.nan


def part(name, values, rate_hz, stretch="night", **fields):
    return Recording(
        id=f"{stretch}/{rate_hz:g}Hz",
        subject="s",
        values=np.atleast_2d(np.asarray(values, float)),
        channels=(name,),
        units=("uV",),
        rate_hz=rate_hz,
        multirate_id=stretch,
        **fields,
    )


def readings(name, time_s, values, stretch="night", **fields):
    return IrregularReadings(
        id=f"{stretch}/readings",
        subject="s",
        time_s=np.asarray(time_s, float),
        channel=np.zeros(len(time_s), np.int64),
        value=np.asarray(values, float),
        channels=(name,),
        units=("uV",),
        multirate_id=stretch,
        **fields,
    )


def plan(*names, rate_hz, **rules):
    return CleaningPlan(tuple(ChannelPlan(n, "uV", n) for n in names), rate_hz, **rules)


def only(parts, rules):
    (recording,) = clean(parts, rules)
    return recording


def test_a_slow_channel_is_measured_at_its_own_samples_only():
    parts = [part("temp", [36, 37], 1.0), part("eeg", np.arange(8.0), 4.0)]
    recording = only(parts, plan("eeg", "temp", rate_hz=4.0))
    assert (recording.id, recording.multirate_id, recording.rate_hz) == ("night", None, 4.0)
    assert (recording.channels, recording.units) == (("eeg", "temp"), ("uV", "uV"))
    expected = [np.arange(8.0), [36, NAN, NAN, NAN, 37, NAN, NAN, NAN]]
    np.testing.assert_array_equal(recording.values, expected)


rates = st.sampled_from([0.5, 1.0, 2.0, 5.0, 62.5, 100.0, 128.0])


@settings(deadline=None, max_examples=60)
@given(
    pair=st.lists(rates, min_size=2, max_size=2, unique=True),
    seconds=st.integers(2, 40),
    bin_s=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    resample=st.sampled_from(["median", "mean", "last"]),
    seed=st.integers(0, 2**16),
)
def test_each_channel_is_binned_as_if_it_were_alone(pair, seconds, bin_s, resample, seed):
    rng = np.random.default_rng(seed)
    parts = []
    for name, rate_hz in zip("ab", sorted(pair), strict=True):
        values = rng.normal(size=max(int(seconds * rate_hz), 1))
        values[rng.random(len(values)) < 0.2] = NAN
        values[0] = 1.0
        parts.append(part(name, values, rate_hz))
    rules = plan("a", "b", rate_hz=1 / bin_s, resample=resample, ranges={"a": (-2, 2)})
    if min(pair) < rules.rate_hz:
        return  # a slow channel alone is refused
    together = only(parts, rules).values
    for row, piece in zip(together, parts, strict=True):
        name = piece.channels[0]
        limits = {"a": (-2.0, 2.0)} if name == "a" else {}
        own = replace(piece, multirate_id=None)
        alone = only([own], plan(name, rate_hz=1 / bin_s, resample=resample, ranges=limits))
        np.testing.assert_array_equal(row[: alone.samples], alone.values[0])
        assert np.isnan(row[alone.samples :]).all()


@settings(deadline=None, max_examples=60)
@given(slow=rates, fast=rates, samples=st.integers(1, 50))
def test_no_sample_of_a_slow_channel_is_lost_moved_or_repeated(slow, fast, samples):
    if slow >= fast:
        return
    values = 1.0 + np.arange(samples)
    length = int(np.ceil(samples / slow * fast))
    parts = [part("slow", values, slow), part("fast", np.zeros(length), fast)]
    row = only(parts, plan("slow", "fast", rate_hz=fast)).values[0]
    at = np.flatnonzero(np.isfinite(row))
    np.testing.assert_array_equal(row[at], values)
    lag_s = np.arange(samples) / slow - at / fast
    assert (lag_s > -1e-6).all()
    assert (lag_s < 1 / fast).all()


def test_readings_and_samples_share_the_clock_of_the_stretch():
    parts = [readings("hr", [0.4, 2.9, 5.0], [60, 61, 62]), part("ecg", np.arange(8.0), 2.0)]
    recording = only(parts, plan("hr", "ecg", rate_hz=1.0))
    np.testing.assert_array_equal(recording.values[0], [60, NAN, 61, NAN, NAN, 62])
    np.testing.assert_array_equal(recording.values[1], [0.5, 2.5, 4.5, 6.5, NAN, NAN])


def test_a_stretch_is_cut_where_none_of_its_channels_is_measured():
    slow = [1, NAN, NAN, NAN, 5, 6]
    fast = np.where(np.arange(12) < 3, 1.0, NAN)
    spans = (Span(4.0, 6.0, "N2"),)
    parts = [part("a", slow, 1.0, spans=spans), part("b", fast, 2.0, spans=spans)]
    first, second = clean(parts, plan("a", "b", rate_hz=1.0, max_gap_s=2))
    assert (first.id, first.samples) == ("night#1", 2)
    assert (second.id, second.samples) == ("night#2", 2)
    assert second.spans == (Span(0.0, 2.0, "N2"),)


def test_a_clock_that_no_channel_reaches_is_refused():
    parts = [part("a", [1, 2], 1.0), part("b", [1, 2, 3, 4], 2.0)]
    with pytest.raises(DataError, match=r"night has 2 samples a second, 4 are .*rate_hz: 2"):
        clean(parts, plan("a", "b", rate_hz=4.0))
    with pytest.raises(DataError, match="has 1 samples a second, 2 are asked for"):
        clean(parts, plan("a", rate_hz=2.0))


def test_stretches_in_a_row_stay_apart_and_one_without_values_is_listed():
    parts = [
        part("a", [1, 2], 1.0, "n1"),
        part("b", [1, 2, 3, 4], 2.0, "n1"),
        part("a", [3, 4], 1.0, "n2"),
        part("b", [NAN] * 4, 2.0, "n2"),
        part("a", [NAN, NAN], 1.0, "n3"),
        part("b", [NAN] * 4, 2.0, "n3"),
    ]
    cleaned = clean(parts, plan("a", "b", rate_hz=1.0))
    assert [r.id for r in cleaned] == ["n1", "n2"]
    np.testing.assert_array_equal(cleaned.recordings[1].values, [[3, 4], [NAN, NAN]])
    assert dict(cleaned.left_out) == {"n3": "has no measured value in the named channels"}


def test_parts_are_read_one_after_the_other():
    alive = []

    def read():
        for number in range(4):
            alive.append(number)
            yield part(
                "ab"[number % 2],
                [1.0] * 2 ** (number % 2 + 1),
                number % 2 + 1.0,
                f"n{number // 2}",
            )

    names = channels_of_first(read())
    assert names == ("a", "b")
    assert len(alive) == 3  # the first part of the next stretch ends this one


def test_the_plan_says_what_happens_to_each_channel():
    rules = plan("eeg", "temp", "hr", "ecg", rate_hz=100.0)
    parts = [
        part("temp", [36, 37], 1.0),
        part("eeg", np.zeros(200), 100.0),
        part("ecg", np.zeros(500), 250.0),
        readings("hr", [0, 1], [60, 61]),
    ]
    found = channel_rates(clean(parts, rules).rates, rules)
    assert found[0] == ChannelRate("eeg", "eeg", 100.0, 100.0, "as is")
    assert [entry.how for entry in found[1:]] == [
        "sparse: a value in 1 of 100 samples",
        "median of the readings in each 0.01 s",
        "median of 2 or 3 samples",
    ]


def test_the_plan_lists_every_rate_at_which_files_hold_a_channel():
    rules = plan("a", rate_hz=1.0, resample="mean")
    parts = [
        replace(part("a", np.ones(60), rate_hz, f"n{rate_hz}"), multirate_id=None)
        for rate_hz in (2.0, 1.0, 2.0)
    ]
    found = channel_rates(clean(parts, rules).rates, rules)
    assert [(entry.found_hz, entry.how) for entry in found] == [
        (1.0, "as is"),
        (2.0, "mean of 2 samples"),
    ]
