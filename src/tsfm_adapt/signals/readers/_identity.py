"""Who and what tells the rows of an unknown table apart: subject, record, channel, packets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers import _names
from tsfm_adapt.signals.readers._cells import Table, Undecided
from tsfm_adapt.signals.readers._combined import Combined
from tsfm_adapt.signals.readers._order import in_order, meaning_of
from tsfm_adapt.signals.readers._repeats import repeated, separators, too_many
from tsfm_adapt.signals.readers._roles import numbers_of
from tsfm_adapt.signals.readers._spelling import plain
from tsfm_adapt.signals.readers._time_columns import TimeChoice
from tsfm_adapt.signals.recording import FloatArray, IntArray

_LONG = 0.5  # share of numbers in a column of values: some channels are words
_VALUE = re.compile("value|wert|valeur|valor|result|reading|measured")
_CHANNEL = re.compile("name|param|channel|variable|vital|test|item|type|label|signal|code")
_PACKET = 3  # samples of a stamp, at least
_CODED = frozenset(  # columns whose numbers name channels
    (
        *("itemid", "item", "itemcode", "code", "parameter", "parameterid", "variable"),
        *("variableid", "conceptid", "measurementconceptid", "loinc"),
    )
)


@dataclass
class Identity:
    """The columns that say whose and what a row is."""

    subject: str | None = None
    record: str | None = None
    channel: str | None = None  # of a long table
    value: str | None = None


def identified(
    rows: Combined,
    names: Mapping[str, str],
    time: TimeChoice,
    settings: dict[str, JsonValue],
    doubts: list[str],
) -> Identity:
    """Finds the columns, by names first, then by what tells equal times apart.

    Settings and doubts are added to.
    """
    table = rows.table
    free = [name for name in table.columns if name not in time.columns]
    found = Identity()
    _by_name(rows, names, free, found)
    _long_by_name(table, names, free, found)
    straight = _straightened(table, time, _key(rows, found))
    _by_repeats(rows, free, straight, found, settings, doubts)
    if found.subject is None:
        found.subject = _in_blocks(table, free, found)
    if found.subject is None:
        found.subject = _suspected(table, free, time, rows.file, found, doubts)
    if found.subject is not None:
        settings["subject"] = found.subject
    if found.record is not None:
        settings["record"] = found.record
    _backward(table, time, _key(rows, found), settings, doubts)
    return found


def _straightened(table: Table, time: TimeChoice, key: IntArray) -> TimeChoice:
    """The times as a reader will have them, where steps back have one meaning: no repeats then."""
    column = time.columns[0]
    try:
        meaning = meaning_of(table, column, time.times, key)
    except Undecided:
        return time
    if meaning not in ("midnight", "summer_time"):
        return time
    quiet = replace(table, notes=Counter())
    value, _ = in_order(quiet, column, time.times, key, None, meaning)
    return replace(time, times=replace(time.times, value=value))


def _by_name(rows: Combined, names: Mapping[str, str], free: list[str], found: Identity) -> None:
    """Subject and record by their names; a stay without a subject is the subject."""
    table = rows.table
    own = {plain_name: name for plain_name, name in names.items() if name in free}
    people = [own[name] for name in _names.SUBJECTS if name in own]
    people += [name for name in free if _names.names_people(name) and name not in people]
    stays = [own[name] for name in _names.RECORDS if name in own]
    found.subject = next((name for name in people if _identifies(table, name, lax=True)), None)
    stays = [name for name in stays if name != found.subject and _identifies(table, name)]
    if found.subject is None and stays:
        found.subject = stays.pop(0)
    if found.subject is not None and stays:
        found.record = stays[-1] if len(stays) > 1 and _finer(table, stays) else stays[0]


def _finer(table: Table, stays: list[str]) -> bool:
    """True if the last of some columns divides rows more finely than the first."""
    return len(np.unique(table.text(stays[-1]))) > len(np.unique(table.text(stays[0])))


def _identifies(table: Table, name: str, *, lax: bool = False) -> bool:
    """True if a column is complete, no measurement, and repeats.

    Laxly, a column that names people may have empty cells, which its reader then refuses, and
    may have as many people as rows.
    """
    people = lax and _names.names_people(name)
    column = table.columns[name]
    if column.dtype.kind == "f" and not (np.isfinite(column) & (column == np.round(column))).all():
        return False
    if column.dtype.kind in "Mm":
        return False
    text = table.text(name)
    if (text == "").any() and not (people and (text != "").any()):
        return False
    codes = np.unique(text)
    numbers = [plain(code) for code in codes.tolist()]
    if any(number is not None and not float(number).is_integer() for number in numbers):
        return False
    return people or len(codes) <= max(1, table.rows // 2)


def _long_by_name(
    table: Table, names: Mapping[str, str], free: list[str], found: Identity
) -> None:
    """Channel and value of a long table, where both have usual names."""
    own = {plain_name: name for plain_name, name in names.items() if name in free}
    value = _names.first_of(own, _names.VALUES)
    if value is None or numbers_of(table, value, _LONG) is None:
        return
    for plain_name in _names.CHANNELS:
        name = own.get(plain_name)
        if name in (None, value, found.subject, found.record):
            continue
        text = table.text(name)
        if (text == "").any() or len(np.unique(text)) > max(2, table.rows // 3):
            continue
        codes = np.unique(text).tolist()
        if len(codes) < 2 and found.channel is not None:
            continue
        numeric = all(plain(code) is not None for code in codes)
        if numeric and plain_name not in _CODED:
            continue
        found.channel, found.value = name, value
        if len(codes) > 1:
            return


def _long_by_structure(
    table: Table, free: Sequence[str], apart: Sequence[str], found: Identity
) -> bool:
    """Channel and value where a column of names of signals tells rows apart; False = none does."""
    used = {found.subject, found.record}
    numeric = [
        name
        for name in free
        if name not in used
        and not _names.is_counting(name)
        and not _names.is_identifier(name)
        and not _names.is_kind(name)
        and numbers_of(table, name, _LONG) is not None
    ]
    valued = [name for name in numeric if _VALUE.search(_names.plain(name))]
    if not valued and len(numeric) != 1:
        return False
    for name in apart:
        codes = np.unique(table.text(name)).tolist()
        known = sum(vital(code) is not None for code in codes)
        if known >= 0.5 * len(codes) or (valued and _CHANNEL.search(_names.plain(name))):
            found.channel, found.value = name, (valued or numeric)[0]
            return True
    return False


def _key(rows: Combined, found: Identity) -> IntArray:
    """A number for each row (N,), equal where file, subject, record and channel are."""
    key = rows.file
    for name in (found.subject, found.record, found.channel):
        if name is not None:
            _, which = np.unique(rows.table.text(name), return_inverse=True)
            _, key = np.unique(key * (which.max() + 1) + which.reshape(-1), return_inverse=True)
            key = key.reshape(-1)
    return key


def _by_repeats(
    rows: Combined,
    free: list[str],
    time: TimeChoice,
    found: Identity,
    settings: dict[str, JsonValue],
    doubts: list[str],
) -> None:
    """What tells equal times apart, where more are equal than may be."""
    table = rows.table
    key = _key(rows, found)
    again = repeated(time.times.value, key)
    if not too_many(again) or not _measured_again(table, free, time, key):
        return
    _, both = np.unique(np.stack([key, _codes(time.times.value)]), axis=1, return_inverse=True)
    both = both.reshape(-1)
    used = {found.subject, found.record, found.channel, found.value}
    apart = [name for name in separators(table, both) if name in free and name not in used]
    if found.channel is None and _long_by_structure(table, free, apart, found):
        _by_repeats(rows, free, time, found, settings, doubts)
        return
    example = np.flatnonzero(both == both[np.flatnonzero(again)[0]])[:3]
    shown = "; ".join(rows.shown(int(row)) for row in example)
    what = f"{int(again.sum()):,} of the first {table.rows:,} rows repeat a time ({shown})"
    if apart:
        _named_apart(apart, found, what, doubts)
    elif _packets(time, key):
        settings["duplicates"] = "packets"
    else:
        settings["duplicates"] = "median"
        doubts.append(
            f"{what}, and no column tells them apart. Set data.reader.duplicates to median, "
            "first, last or mean; or is a subject, a date or a session missing?"
        )


def _codes(values: FloatArray | IntArray) -> IntArray:
    return np.unique(values, return_inverse=True)[1].reshape(-1)


def _measured_again(table: Table, free: list[str], time: TimeChoice, key: IntArray) -> bool:
    """True if rows of one time measure the same columns, not each other ones."""
    numbers = [numbers_of(table, name) for name in free]
    for number in numbers:
        if number is None:
            continue
        filled = np.isfinite(number)
        if too_many(repeated(time.times.value[filled], key[filled])):
            return True
    return False


def _named_apart(apart: list[str], found: Identity, what: str, doubts: list[str]) -> None:
    """Gives the column that tells rows apart its role."""
    people = [name for name in apart if _names.is_identifier(name)]
    sessions = [name for name in apart if _says_session(name)]
    if found.subject is None and people:
        found.subject = people[0]
    elif sessions and found.record is None:
        found.record = sessions[0]
    elif found.subject is None:
        found.subject = apart[0]
        doubts.append(f"{what}; '{apart[0]}' tells them apart: is it the subject?")
    else:
        found.record = apart[0]
        doubts.append(f"{what}; '{apart[0]}' tells them apart: is it the record?")


def _says_session(name: str) -> bool:
    own = {"session", "visit", "trial", "run", "day", "night", "sitting", "block", "record"}
    return bool({*_names.words(name)} & own) or _names.plain(name) in _names.RECORDS


def _packets(time: TimeChoice, key: IntArray) -> bool:
    """True if rows come in runs of one stamp, of about one length, one after the other."""
    value = time.times.value
    new = np.flatnonzero((np.diff(value) != 0) | (np.diff(key) != 0)) + 1
    count = np.diff([0, *new.tolist(), len(value)])
    if len(count) < 3 or (np.diff(value)[np.diff(key) == 0] < 0).any():
        return False
    inner = count[1:-1]
    return bool(np.median(inner) >= _PACKET and np.ptp(inner) <= 0.25 * np.median(inner) + 1)


def _in_blocks(table: Table, free: list[str], found: Identity) -> str | None:
    """An identifier by its name whose values each fill one block of rows."""
    for name in free:
        if name in (found.record, found.channel, found.value) or not _names.is_identifier(name):
            continue
        if not _identifies(table, name):
            continue
        text = table.text(name)
        codes = len(np.unique(text))
        blocks = 1 + int((text[1:] != text[:-1]).sum())
        if codes >= 2 and blocks == codes:
            return name
    return None


def _suspected(
    table: Table,
    free: Sequence[str],
    time: TimeChoice,
    file: IntArray,
    found: Identity,
    doubts: list[str],
) -> str | None:
    """A column that may be the subject whatever its name: each value has times of its own."""
    for name in free:
        kind = table.columns[name].dtype.kind
        if name in (found.record, found.channel, found.value) or kind not in "Ui":
            continue
        named = (_names.is_state, _names.is_quality, _names.is_counting)
        if any(says(name) for says in named) or vital(name) is not None:
            continue
        if not _identifies(table, name):
            continue
        codes, which = np.unique(table.text(name), return_inverse=True)
        numeric = numbers_of(table, name) is not None
        if len(codes) < 2 or not _own_times(time.value, which.reshape(-1), file, numeric):
            continue
        doubts.append(
            f"'{name}' has {len(codes)} values ({', '.join(codes[:3].tolist())}, ...), each with "
            "times of its own: is it the subject?"
        )
        return name
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
    usual = float(np.median(step[inside])) if inside.any() else 0.0
    codes = int(which.max()) + 1
    if not across.any():  # each file has one value
        return False
    if across.sum() == codes - 1:  # blocks
        return bool(usual > 0 and (step[across] > 20 * usual).mean() >= 0.9)
    if numeric or file.any() or codes > len(which) // 20:
        return False  # measurements, or files with a subject each
    if _sorts(value, which):
        return True
    order = np.lexsort([value, which])
    own = np.abs(np.diff(value[order]))[np.diff(which[order]) == 0]
    every = np.diff(np.sort(value))
    both = own.size and every.size
    return bool(both and np.median(own) > 0 and np.median(own) >= 1.5 * np.median(every))


def _sorts(value: FloatArray, which: IntArray) -> bool:
    """True if times (N,) run to and fro in the file, and one way in the rows of each value."""
    order = np.argsort(which, kind="stable")
    own = np.diff(value[order])[np.diff(which[order]) == 0]
    every = np.diff(value)
    to_and_fro = min(int((every < 0).sum()), int((every > 0).sum()))
    return to_and_fro >= 0.05 * len(value) and min((own < 0).sum(), (own > 0).sum()) == 0


def _backward(
    table: Table,
    time: TimeChoice,
    key: IntArray,
    settings: dict[str, JsonValue],
    doubts: list[str],
) -> None:
    """What steps back in time mean."""
    try:
        meaning = meaning_of(table, time.columns[0], time.times, key)
    except Undecided as problem:
        settings |= problem.settings
        doubts.append(str(problem))
        return
    if meaning == "summer_time":
        settings["backward"] = meaning
