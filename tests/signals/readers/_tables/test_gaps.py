"""Cells that are empty on purpose."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.gaps import UNTIMED, empty_below, fill, filled_down, timed


def table(skipped=(), **columns):
    cells = {name: np.array(own) for name, own in columns.items()}
    return Table(Path("t.csv"), cells, 2, tuple(skipped))


@given(st.lists(st.sampled_from(["", "a", "b"])))
def test_an_empty_cell_holds_what_stands_above(cells):
    held, expected = "", []
    for cell in cells:
        held = cell or held
        expected.append(held)
    found = fill(np.array(cells, dtype=np.str_))
    assert found.tolist() == expected
    assert fill(found).tolist() == expected


def test_only_the_named_columns_are_filled():
    found = filled_down(table(id=["a", "", "b"], x=["1", "", "2"]), ["id"])
    assert found.columns["id"].tolist() == ["a", "a", "b"]
    assert found.columns["x"].tolist() == ["1", "", "2"]


@given(st.lists(st.sampled_from(["skipped", "known", "untimed"]), min_size=1))
def test_rows_without_a_time_go_and_the_others_keep_their_numbers(lines):
    skipped = [n for n, line in enumerate(lines) if line == "skipped"]
    known = [line == "known" for line in lines if line != "skipped"]
    cells = np.array([str(n) if has else "" for n, has in enumerate(known)], dtype=np.str_)
    own = table(skipped, time=cells)
    found = timed(own, "time")
    assert [(found.columns["time"][row], found.number_of(row)) for row in range(found.rows)] == [
        (str(n), own.number_of(n)) for n, has in enumerate(known) if has
    ]
    assert found.notes.get(UNTIMED, 0) == known.count(False)


def test_typed_times_may_be_absent():
    stamps = np.array(["2020-01-01", "NaT"], "datetime64[us]")
    assert timed(table(time=stamps), "time").rows == 1


@pytest.mark.parametrize(
    ("cells", "blocks"),
    [
        (["a", "", "", "b", ""], True),
        (["a", "a", "", "a"], False),  # mostly filled
        (["", "a", "", ""], False),
        (["a", "b", "c", "d"], False),
        (["a", ""], False),
    ],
)
def test_names_may_be_written_once_a_block(cells, blocks):
    assert empty_below(np.array(cells)) == blocks
