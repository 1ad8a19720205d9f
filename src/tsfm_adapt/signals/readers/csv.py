"""Delimited text tables (CSV, TSV, ...), also compressed: one file or a folder of them."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field, field_validator

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.dialect import Sample, sampled
from tsfm_adapt.signals.readers._tables.text import read_text
from tsfm_adapt.signals.readers._tables.written import RowsConfig


class Config(RowsConfig):
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

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"Python knows no encoding '{value}'") from None
        return value

    @classmethod
    def sample(cls, path: Path) -> Sample:
        """The first rows, with the delimiter and header that fit them."""
        return sampled(path)

    def load(self, path: Path) -> Table:
        """Reads the columns as text; rows are numbered like lines, the first is row 1."""
        return read_text(path, self.dialect(self.delimiter, self.encoding), self.spelling)
