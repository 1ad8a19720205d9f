"""Parquet tables: one row a reading (long) or one row a time (wide), one file or a folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.config import TableConfig
from tsfm_adapt.signals.readers._tables.dialect import Sample
from tsfm_adapt.signals.readers._tables.spelling import Column

_HEAD_ROWS = 50_000
_LARGE_ROWS = 500_000  # a smaller file is read at once
_BATCH_ROWS, _PART_ROWS = 50_000, 100_000


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

        with _opened(path) as file:
            try:
                return _table(path, file.read(), config=self)
            except (OSError, pa.ArrowException) as problem:
                raise _broken(path, problem) from problem

    def tables(self, path: Path) -> Iterator[Table]:
        """Whole records in a row, a few row groups at a time; all at once where ids are mixed."""
        import pyarrow as pa

        with _opened(path) as file:
            rows = file.metadata.num_rows
            named = [*self.subject_columns, *([self.record] if self.record else [])]
            ids = [name for name in named if name in file.schema_arrow.names]
            try:
                edges = _edges(file, ids) if ids and rows > _LARGE_ROWS else None
                if edges is None:
                    yield self.load(path)
                    return
                first = 0
                for part in _between(file, edges):
                    yield _table(path, part, config=self, first=first)
                    first += part.num_rows
            except (OSError, pa.ArrowException) as problem:
                raise _broken(path, problem) from problem


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as problem:
        raise _broken(path, problem) from problem


def _broken(path: Path, problem: Exception) -> DataError:
    return DataError(
        f"{path} must be a Parquet file: {problem}. Write it again: it is cut off or no such."
    )


def _edges(file: Any, ids: Sequence[str]) -> list[int] | None:
    """The first row of every record after the first; None where a record's rows lie apart."""
    edges: list[int] = []
    seen: set[tuple[object, ...]] = set()
    last: tuple[object, ...] | None = None
    place = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=list(ids)):
        keys = [batch.column(name).dictionary_encode() for name in ids]
        codes = np.stack([np.asarray(key.indices.fill_null(-1)) for key in keys])
        starts = [0, *(np.flatnonzero((codes[:, 1:] != codes[:, :-1]).any(axis=0)) + 1).tolist()]
        for start in starts:
            own = tuple(key[start].as_py() for key in keys)
            if own == last:
                continue
            if own in seen:
                return None
            seen.add(own)
            if last is not None:
                edges.append(place + start)
            last = own
        place += batch.num_rows
    return edges


def _between(file: Any, edges: Sequence[int]) -> Iterator[Any]:
    """Arrow tables from one of some edges to another, each with `_PART_ROWS` rows or more."""
    import pyarrow as pa

    held: list[Any] = []
    first = place = 0
    for batch in file.iter_batches(batch_size=_BATCH_ROWS):
        inside = [edge for edge in edges if place < edge < place + batch.num_rows]
        cut = inside[-1] - place if inside and inside[-1] - first >= _PART_ROWS else 0
        if place in edges and place - first >= _PART_ROWS and not cut:
            yield pa.Table.from_batches(held)
            held, first = [], place
        if cut:
            yield pa.Table.from_batches([*held, batch.slice(0, cut)])
            held, first = [], place + cut
        held.append(batch.slice(cut))
        place += batch.num_rows
    yield pa.Table.from_batches(held)


def _table(path: Path, table: Any, config: TableConfig | None = None, first: int = 0) -> Table:
    """The columns of an Arrow table."""
    import pyarrow as pa

    zones = {
        field.name: field.type.tz
        for field in table.schema
        if pa.types.is_timestamp(field.type) and field.type.tz is not None
    }
    columns = {name: _column(table[name]) for name in table.column_names}
    if config is None:
        return Table(path, columns, first_row=first, zones=zones)
    spelling = config.spelling
    return Table(path, columns, first, spelling=spelling, zones=zones, begins=first == 0)


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
