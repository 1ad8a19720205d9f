from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.recording import IrregularReadings, Recording

NAN = np.nan
START = np.datetime64("2896-10-10T00:31:25", "s")


def recording(rows, units=None, rate_hz=1.0, id="r", dtype=np.float64, **fields):
    return Recording(
        id=id,
        subject="s",
        values=np.array(list(rows.values()), dtype=dtype),
        channels=tuple(rows),
        units=units or ("bpm",) * len(rows),
        rate_hz=rate_hz,
        **fields,
    )


def as_events(source, **fields):
    """The measured values of a recording, one channel after the other."""
    channel, sample = np.nonzero(np.isfinite(source.values))
    return IrregularReadings(
        source.id,
        source.subject,
        sample / source.rate_hz,
        channel,
        source.values[channel, sample],
        source.channels,
        source.units,
        start=source.start,
        **fields,
    )


def plan(*names, rate_hz=1.0, **rules):
    channels = tuple(
        name if isinstance(name, ChannelPlan) else ChannelPlan(name, "bpm", name) for name in names
    )
    return CleaningPlan(channels, rate_hz, **rules)


def only(source, rules):
    (result,) = clean([source], rules)
    return result


# --- channels and units


def test_channels_are_picked_renamed_and_converted():
    source = recording({"T": [98.6, 104.0], "HR": [60, 70]}, units=("degF", "bpm"))
    result = only(source, plan("HR", ChannelPlan("Temp", "degC", "T")))
    assert result.channels == ("HR", "Temp")
    assert result.units == ("bpm", "degC")
    np.testing.assert_allclose(result.values, [[60, 70], [37, 40]])


def test_from_unit_overrides_what_the_file_says():
    source = recording({"ABP": [16.0]}, units=("mmHg",))
    result = only(source, plan(ChannelPlan("ABP", "mmHg", "ABP", from_unit="kPa")))
    assert result.values[0, 0] == pytest.approx(120.01, abs=0.01)


@pytest.mark.parametrize("unit", ["", "mV"])
def test_a_unit_that_does_not_convert_stops_with_channel_and_recording(unit):
    with pytest.raises(DataError, match=r"data\.channels\.HR of r: .*from_unit"):
        clean([recording({"HR": [1.0]}, units=(unit,))], plan("HR"))


def test_only_a_channel_called_glucose_converts_between_mass_and_amount():
    source = recording({"gl": [5.5]}, units=("mmol/L",))
    result = only(source, plan(ChannelPlan("glucose", "mg/dL", "gl")))
    assert result.values[0, 0] == pytest.approx(99.086, abs=1e-3)
    with pytest.raises(DataError, match="known substance"):
        clean([source], plan(ChannelPlan("lactate", "mg/dL", "gl")))


def test_a_channel_that_one_recording_lacks_is_all_missing_there():
    both = recording({"HR": [60.0], "RESP": [12.0]}, id="both")
    one = recording({"HR": [61.0]}, id="one")
    result = clean([both, one], plan("HR", "RESP"))
    np.testing.assert_array_equal(result.recordings[1].values, [[61], [NAN]])
    assert dict(result.left_out) == {}


def test_a_channel_that_every_recording_lacks_is_named_with_a_close_one():
    with pytest.raises(DataError, match=r"channel 'SPO2'\. Did you mean 'SpO2'\? Found: HR, SpO2"):
        clean([recording({"HR": [60.0], "SpO2": [97.0]})], plan("HR", "SPO2"))


FP1 = ChannelPlan("FP1", "uV", ("FP1-REF", "FP1-LE"))


def montage(id, rate_hz=1.0, **rows):
    named = {name.replace("_", "-"): row for name, row in rows.items()}
    return recording(named, ("uV",) * len(named), rate_hz, id)


@pytest.mark.parametrize("events", [False, True])
def test_of_several_sources_each_recording_gives_the_one_that_it_has(events):
    source = [montage("a", FP1_REF=[1, 2], x=[0, 0]), montage("b", FP1_LE=[3, 4])]
    cleaned = clean(map(as_events, source) if events else source, plan(FP1))
    assert [r.values.tolist() for r in cleaned] == [[[1, 2]], [[3, 4]]]
    assert [r.channels for r in cleaned] == [("FP1",)] * 2
    assert cleaned.notes == {
        "recordings with FP1 from 'FP1-REF'": 1,
        "recordings with FP1 from 'FP1-LE'": 1,
    }


