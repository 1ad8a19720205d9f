"""Does anything that is learned from reappear where it is scored?

A file that is copied under a second name, a stay that is charted for two patients, a window that
reaches over the edge of its part: each makes scores too good, and none of it shows in a list of
subjects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

from tsfm_adapt.signals.duplicates import STRETCH, Duplicate, duplicated
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows

Kind = Literal["subject", "duplicate", "window", "fitted"]


@dataclass(frozen=True)
class Finding:
    """Something that two parts share."""

    kind: Kind
    parts: tuple[str, str]
    subjects: tuple[str, ...]
    what: str  # a sentence for the user


@dataclass(frozen=True)
class Audit:
    """What was looked at and what was found."""

    findings: tuple[Finding, ...]
    stretch: int = STRETCH
    recordings: int = 0
    by_time: bool = False  # parts share subjects on purpose

    @property
    def lines(self) -> list[str]:
        """The outcome in words, a line a finding."""
        if self.findings:
            return [f"leakage audit: {finding.what}" for finding in self.findings]
        subject = "" if self.by_time else "no subject, "
        on_purpose = " (subjects are, by time)" if self.by_time else ""
        return [
            f"leakage audit: {subject}no stretch of >= {self.stretch} samples and no window "
            f"in two parts{on_purpose}; nothing fitted on test"
        ]

    def summary(self) -> dict[str, Any]:
        """As scores.json holds it."""
        return {
            "recordings": self.recordings,
            "stretch_samples": self.stretch,
            "findings": [
                {
                    "kind": finding.kind,
                    "splits": finding.parts,
                    "subjects": finding.subjects,
                    "what": finding.what,
                }
                for finding in self.findings
            ],
            "lines": self.lines,
        }


def audit(
    parts: Mapping[str, Sequence[Recording]],
    windows: Mapping[str, Windows],
    fitted: Mapping[str, Sequence[Recording]],
    by_time: bool,
) -> Audit:
    """What two parts share.

    Args:
        parts: the recordings of each, short ones too.
        windows: of each part.
        fitted: by what was fitted, the recordings that it was fitted on.
        by_time: parts share subjects on purpose, though no time of theirs.
    """
    findings: list[Finding] = []
    for one, other in combinations(parts, 2):
        if not by_time:
            findings += _same_subjects(one, parts[one], other, parts[other])
        reach = [_reached(windows[part]) if part in windows else () for part in (one, other)]
        findings += _same_times("window", one, reach[0], other, reach[1])
    for what, recordings in fitted.items():
        findings += _same_times("fitted", what, _whole(recordings), "test", _whole(parts["test"]))
    every = [recording for recordings in parts.values() for recording in recordings]
    part_of = {id(r): part for part, recordings in parts.items() for r in recordings}
    copies = duplicated(every, lambda recording: part_of[id(recording)])
    findings += _same_values(copies, part_of)
    return Audit(tuple(findings), recordings=len(every), by_time=by_time)


def _same_subjects(
    one: str, these: Sequence[Recording], other: str, those: Sequence[Recording]
) -> list[Finding]:
    shared = sorted({r.subject for r in these} & {r.subject for r in those})
    if not shared:
        return []
    what = f"{_listed(shared)} {'is' if len(shared) == 1 else 'are'} in {one} and in {other}"
    return [Finding("subject", (one, other), tuple(shared), what)]


def _same_values(copies: Sequence[Duplicate], part_of: Mapping[int, str]) -> list[Finding]:
    """One finding for two recordings, whatever they share."""
    pairs: dict[tuple[int, int], list[Duplicate]] = {}
    for copy in copies:
        pairs.setdefault((id(copy.one), id(copy.other)), []).append(copy)
    return [_copied(stretches, part_of) for stretches in pairs.values()]


def _copied(stretches: Sequence[Duplicate], part_of: Mapping[int, str]) -> Finding:
    longest = stretches[0]
    one, other = longest.one, longest.other
    parts = part_of[id(one)], part_of[id(other)]
    channels = sorted({copy.channel for copy in stretches})
    more = f" (and {len(stretches) - 1} more stretches)" if len(stretches) > 1 else ""
    what = (
        f"{_named(one)} in {parts[0]} and {_named(other)} in {parts[1]} hold the same "
        f"{longest.samples} values of {longest.channel}, from {_clock(longest.one_s[0])} to "
        f"{_clock(longest.one_s[1])} of the first and from {_clock(longest.other_s[0])} to "
        f"{_clock(longest.other_s[1])} of the second{more}"
    )
    if len(channels) > 1:
        what += f"; in all, of {_listed(channels)}"
    subjects = tuple(dict.fromkeys((one.subject, other.subject)))
    return Finding("duplicate", parts, subjects, what)


# A recording, and the stretch of it in samples that something reaches.
_Reach = tuple[Recording, int, int]


def _whole(recordings: Sequence[Recording]) -> Sequence[_Reach]:
    return [(recording, 0, recording.samples) for recording in recordings]


def _reached(windows: Windows) -> Sequence[_Reach]:
    """From the first window's first sample to the last one's last, of each recording."""
    length = windows.spec.context + windows.spec.horizon
    reach = zip(*(column.tolist() for column in windows.reach()), strict=True)
    return [(windows.recordings[r], first, last + length) for r, first, last in reach]


def _same_times(
    kind: Kind, one: str, these: Sequence[_Reach], other: str, those: Sequence[_Reach]
) -> list[Finding]:
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
    """Whether two stretches hold a sample in common, in memory or by the clock."""
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
    """Where the first channel of a stretch lies in memory."""
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
