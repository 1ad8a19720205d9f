"""Channels that may be one under several names, such as an electrode against two references."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from itertools import combinations

_STEM = re.compile(r"(.*\w)[-_ .:/][^-_ .:/]+")


def alternatives(recordings: Mapping[str, Set[str]]) -> tuple[tuple[str, ...], ...]:
    """Groups of channels that begin alike and never occur in one recording: FP1-REF and FP1-LE.

    Args:
        recordings: by channel, the ids of those that have it.
    """
    alike: dict[str, list[str]] = {}
    for name in recordings:
        if (match := _STEM.fullmatch(name)) is not None:
            alike.setdefault(match[1], []).append(name)
    return tuple(
        tuple(names)
        for names in alike.values()
        if len(names) > 1
        and all(recordings[a].isdisjoint(recordings[b]) for a, b in combinations(names, 2))
    )


def remark(groups: tuple[tuple[str, ...], ...]) -> str | None:
    """How a recipe takes such channels for one; None where there are none."""
    if not groups:
        return None
    names = groups[0]
    more = f" (and {len(groups) - 1} more such groups)" if len(groups) > 1 else ""
    return (
        f"{' and '.join(names)} are never in one recording{more}: if they are one channel, give "
        f"it a name of its own with source: [{', '.join(names)}]"
    )