def test_where_a_recording_has_several_sources_the_first_one_of_the_plan_is_taken_and_noted():
    cleaned = clean([montage("a", FP1_LE=[3, NAN], FP1_REF=[NAN, 2])], plan(FP1))
    np.testing.assert_array_equal(cleaned.recordings[0].values, [[NAN, 2]])
    assert cleaned.notes == {
        "recordings with FP1 from 'FP1-REF'": 1,
        "recordings with several sources of FP1, the first one taken": 1,
    }


@pytest.mark.parametrize("first", ["FP1_REF", "FP1_LE"])
def test_of_sources_at_two_rates_the_first_one_of_the_plan_is_taken_too(first):
    other = {"FP1_REF": "FP1_LE", "FP1_LE": "FP1_REF"}[first]
    values = {"FP1_REF": 1.0, "FP1_LE": 2.0}
    parts = [
        replace(montage("a1", 1.0, **{first: [values[first]] * 4}), multirate_id="a"),
        replace(montage("a2", 2.0, **{other: [values[other]] * 8}), multirate_id="a"),
    ]
    (cleaned,) = clean(parts, plan(FP1))
    np.testing.assert_array_equal(cleaned.values, [[1.0] * 4])


def test_sources_that_no_recording_has_are_all_named():
    with pytest.raises(DataError, match=r"no recording has a channel 'FP1-REF' or 'FP1-LE'\."):
        clean([montage("a", C3_REF=[1, 2])], plan(FP1))


def test_channels_that_nothing_has_are_named_though_the_reader_yields_only_named_ones():
    nothing = Recording("r", "s", np.empty((0, 5)), (), (), 1.0)
    with pytest.raises(DataError, match=r"channel 'HR'\. Found: none of the names"):
        clean([nothing], plan("HR"))


def test_a_rule_for_an_unknown_channel_is_a_recipe_error():
    with pytest.raises(RecipeError, match=r"ranges: 'Hr'.*Did you mean 'HR'"):
        plan("HR", ranges={"Hr": (10, 300)})


# --- fixed rules


def test_zero_is_missing_only_where_named_and_before_units_convert():
    source = recording({"T": [0.0, 32.0], "HR": [0.0, 60.0]}, units=("degF", "bpm"))
    result = only(source, plan(ChannelPlan("T", "degC", "T"), "HR", zero_is_missing=("T",)))
    np.testing.assert_array_equal(result.values, [[NAN, 0.0], [0.0, 60.0]])


def test_limits_hold_in_the_new_unit_and_include_their_ends():
    source = recording({"T": [50.0, 98.6, 120.0, np.inf]}, units=("degF",))
    rules = plan(ChannelPlan("T", "degF", "T"), ranges={"T": (50.0, 98.6)})
    np.testing.assert_array_equal(only(source, rules).values, [[50.0, 98.6, NAN, NAN]])
    celsius = plan(ChannelPlan("T", "degC", "T"), ranges={"T": (30.0, 45.0)})
    np.testing.assert_array_equal(
        np.isfinite(only(source, celsius).values), [[False, True, False, False]]
    )


def test_a_flat_line_is_removed_from_the_moment_it_is_too_long():
    source = recording({"HR": [70, 80, 80, 80, NAN, 80, 80, 81, 81]})
    result = only(source, plan("HR", flatline_s={"HR": 2.0}))
    np.testing.assert_array_equal(result.values, [[70, 80, 80, 80, NAN, NAN, NAN, 81, 81]])


def test_a_flat_line_that_no_rule_names_is_kept():
    steady = recording({"SpO2": [100.0] * 60, "HR": [70.0] * 60}, units=("%", "bpm"))
    rules = plan(ChannelPlan("SpO2", "%", "SpO2"), "HR", flatline_s={"HR": 10.0})
    result = only(steady, rules)
    assert (result.values[0] == 100).all()
    np.testing.assert_array_equal(np.isfinite(result.values[1]), np.arange(60) <= 10)


def test_constant_and_all_missing_channels_survive():
    source = recording({"HR": [70.0] * 6, "RESP": [NAN] * 6})
    result = only(source, plan("HR", "RESP", rate_hz=0.5, max_gap_s=10.0))
    np.testing.assert_array_equal(result.values, [[70] * 3, [NAN] * 3])


# --- what is copied


