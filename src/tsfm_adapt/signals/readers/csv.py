"""Delimited text tables (CSV, TSV, ...), also compressed: one file or a folder of them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.config import TableConfig
from tsfm_adapt.signals.readers._tables.dialect import Sample, sampled
from tsfm_adapt.signals.readers._tables.spelling import Spelling
from tsfm_adapt.signals.readers._tables.text import Dialect, read_text


class Config(TableConfig):
    """Cells between delimiters below a header row; names that end with .gz are decompressed."""

    patterns: ClassVar[tuple[str, ...]] = ("*.csv",)
    guessed_patterns: ClassVar[tuple[str, ...]] = tuple(
        f"*{suffix}{packed}"
        for suffix in (".csv", ".tsv", ".psv", ".txt", ".tab")
        for packed in ("", ".gz")
    )

    name: Literal["csv"] = "csv"
    delimiter: str = Field(
        ",", min_length=1, max_length=1, description="a blank stands for any run of blanks"
    )
    encoding: str = Field("utf-8-sig", description="utf-8 with or without a byte-order mark")
    decimal: Literal[".", ","] = Field(".", description="mark of decimals")
    thousands: Literal["", ",", ".", " ", "'"] = Field(
        "", description="mark between groups of three digits"
    )
    skip_rows: int = Field(0, ge=0, description="rows before the header")
    header_rows: int = Field(
        1, ge=0, le=2, description="0: columns are called 'column 1', ...; 2 are joined"
    )
    units_row: bool = Field(False, description="the row below the header holds units")
    footer_rows: int = Field(0, ge=0, description="rows at the end that are no values")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"Python knows no encoding '{value}'") from None
        return value

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

    @classmethod
    def sample(cls, path: Path) -> Sample:
        """The first rows, with the delimiter and header that fit them."""
        return sampled(path)

    def load(self, path: Path) -> Table:
        """Reads the columns as text; rows are numbered like lines, the first is row 1."""
        dialect = Dialect(
            delimiter=self.delimiter,
            encoding=self.encoding,
            skip_rows=self.skip_rows,
            header_rows=self.header_rows,
            units_row=self.units_row,
            footer_rows=self.footer_rows,
        )
        return read_text(path, dialect, self.spelling)
