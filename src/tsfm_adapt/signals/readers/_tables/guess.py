"""The settings of a reader of tables, guessed from the first rows of a few files.

    time        a column of times, and how it states them; or the day's beside a clock's
    identity    the subject and the record: by name, or because it tells repeated times apart
    layout      one row a reading, a time, a time with a column a subject, or a recording
    roles       which other columns are signals, labels, facts, or no signals
    files       whose each file is, and whether files of one subject belong together

What could as well be otherwise is a doubt: the guess then is no guess but an error, with the
likeliest settings as the line to go on with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.combined import Combined, combined
from tsfm_adapt.signals.readers._tables.dialect import Sample
from tsfm_adapt.signals.readers._tables.gaps import empty_below, filled_down
from tsfm_adapt.signals.readers._tables.identity import Identity, identified
from tsfm_adapt.signals.readers._tables.paths import (
    Owners,
    channel_pattern,
    owners,
    without_suffix,
)
from tsfm_adapt.signals.readers._tables.roles import NUMBERS, numbers_of, roles
from tsfm_adapt.signals.readers._tables.time_columns import TimeChoice, chosen_time, refuse_unread
from tsfm_adapt.signals.readers._tables.units_guess import unit_doubts
from tsfm_adapt.signals.readers._tables.wide_guess import layout_without_times, wide

Settings = dict[str, JsonValue]

_UNTIMED = 0.2  # share of rows without a time that may be skipped
_FILES = 6  # that are looked at
_NUMBERS = ("decimal", "thousands", "censored", "unit_in_cells")  # settings of numbers


@dataclass
class Guess:
    """Settings as they are found, and what is not sure about them."""

    settings: Settings = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)


def settings_of_files(
    root: Path, files: Sequence[Path], sample: Callable[[Path], Sample]
) -> Settings:
    """The settings that read some files alike.

    Args:
        root: the folder of all, which paths are taken below.
        files: all of them, sorted.
        sample: gives the first rows of a file.

    Raises:
        DataError: they are no tables with signals.
        Undecided: they could be read in another way as well.
    """
    taken = [sample(path) for path in _spread(files)]
    guess = Guess(doubts=[doubt for own in taken for doubt in own.doubts][:1])
    _agree(taken, guess)
    tables = combined([own.table for own in taken])
    if tables.table.rows < 2 or not settings_of(tables, guess):
        raise DataError(_no_signals(tables.table, guess))
    if len(files) > 1:
        _files(root, files, tables, guess)
    _units(tables, guess)
    if guess.doubts:
        raise Undecided(" ".join(guess.doubts[:3]), guess.settings)
    return guess.settings


def settings_of(rows: Combined, guess: Guess) -> bool:
    """Completes a guess from the rows; False = this is no table with signals."""
    rows = _blocks_filled(rows, guess)
    names = {vocabulary.plain(name): name for name in reversed([*rows.table.columns])}
    time = chosen_time(rows, names)
    if time is None:
        rows, time = _without_untimed(rows, names, guess)
    table = rows.table
    if time is None:
        refuse_unread(rows, names)
        return layout_without_times(rows, names, guess.settings, guess.doubts)
    guess.settings |= time.settings
    guess.doubts += time.doubts
    identity = identified(rows, names, time, guess.settings, guess.doubts)
    group = rows.groups((identity.within, identity.subject, identity.record))
    if identity.channel is not None:
        return _long(table, identity, guess)
    used = {*time.columns, identity.within, identity.subject, identity.record}
    left = [name for name in table.columns if name not in used]
    return wide(table, roles(table, left, group, time.value), names, rows.stems, guess.settings)


def _no_signals(table: Table, guess: Guess) -> str:
    """What a table lacks."""
    columns = ", ".join([*table.columns][:8])
    time = guess.settings.get("time")
    if time is None:
        return f"{table.path} must have a column of times; its columns are {columns}."
    return (
        f"{table.path} must have columns of numbers beside the times, '{time}'; its columns are "
        f"{columns}, and its first row is {table.shown(0)}."
    )


def _blocks_filled(rows: Combined, guess: Guess) -> Combined:
    """The rows; identifiers that are written once a block stand in each row."""
    table = rows.table
    names = [
        name
        for name in table.columns
        if vocabulary.is_identifier(name) and empty_below(table.text(name))
    ]
    if not names:
        return rows
    guess.settings["fill_down"] = [*names]
    return replace(rows, table=filled_down(table, names))


def _without_untimed(
    rows: Combined, names: Mapping[str, str], guess: Guess
) -> tuple[Combined, TimeChoice | None]:
    """The rows with a time, where few have none, and the choice of the time."""
    for name in rows.table.columns:
        empty = rows.table.text(name) == ""
        if not 0 < empty.mean() <= _UNTIMED:
            continue
        kept = rows.some(np.flatnonzero(~empty))
        time = chosen_time(kept, names)
        if time is not None and name == time.columns[0]:
            guess.settings["untimed"] = "skip"
            return kept, time
    return rows, None


def _spread(files: Sequence[Path]) -> list[Path]:
    """The first files, and some from everywhere."""
    if len(files) <= _FILES:
        return list(files)
    places = np.linspace(0, len(files) - 1, _FILES // 2).round().astype(int).tolist()
    return sorted({*files[: _FILES // 2], *(files[place] for place in places)})


def _agree(samples: Sequence[Sample], guess: Guess) -> None:
    """The settings of how files are written; what is only in some holds for all if it can."""
    first = samples[0]
    merged: Settings = dict(first.settings)
    for own in samples[1:]:
        for key in {*merged, *own.settings}:
            one, other = merged.get(key), own.settings.get(key)
            if one == other:
                continue
            if key == "missing_values":
                merged[key] = [*sorted({*_list(one), *_list(other)})]
            elif key in ("decimal", "thousands", "censored", "unit_in_cells") and None in (
                one,
                other,
            ):
                merged[key] = one if other is None else other
            else:
                guess.doubts.append(
                    f"Files of one folder are written alike: {first.table.path.name} has {key} "
                    f"{one!r} and {own.table.path.name} {other!r}. Give one of the two kinds."
                )
    guess.settings |= merged


def _list(value: JsonValue) -> list[str]:
    return [str(own) for own in value] if isinstance(value, list) else []


def _long(table: Table, identity: Identity, guess: Guess) -> bool:
    """The settings of a long table; False = its readings are no numbers."""
    assert identity.channel is not None
    assert identity.value is not None
    values = numbers_of(table, identity.value, 0.5)
    if values is None:
        return False
    guess.settings |= {"layout": "long", "channel": identity.channel, "value": identity.value}
    named = table.text(identity.channel)
    channels: list[str] = []
    words: dict[str, str] = {}
    for name in np.unique(named).tolist():
        own = table.text(identity.value)[named == name]
        numeric = np.isfinite(values[named == name]) | np.isin(own, table.spelling.tokens)
        if numeric.mean() >= NUMBERS:
            channels.append(name)
        else:
            words[name] = f"values such as '{str(own[~numeric][0])[:24]}' are no numbers"
    if words:
        guess.settings["ignored"] = dict(words)
    unit = next(filter(vocabulary.is_unit_column, table.columns), None)
    if unit is not None and (table.text(unit) != "").all():
        guess.settings["unit"] = unit
    else:
        stated = table.units.get(identity.value, "1")
        units = {name: vocabulary.unit_in(name) for name in channels if name}
        guess.settings["units"] = {n: stated if u == "1" else u for n, u in units.items()}
    return True


def _files(root: Path, files: Sequence[Path], rows: Combined, guess: Guess) -> None:
    """Whose each file is, and whether files of one subject belong together."""
    settings = guess.settings
    units = settings.get("units")
    channels = list(units) if isinstance(units, dict) else []
    if "subject" not in settings:
        below = [without_suffix(path.relative_to(root).as_posix()) for path in files]
        found = owners(below, channels)
        if found is not None:
            settings["subject_pattern"] = found.pattern
        if len(channels) == 1 and vocabulary.plain(channels[0]) in vocabulary.VALUES:
            _channels_of_files(below, channels[0], found, settings)
    if len(files) > 1 and settings.get("layout") == "wide" and _complementary(rows, channels):
        settings["join"] = True
        settings.pop("rate_hz", None)
        known = "subject" in settings or "subject_pattern" in settings
        if not known and not _called_by_channels(rows, channels):
            guess.doubts.append(
                f"{', '.join(path.name for path in files[:4])} hold different channels: are they "
                "of one person (data.reader.join: true), or of one each (join: false)?"
            )


def _units(rows: Combined, guess: Guess) -> None:
    """Finds channels in two units."""
    settings, table = guess.settings, rows.table
    units = settings.get("units")
    if not isinstance(units, dict) or settings.get("layout") not in ("wide", "long"):
        return
    if "channel_pattern" in settings:
        return
    subject = settings.get("subject")
    named = subject if isinstance(subject, str) else None
    people = table.text(named) if named else rows.file.astype(np.str_)
    for name, unit in list(units.items()):
        if settings["layout"] == "wide":
            value = numbers_of(table, name)
            mine = np.ones(table.rows, dtype=np.bool_)
        else:
            mine = table.text(str(settings["channel"])) == name
            value = numbers_of(table, str(settings["value"]))
        if value is not None and named and "unit" not in settings:
            whose = people[mine].tolist()
            guess.doubts += unit_doubts(name, str(unit), value[mine], whose, settings)


def _channels_of_files(
    below: Sequence[str], column: str, found: Owners | None, settings: Settings
) -> None:
    """Where a column is just called 'value', the channel may stand in the files' names."""
    named = channel_pattern(below, found)
    if named is None:
        return
    matches = [re.search(named.pattern, name) for name in below]
    channels = sorted({match.group(1) for match in matches if match})
    settings |= {"channel_pattern": named.pattern, "value": column, "join": True}
    settings["units"] = {name: vocabulary.unit_in(name) for name in channels}


def _called_by_channels(rows: Combined, channels: Sequence[str]) -> bool:
    """True if the name of each file is that of a channel in it: 'hr.csv', 'P1_SpO2.csv'."""
    for stem, held in zip(rows.stems, rows.held, strict=True):
        file, own = vocabulary.plain(stem), [vocabulary.plain(name) for name in held & {*channels}]
        within = any(name in file or (len(file) > 1 and file in name) for name in own)
        if vital(stem) is None and not within:
            return False
    return True


def _complementary(rows: Combined, channels: Sequence[str]) -> bool:
    """True if files hold different channels, each of them only some."""
    held = [frozenset(channels) & own for own in rows.held]
    kinds = set(held)
    return len(kinds) > 1 and all(not (a & b) for a in kinds for b in kinds if a != b)