def test_a_memory_mapped_recording_passes_through_where_nothing_changes(tmp_path):
    np.save(tmp_path / "v.npy", np.arange(30, dtype=np.float32).reshape(3, 10))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    source = replace(recording({"a": [1.0], "b": [1.0], "c": [1.0]}), values=mapped)
    result = only(source, plan("b", "c", ranges={"b": (0, 100)}, zero_is_missing=("c",)))
    assert np.shares_memory(result.values, mapped)
    np.testing.assert_array_equal(result.values, mapped[1:])
    reordered = only(source, plan("c", "b"))
    np.testing.assert_array_equal(reordered.values, mapped[[2, 1]])
    assert reordered.values.dtype == np.float32


def test_cleaning_never_writes_into_the_readers_values():
    source = recording({"HR": [0.0, 500.0, 70.0, 70.0, 70.0]})
    before = source.values.copy()
    clean(
        [source],
        plan("HR", zero_is_missing=("HR",), ranges={"HR": (1, 300)}, flatline_s={"HR": 1}),
    )
    np.testing.assert_array_equal(source.values, before)


def test_single_precision_stays_single_precision():
    source = recording({"HR": [0.0, 70.0]}, dtype=np.float32)
    assert only(source, plan("HR", zero_is_missing=("HR",))).values.dtype == np.float32
    assert only(source, plan("HR", rate_hz=0.5)).values.dtype == np.float32
    millivolt = plan(ChannelPlan("HR", "mV", "HR", from_unit="uV"))
    assert only(source, millivolt).values.dtype == np.float32


# --- what is left out


def test_what_has_nothing_measured_is_left_out_with_the_reason():
    kept = clean(
        [
            recording({"HR": [60.0]}, id="good"),
            recording({"ECG": [0.1]}, id="other"),
            recording({"HR": [NAN, NAN]}, id="missing"),
            recording({"HR": []}, id="empty"),
            recording({"HR": [900.0]}, id="impossible"),
        ],
        plan("HR", ranges={"HR": (10, 300)}),
    )
    assert [r.id for r in kept] == ["good"]
    assert kept.left_out == {
        "other": "has none of the named channels, only: ECG",
        "missing": "has no measured value in the named channels",
        "empty": "has no measured value in the named channels",
        "impossible": "has no measured value in the named channels",
    }


def test_a_stay_of_stated_length_is_kept_though_nothing_was_charted():
    charted = as_events(recording({"HR": [60.0]}, id="a"), duration_s=7200.0)
    nothing = as_events(recording({"HR": [NAN]}, id="b"), duration_s=7200.0)
    result = clean([charted, nothing], plan("HR", rate_hz=1 / 3600))
    assert [r.id for r in result] == ["a", "b"]
    np.testing.assert_array_equal(result.recordings[1].values, [[NAN, NAN]])


@pytest.mark.parametrize(
    "source",
    [
        [],
        [recording({"HR": [NAN]})],
        [as_events(recording({"HR": [NAN]}), duration_s=60.0)],
    ],
)
def test_nothing_left_stops(source):
    with pytest.raises(DataError, match="No measured value is left") as error:
        clean(source, plan("HR"))
    assert error.value.exit_code == 3


# --- events


def test_events_outside_the_stay_belong_to_no_bin():
    source = IrregularReadings(
        "e",
        "s",
        np.array([172800.0, -1.0, 172799.0, 0.0]),
        np.zeros(4, dtype=np.int64),
        np.array([1.0, 2.0, 3.0, 4.0]),
        ("HR",),
        ("bpm",),
        duration_s=172800.0,
    )
    values = only(source, plan("HR", rate_hz=1 / 3600)).values[0]
    assert values.shape == (48,)
    assert (values[0], values[47], np.isfinite(values).sum()) == (4, 3, 2)


def test_gaps_count_between_events_that_survive_the_rules():
    times = np.array([0.0, 1000.0, 2000.0])
    source = IrregularReadings(
        "e", "s", times, np.zeros(3, dtype=np.int64), np.array([5.0, 0.0, 6.0]), ("HR",), ("bpm",)
    )
    assert len(clean([source], plan("HR", rate_hz=1 / 300, max_gap_s=1500.0))) == 1
    rules = plan("HR", rate_hz=1 / 300, max_gap_s=1500.0, zero_is_missing=("HR",))
    assert [r.id for r in clean([source], rules)] == ["e#1", "e#2"]


