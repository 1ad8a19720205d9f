"""Settings that tables of rows share."""

import pytest
from pydantic import ValidationError

from tsfm_adapt.signals.readers.csv import Config

WIDE = {"root": "x.csv", "layout": "wide", "units": {"HR": "bpm"}}


def test_the_marks_of_numbers_differ():
    with pytest.raises(ValidationError, match="two marks"):
        Config(**WIDE, decimal=",", thousands=",")


def test_settings_become_the_dialect_and_the_spelling():
    config = Config(**WIDE, decimal=",", thousands=".", skip_rows=2, units_row=True, footer_rows=1)
    assert config.spelling.number("1.234,5") == 1234.5
    dialect = config.dialect(";", "latin-1")
    assert (dialect.delimiter, dialect.encoding) == (";", "latin-1")
    assert (dialect.skip_rows, dialect.header_rows) == (2, 1)
    assert (dialect.units_row, dialect.footer_rows) == (True, 1)
    assert config.dialect().delimiter == ""
