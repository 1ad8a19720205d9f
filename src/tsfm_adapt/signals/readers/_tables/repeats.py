"""Several readings of one channel at one time: who or what tells them apart, or how to merge."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.spelling import Column, plain
from tsfm_adapt.signals.readers._tables.vocabulary import is_identifier, is_static
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

Duplicates = Literal["median", "first", "last", "mean", "packets"]

SHARE = 0.05  # of a record's readings that may repeat a time and channel
_LEAST = 10  # repeated readings below which a record is never stopped
_GAP = 1.75  # of the usual interval between packets: longer is a gap


def repeated(time: FloatArray | IntArray, channel: IntArray) -> BoolArray:
    """Which readings (N,) have a time and channel that an earlier one has."""
    order = np.lexsort([channel, time])
    again = np.zeros(len(time), dtype=np.bool_)
    same = (np.diff(time[order]) == 0) & (np.diff(channel[order]) == 0)
    again[order[1:]] = same
    return again


def too_many(again: BoolArray) -> bool:
    """True if more readings repeat a time than a record may have."""
    return bool(again.sum() >= _LEAST and again.sum() > SHARE * len(again))


def merged(
    time_s: FloatArray,
    channel: IntArray,
    value: FloatArray,
    how: Literal["median", "first", "last", "mean"],
) -> tuple[FloatArray, IntArray, FloatArray]:
    """One reading for each time and channel, sorted by both; the arguments are (N,)."""
    import pandas as pd

    frame = pd.DataFrame({"time": time_s, "channel": channel, "value": value})
    one = frame.groupby(["time", "channel"], sort=True)["value"].agg(how).reset_index()
    return one["time"].to_numpy(), one["channel"].to_numpy(), one["value"].to_numpy()


def refuse(
    table: Table,
    rows: IntArray,
    key: IntArray,
    reading: IntArray,
    again: BoolArray,
    known: set[str],
) -> None:
    """Stops with three of the repeating rows, and the columns that would tell them apart.

    Args:
        table: the file.
        rows: (R,) of the record.
        key: (R,) equal where time and channel are.
        reading: (M,) the row of each of the record's readings.
        again: (M,) whose time and channel occur before.
        known: columns that are used already.

    Raises:
        Undecided: always.
    """
    one = key[np.flatnonzero(rows == reading[again][0])[0]]
    shown = "; ".join(table.shown(int(row)) for row in sorted(rows[key == one])[:3])
    columns = [name for name in separators(table, key, rows) if name not in known]
    settings: dict[str, JsonValue] = {"duplicates": "median"}
    step = (
        "No column tells them apart. Set data.reader.duplicates to median, first, last or mean, "
        "or to packets where one stamp stands for several samples."
    )
    if columns:
        settings = {"subject": columns[0]}
        step = (
            f"'{columns[0]}' tells them apart: is it the subject (data.reader.subject), the "
            "record or the channel?"
        )
    raise Undecided(
        f"{table.path}: at most {SHARE:.0%} of a record's readings may share a time and channel; "
        f"here {again.sum():,} of {len(again):,} do ({shown}). {step}",
        settings,
    )


def separators(table: Table, key: IntArray, rows: IntArray | None = None) -> list[str]:
    """Columns that tell rows of one key apart, the likeliest identifier first.

    Args:
        table: the file.
        key: (R,) equal in rows that shall be told apart.
        rows: (R,) of the table; None = all.
    """
    found: list[tuple[bool, int, str]] = []
    for name, column in table.columns.items():
        some = column if rows is None else column[rows]
        text = np.char.strip(some.astype(np.str_))
        codes, which = np.unique(text, return_inverse=True)
        if (
            not 2 <= len(codes) <= max(2, len(key) // 3)
            or "" in codes
            or _measured(codes.tolist())
            or is_static(name)
            or _varies(name, text, codes.tolist())
        ):
            continue
        pairs = np.unique(np.stack([key, which.reshape(-1)]), axis=1).shape[1]
        if len(key) - pairs <= 0.01 * len(key):
            found.append((not is_identifier(name), len(codes), name))
    return [name for _, _, name in sorted(found)]


def _varies(name: str, text: Column, codes: list[str]) -> bool:
    """True if whole numbers change from row to row as readings do, under no identifier's name."""
    if is_identifier(name) or any(plain(code) is None for code in codes):
        return False
    runs = 1 + int((text[1:] != text[:-1]).sum())
    return vital(name) is not None or runs > 2 * len(codes)


def _measured(codes: list[str]) -> bool:
    """True if the values look measured: numbers with a fraction."""
    numbers = [plain(code) for code in codes]
    return any(number is not None and not float(number).is_integer() for number in numbers)


def spread(table: Table, time_s: FloatArray, group: IntArray) -> FloatArray:
    """Times (N,) of samples that came in packets with one stamp each, at the nominal rate.

    A packet's stamp is that of its first sample; between gaps samples are equally spaced.

    Args:
        table: the file, in whose notes it is said.
        time_s: (N,) stamps, rising within a record.
        group: (N,) record of each row, and channel in a long table.

    Raises:
        DataError: a record has fewer than two packets.
    """
    result = np.array(time_s, dtype=np.float64)
    for record in np.unique(group).tolist():
        rows = np.flatnonzero(group == record)
        rows = rows[np.argsort(time_s[rows], kind="stable")]
        stamps, begin, count = np.unique(time_s[rows], return_index=True, return_counts=True)
        if len(stamps) < 2:
            raise DataError(
                f"{table.path}: data.reader.duplicates: packets needs two stamps or more in a "
                f"record; one has '{stamps[0]:g}' only. Set rate_hz and time: null."
            )
        apart = np.diff(stamps)
        usual = float(np.median(apart))
        inside = apart <= _GAP * usual
        rate_hz = float(count[:-1][inside].sum() / apart[inside].sum())
        table.notes[
            f"samples in packets of about {int(np.median(count))} with one stamp, spread at "
            f"{rate_hz:.6g} Hz"
        ] += len(rows)
        edges = [0, *(np.flatnonzero(~inside) + 1).tolist(), len(stamps)]
        for first, stop in pairwise(edges):
            own = rows[begin[first] : (begin[stop] if stop < len(stamps) else len(rows))]
            result[own] = stamps[first] + np.arange(len(own)) / rate_hz
    return result