def test_unsorted_events_are_sorted_and_ties_keep_the_files_order():
    source = IrregularReadings(
        "e",
        "s",
        np.array([70.0, 10.0, 10.0]),
        np.zeros(3, dtype=np.int64),
        np.array([3.0, 1.0, 2.0]),
        ("HR",),
        ("bpm",),
    )
    result = only(source, plan("HR", rate_hz=1 / 60, resample="last"))
    np.testing.assert_array_equal(result.values, [[2, 3]])


# --- laws

readings = st.lists(
    st.sampled_from([NAN, NAN, 0.0, 1.0, 1.0, 2.0, 7.5, 40.0]), min_size=2, max_size=80
)
steady = st.lists(  # 12 seconds of two channels, with runs that reach over any time
    st.sampled_from([1.0, 1.0, 1.0, 1.0, 2.0, 0.0, NAN]), min_size=24, max_size=24
)
rules = st.fixed_dictionaries(
    {
        "zero_is_missing": st.sampled_from([(), ("a",), ("a", "b")]),
        "ranges": st.sampled_from([{}, {"a": (0.0, 10.0)}, {"b": (1.0, 5.0)}]),
        "flatline_s": st.sampled_from([{}, {"a": 2.0}, {"a": 1.0, "b": 3.0}]),
        "max_gap_s": st.sampled_from([None, 2.0, 6.0]),
    }
)


def two_channels(values):
    half = len(values) // 2
    return recording({"a": values[:half], "b": values[half : 2 * half]}, start=START)


def measured(source, rules):
    """Everything the cleaned recordings hold: {(second, channel): value}."""
    try:
        cleaned = clean([source], rules)
    except DataError:
        return {}
    return {
        (int((r.start - START) / np.timedelta64(1, "s")) + sample / r.rate_hz, channel): value
        for r in cleaned
        for (channel, sample), value in np.ndenumerate(r.values)
        if np.isfinite(value)
    }


@settings(deadline=None, max_examples=50)
@given(steady, steady, rules, st.integers(1, 11), st.sampled_from([1.0, 0.5, 0.25]), st.booleans())
def test_altering_values_after_a_time_changes_nothing_before_it(
    values, others, rules, time_s, rate_hz, as_event_stream
):
    if as_event_stream and rules["max_gap_s"] is not None:
        rate_hz = 1.0  # pieces begin at events, so that bin edges move with them
    before, altered = two_channels(values), two_channels(others)
    altered.values[:, :time_s] = before.values[:, :time_s]
    edge_s = np.floor(time_s * rate_hz) / rate_hz
    cleaning = plan("a", "b", rate_hz=rate_hz, **rules)
    if as_event_stream:
        before, altered = as_events(before), as_events(altered)
    first, second = measured(before, cleaning), measured(altered, cleaning)
    assert {k: v for k, v in first.items() if k[0] < edge_s} == {
        k: v for k, v in second.items() if k[0] < edge_s
    }


@settings(deadline=None, max_examples=50)
@given(readings, st.sampled_from(["median", "mean", "last"]), st.integers(1, 7))
def test_a_bin_holds_a_value_exactly_if_one_was_measured_and_within_what_was(
    values, resample, factor
):
    if not np.isfinite(values).any():
        return
    source = recording({"a": values})
    result = only(source, plan("a", rate_hz=1 / factor, resample=resample)).values[0]
    for index, value in enumerate(result):
        inside = np.array(values[index * factor : (index + 1) * factor])
        inside = inside[np.isfinite(inside)]
        assert np.isfinite(value) == bool(inside.size)
        if inside.size:
            assert inside.min() - 1e-12 <= value <= inside.max() + 1e-12


@settings(deadline=None, max_examples=50)
@given(readings, rules)
def test_cleaning_twice_equals_cleaning_once(values, rules):
    cleaning = plan("a", "b", **rules)
    try:
        once = clean([two_channels(values)], cleaning)
    except DataError:
        return
    twice = clean(once, cleaning)
    assert [r.id for r in twice] == [r.id for r in once]
    assert [r.start for r in twice] == [r.start for r in once]
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_array_equal(a.values, b.values)


@settings(deadline=None, max_examples=50)
@given(readings, rules, st.sampled_from([1.0, 0.5, 0.3]))
def test_a_recording_and_its_values_as_events_are_cleaned_alike(values, rules, rate_hz):
    source = two_channels(values)
    cleaning = plan("a", "b", rate_hz=rate_hz, **(rules | {"max_gap_s": None}))
    assert measured(source, cleaning) == measured(as_events(source), cleaning)
