"""Split and window length of a proposed recipe, such that every split has windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tsfm_adapt._util.durations import duration
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.survey import Survey
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.signals.splitting import SplitPlan, origin_id, split
from tsfm_adapt.tasks.base import TaskConfig

FEW = 8  # subjects
LEAST_TESTED = 2  # test subjects for a verdict: one says nothing of another
_TESTED, _VALIDATED, _LEARNED = 5, 2, 5  # subjects of test, val and train, where there are so many
_MOST = 0.6  # of the recordings, that shall have a window
_CONTEXTS = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8)
_SEED = 17


@dataclass(frozen=True)
class Window:
    """The geometry in samples of the clock."""

    context: int
    horizon: int  # 0 = none


@dataclass(frozen=True)
class Layout:
    """Window and split of a proposed recipe, each with its reason."""

    window: Window
    window_why: str
    split: Mapping[str, str | float]  # the fields of `data.split`
    split_why: str
    tested: int  # subjects in the test set that have a window
    short: str = ""  # that most recordings have no window, in numbers; '' = most have


def laid_out(
    recordings: RecordingSet, survey: Survey, task: type[TaskConfig], rate_hz: float
) -> tuple[Layout, list[str]]:
    """Chooses the best split and the longest window that leave windows in every split.

    Returns:
        The layout, and the channels without a measured value in the training split.

    Raises:
        DataError: no split holds the shortest window.
    """
    problem = ""
    for sizes, split_why in _splits(recordings, survey):
        try:
            plan = SplitPlan(**sizes, seed=_SEED)  # type: ignore[arg-type]  # its own fields
            parts = split(recordings, plan)
        except DataError as error:
            problem = problem or f" {error}"
            continue
        window = _chosen(recordings, parts, task)
        if window is None:
            continue
        train = [r for r in parts["train"] if r.samples >= window.context + window.horizon]
        measured = np.any([np.isfinite(r.values).any(axis=1) for r in train], axis=0)
        names = recordings.recordings[0].channels
        unmeasured = [n for n, m in zip(names, measured, strict=True) if not m]
        why = _window_why(window, parts, rate_hz)
        if task.spans_gaps:
            why += _gap_why(window, longest_gap(recordings), rate_hz)
        split_why += _tested(parts["test"], window, sizes, len(recordings.subjects))
        tested = len(_with_window(parts["test"], window))
        return Layout(window, why, sizes, split_why, tested, _short(parts, window)), unmeasured
    longest = max(recordings, key=lambda recording: recording.samples)
    raise DataError(
        f"The shortest window, {_CONTEXTS[-1]} + {_CONTEXTS[-1] // 4} samples at {rate_hz:g} Hz, "
        f"has to fit into every split: of {len(recordings)} recordings the longest, {longest.id}, "
        f"has {longest.samples} samples.{problem} Give longer recordings; if these are arrays, "
        "check that their last axis is time."
    )


def _splits(recordings: RecordingSet, survey: Survey) -> list[tuple[dict[str, str | float], str]]:
    """Ways to split, the best first."""
    subjects = len(recordings.subjects)
    count = f"{survey.subjects} subject{'s' if survey.subjects != 1 else ''}"
    ways: list[tuple[dict[str, str | float], str]] = []
    parts = Counter(str(item.labels.get("part", "")) for item in survey.listed)
    if parts.keys() >= {"train", "test"} and not parts.keys() - {"train", "val", "test"}:
        known = ", ".join(f"{part} {number}" for part, number in parts.items())
        ways.append(({"by": "predefined", "val": 0.2}, f"as published: {known} recordings"))
    if subjects >= 3:
        few = subjects < FEW
        train, val, test = (0.6, 0.2, 0.2) if few else _shares(subjects)
        ways.append(
            (
                {"by": "subject", "order": "seed", "train": train, "val": val, "test": test},
                f"{count}, fewer than {FEW}: intervals will be wide" if few else count,
            )
        )
    ways.append(
        (
            {"by": "time", "train": 0.6, "val": 0.2, "test": 0.2},
            f"{count}: within each, the earlier to learn; no evidence for any other patient",
        )
    )
    return ways


def _shares(subjects: int) -> tuple[float, float, float]:
    """Shares of train, val and test; of some dozen subjects so many are for test that it counts.

    A split ends at its cumulative share rounded down; see `SplitPlan`.
    """
    usual = (0.7, 0.15, 0.15)
    if subjects < _LEARNED + _VALIDATED + _TESTED or subjects - int(0.85 * subjects) >= _TESTED:
        return usual
    val = max(_VALIDATED, round(usual[1] * subjects))
    train_end, val_end = (
        -(-100 * end // subjects) for end in (subjects - val - _TESTED, subjects - _TESTED)
    )
    return train_end / 100, (val_end - train_end) / 100, (100 - val_end) / 100


def _chosen(
    recordings: RecordingSet, parts: Mapping[str, RecordingSet], task: type[TaskConfig]
) -> Window | None:
    """The longest window that every split has; None = there is none.

    Where the task fills gaps, windows longer than the longest gap come before all others.
    """
    windows = _windows(recordings, task)
    _, gap = longest_gap(recordings) if task.spans_gaps else ("", 0)
    spanning = [window for window in windows if window.context > gap]
    for candidates in (spanning, windows):
        for strict, most in ((True, True), (True, False), (False, False)):
            for window in candidates:
                if _holds(parts, window, strict) and not (most and _short(parts, window)):
                    return window
    return None


def longest_gap(recordings: RecordingSet) -> tuple[str, int]:
    """The channel with the longest gap and its length in samples; 0 = there is no gap.

    A channel that a recording does not measure at all has no gap there.
    """
    channel, most = recordings.recordings[0].channels[0], 0
    for recording in recordings:
        for name, values in zip(recording.channels, recording.values, strict=True):
            missing = ~np.isfinite(np.asarray(values))
            edges = np.flatnonzero(np.diff(missing, prepend=False, append=False)).reshape(-1, 2)
            length = int((edges[:, 1] - edges[:, 0]).max(initial=0))
            if most < length < recording.samples:
                channel, most = name, length
    return channel, most


def _gap_why(window: Window, gap: tuple[str, int], rate_hz: float) -> str:
    """What the window's length means for the longest gap."""
    channel, length = gap
    if not length:
        return ""
    known = f"the longest gap ({channel}, {duration(length / rate_hz)})"
    if window.context > length:
        return f"; longer than {known}"
    return f"; {known} is longer: raise context_s to fill all of it"


