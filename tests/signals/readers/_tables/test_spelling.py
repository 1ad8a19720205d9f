"""How cells write numbers: what is written in a spelling reads back, and nothing else does."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals.readers._tables.spelling import (
    MISSING,
    NotANumber,
    Spelling,
    number_like,
    plain,
    spelling_of,
    unit_of,
)

SPELLINGS = [
    Spelling(decimal=decimal, thousands=thousands)
    for decimal, thousands in (
        (".", ""),
        (",", ""),
        (".", ","),
        (",", "."),
        (",", " "),
        (".", " "),
        (".", "'"),
    )
]


def written(number, spelling, places):
    """A number as people write it in a spelling."""
    text = f"{number:,.{places}f}" if spelling.thousands else f"{number:.{places}f}"
    return text.translate({ord(","): spelling.thousands, ord("."): spelling.decimal})


numbers = st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=20)
places = st.integers(0, 4)


@pytest.mark.parametrize("spelling", SPELLINGS)
@settings(deadline=None)
@given(whole=numbers, places=places)
def test_what_a_spelling_writes_it_reads(spelling, whole, places):
    exact = [number / 10**places for number in whole]
    cells = [written(number, spelling, places) for number in exact]
    np.testing.assert_array_equal(spelling.numbers(np.array(cells)), exact)
    assert [spelling.number(cell) for cell in cells] == exact
    assert all(map(number_like, cells))


@settings(deadline=None)
@given(whole=numbers, places=places, spelling=st.sampled_from(SPELLINGS))
def test_the_spelling_of_a_column_is_among_those_that_fit_it(whole, places, spelling):
    exact = [number / 10**places for number in whole]
    cells = [written(number, spelling, places) for number in exact]
    fitting = spelling_of([cells], ";")
    marks = any("," in c or "'" in c or " " in c or c.count(".") > 1 for c in cells)
    if not marks:
        assert fitting == [Spelling()]
        return
    readings = [[own.number(cell) for cell in cells] for own in fitting]
    assert readings, cells
    grouped_by_points = spelling.decimal == "," and spelling.thousands == "."
    assume(not grouped_by_points or any("," in cell for cell in cells))
    assert exact in readings or (grouped_by_points and not any("." in cell for cell in cells))


@pytest.mark.parametrize(
    ("columns", "delimiter", "marks"),
    [
        ([["1", "2.5"]], ",", [(".", "")]),
        ([["7,2", "6,95"]], ";", [(",", "")]),
        ([["1.234,5"]], ";", [(",", ".")]),
        ([["1,234.5", "7"]], ";", [(".", ",")]),
        ([["1 234", "12 345"]], ";", [(".", " ")]),
        ([["1 234,5"]], ";", [(",", " ")]),
        ([["1'234"]], ",", [(".", "'")]),
        ([["1,234"], ["7,2"]], ";", [(",", "")]),  # the other column decides
        ([["1,234"], ["7.2"]], ";", [(".", ",")]),
        ([["01.02.2020"], ["7,2"]], ";", [(",", "")]),  # dates are no numbers
        ([["<2,8", ">22,2"]], ";", [(",", "")]),
    ],
)
def test_marks_are_found(columns, delimiter, marks):
    assert [(own.decimal, own.thousands) for own in spelling_of(columns, delimiter)] == marks


def test_three_digits_behind_a_comma_are_told_apart_by_the_delimiter_or_not_at_all():
    both = spelling_of([["1,234", "5,678"]], ";")
    assert {own.number("1,234") for own in both} == {1.234, 1234}
    (quoted,) = spelling_of([["1,234", "950"]], ",")  # in quotes, as groups are
    assert quoted.number("1,234") == 1234
    unlike = spelling_of([["1,234", "5000"]], ",")  # who groups one groups the other
    assert len(unlike) == 2


@pytest.mark.parametrize(
    ("spelling", "cell"),
    [
        (Spelling(), "7,2"),
        (Spelling(), "1_000"),
        (Spelling(), "7.2 mmol/L"),
        (Spelling(), "seven"),
        (Spelling(decimal=","), "7.2"),
        (Spelling(decimal=","), "7,2,1"),
        (Spelling(thousands=","), "12,34"),
        (Spelling(thousands=","), "1234,567"),
        (Spelling(thousands=","), "1,2345"),
        (Spelling(decimal=",", thousands="."), "1.5"),
        (Spelling(), ">300"),
        (Spelling(), "Low"),
        (Spelling(unit_in_cells=True), "7.2 mg/dL"),
    ],
)
def test_what_is_no_number_is_none_alone_or_in_a_column(spelling, cell):
    with pytest.raises(NotANumber):
        spelling.number(cell, "mmol/L")
    with pytest.raises(NotANumber):
        spelling.numbers(np.array(["1", cell]), "mmol/L")
    assert spelling.plain_numbers(["1", cell]) is None


@pytest.mark.parametrize(
    ("cell", "setting"),
    [
        ("7,2", "decimal: ','"),
        ("1,234.5", "thousands: ','"),
        ("1.234,5", "thousands: '.'"),
        ("7.2 mmol/L", "unit_in_cells: true"),
        ("Low", "censored"),
        ("seven", "missing_values"),
    ],
)
def test_the_setting_that_would_read_a_cell_is_named(cell, setting):
    with pytest.raises(NotANumber, match=setting):
        Spelling().number(cell)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=False) | st.sampled_from(MISSING)))
def test_the_fast_way_reads_as_the_other(cells):
    text = [cell if isinstance(cell, str) else repr(cell) for cell in cells]
    fast = Spelling().plain_numbers(text)
    one_by_one = [Spelling().number(cell) for cell in text]
    assert fast is not None
    np.testing.assert_array_equal(fast, one_by_one)
    np.testing.assert_array_equal(Spelling().numbers(np.array(text, dtype=np.str_)), one_by_one)


def test_missing_words_are_missing_in_every_spelling():
    spelling = Spelling(decimal=",", missing=("-1", "."))
    found = spelling.numbers(np.array([*MISSING, "-1", ".", "-1,5"]))
    assert np.isnan(found[:-1]).all()
    assert found[-1] == -1.5
    assert spelling.missing_numbers == (-1,)


@pytest.mark.parametrize(
    ("censored", "values", "notes"),
    [
        ("limit", [2.8, np.nan, 400, 7], {"<2.8": "as the limit", "Low": "as missing"}),
        ("missing", [np.nan] * 3 + [7], {"<2.8": "as missing", ">400": "as missing"}),
    ],
)
def test_a_sensors_limit_is_read_as_settings_say_and_counted(censored, values, notes):
    counted = Counter()
    spelling = Spelling(censored=censored)
    found = spelling.numbers(np.array(["<2.8", "Low", ">400", "7"]), notes=counted)
    np.testing.assert_array_equal(found, values)
    assert counted.total() == 3
    for cell, how in notes.items():
        (note,) = (own for own in counted if f"'{cell}'" in own)
        assert how in note


def test_a_limit_has_the_decimal_mark_and_the_unit_of_the_column():
    spelling = Spelling(decimal=",", censored="limit", unit_in_cells=True)
    found = spelling.numbers(np.array(["<2,8 mmol/L", "7,25mmol/l", "6"]), "mmol/L")
    assert found.tolist() == [2.8, 7.25, 6]
    assert Spelling(unit_in_cells=True).number("1e-05", "V") == 1e-5


@pytest.mark.parametrize(
    ("cell", "unit"),
    [("7.2 mmol/L", "mmol/L"), ("97%", "%"), ("36,6 °C", "°C"), ("7.2", None), ("ok", None)],
)
def test_the_unit_stands_behind_the_number(cell, unit):
    assert unit_of(cell) == unit


def test_plain_numbers_are_pythons_without_its_underscores():
    assert [plain(cell) for cell in ("1e3", " 7 ", "1_0", "x", "")] == [1000, 7, None, None, None]
