"""Cells with types as columns."""

from datetime import datetime, time, timedelta

import numpy as np
import pytest

from tsfm_adapt.signals.readers._tables.typed import column_of, text_of

NOON = datetime(2024, 1, 2, 12, 0, 0, 500_000)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, ""),
        (7, "7"),
        (7.0, "7"),
        (7.25, "7.25"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (True, "True"),
        (" x ", " x "),
        (NOON, "2024-01-02 12:00:00.500000"),
        (time(8, 5), "08:05:00"),
        (timedelta(hours=30, minutes=5, seconds=1), "30:05:01"),
        (-timedelta(seconds=1.5), "-00:00:01.500000"),
    ],
)
def test_a_cell_is_written_as_in_a_text_file(cell, text):
    assert text_of(cell) == text


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ([1, 2], np.array([1, 2])),
        ([1, None, 2.5], np.array([1, np.nan, 2.5])),
        ([1.0, 2], np.array([1.0, 2.0])),
        ([True, False], np.array([True, False])),
        ([True, 1], np.array(["True", "1"])),
        ([2**70, 1], np.array([str(2**70), "1"])),
        ([None, None], np.array(["", ""])),
        ([1, "Low", None], np.array(["1", "Low", ""])),
        ([NOON, NOON], np.array([NOON, NOON], dtype="datetime64[us]")),
        ([datetime(2024, 1, 2)] * 2, np.array(["2024-01-02"] * 2)),
        ([NOON, None], np.array(["2024-01-02 12:00:00.500000", ""])),
        ([time(1), time(2)], np.array(["01:00:00", "02:00:00"])),
        ([time(1), timedelta(hours=26)], np.array([3600, 26 * 3600], dtype="timedelta64[s]")),
    ],
)
def test_a_column_keeps_the_type_that_all_its_cells_have(cells, column):
    found = column_of(cells)
    assert found.dtype.kind == column.dtype.kind
    np.testing.assert_array_equal(found, column)
