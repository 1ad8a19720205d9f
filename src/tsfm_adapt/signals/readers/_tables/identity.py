"""Who and what tells the rows of an unknown table apart: subject, record, channel, packets."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.combined import Combined
from tsfm_adapt.signals.readers._tables.order import in_order, meaning_of
from tsfm_adapt.signals.readers._tables.repeats import repeated, separators, too_many
from tsfm_adapt.signals.readers._tables.roles import identifies, numbers_of
from tsfm_adapt.signals.readers._tables.spelling import plain
from tsfm_adapt.signals.readers._tables.suspects import in_blocks, suspected
from tsfm_adapt.signals.readers._tables.time_columns import TimeChoice
from tsfm_adapt.signals.recording import FloatArray, IntArray

_LONG = 0.5  # share of numbers in a column of values: some channels are words
_VALUE = re.compile("value|wert|valeur|valor|result|reading|measured")
_CHANNEL = re.compile("name|param|channel|variable|vital|test|item|type|label|signal|code")
_WEAK = frozenset(("code", "name", "item", "type", "label", "test", "kind"))
_PACKET = 3  # samples of a stamp, at least
_PACKET_S = 10.0  # between stamps of packets, at most
_PLACES = 6.0  # times the chance variance of the means at each place of a packet
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
    within: str | None = None  # in whose groups subjects are numbered, as cages are
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
    _long_by_name(table, names, free, found, weak=False)
    straight = _straightened(table, time, _key(rows, found))
    _by_repeats(rows, free, straight, found, settings, doubts)
    if found.channel is None:
        rest = [name for name in free if name not in (found.subject, found.record, found.within)]
        _long_by_name(table, names, rest, found, weak=True)
    if found.subject is None:
        others = {found.record, found.channel, found.value}
        left = [name for name in free if name not in others]
        found.subject = in_blocks(table, left)
        suspect = None if found.subject else suspected(table, left, time.value, rows.file)
        if suspect is not None:
            found.subject, why = suspect
            doubts.append(why)
    if found.subject is not None:
        settings["subject"] = [found.within, found.subject] if found.within else found.subject
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
    people = [own[name] for name in vocabulary.SUBJECTS if name in own]
    people += [name for name in free if vocabulary.names_people(name) and name not in people]
    people = [name for name in people if not vocabulary.is_numbered_person(name)]
    stays = [own[name] for name in vocabulary.RECORDS if name in own]
    found.subject = next((name for name in people if identifies(table, name, lax=True)), None)
    stays = [name for name in stays if name != found.subject and identifies(table, name)]
    if found.subject is None and stays:
        found.subject = stays.pop(0)
    if found.subject is not None and stays:
        found.record = stays[-1] if len(stays) > 1 and _finer(table, stays) else stays[0]


def _finer(table: Table, stays: list[str]) -> bool:
    """True if the last of some columns divides rows more finely than the first."""
    return len(np.unique(table.text(stays[-1]))) > len(np.unique(table.text(stays[0])))


def _long_by_name(
    table: Table, names: Mapping[str, str], free: list[str], found: Identity, *, weak: bool
) -> None:
    """Channel and value of a long table, where both have usual names.

    Weak names, such as 'code' and 'name', are as often those of people.
    """
    own = {plain_name: name for plain_name, name in names.items() if name in free}
    value = vocabulary.first_of(own, vocabulary.VALUES)
    single = value is None
    if single:
        value = _only_number(table, free, found)
    if value is None or numbers_of(table, value, _LONG) is None:
        return
    for plain_name in vocabulary.CHANNELS:
        name = own.get(plain_name)
        if name in (None, value, found.subject, found.record):
            continue
        text = table.text(name)
        if (text == "").any() or len(np.unique(text)) > max(2, table.rows // 3):
            continue
        codes = np.unique(text).tolist()
        if found.channel is not None and (len(codes) < 2 or plain_name in _WEAK):
            continue
        numeric = all(plain(code) is not None for code in codes)
        known = sum(vital(code) is not None for code in codes) >= 0.5 * len(codes)
        if plain_name in _WEAK and not known and (single or not weak):
            continue
        if numeric and plain_name not in _CODED:
            continue
        found.channel, found.value = name, value
        if len(codes) > 1:
            return


def _only_number(table: Table, free: Sequence[str], found: Identity) -> str | None:
    """The one column of numbers that is left; None = there are several, or none."""
    numeric = [name for name in free if _may_be_value(table, name, found)]
    return numeric[0] if len(numeric) == 1 else None


def _may_be_value(table: Table, name: str, found: Identity) -> bool:
    if name in (found.subject, found.record) or vocabulary.is_unit_column(name):
        return False
    other = (vocabulary.is_counting, vocabulary.is_identifier, vocabulary.is_kind)
    if any(says(name) for says in other) or vocabulary.is_static(name):
        return False
    return numbers_of(table, name, _LONG) is not None


def _long_by_structure(
    table: Table, free: Sequence[str], apart: Sequence[str], found: Identity
) -> bool:
    """Channel and value where a column of names of signals tells rows apart; False = none does."""
    numeric = [name for name in free if _may_be_value(table, name, found)]
    valued = [name for name in numeric if _VALUE.search(vocabulary.plain(name))]
    if not valued and len(numeric) != 1:
        return False
    for name in apart:
        if vocabulary.is_unit_column(name):
            continue
        codes = np.unique(table.text(name)).tolist()
        known = sum(vital(code) is not None for code in codes)
        plain_name = vocabulary.plain(name)
        strong = plain_name in vocabulary.CHANNELS and plain_name not in _WEAK
        if strong or known >= 0.5 * len(codes) or (valued and _CHANNEL.search(plain_name)):
            found.channel, found.value = name, (valued or numeric)[0]
            return True
    return False


def _key(rows: Combined, found: Identity) -> IntArray:
    """A number for each row (N,), equal where file, subject, record and channel are."""
    return rows.groups((found.within, found.subject, found.record, found.channel))


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
    apart = [name for name in apart if not vocabulary.is_unit_column(name)]
    people = [name for name in apart if not vocabulary.is_state(name)]
    if apart and not people:
        found.record = found.record or apart[0]
        doubts.append(
            f"{what}; '{apart[0]}' tells them apart: is it the subject (subject: {apart[0]}), or "
            f"a part of one's recordings (record: {apart[0]})?"
        )
        return
    apart = people
    if apart:
        if found.channel is None and not vocabulary.is_identifier(apart[0]):
            _refuse_either(table, free, apart[0], found, what)
        _named_apart(apart, found, what, doubts)
    elif _packets(time, key):
        settings["duplicates"] = "packets"
        if not _one_source(table, free, time, key):
            doubts.append(
                f"{what}, in runs of equal length: samples of one packet (duplicates: packets), "
                "or subjects or channels that no column names?"
            )
    else:
        settings["duplicates"] = "median"
        doubts.append(
            f"{what}, and no column tells them apart. Set data.reader.duplicates to median, "
            "first, last or mean; or is a subject, a date or a session missing?"
        )


def _refuse_either(
    table: Table, free: Sequence[str], name: str, found: Identity, what: str
) -> None:
    """Stops where a column may be the subject as well as the channel of a long table.

    Raises:
        DataError: one column of numbers is left, and the names say neither.
    """
    value = _only_number(table, free, found)
    numeric = numbers_of(table, name) is not None
    if value is None or value == name or numeric or _says_session(name):
        return
    raise DataError(
        f"{what}; '{name}' tells them apart: is it the subject (subject: {name}, layout: wide), "
        f"or the channel of a long table (layout: long, channel: {name}, value: {value})?"
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
    people = [name for name in apart if vocabulary.is_identifier(name)]
    sessions = [name for name in apart if _says_session(name)]
    if found.subject is None and people:
        found.subject = people[0]
    elif sessions and found.record is None:
        found.record = sessions[0]
    elif found.subject is None:
        found.subject = apart[0]
        doubts.append(f"{what}; '{apart[0]}' tells them apart: is it the subject?")
    else:
        found.within = apart[0]
        doubts.append(
            f"{what}; '{apart[0]}' tells them apart: is it a part of the subject's name (subject: "
            f"[{apart[0]}, {found.subject}]), or the record?"
        )


def _says_session(name: str) -> bool:
    own = {"session", "visit", "trial", "run", "day", "night", "sitting", "block", "record"}
    return bool({*vocabulary.words(name)} & own) or vocabulary.plain(name) in vocabulary.RECORDS


def _packets(time: TimeChoice, key: IntArray) -> bool:
    """True if rows come in runs of one stamp, of about one length, one after the other."""
    value = time.times.value
    new = np.flatnonzero((np.diff(value) != 0) | (np.diff(key) != 0)) + 1
    count = np.diff([0, *new.tolist(), len(value)])
    if len(count) < 3 or (np.diff(value)[np.diff(key) == 0] < 0).any():
        return False
    inner = count[1:-1]
    return bool(np.median(inner) >= _PACKET and np.ptp(inner) <= 0.25 * np.median(inner) + 1)


def _one_source(table: Table, free: Sequence[str], time: TimeChoice, key: IntArray) -> bool:
    """True if rows of one stamp are samples of one sensor, whatever their place in the packet.

    Readings of several people in one order differ by their place. A packet is short.
    """
    value = time.value
    new = np.flatnonzero((np.diff(value) != 0) | (np.diff(key) != 0)) + 1
    begin = np.array([0, *new[:-1].tolist()])
    least = int(np.diff([*begin.tolist(), int(new[-1])]).min())
    if np.median(np.abs(np.diff(value[begin]))) > _PACKET_S:
        return False
    for name in free:
        number = numbers_of(table, name)
        if number is None or not np.isfinite(number).all():
            continue
        placed = number[begin[:, None] + np.arange(least)]  # (packets, places)
        within = float(placed.var(axis=0).mean())
        if placed.mean(axis=0).var() * len(placed) > _PLACES * max(within, 1e-12):
            return False
    return True


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
