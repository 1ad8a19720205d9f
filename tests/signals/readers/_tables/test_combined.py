"""The first rows of several files as one table."""

from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.combined import combined


def table(name, skipped=(), units=None, **columns):
    cells = {key: np.array(own) for key, own in columns.items()}
    return Table(Path(name), cells, 2, skipped, units=units or {})


def test_rows_stand_below_each_other_and_what_a_file_lacks_is_empty():
    one = table("a.csv", time=["0", "1"], HR=["70", "71"], units={"HR": "bpm"})
    two = table("b.csv", time=["5"], SpO2=["98"], units={"SpO2": "%"})
    both = combined([one, two])
    assert {name: own.tolist() for name, own in both.table.columns.items()} == {
        "time": ["0", "1", "5"],
        "HR": ["70", "71", ""],
        "SpO2": ["", "", "98"],
    }
    assert both.file.tolist() == [0, 0, 1]
    assert both.held == (frozenset({"time", "HR"}), frozenset({"time", "SpO2"}))
    assert both.table.units == {"HR": "bpm", "SpO2": "%"}
    assert both.tables == (one, two)


@pytest.mark.parametrize(
    ("first", "second", "kind", "lacking"),
    [
        ([1, 2], [3], "i", "f"),
        ([1, 2], [0.5], "f", "f"),
        ([True], [False], "b", "f"),
        (["a"], ["bcd"], "U", "U"),
        ([1], ["x"], "U", "f"),
        (np.array(["2020-01-01"], "datetime64[us]"), np.array(["2020-01-02"], "M8[us]"), "M", "M"),
        (np.array([5], "timedelta64[us]"), np.array([6], "timedelta64[us]"), "m", "m"),
    ],
)
def test_types_are_kept_where_files_agree(first, second, kind, lacking):
    both = combined([table("a", x=first), table("b", x=second)]).table.columns["x"]
    assert both.dtype.kind == kind
    assert both.tolist() == [*np.array(first).tolist(), *np.array(second).tolist()] or kind == "U"
    sparse = combined([table("a", x=first), table("b", y=second)]).table.columns["x"]
    assert sparse.dtype.kind == lacking
    assert sparse[-1] == "" or sparse[-1] != sparse[-1]  # missing


def test_a_row_is_shown_as_in_its_file():
    both = combined([table("a.csv", x=["0", "1"]), table("b.csv", skipped=(0,), x=["5", "6"])])
    assert both.shown(1) == "a.csv, row 3: x=1"
    assert both.shown(3) == "b.csv, row 4: x=6"
    some = both.some(np.array([0, 3]))
    assert (some.table.columns["x"].tolist(), some.file.tolist()) == (["0", "6"], [0, 1])
