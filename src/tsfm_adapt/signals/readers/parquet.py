"""Parquet tables: one row a reading (long) or one row a time (wide), one file or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Column, Table
from tsfm_adapt.signals.readers._columns import FirstRows
from tsfm_adapt.signals.readers._tables import TableConfig

_HEAD_ROWS = 500


class Config(TableConfig):
    """A Parquet table; numbers and timestamps keep their types, anything else is read as text."""

    suffix = ".parquet"

    name: Literal["parquet"] = "parquet"

    @classmethod
    def first_rows(cls, path: Path) -> FirstRows | None:
        """The first rows; columns of type timestamp are times."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
            batch = next(file.iter_batches(batch_size=_HEAD_ROWS), None)
        except (OSError, pa.ArrowException):
            return None
        if batch is None or batch.num_rows < 2:
            return None
        time_columns = [field.name for field in batch.schema if pa.types.is_timestamp(field.type)]
        cells = {
            name: [
                "" if cell is None or cell != cell else str(cell)
                for cell in batch.column(name).to_pylist()
            ]
            for name in batch.schema.names
        }
        return FirstRows(cells, tuple(time_columns))

    def load(self, path: Path) -> Table:
        """Reads the columns; rows are numbered from 0."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.ParquetFile(path).read()
        except (OSError, pa.ArrowException) as problem:
            raise DataError(
                f"{path} must be a Parquet file: {problem}. Fetch or write it again."
            ) from problem
        return Table(
            path, {name: _column(table[name]) for name in table.column_names}, first_row=0
        )


def _column(cells: Any) -> Column:  # pyarrow has no types: a ChunkedArray
    """A column (N,): numbers and timestamps keep their types, anything else becomes text."""
    import pyarrow as pa

    if pa.types.is_timestamp(cells.type):
        return np.asarray(cells.cast(pa.timestamp("us"), safe=False).to_numpy())
    if pa.types.is_decimal(cells.type):
        cells = cells.cast(pa.float64())
    if (
        pa.types.is_integer(cells.type) or pa.types.is_boolean(cells.type)
    ) and not cells.null_count:
        return np.asarray(cells.to_numpy())
    if pa.types.is_floating(cells.type):
        return np.asarray(cells.to_numpy(), dtype=np.float64)
    return np.array(
        ["" if cell is None else str(cell) for cell in cells.to_pylist()], dtype=np.str_
    )
