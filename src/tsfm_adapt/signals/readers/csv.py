"""CSV tables: one row a reading (long) or one row a time (wide), one file or a folder of them."""

from __future__ import annotations

import codecs
import csv
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._tables import TableConfig


class Config(TableConfig):
    """A comma-separated table with a header row; every row has as many cells as the header."""

    suffix = ".csv"

    name: Literal["csv"] = "csv"
    delimiter: str = Field(",", min_length=1, max_length=1)
    encoding: str = Field("utf-8-sig", description="utf-8 with or without a byte-order mark")

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str) -> str:
        try:
            codecs.lookup(value)
        except LookupError:
            raise ValueError(f"Python knows no encoding '{value}'") from None
        return value

    def load(self, path: Path) -> Table:
        """The file's columns as text, rows numbered like lines: the header is row 1."""
        try:
            with path.open(encoding=self.encoding, newline="") as file:
                rows = list(csv.reader(file, delimiter=self.delimiter, strict=True))
        except (OSError, UnicodeError, csv.Error) as problem:
            raise DataError(
                f"{path} must be a CSV file in {self.encoding}: {problem}. "
                "Correct data.reader.encoding or the file."
            ) from problem
        while rows and not rows[-1]:
            rows.pop()
        if not rows:
            raise DataError(f"A CSV file has a header row: {path} is empty. Fetch it again.")
        header = [cell.strip() for cell in rows[0]]
        if len(set(header)) != len(header):
            raise DataError(
                f"Column names differ: {path} has {', '.join(header)}. Rename one in the file."
            )
        for number, row in enumerate(rows, start=1):
            if len(row) != len(header):
                raise DataError(
                    f"Every row has as many cells as the header, {len(header)}: {path}, row "
                    f"{number}, has {len(row)} ('{self.delimiter.join(row)[:60]}'). Correct it or "
                    "data.reader.delimiter."
                )
        columns = {
            name: np.array([row[index] for row in rows[1:]], dtype=np.str_)
            for index, name in enumerate(header)
        }
        return Table(path, columns, first_row=2)
