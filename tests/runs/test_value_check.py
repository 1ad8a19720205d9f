"""Values of another unit stop a prediction; unusual ones are told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from contracts.card import CARD
from contracts.proposed import recording
from tsfm_adapt.errors import DataError
from tsfm_adapt.runs.value_check import check_values
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan

PLAN = CleaningPlan(
    (ChannelPlan("gl", "mg/dL", "gl", "mg/dL"),), 1 / 300, ranges={"gl": (20.0, 600.0)}
)
KNOWN = replace(CARD, levels={"gl": (54.0, 140.0, 310.0)})


def input_of(*middles):
    return [
        recording(
            np.linspace(0.9 * middle, 1.1 * middle, 60),
            f"s{number}",
            channels=("gl",),
            units=("1",),
            rate_hz=1 / 300,
        )
        for number, middle in enumerate(middles)
    ]


def test_the_factor_that_would_fit_is_named():
    with pytest.raises(DataError) as stop:
        check_values(KNOWN, PLAN, input_of(7.8))
    text = str(stop.value)
    assert "the median of the input is 7.8 mg/dL" in text
    assert "learned from 54 to 310 mg/dL" in text
    assert "times 18.0156, as from mmol/L, its median would be 140.5" in text
    assert "The recipe takes the files' values as mg/dL" in text
    stated = replace(PLAN, channels=(ChannelPlan("gl", "mg/dL", "gl"),))
    with pytest.raises(DataError, match="State the unit of the input"):
        check_values(KNOWN, stated, [replace(r, units=("mg/dL",)) for r in input_of(7.8)])


def test_who_knows_better_goes_on_and_is_told():
    first, second = check_values(KNOWN, PLAN, input_of(7.8), any_values=True)
    assert "mmol/L" in first
    assert second.startswith("gl: 60 of 60 values lie outside data.cleaning.ranges (20 to 600")


def test_usual_values_and_a_bundle_without_levels_say_nothing():
    assert check_values(KNOWN, PLAN, input_of(150.0)) == []
    assert check_values(CARD, PLAN, input_of(30.0)) == []
    assert check_values(None, PLAN, input_of(30.0)) == []


def test_values_that_no_unit_explains_are_told():
    (said,) = check_values(KNOWN, PLAN, input_of(0.001), True)[:1]
    assert "Check its unit" in said


def test_single_recordings_of_another_unit_are_named():
    said = check_values(KNOWN, PLAN, input_of(150.0, 130.0, 140.0, 7.8))
    assert len(said) == 1
    assert "1 of 4 recordings (s3-1) look like mmol/L (times 18.0156)" in said[0]


def test_half_of_a_channel_outside_its_range_is_told_without_any_bundle():
    said = check_values(None, PLAN, input_of(7.8))
    assert said == [
        "gl: 60 of 60 values lie outside data.cleaning.ranges (20 to 600 mg/dL) and count as "
        "missing"
    ]
