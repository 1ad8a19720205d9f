"""What the columns of an unknown table are, by name and by how their values behave."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.roles import constant, numbers_of, roles, unit_columns
from tsfm_adapt.signals.readers._tables.spelling import Spelling

ROWS = 60
RNG = np.random.default_rng(0)
SIGNAL = np.round(70 + 5 * RNG.standard_normal(ROWS), 1)
TIMES = 1.6e9 + np.cumsum(RNG.integers(50, 70, ROWS))


def table(spelling=None, units=None, **columns):
    cells = {}
    for name, own in columns.items():
        column = np.array(own)
        cells[name] = column if column.dtype.kind in "Mm" else column.astype(np.str_)
    return Table(Path("t.csv"), cells, 2, spelling=spelling or Spelling(), units=units or {})


def role(name, cells, group=None, times=TIMES, spelling=None):
    """Where a column lands, and why where it is ignored."""
    own = table(spelling, **{name: cells})
    groups = np.repeat([0, 1, 2], ROWS // 3) if group is None else np.array(group)
    found = roles(own, [name], groups, times)
    for place in ("channels", "attributes", "labels", "row_labels"):
        if getattr(found, place):
            assert getattr(found, place) == [name]
            assert not found.ignored
            return place
    return found.ignored[name]


def each(values):
    """A value for each of the three records."""
    return np.repeat(values, ROWS // 3)


@pytest.mark.parametrize(
    ("name", "cells", "expected"),
    [
        ("HR", SIGNAL, "channels"),
        ("x", SIGNAL, "channels"),
        ("x", np.where(np.arange(ROWS) % 2, SIGNAL, np.nan), "channels"),
        ("SpO2", np.full(ROWS, 98), "channels"),  # a vital sign may be steady
        ("steps", RNG.integers(0, 50, ROWS), "channels"),
        ("age", each([50, 61, 72]), "attributes"),
        ("sex", each(["F", "M", "F"]), "attributes"),
        ("died", each([0, 1, 0]), "labels"),
        ("group label", each(["a", "b", "a"]), "labels"),
        ("sleep_stage", np.arange(ROWS) % 4, "row_labels"),
        ("event", np.where(np.arange(ROWS) % 9, "", "meal"), "row_labels"),
        ("note", ["moved to ward"] * ROWS, "text"),
        ("x", [""] * ROWS, "empty"),
        ("gain", [200] * ROWS, "always 200"),
        ("gain", each([200, 300, 400]), "constant"),
        ("age", SIGNAL, "fact"),
        ("visit_id", np.arange(ROWS) // 7 * 3, "identifier"),
        ("timestamp_unix", TIMES * 1000, "another clock"),
        ("epoch_ms", TIMES * 1000, "another clock"),
        ("sample", np.arange(ROWS), "counter"),
        ("hr_quality", RNG.integers(0, 100, ROWS), "quality"),
        ("lead_off", np.arange(ROWS) % 2, "quality"),
        ("battery_pct", 100 - np.arange(ROWS) // 5, "device"),
        ("Record Type", np.arange(ROWS) % 3, "kind of row"),
    ],
)
def test_columns_have_roles(name, cells, expected):
    found = role(name, cells)
    assert found == expected or expected in found


def test_a_clock_may_run_backwards_or_be_one_of_many_records():
    assert "another clock" in role("timestamp_unix", TIMES[::-1] * 1000, times=TIMES[::-1])
    assert role("drift", np.sort(SIGNAL)) == "channels"  # rises, but not as time does


def test_cells_are_numbers_where_most_are():
    cells = np.array([*["7.5"] * 9, "?"])
    found = numbers_of(table(x=cells), "x")
    assert np.isnan(found).sum() == 1
    assert numbers_of(table(x=["7.5", "?", "?"]), "x") is None
    assert numbers_of(table(x=["7.5", "?", "8"]), "x", 0.5) is not None
    assert numbers_of(table(x=["?"] * 3), "x") is None
    assert np.isnan(numbers_of(table(x=["", "NA"]), "x")).all()
    assert numbers_of(table(x=np.array(["2020-01-01"], "datetime64[us]")), "x") is None
    german = table(Spelling(decimal=",", missing=("?",)), x=["7,5", "?"])
    np.testing.assert_array_equal(numbers_of(german, "x"), [7.5, np.nan])
    typed = Table(Path("t"), {"x": np.array([True, False]), "n": np.array([1, 2])}, 0)
    assert numbers_of(typed, "x").tolist() == [1, 0]
    assert numbers_of(typed, "n").tolist() == [1, 2]


def test_what_is_constant_has_one_value_a_record():
    group = np.array([0, 0, 1, 1])
    assert constant(np.array(list("aabb")), group)
    assert not constant(np.array(list("abbb")), group)
    assert constant(np.array([1, 1, 1, 1]), group)


def test_the_column_of_units_belongs_to_one_channel():
    own = table(value=["1"], unit=["mV"])
    names = {"value": "value", "unit": "unit"}
    assert unit_columns(["value"], names, own) == "unit"
    assert unit_columns(["value", "other"], names, own) is None
    assert unit_columns(["value"], names, table(value=["1"], unit=[""])) is None
    assert unit_columns(["value"], {"value": "value"}, own) is None
