"""Columns that may be the subject though no name says so."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.roles import identifies, numbers_of
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray


def in_blocks(table: Table, names: Sequence[str]) -> str | None:
    """An identifier by its name whose values each fill one block of rows."""
    for name in names:
        if not vocabulary.is_identifier(name) or not identifies(table, name):
            continue
        text = table.text(name)
        codes = len(np.unique(text))
        blocks = 1 + int((text[1:] != text[:-1]).sum())
        if codes >= 2 and blocks == codes:
            return name
    return None


def suspected(
    table: Table, names: Sequence[str], value: FloatArray, file: IntArray
) -> tuple[str, str] | None:
    """A column that may be the subject whatever its name, and why; None = there is none.

    Each of its values has times of its own.

    Args:
        table: the rows of some files.
        names: of the columns that have no other role.
        value: (N,) times in seconds.
        file: (N,) number of each row's file.
    """
    for name in names:
        kind = table.columns[name].dtype.kind
        if kind not in "Ui":
            continue
        named = (vocabulary.is_state, vocabulary.is_quality, vocabulary.is_counting)
        if any(says(name) for says in named) or vital(name) is not None:
            continue
        if not identifies(table, name):
            continue
        codes, which = np.unique(table.text(name), return_inverse=True)
        numeric = numbers_of(table, name) is not None
        if len(codes) < 2 or not _own_times(value, which.reshape(-1), file, numeric):
            continue
        why = (
            f"'{name}' has {len(codes)} values ({', '.join(codes[:3].tolist())}, ...), each with "
            "times of its own: is it the subject?"
        )
        return name, why
    return None


def _own_times(value: FloatArray, which: IntArray, file: IntArray, numeric: bool) -> bool:
    """True if rows of one value follow a clock of their own: blocks apart, or several at once.

    Args:
        value: (N,) times in seconds.
        which: (N,) number of each row's value.
        file: (N,) number of each row's file.
        numeric: the values are numbers, which only blocks tell from measurements.
    """
    step = np.abs(np.diff(value))
    inside = (np.diff(file) == 0) & (np.diff(which) == 0)
    across = (np.diff(file) == 0) & (np.diff(which) != 0)
    moving = inside & (step > 0)
    usual = float(np.median(step[moving])) if moving.any() else 0.0
    codes = int(which.max()) + 1
    if not across.any():  # each file has one value
        return False
    blocks = len(np.unique(file * codes + which)) - len(np.unique(file))
    if across.sum() == blocks and _turns(np.diff(value), inside, across):
        return True
    if across.sum() == blocks:
        return bool(usual > 0 and (step[across] > 3 * usual).mean() >= 0.8)
    if numeric or file.any() or codes > len(which) // 20:
        return False  # measurements, or files with a subject each
    if _sorts(value, which):
        return True
    order = np.lexsort([value, which])
    own = np.abs(np.diff(value[order]))[np.diff(which[order]) == 0]
    every = np.diff(np.sort(value))
    both = own.size and every.size
    return bool(both and np.median(own) > 0 and np.median(own) >= 1.5 * np.median(every))


def _turns(step: FloatArray, inside: BoolArray, across: BoolArray) -> bool:
    """True if time runs on within blocks and turns back from one to the next; steps (N - 1,)."""
    moving = step[inside & (step != 0)]
    way = np.sign(np.median(moving)) if moving.size else 0.0
    return bool(way != 0 and (np.sign(step[across]) == -way).mean() >= 0.5)


def _sorts(value: FloatArray, which: IntArray) -> bool:
    """True if times (N,) run to and fro in the file, and one way in the rows of each value."""
    order = np.argsort(which, kind="stable")
    own = np.diff(value[order])[np.diff(which[order]) == 0]
    every = np.diff(value)
    to_and_fro = min(int((every < 0).sum()), int((every > 0).sum()))
    return to_and_fro >= 0.05 * len(value) and min((own < 0).sum(), (own > 0).sum()) == 0
