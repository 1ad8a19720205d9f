"""Cells that a table leaves empty on purpose: names once a block, rows without a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.spelling import Column

UNTIMED = "rows without a time, skipped"


def filled_down(table: Table, names: Iterable[str]) -> Table:
    """The table; empty cells of some columns hold what stands above them."""
    columns = dict(table.columns)
    for name in names:
        columns[name] = fill(table.text(name))
    return replace(table, columns=columns)


def together(table: Table, names: Sequence[str]) -> Table:
    """The table with a column more, called 'a/b', of what some columns say together."""
    cells = [table.text(name).tolist() for name in names]
    joined = ["/".join(own) if all(own) else "" for own in zip(*cells, strict=True)]
    return replace(table, columns={**table.columns, "/".join(names): np.array(joined, np.str_)})


def renamed(table: Table, name: str, other: str) -> Table:
    """The table; one column is called otherwise."""
    columns = {other if key == name else key: column for key, column in table.columns.items()}
    return replace(table, columns=columns)


def fill(text: Column) -> Column:
    """A column (N,) of text whose empty cells hold the last filled one; the first stay empty."""
    last = np.maximum.accumulate(np.where(text != "", np.arange(len(text)), 0))
    filled: Column = text[last]
    return filled


def timed(table: Table, column: str) -> Table:
    """The rows with a time; the others are counted in the notes."""
    cells = table.columns[column]
    keep = ~np.isnat(cells) if cells.dtype.kind in "Mm" else table.text(column) != ""
    if keep.all():
        return table
    table.notes[UNTIMED] += int((~keep).sum())
    return table.kept(keep)


def empty_below(text: Column) -> bool:
    """True if a column (N,) is filled once a block: at first, and then now and again."""
    filled = text != ""
    return bool(len(text) > 3 and filled[0] and not filled.all() and filled.mean() <= 0.5)