def _with_window(recordings: RecordingSet, window: Window) -> set[str]:
    """The subjects that have a recording as long as a window."""
    needed = window.context + window.horizon
    return {recording.subject for recording in recordings if recording.samples >= needed}


def _tested(
    test: RecordingSet, window: Window, sizes: Mapping[str, str | float], subjects: int
) -> str:
    """That test has too few subjects for a verdict, or few for a sure one; '' = enough."""
    count = len(_with_window(test, window))
    if sizes["by"] == "time" or count >= _TESTED:
        return ""
    if count >= LEAST_TESTED:
        least = _LEARNED + _VALIDATED + _TESTED
        why = (
            f"{least} subjects or more would leave {_TESTED}"
            if subjects < least
            else f"of the {len(test.subjects)} there, the others' recordings are too short"
        )
        return f"; {count} in the test set, so that only large differences can be shown: {why}"
    step = "add subjects"
    if sizes["by"] == "subject" and subjects > LEAST_TESTED + 1:
        step += f" or use train: {subjects - LEAST_TESTED - 1}, val: 1, test: {LEAST_TESTED}"
    return f"; {count} in the test set, where a verdict needs at least {LEAST_TESTED}: {step}"


def _windows(recordings: RecordingSet, task: type[TaskConfig]) -> list[Window]:
    """Geometries, the longest first."""
    lengths = np.array([recording.samples for recording in recordings])
    return [Window(*of) for of in task.geometries(lengths, _CONTEXTS)]


def _holds(parts: Mapping[str, RecordingSet], window: Window, strict: bool) -> bool:
    """True if every split has a window; strictly: 4 windows, and 80 % of the recorded time."""
    needed = window.context + window.horizon
    step = window.horizon or window.context
    fitting = {part: [r for r in of if r.samples >= needed] for part, of in parts.items()}
    windows = [sum((r.samples - needed) // step + 1 for r in of) for of in fitting.values()]
    if not strict:
        return min(windows) >= 1
    time = sum(r.samples for of in parts.values() for r in of)
    inside = sum(r.samples for of in fitting.values() for r in of)
    return min(windows) >= 4 and inside >= 0.8 * time


def _window_why(window: Window, parts: Mapping[str, RecordingSet], rate_hz: float) -> str:
    fitting, every = _counted(parts, window)
    return (
        f"{window.context} samples, {duration(window.context / rate_hz)}; {fitting} of "
        f"{every} recording{'s' if every != 1 else ''} "
        f"{'have' if fitting != 1 else 'has'} a window"
    )


def _counted(parts: Mapping[str, RecordingSet], window: Window) -> tuple[int, int]:
    """How many recordings have a window, in whichever part or piece of them, and how many are."""
    needed = window.context + window.horizon
    longest: dict[str, int] = {}
    for name, part in parts.items():
        for recording in part:
            id = origin_id(recording.id.removesuffix(f"@{name}"))  # by time, a part each
            longest[id] = max(longest.get(id, 0), recording.samples)
    return sum(samples >= needed for samples in longest.values()), len(longest)


def _short(parts: Mapping[str, RecordingSet], window: Window) -> str:
    """That most recordings are too short for a window, in numbers; '' = they are not."""
    fitting, every = _counted(parts, window)
    if fitting >= round(_MOST * every):
        return ""
    return (
        f"only {fitting} of {every} recordings are as long as a window of "
        f"{window.context + window.horizon} samples: the others are left out"
    )
