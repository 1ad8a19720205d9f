"""Lines, cells and classes of text files of labelled series."""

import numpy as np
import pytest

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._series import label_of, lines_of, plain, stacked


def test_lines_keep_their_numbers_without_comments_and_blanks(tmp_path):
    path = tmp_path / "x.ts"
    path.write_text("\ufeff# head\n\n  1,2 \n#x\n3\n", encoding="utf-8")
    assert lines_of(path, "#") == [(3, "1,2"), (5, "3")]
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"x\.ts"):
        lines_of(path, "#")


def test_dimensions_are_stacked_and_question_marks_are_missing(tmp_path):
    found = stacked(tmp_path, 1, ["1, 2,?", "4,NaN,-6e1"])
    np.testing.assert_array_equal(found, [[1, 2, np.nan], [4, np.nan, -60]])


@pytest.mark.parametrize("series", [["1,x"], ["1,inf"], ["1,,2"], ["1,2", "1"]])
def test_cells_that_are_no_numbers_and_uneven_dimensions_name_the_line(tmp_path, series):
    with pytest.raises(DataError, match="line 7"):
        stacked(tmp_path, 7, series)


@pytest.mark.parametrize(
    ("text", "value"), [("1", 1), ("1.0", 1), ("-2", -2), ("1.5", 1.5), ("a", "a"), ("nan", "nan")]
)
def test_a_class_is_a_whole_number_where_it_is_one(text, value):
    found = plain(text)
    assert found == value
    assert type(found) is type(value)


def test_a_label_is_one_of_the_classes_or_a_number_to_regress_on(tmp_path):
    assert label_of(tmp_path, 1, "2", ["1", "2"], "a class") == {"label": 2}
    assert label_of(tmp_path, 1, "2.5", [], "a number") == {"target": 2.5}
    with pytest.raises(DataError, match=r"line 4.*1, 2.*'3'"):
        label_of(tmp_path, 4, "3", ["1", "2"], "a class")
    with pytest.raises(DataError, match=r"line 4.*a number.*'x'"):
        label_of(tmp_path, 4, "x", [], "a number")
