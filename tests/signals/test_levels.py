"""Levels of channels, and values that only another unit explains."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import recording
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.levels import Level, as_numbers, doubt, levels, odd_recordings, tallied
from tsfm_adapt.signals.recording import IrregularReadings

GLUCOSE = Level(54.0, 140.0, 310.0)  # mg/dL
PLAN = CleaningPlan((ChannelPlan("gl", "mg/dL", "gl"),), 1 / 300, ranges={"gl": (20.0, 600.0)})


def draws(level, count=400, seed=0):
    return level * np.exp(np.random.default_rng(seed).normal(0, 0.2, count))


def test_levels_are_quantiles_of_what_is_measured():
    values = np.append(np.arange(1001.0), [np.nan] * 50)
    of = levels([recording(values)])
    assert as_numbers(of) == {"HR": (pytest.approx(10), 500, pytest.approx(990))}
    assert levels([recording([1.0, np.nan])]) == {}, "two values are no level"


@pytest.mark.parametrize(
    ("unit", "usual", "middle", "other"),
    [
        ("mg/dL", GLUCOSE, 7.8, "mmol/L"),
        ("mmol/L", Level(3.0, 7.8, 17.0), 140.0, "mg/dL"),
        ("mmHg", Level(55.0, 82.0, 120.0), 11.0, "kPa"),
        ("kPa", Level(7.0, 11.0, 16.0), 82.0, "mmHg"),
        ("mmHg", Level(55.0, 82.0, 120.0), 10_900.0, "Pa"),
        ("%", Level(88.0, 97.0, 100.0), 0.97, "a share"),
        ("degC", Level(35.1, 36.9, 39.6), 98.2, "degF"),
        ("degF", Level(95.2, 98.4, 103.0), 36.9, "degC"),
        ("s", Level(0.5, 0.8, 1.3), 800.0, "ms"),
        ("AU", Level(200.0, 300.0, 500.0), 0.3, "another unit"),
    ],
)
def test_a_median_that_another_unit_explains_is_in_doubt(unit, usual, middle, other):
    found = doubt(Level(0.9 * middle, middle, 1.1 * middle), usual, unit)
    assert found is not None
    assert found.fitting.name == other
    assert usual.holds(middle * found.fitting.scale + found.fitting.offset)


@pytest.mark.parametrize(
    ("unit", "usual", "middle"),
    [
        ("mg/dL", GLUCOSE, 140.0),
        ("mg/dL", GLUCOSE, 30.0),  # a night of low glucose
        ("degC", Level(35.1, 36.9, 39.6), 33.0),
        ("bpm", Level(50.0, 75.0, 110.0), 190.0),
    ],
)
def test_unusual_values_of_the_same_unit_are_in_no_doubt(unit, usual, middle):
    assert doubt(Level(0.9 * middle, middle, 1.1 * middle), usual, unit) is None


def test_far_values_that_no_unit_explains_are_in_doubt_without_one():
    found = doubt(Level(0.1, 0.2, 0.3), Level(50.0, 75.0, 110.0), "bpm")
    assert found is not None
    assert found.fitting is None


def test_of_channels_on_both_sides_of_0_the_spread_counts():
    usual = Level(-0.4, 0.0, 1.2)  # mV
    assert doubt(Level(-300.0, 10.0, 1000.0), usual, "mV").fitting.name == "uV"
    assert doubt(Level(-0.2, 0.1, 2.0), usual, "mV") is None
    assert doubt(Level(0.0, 0.0, 0.0), usual, "mV") is None, "a flat line has no spread"


def test_values_are_tallied_before_ranges_and_by_recording():
    mixed = [
        recording(draws(140.0), "a", channels=("gl",), units=("mg/dL",), rate_hz=1 / 300),
        recording(draws(7.8), "b", channels=("gl",), units=("mg/dL",), rate_hz=1 / 300),
    ]
    of = tallied(mixed, PLAN)["gl"]
    assert (of.measured, of.outside) == (800, 400)
    odd, conversion = odd_recordings(of, GLUCOSE, "mg/dL")
    assert odd == ["b-1"]
    assert conversion.name == "mmol/L"


def test_units_are_converted_first_and_readings_are_tallied_too():
    readings = IrregularReadings(
        id="a",
        subject="a",
        time_s=np.arange(60.0),
        channel=np.arange(60) % 2,
        value=np.where(np.arange(60) % 2, 7.8, 50.0),
        channels=("HR", "gl"),
        units=("bpm", "mmol/L"),
    )
    plan = CleaningPlan(
        (ChannelPlan("glucose", "mg/dL", "gl"), ChannelPlan("HR", "bpm", "HR")), 1.0
    )
    of = tallied([readings], plan)
    assert of["glucose"].level.middle == pytest.approx(7.8 * 18.0156)
    assert (of["HR"].level.middle, of["HR"].measured) == (50.0, 30)
    assert of["HR"].outside == 0
