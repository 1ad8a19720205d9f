"""Leakage audit: what train, validation and test share.

A file that is copied under a second name, a stay that is charted for two patients, a window that
reaches over the edge of its split: each makes scores too good, and a list of subjects shows none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypedDict

import numpy as np

from tsfm_adapt.signals.duplicates import STRETCH, Duplicate, duplicated
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows

Kind = Literal["subject", "duplicate", "window", "fitted"]


@dataclass(frozen=True)
class Finding:
    """Something that two splits share."""

    kind: Kind
    splits: tuple[str, str]
    subjects: tuple[str, ...]
    what: str  # a sentence for the user


class FindingSummary(TypedDict):
    """A `Finding` in scores.json."""

    kind: Kind
    splits: tuple[str, str]
    subjects: tuple[str, ...]
    what: str


class Summary(TypedDict):
    """An `Audit` in scores.json."""

    recordings: int
    stretch_samples: int
    findings: list[FindingSummary]
    lines: list[str]
    subjects: Literal["checked", "not checked", "by time"]


@dataclass(frozen=True)
class Audit:
    """The findings, and what was searched."""

    findings: tuple[Finding, ...]
    stretch: int = STRETCH  # samples: the shortest copy that is looked for
    recordings: int = 0
    by_time: bool = False  # splits share subjects on purpose
    unknown_subjects: str | None = None  # how to name them, where the reader does not know them

    @property
    def lines(self) -> list[str]:
        """A line of text for each finding, or one that there is none; and what is not known."""
        unchecked = []
        if self.unknown_subjects is not None:
            unchecked = [
                "leakage audit: subjects: not checked (each file is taken as a subject of its "
                f"own; {self.unknown_subjects})"
            ]
        if self.findings:
            return [f"leakage audit: {finding.what}" for finding in self.findings] + unchecked
        subject = "no subject, " if self.unknown_subjects is None and not self.by_time else ""
        on_purpose = " (subjects are, by time)" if self.by_time else ""
        return [
            f"leakage audit: {subject}no stretch of >= {self.stretch} samples and no window "
            f"in two splits{on_purpose}; nothing fitted on test",
            *unchecked,
        ]

    @property
    def _subjects(self) -> Literal["checked", "not checked", "by time"]:
        if self.by_time:
            return "by time"
        return "checked" if self.unknown_subjects is None else "not checked"

    def summary(self) -> Summary:
        """The audit as scores.json holds it."""
        return {
            "recordings": self.recordings,
            "stretch_samples": self.stretch,
            "findings": [
                {
                    "kind": finding.kind,
                    "splits": finding.splits,
                    "subjects": finding.subjects,
                    "what": finding.what,
                }
                for finding in self.findings
            ],
            "lines": self.lines,
            "subjects": self._subjects,
        }


def audit(
    splits: Mapping[str, Sequence[Recording]],
    windows: Mapping[str, Windows],
    fitted: Mapping[str, Sequence[Recording]],
    by_time: bool,
    unknown_subjects: str | None = None,
) -> Audit:
    """Searches all pairs of splits for shared subjects, copied values and overlapping windows.

    Args:
        splits: the recordings of each split, those too short for a window included.
        windows: of each split.
        fitted: the recordings that something was fitted on, by its name.
        by_time: the splits share subjects on purpose, but no time of theirs.
        unknown_subjects: how to name them, where nobody knows which recordings are of one subject;
            None = they are known.
    """
    findings: list[Finding] = []
    for one, other in combinations(splits, 2):
        if not by_time:
            findings += _same_subjects(one, splits[one], other, splits[other])
        reach = [_reached(windows[name]) if name in windows else () for name in (one, other)]
        findings += _same_times("window", one, reach[0], other, reach[1])
    for what, recordings in fitted.items():
        findings += _same_times("fitted", what, _whole(recordings), "test", _whole(splits["test"]))
    every = [recording for recordings in splits.values() for recording in recordings]
    split_of = {id(r): name for name, recordings in splits.items() for r in recordings}
    copies = duplicated(every, lambda recording: split_of[id(recording)])
    findings += _same_values(copies, split_of)
    return Audit(
        tuple(findings),
        recordings=len(every),
        by_time=by_time,
        unknown_subjects=unknown_subjects,
    )


def _same_subjects(
    one: str, these: Sequence[Recording], other: str, those: Sequence[Recording]
) -> list[Finding]:
    shared = sorted({r.subject for r in these} & {r.subject for r in those})
    if not shared:
        return []
    what = f"{_listed(shared)} {'is' if len(shared) == 1 else 'are'} in {one} and in {other}"
    return [Finding("subject", (one, other), tuple(shared), what)]


def _same_values(copies: Sequence[Duplicate], split_of: Mapping[int, str]) -> list[Finding]:
    """One finding for each pair of recordings that share values."""
    pairs: dict[tuple[int, int], list[Duplicate]] = {}
    for copy in copies:
        pairs.setdefault((id(copy.one), id(copy.other)), []).append(copy)
    return [_copied(stretches, split_of) for stretches in pairs.values()]


def _copied(stretches: Sequence[Duplicate], split_of: Mapping[int, str]) -> Finding:
    """The finding of a pair of recordings; `stretches` begins with the longest."""
    longest = stretches[0]
    one, other = longest.one, longest.other
    splits = split_of[id(one)], split_of[id(other)]
    channels = sorted({copy.channel for copy in stretches})
    more = f" (and {len(stretches) - 1} more stretches)" if len(stretches) > 1 else ""
    what = (
        f"{_named(one)} in {splits[0]} and {_named(other)} in {splits[1]} hold the same "
        f"{longest.samples} values of {longest.channel}, from {_clock(longest.one_s[0])} to "
        f"{_clock(longest.one_s[1])} of the first and from {_clock(longest.other_s[0])} to "
        f"{_clock(longest.other_s[1])} of the second{more}"
    )
    if len(channels) > 1:
        what += f"; in all, of {_listed(channels)}"
    subjects = tuple(dict.fromkeys((one.subject, other.subject)))
    return Finding("duplicate", splits, subjects, what)


# A recording and a stretch of it: first sample, and the one after the last.
_Reach = tuple[Recording, int, int]


def _whole(recordings: Sequence[Recording]) -> Sequence[_Reach]:
    return [(recording, 0, recording.samples) for recording in recordings]


def _reached(windows: Windows) -> Sequence[_Reach]:
    """The stretch from the first window to the last one of each recording."""
    length = windows.spec.context + windows.spec.horizon
    reach = zip(*(column.tolist() for column in windows.reach()), strict=True)
    return [(windows.recordings[r], first, last + length) for r, first, last in reach]


def _same_times(
    kind: Kind, one: str, these: Sequence[_Reach], other: str, those: Sequence[_Reach]
) -> list[Finding]:
    """One finding where stretches of a subject overlap."""
    by_subject: dict[str, list[_Reach]] = {}
    for reach in those:
        by_subject.setdefault(reach[0].subject, []).append(reach)
    clashes = [
        (mine, theirs)
        for mine in these
        for theirs in by_subject.get(mine[0].subject, ())
        if _overlap(mine, theirs)
    ]
    if not clashes:
        return []
    subjects = tuple(dict.fromkeys(mine[0].subject for mine, _ in clashes))
    (a, *_), (b, *_) = clashes[0]
    verb = "was fitted on" if kind == "fitted" else "has windows on"
    what = f"{one} {verb} samples of {_listed(subjects)} that {other} has too ({a.id}, {b.id})"
    return [Finding(kind, (one, other), subjects, what)]


def _overlap(mine: _Reach, theirs: _Reach) -> bool:
    """True if two stretches share samples in memory, or more than a second of time."""
    (a, a_first, a_stop), (b, b_first, b_stop) = mine, theirs
    if a is b:
        return a_first < b_stop and b_first < a_stop
    one, other = _addresses(a, a_first, a_stop), _addresses(b, b_first, b_stop)
    if one[0] < other[1] and other[0] < one[1]:
        return True
    if a.start is None or b.start is None:
        return False
    gap_s = float((b.start - a.start) / np.timedelta64(1, "s"))
    first_s = max(a_first / a.rate_hz, gap_s + b_first / b.rate_hz)
    stop_s = min(a_stop / a.rate_hz, gap_s + b_stop / b.rate_hz)
    return stop_s - first_s > 1.0  # starts are rounded to seconds


def _addresses(recording: Recording, first: int, stop: int) -> tuple[int, int]:
    """Addresses of the first channel of a stretch in memory: first byte, and one past the last."""
    if recording.values.shape[0] == 0 or stop <= first:
        return 0, 0
    row = recording.values[0, first:stop]
    low = int(row.__array_interface__["data"][0])
    return low, low + (len(row) - 1) * abs(row.strides[0]) + row.itemsize


def _named(recording: Recording) -> str:
    if recording.subject == recording.id:
        return f"subject {recording.subject}"
    return f"{recording.id} of subject {recording.subject}"


def _clock(seconds: float) -> str:
    """Seconds as `1 d 02:03:04`."""
    whole = round(seconds)
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days} d {text}" if days else text


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
