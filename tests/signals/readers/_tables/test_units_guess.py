"""Values in two units in one column are doubted, and said whose they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals.readers._tables.units_guess import unit_doubts


def glucose(unit, count=40, seed=0):
    value = np.random.default_rng(seed).normal(120, 25, count).clip(60, 250)
    return value if unit == "mg/dL" else value / 18.016


def doubts(units, name="glucose", stated="1"):
    values = [glucose(unit, seed=n) for n, unit in enumerate(units)]
    people = [f"p{n}" for n, own in enumerate(values) for _ in own]
    settings = {"units": {name: stated}}
    return unit_doubts(name, stated, np.concatenate(values), people, settings), settings


@settings(deadline=None)
@given(st.lists(st.sampled_from(["mg/dL", "mmol/L"]), min_size=1, max_size=8))
def test_people_with_another_unit_are_named_with_it(units):
    found, settings = doubts(units)
    if len({*units}) == 1:
        assert found == []
        assert settings == {"units": {"glucose": "1"}}
        return
    (doubt,) = found
    most = settings["units"]["glucose"]
    others = {f"p{n}": {"glucose": own} for n, own in enumerate(units) if own != most}
    assert settings["units_by_subject"] == others
    assert units.count(most) >= len(others)
    assert f"{len(others)} of {len(units)}" in doubt


def test_the_stated_unit_is_that_of_the_others():
    _, settings = doubts(["mg/dL", "mmol/L", "mmol/L"], stated="mg/dL")
    assert settings["units"] == {"glucose": "mg/dL"}
    assert settings["units_by_subject"] == {
        "p1": {"glucose": "mmol/L"},
        "p2": {"glucose": "mmol/L"},
    }


def test_two_units_in_one_record_are_no_setting_but_a_doubt():
    mixed = np.concatenate([glucose("mg/dL"), glucose("mmol/L")])
    settings = {"units": {"glucose": "1"}}
    (doubt,) = unit_doubts("glucose", "1", mixed, ["p0"] * 80, settings)
    assert "in one record" in doubt
    assert "'p0'" in doubt
    assert settings == {"units": {"glucose": "1"}}


@pytest.mark.parametrize("name", ["HR", "x", "SpO2"])
def test_quantities_with_one_usual_unit_are_not_judged(name):
    value = np.concatenate([np.full(40, 70.0), np.full(40, 4.0)])
    assert unit_doubts(name, "1", value, ["a"] * 40 + ["b"] * 40, {"units": {name: "1"}}) == []


def test_missing_values_and_zeros_do_not_count():
    value = np.concatenate([glucose("mg/dL"), np.full(40, np.nan), np.zeros(40)])
    people = ["a"] * 40 + ["b"] * 40 + ["c"] * 40
    assert unit_doubts("glucose", "1", value, people, {"units": {"glucose": "1"}}) == []
