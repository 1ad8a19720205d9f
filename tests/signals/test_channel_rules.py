"""Channels of a plan: order, units, rules, and what is copied."""

import numpy as np
import pytest

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.signals.channel_rules import (
    ChannelPlan,
    CleaningPlan,
    select_channels,
    select_readings,
)
from tsfm_adapt.signals.recording import IrregularReadings, Recording

NAN = np.nan


def plan(**rules):
    channels = (ChannelPlan("Temp", "degC", "T"), ChannelPlan("HR", "bpm", "HR"))
    return CleaningPlan(channels, 1.0, **rules)


def recording(temperature, rate, unit="degF"):
    return Recording("r", "s", np.array([rate, temperature]), ("HR", "T"), ("bpm", unit), 1.0)


def readings(time_s, channel, value, **fields):
    arrays = np.array(time_s, float), np.array(channel), np.array(value, float)
    return IrregularReadings("e", "s", *arrays, ("HR", "T"), ("bpm", "degF"), **fields)


def test_channels_come_in_the_order_names_and_units_of_the_plan():
    rules = plan()
    selected = select_channels(recording([32.0, 50.0], [60.0, 61.0]), rules.channels, rules)
    assert (selected.channels, selected.units) == (rules.names, rules.units)
    np.testing.assert_allclose(selected.values, [[0.0, 10.0], [60.0, 61.0]])


def test_a_zero_is_removed_before_its_unit_converts_and_a_range_holds_after():
    rules = plan(zero_is_missing=("Temp",), ranges={"Temp": (-5.0, 45.0)})
    source = recording([0.0, 32.0, 122.0], [0.0, 0.0, 0.0])
    selected = select_channels(source, rules.channels, rules)
    np.testing.assert_allclose(selected.values, [[NAN, 0.0, NAN], [0.0, 0.0, 0.0]])


def test_rows_that_no_rule_changes_are_views_and_the_source_is_never_written():
    source = recording([36.0, 37.0], [60.0, 300.0], unit="degC")
    before = source.values.copy()
    channels = (ChannelPlan("HR", "bpm", "HR"), ChannelPlan("T", "degC", "T"))
    rules = CleaningPlan(channels, 1.0, ranges={"HR": (0, 400)})
    assert np.shares_memory(select_channels(source, rules.channels, rules).values, source.values)
    limited = CleaningPlan(channels, 1.0, ranges={"HR": (0, 200)})
    selected = select_channels(source, limited.channels, limited)
    np.testing.assert_array_equal(selected.values, [[60.0, NAN], [36.0, 37.0]])
    np.testing.assert_array_equal(source.values, before)


def test_readings_are_sorted_inside_the_stay_and_ties_keep_their_order():
    source = readings(
        [5, 1, 1, -1, 10, 2], [0, 0, 1, 0, 0, 0], [70, 71, 50, 1, 2, NAN], duration_s=10.0
    )
    rules = plan()
    selected = select_readings(source, rules.channels, rules)
    assert selected.time_s.tolist() == [1.0, 1.0, 5.0]
    assert selected.channel.tolist() == [0, 1, 1]  # Temp before HR, as in the plan
    np.testing.assert_allclose(selected.value, [10.0, 71.0, 70.0])


def test_a_unit_that_does_not_convert_names_channel_and_recording():
    rules = plan()
    with pytest.raises(DataError, match=r"data\.channels\.Temp of r: .*from_unit"):
        select_channels(recording([1.0], [1.0], unit="mV"), rules.channels, rules)


def test_a_rule_for_a_channel_outside_the_plan_is_refused_with_a_close_name():
    with pytest.raises(RecipeError, match=r"flatline_s: 'temp'.*Did you mean 'Temp'"):
        plan(flatline_s={"temp": 60.0})


def test_the_sources_of_a_plan_are_named_once_the_preferred_ones_first():
    plan = CleaningPlan(
        (
            ChannelPlan("FP1", "uV", ("FP1-REF", "FP1-LE")),
            ChannelPlan("left", "uV", "FP1-REF"),
            ChannelPlan("HR", "bpm", "HR"),
        ),
        1.0,
    )
    assert plan.sources == ("FP1-REF", "FP1-LE", "HR")
    assert plan.channels[0].found_in(["FP1-LE", "FP1-REF"]) == "FP1-REF"
    assert plan.channels[0].found_in(["FP1-LE"]) == "FP1-LE"
    assert plan.channels[2].found_in(["FP1-LE"]) is None
