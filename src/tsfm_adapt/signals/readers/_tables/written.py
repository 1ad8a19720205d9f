"""Settings of readers of tables whose numbers may be text, or that have rows around values."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tsfm_adapt.signals.readers._tables.config import TableConfig
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.text import Dialect


class NumbersConfig(TableConfig):
    """A table whose numbers may be text, with marks of its own."""

    decimal: Literal[".", ","] = Field(".", description="mark of decimals in text")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        "", description="mark between groups of three digits"
    )

    @model_validator(mode="after")
    def _marks_differ(self) -> Self:
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands are two marks")
        return self

    @property
    def spelling(self) -> Spelling:
        """How numbers are written."""
        return Spelling(
            decimal=self.decimal,
            thousands=self.thousands,
            missing=tuple(str(value) for value in self.missing_values),
            censored=self.censored,
            unit_in_cells=self.unit_in_cells,
        )


class RowsConfig(NumbersConfig):
    """A table of rows, with a header and perhaps other rows around the values."""

    skip_rows: int = Field(0, ge=0, description="rows before the header")
    header_rows: int = Field(
        1, ge=0, le=2, description="0: columns are called 'column 1', ...; 2 are joined"
    )
    units_row: bool = Field(False, description="the row below the header holds units")
    footer_rows: int = Field(0, ge=0, description="rows at the end that are no values")

    def dialect(self, delimiter: str = "", encoding: str = Dialect.encoding) -> Dialect:
        """Which rows are no values; a file of text also has a delimiter and an encoding."""
        return Dialect(
            delimiter=delimiter,
            encoding=encoding,
            skip_rows=self.skip_rows,
            header_rows=self.header_rows,
            units_row=self.units_row,
            footer_rows=self.footer_rows,
        )
