"""Cells that have types, as spreadsheets and JSON hold them, as a table's columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, time, timedelta

import numpy as np

from tsfm_adapt.signals.readers._tables.spelling import Column

Cell = bool | int | float | str | datetime | time | timedelta | None

_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_INT64 = np.iinfo(np.int64)


def text_of(cell: Cell) -> str:
    """A cell as a text file would have it; '' where empty, a duration as HH:MM:SS."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, timedelta):
        hours, rest = divmod(abs(cell), _HOUR)
        minutes, rest = divmod(rest, _MINUTE)
        sign = "-" if cell < timedelta() else ""
        fraction = f".{rest.microseconds:06d}" if rest.microseconds else ""
        return f"{sign}{hours:02d}:{minutes:02d}:{rest.seconds:02d}{fraction}"
    return str(cell)


def column_of(cells: Sequence[Cell]) -> Column:
    """A column (N,) of one type, or of text where cells differ.

    Whole numbers stay whole where none is missing; numbers with gaps are float with NaN, and what
    is beyond 64 bits, a code, is text. Moments are datetime64 where they have a time of day, and
    otherwise dates as text. Durations are timedelta64; a time of day among them is the duration
    since midnight.
    """
    kinds = {*map(type, cells)}
    if kinds == {bool}:
        return np.array(cells, dtype=np.bool_)
    large = any(isinstance(own, int) and not _INT64.min <= own <= _INT64.max for own in cells)
    if kinds == {int} and not large:
        return np.array(cells, dtype=np.int64)
    if kinds & {int, float} and kinds <= {int, float, type(None)} and not large:
        return np.array([np.nan if own is None else own for own in cells], dtype=np.float64)
    if kinds == {datetime}:
        if any(own.time() != time() for own in cells if isinstance(own, datetime)):
            return np.array(cells, dtype="datetime64[us]")
        return np.array([text_of(own)[:10] for own in cells], dtype=np.str_)
    if timedelta in kinds and kinds <= {timedelta, time}:
        return np.array([_duration(own) for own in cells], dtype="timedelta64[us]")
    return np.array([text_of(own) for own in cells], dtype=np.str_)


def _duration(cell: Cell) -> Cell:
    if not isinstance(cell, time):
        return cell
    day = datetime.min
    return datetime.combine(day, cell) - day
