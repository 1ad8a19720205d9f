"""The first rows of several files as one table, for a guess that holds for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.spelling import Column
from tsfm_adapt.signals.recording import IntArray


@dataclass(frozen=True)
class Combined:
    """Rows of several files, one below the other."""

    table: Table
    file: IntArray  # (N,) number of each row's file
    held: tuple[frozenset[str], ...]  # the columns of each file
    tables: tuple[Table, ...]

    @property
    def stems(self) -> tuple[str, ...]:
        """The files' names without suffix."""
        return tuple(table.path.name.split(".")[0] for table in self.tables)

    def groups(self, names: Iterable[str | None]) -> IntArray:
        """A number for each row (N,), equal where the file and these columns are; None: none."""
        key = self.file
        for name in names:
            if name is not None:
                _, which = np.unique(self.table.text(name), return_inverse=True)
                joint = key * (which.max() + 1) + which.reshape(-1)
                key = np.unique(joint, return_inverse=True)[1].reshape(-1)
        return key

    def shown(self, row: int) -> str:
        """A row with its file's name."""
        number = int(self.file[row])
        first = int(np.flatnonzero(self.file == number)[0])
        own = self.tables[number]
        return f"{own.path.name}, {own.shown(row - first)}"

    def some(self, rows: IntArray) -> Combined:
        """Some of the rows."""
        columns = {name: column[rows] for name, column in self.table.columns.items()}
        table = Table(
            self.table.path,
            columns,
            self.table.first_row,
            spelling=self.table.spelling,
            units=self.table.units,
        )
        return Combined(table, self.file[rows], self.held, self.tables)


def combined(tables: Sequence[Table]) -> Combined:
    """One table of all; a column that a file lacks is empty in its rows."""
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    columns = {name: _stacked([t.columns.get(name) for t in tables], tables) for name in names}
    units = {name: unit for table in tables for name, unit in table.units.items()}
    first = tables[0]
    return Combined(
        Table(first.path, columns, first.first_row, spelling=first.spelling, units=units),
        np.concatenate([np.full(t.rows, number) for number, t in enumerate(tables)]),
        tuple(frozenset(table.columns) for table in tables),
        tuple(tables),
    )


def _stacked(parts: Sequence[Column | None], tables: Sequence[Table]) -> Column:
    kinds = {part.dtype.kind for part in parts if part is not None}
    if len(kinds) > 1 and kinds <= set("iufb"):
        kinds = {"f"}
    kind = kinds.pop() if len(kinds) == 1 else "U"
    empty: dict[str, Any] = {"M": np.datetime64("NaT"), "m": np.timedelta64("NaT"), "U": ""}
    lacks = any(part is None for part in parts)
    stacked: list[Column] = []
    for part, table in zip(parts, tables, strict=True):
        if part is None:
            value: Any = empty.get(kind, np.nan)
            dtype: Any = {"M": "datetime64[us]", "m": "timedelta64[us]", "U": np.str_}.get(
                kind, float
            )
            stacked.append(np.full(table.rows, value, dtype=dtype))
        elif kind == "U":
            stacked.append(part.astype(np.str_))
        else:
            stacked.append(part.astype(np.float64) if lacks and kind in "iub" else part)
    return np.concatenate(stacked)
