"""Settings of tables with a column a channel, a column a subject, or a column a sample."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._tables import vocabulary
from tsfm_adapt.signals.readers._tables.cells import Table
from tsfm_adapt.signals.readers._tables.combined import Combined
from tsfm_adapt.signals.readers._tables.roles import Roles, numbers_of, roles, unit_columns

_SAMPLE = re.compile(r"(?:t|x|v|s|sample|att|f)?[ _.-]*(-?\d+(?:\.\d+)?)\s*(ms|s)?", re.I)
_TRIAL = 16  # samples of a trial, at least


def wide(
    table: Table,
    found: Roles,
    names: Mapping[str, str],
    files: Sequence[str],
    settings: dict[str, JsonValue],
) -> bool:
    """Adds the settings of a table with a column a channel, or a subject; False = it has none.

    Args:
        table: the rows of some files.
        found: the roles of its columns.
        names: of the columns, by their plain names.
        files: names of the files, without suffix.
        settings: added to.
    """
    if not found.channels:
        return False
    _refuse_people_in_names(table, found.channels)
    if len(found.channels) >= 3 and all(map(vocabulary.is_numbered_person, found.channels)):
        return _subjects(table, found, files, settings)
    settings["layout"] = "wide"
    units = {name: table.units.get(name) or vocabulary.unit_in(name) for name in found.channels}
    settings["units"] = dict(units)
    unit = unit_columns(found.channels, names, table)
    if unit is not None:
        settings["unit"] = unit
        found.ignored.pop(unit, None)
    for field in ("attributes", "labels", "row_labels"):
        if getattr(found, field):
            settings[field] = list(getattr(found, field))
    if found.ignored:
        settings["ignored"] = dict(found.ignored)
    return True


def _refuse_people_in_names(table: Table, channels: Sequence[str]) -> None:
    """Stops where columns are named by people and signals, such as 'P01 HR'.

    Raises:
        DataError: with the columns.
    """
    parts = [re.split(r"[ _.:/-]+", name, maxsplit=1) for name in channels]
    if len(channels) < 4 or any(len(part) < 2 for part in parts):
        return
    people = {part[0] for part in parts}
    signals = {part[1] for part in parts}
    if len(people) < 2 or len(channels) != len(people) * len(signals):
        return
    if all(map(vocabulary.is_numbered_person, people)):
        raise DataError(
            f"{table.path}: columns are named by people and signals ({', '.join(channels[:4])}, "
            "...), and a recording is of one person. Write the rows of each person below each "
            "other, with a column that names them, or into a file of their own."
        )


def _subjects(
    table: Table, found: Roles, files: Sequence[str], settings: dict[str, JsonValue]
) -> bool:
    """Each column is a subject; what is measured is said by the file's name, or nowhere."""
    stem = table.path.name.split(".")[0]
    units = {table.units.get(name, "1") for name in found.channels}
    unit = units.pop() if len(units) == 1 else "1"
    if len(files) > 1:
        named = dict.fromkeys(files, unit)
        settings |= {"layout": "subjects", "units": dict(named), "join": True}
        return True
    channel = stem if vital(stem) is not None else "value"
    settings |= {"layout": "subjects", "channel": channel, "units": {channel: unit}}
    return True


def layout_without_times(
    rows: Combined, names: Mapping[str, str], settings: dict[str, JsonValue], doubts: list[str]
) -> bool:
    """Adds the settings of a table without times: samples of one rate, or trials; False = neither.

    The rate is a doubt: no table says it.
    """
    table = rows.table
    samples = [name for name in table.columns if _SAMPLE.fullmatch(name.strip())]
    if len(samples) >= _TRIAL and all(numbers_of(table, name) is not None for name in samples):
        return _trials(table, samples, names, settings, doubts)
    found = roles(table, list(table.columns), rows.file, None)
    if not found.channels or table.rows < 2 * _TRIAL:
        return False
    settings |= {"time": None, "rate_hz": 1}
    doubts.append(
        f"{table.path}: no column is a time ({', '.join(list(table.columns)[:8])}), so rows are "
        "samples of one rate, which the file does not state: put the samples a second in place of "
        "rate_hz 1, or name the column of times."
    )
    subject = next((names[name] for name in vocabulary.SUBJECTS if name in names), None)
    if subject is not None:
        settings["subject"] = subject
        found.channels = [name for name in found.channels if name != subject]
    return wide(table, found, names, rows.stems, settings)


def _trials(
    table: Table,
    samples: Sequence[str],
    names: Mapping[str, str],
    settings: dict[str, JsonValue],
    doubts: list[str],
) -> bool:
    """One row a recording: a label and a subject beside the samples, and no rate."""
    others = [name for name in table.columns if name not in samples]
    labels = [
        name for name in others if vocabulary.is_label(name) or vocabulary.plain(name) == "target"
    ]
    subject = next(
        (names[n] for n in vocabulary.SUBJECTS if n in names and names[n] in others), None
    )
    rate_hz = _stated_rate(samples)
    settings |= {"layout": "trials", "time": None, "units": {"value": "1"}}
    settings["rate_hz"] = rate_hz or 1
    if labels:
        settings["labels"] = list(labels)
    if subject is not None:
        settings["subject"] = subject
    rest = [name for name in others if name not in labels and name != subject]
    if rest:
        settings["attributes"] = list(rest)
    if rate_hz:
        return True
    doubts.append(
        f"{table.path}: each row looks like a recording of {len(samples)} samples ({samples[0]} "
        f"to {samples[-1]}), whose rate the file does not state: put the samples a second in "
        "place of rate_hz 1."
    )
    return True


def _stated_rate(samples: Sequence[str]) -> float | None:
    """Samples a second, where names are times in ms or s at one interval; None = they are not."""
    matches = [match for name in samples if (match := _SAMPLE.fullmatch(name.strip()))]
    units = {(match.group(2) or "").lower() for match in matches}
    apart = np.diff([float(match.group(1)) for match in matches])
    if len(units) != 1 or units == {""} or not apart.size or apart[0] <= 0:
        return None
    if np.abs(apart - apart[0]).max() > 1e-6 * apart[0]:
        return None
    return float(f"{(1000 if units == {'ms'} else 1) / apart[0]:.9g}")
