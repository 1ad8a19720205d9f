"""A table: drawn on a terminal, aligned plain lines for everything else."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def show(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()) -> None:
    """Prints rows under their titles; the columns named in `right` are numbers."""
    if sys.stdout.isatty():
        _draw(titles, rows, right)
        return
    for line in lines(titles, rows, right):
        print(line)


def lines(
    titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str] = ()
) -> list[str]:
    """The table as plain text, one line a row, columns two blanks apart."""
    table = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    aligns = [">" if title in right else "<" for title in titles]
    return [
        "  ".join(
            f"{cell:{align}{width}}"
            for cell, align, width in zip(row, aligns, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def _draw(titles: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[str]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for title in titles:
        table.add_column(title, justify="right" if title in right else "left")
    for row in rows:
        table.add_row(*map(Text, row))  # as text: brackets are no markup
    Console().print(table)
