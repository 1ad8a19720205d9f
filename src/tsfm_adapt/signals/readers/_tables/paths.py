"""Whose recording a file is, by its path below the root: folders, common prefixes, numbers."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import matching
from tsfm_adapt.signals.plausible import vital
from tsfm_adapt.signals.readers._files import group_in

_PERSON = re.compile(
    r"(?:^|[_\-. ])"
    r"((?:sub|subj|subject|pat|patient|pt|p|s|participant|id|user|vp|case|animal|mouse)"
    r"[_\- ]?[A-Za-z]?\d+)(?=$|[_\-. ])",
    re.I,
)
_DAY = re.compile(  # of a file's name: surely no person
    r"(?:day|night|visit|ses|session|run|part|file|rec|week|trial|block)[_\- ]?\d{1,3}"
    r"|(19|20)\d{2}[-_.]?\d{2}[-_.]?\d{2}.*|\d{1,2}[-_.]\d{1,2}[-_.](19|20)\d{2}.*",
    re.I,
)
_SHORT = re.compile(r"s[_\- ]?\d{1,2}", re.I)  # subject or session
_SESSION = re.compile(
    r"(?:day|night|visit|ses|session|run|part|file|rec|t|d|v|n|week|w|trial|block)?[_\- ]?\d{1,3}"
    r"|\d{4}[-_]?\d{2}[-_]?\d{2}.*|\d{6}|pre|post|baseline|am|pm|morning|evening|rest|stress",
    re.I,
)

_ABOUT = re.compile(r"(readme|licen[cs]e|changelog|sha256sums|md5sums?|checksums?|notes?)\b", re.I)


@dataclass(frozen=True)
class Owners:
    """How a file's subject is found in its path."""

    pattern: str  # its one group is the subject
    why: str


def owners(names: Sequence[str], channels: Sequence[str] = ()) -> Owners | None:
    """The pattern that finds each file's subject; None = unknown, or each file is its own.

    Args:
        names: paths below the root, without suffix.
        channels: names of channels, by which files of one subject may be called.
    """
    if len(names) < 2:
        return None
    levels = [name.split("/")[:-1] for name in names]
    stems = {name.rpartition("/")[2] for name in names}
    days = all(map(_DAY.fullmatch, stems))
    for level in range(min(map(len, levels))):
        folders = {own[level] for own in levels}
        days_below = days and level == min(map(len, levels)) - 1
        people = not _are_no_people(folders, channels) or (
            days_below and not all(map(_DAY.fullmatch, folders))
        )
        if 2 <= len(folders) < len(names) and people:
            above = rf"(?:[^/]+/){{{level}}}" if level else ""
            return Owners(
                rf"^{above}([^/]+)/", f"{len(folders)} folders, each with files of its own"
            )
    if not any(levels):
        return _by_prefix(names, channels)
    if 2 <= len(stems) < len(names) and not _are_no_people(
        stems, channels
    ):  # a folder a channel or session, and a file a subject in each
        return Owners(r"([^/]+)$", f"{len(stems)} names of files, in several folders each")
    return None


def _by_prefix(names: Sequence[str], channels: Sequence[str]) -> Owners | None:
    """The part of a name before what repeats from one prefix to the next."""
    people = [_PERSON.search(name) for name in names]
    found = {match.group(1) for match in people if match}
    numbered = None
    if all(people) and 2 <= len(found) < len(names):
        numbered = Owners(f"(?i){_PERSON.pattern}", f"{len(found)} numbers in the names of files")
    sessions = any(m and m.start(1) and _SHORT.fullmatch(m.group(1)) for m in people)  # anna_s1
    if numbered is not None and not sessions:
        return numbered
    for mark in ("_", "-", " ", "."):
        parts = [name.split(mark, 1) for name in names]
        if any(len(part) < 2 for part in parts):
            continue
        rests: dict[str, set[str]] = defaultdict(set)
        for first, rest in parts:
            rests[first].add(rest)
        after = [rest for own in rests.values() for rest in own]
        days = all(map(_DAY.fullmatch, after)) and not all(map(_DAY.fullmatch, rests))
        if _are_no_people(rests, channels) and not days:
            continue
        if 2 <= len(rests) < len(names) and _repeat(rests, channels):
            return Owners(
                rf"^([^{re.escape(mark)}]+){re.escape(mark)}",
                f"{len(rests)} beginnings of names, each with several files",
            )
    return numbered


def _are_no_people(beginnings: Iterable[str], channels: Sequence[str]) -> bool:
    """True if names begin with sessions, dates or channels: 'night1_P04', 'HR_P04'."""
    known = {_letters(channel) for channel in channels}
    return all(
        _letters(own) in known or vital(own) is not None or _is_session(own) for own in beginnings
    )


def _is_session(name: str) -> bool:
    """True if a name is that of a session or a day, where a bare number is a person's."""
    date = re.fullmatch(r"(19|20)\d{6}", name) is not None
    return date or (_SESSION.fullmatch(name) is not None and not name.isdigit())


def _letters(name: str) -> str:
    return re.sub(r"\W|_", "", name.casefold())


def _repeat(rests: Mapping[str, set[str]], channels: Sequence[str]) -> bool:
    """True if what follows the prefixes names sessions or channels, not people."""
    every = [rest for own in rests.values() for rest in own]
    shared = len(set(every)) < len(every)
    known = {_letters(channel) for channel in channels}
    sessions = all(_SESSION.fullmatch(rest) or _letters(rest) in known for rest in every)
    return shared or sessions


def channel_pattern(names: Sequence[str], found: Owners | None) -> Owners | None:
    """The pattern that finds the channel of files with one nameless channel each; None = none.

    Args:
        names: paths below the root, without suffix.
        found: how the files' subjects are found; None = they are unknown.
    """
    rest = r"([^/]+)$"
    if found is not None and found.pattern == rest:
        rest = r"^([^/]+)/"
    elif found is not None and not any("/" in name for name in names):
        first = all(re.search(found.pattern, re.split(r"[_\-. ]", own)[0]) for own in names)
        rest = r"^[^_\-. ]+[_\-. ](.+)$" if first else r"^(.+)[_\-. ][^_\-. ]+$"
    matches = [re.search(rest, name) for name in names]
    channels = {match.group(1) for match in matches if match}
    named = [own for own in channels if vital(own) is not None]
    shared = found is not None and len(channels) <= len(names) // 2
    if not all(matches) or any(map(_is_session, channels)):
        return None
    if (shared and len(channels) > 1) or (named and 2 * len(named) >= len(channels)):
        return Owners(rest, f"channels {', '.join(sorted(channels)[:5])}")
    return None


def in_path(pattern: str, place: str, what: str) -> str:
    """What a pattern finds in a file's path."""
    found = group_in(pattern, place)
    if not found:
        raise DataError(
            f"data.reader.{what}_pattern: '{pattern}' finds no {what} in '{place}'. Change the "
            "pattern, or take the file out of the folder."
        )
    return found


def without_suffix(name: str) -> str:
    """A path without the end of a table's name: `p1/hr` of `p1/hr.csv.gz`; '' stays."""
    bare = name[:-3] if name.lower().endswith(".gz") else name
    return posixpath.splitext(bare)[0]


def commonest(files: Sequence[Path], patterns: Sequence[str]) -> tuple[str, list[Path]]:
    """The pattern that most files fit, and these; notes about data are no data."""
    data = [path for path in files if not _ABOUT.match(path.name)]
    fitting = {pattern: matching(data, [pattern]) for pattern in patterns}
    pattern = max(patterns, key=lambda own: len(fitting[own]))
    return pattern, fitting[pattern]
