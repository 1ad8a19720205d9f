"""Parquet tables: one row a reading (long) or one row a time (wide), one file or a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._dialect import Sample
from tsfm_adapt.signals.readers._spelling import Column
from tsfm_adapt.signals.readers._tables import TableConfig

_HEAD_ROWS = 50_000


class Config(TableConfig):
    """A Parquet table; numbers, timestamps and durations keep their types, else it is text."""

    patterns: ClassVar[tuple[str, ...]] = ("*.parquet",)
    guessed_patterns: ClassVar[tuple[str, ...]] = ("*.parquet", "*.pq")

    name: Literal["parquet"] = "parquet"

    @classmethod
    def sample(cls, path: Path) -> Sample:
        """The first rows."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(path)
            batch = next(file.iter_batches(batch_size=_HEAD_ROWS), None)
        except (OSError, pa.ArrowException) as problem:
            raise DataError(f"{path} must be a Parquet file: {problem}.") from problem
        if batch is None or batch.num_rows < 2:
            raise DataError(f"{path} must have rows; it has none, or one.")
        return Sample(_table(path, pa.Table.from_batches([batch])))

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
        return _table(path, table, self)


def _table(path: Path, table: Any, config: TableConfig | None = None) -> Table:
    """The columns of an Arrow table."""
    import pyarrow as pa

    zones = {
        field.name: field.type.tz
        for field in table.schema
        if pa.types.is_timestamp(field.type) and field.type.tz is not None
    }
    columns = {name: _column(table[name]) for name in table.column_names}
    if config is None:
        return Table(path, columns, first_row=0, zones=zones)
    return Table(path, columns, first_row=0, zones=zones, spelling=config.spelling)


def _column(cells: Any) -> Column:  # pyarrow has no types: a ChunkedArray
    """A column (N,): numbers, timestamps and durations keep their types, else it becomes text."""
    import pyarrow as pa

    if pa.types.is_timestamp(cells.type):
        return np.asarray(cells.cast(pa.timestamp("us"), safe=False).to_numpy())
    if pa.types.is_duration(cells.type):
        return np.asarray(cells.cast(pa.duration("us"), safe=False).to_numpy())
    if pa.types.is_decimal(cells.type):
        cells = cells.cast(pa.float64())
    if (
        pa.types.is_integer(cells.type) or pa.types.is_boolean(cells.type)
    ) and not cells.null_count:
        return np.asarray(cells.to_numpy())
    if pa.types.is_floating(cells.type):
        return np.asarray(cells.to_numpy(), dtype=np.float64)
    if pa.types.is_integer(cells.type):
        return np.asarray(cells.cast(pa.float64(), safe=False).to_numpy())
    return np.array(
        ["" if cell is None else str(cell) for cell in cells.to_pylist()], dtype=np.str_
    )
