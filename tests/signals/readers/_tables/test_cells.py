"""Cells of a table as numbers and text; what does not fit is named by row and column."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table, TextColumns, Undecided, moment
from tsfm_adapt.signals.readers._tables.spelling import MISSING, Spelling


def table(spelling=None, skipped=(), **columns):
    cells = {name: np.array(own) for name, own in columns.items()}
    return Table(Path("t.csv"), cells, 2, skipped, spelling=spelling or Spelling())


def test_numbers_are_those_of_the_cells_and_what_means_missing_is_nan():
    cells = table(Spelling(missing=("-1",)), HR=[" 70 ", *MISSING, "-1", "1e2"])
    found = cells.numbers("HR")
    np.testing.assert_array_equal(found, [70, *[np.nan] * (len(MISSING) + 1), 100])
    np.testing.assert_array_equal(cells.numbers("HR", np.array([10, 0])), [100, 70])
    typed = table(Spelling(missing=("-1",)), HR=np.array([70, -1, 71]))
    np.testing.assert_array_equal(typed.numbers("HR"), [70, np.nan, 71])
    assert typed.columns["HR"].tolist() == [70, -1, 71]


@settings(deadline=None)
@given(
    st.lists(
        st.sampled_from(["1", "2.5", " 3 ", "", "NA", "nan", "1_0", "x", "inf", "Low", ">3"])
    ),
    st.sampled_from(
        [Spelling(), Spelling(missing=("x",), censored="limit"), Spelling(decimal=",")]
    ),
)
def test_columns_of_text_read_as_arrays_of_it(cells, spelling):
    lazy = Table(Path("t.csv"), TextColumns({"HR": cells}), 2, spelling=spelling)
    ready = Table(Path("t.csv"), {"HR": np.array(cells, dtype=np.str_)}, 2, spelling=spelling)
    assert lazy.rows == ready.rows == len(cells)
    found = []
    for own in (lazy, ready):
        try:
            found.append((own.numbers("HR").tolist(), own.notes))
        except DataError as problem:
            found.append(str(problem))
    assert repr(found[0]) == repr(found[1])  # nan is nan


@pytest.mark.parametrize("cell", ["fast", "inf", "7O", "7,5"])
def test_a_cell_that_is_no_finite_number_is_named_as_a_viewer_counts(cell):
    cells = table(HR=["70", cell, "71"])
    with pytest.raises(DataError, match=rf"t\.csv, row 3, column 'HR'.*'{cell}'"):
        cells.numbers("HR")
    with pytest.raises(DataError, match="row 3"):
        cells.numbers("HR", np.array([2, 1]))
    assert cells.numbers("HR", np.array([0, 2])).tolist() == [70, 71]


@settings(deadline=None)
@given(st.sets(st.integers(0, 20)), st.integers(0, 9))
def test_rows_are_numbered_as_in_the_file(skipped, first):
    kept = [row for row in range(30) if row not in skipped]
    cells = Table(Path("t.csv"), {"x": np.array(kept)}, first, tuple(sorted(skipped)))
    assert [cells.number_of(row) for row in range(len(kept))] == [first + row for row in kept]


def test_a_sensors_limits_are_counted_once_and_only_where_asked():
    cells = table(Spelling(censored="limit"), gl=[">400", "90", ">400"])
    assert cells.numbers("gl", noted=False).tolist() == [400, 90, 400]
    assert cells.notes == Counter()
    cells.numbers("gl")
    assert list(cells.notes.values()) == [2]


def test_a_row_is_shown_with_its_number_and_first_cells():
    cells = table(skipped=(0,), **{f"c{n}": [f"{n}"] for n in range(8)})
    assert cells.shown(0) == "row 3: c0=0, c1=1, c2=2, c3=3, c4=4, c5=5, ..."


def test_a_column_that_is_absent_is_answered_with_the_closest():
    table(HR=["1"]).require(["HR"], "units")
    with pytest.raises(DataError, match=r"data\.reader\.units: t\.csv has no column 'HRR'.*'HR'"):
        table(HR=["1"], SpO2=["2"]).require(["HRR"], "units")


def test_what_is_undecided_has_the_likeliest_settings():
    problem = Undecided("either", {"backward": "sort"})
    assert isinstance(problem, DataError)
    assert problem.settings == {"backward": "sort"}


def test_a_moment_is_in_whole_seconds_of_utc():
    assert moment("2014-02-03 08:42:12.9") == np.datetime64("2014-02-03T08:42:12", "s")
    assert moment("2014-02-03T08:42:12+02:00") == np.datetime64("2014-02-03T06:42:12", "s")
    with pytest.raises(ValueError, match="noon"):
        moment("noon")
