"""Train, validation and test parts that share no patient, or within a patient no time."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Literal

import numpy as np

from tsfm_adapt.errors import DataError, RecipeError, closest
from tsfm_adapt.signals.recording import Recording, RecordingSet

By = Literal["subject", "record", "time", "predefined", "lists"]
Size = float | int | tuple[str, ...]  # a fraction, a count, or ids
Group = Callable[[Recording], str]  # what stays together
Choose = Callable[[Recording], str | None]  # the part, or none

SPLITS = ("train", "val", "test")

_EDGE = 1e-6  # of a subject or sample: 0.29 * 100 is 28.999999999999996 and means 29


@dataclass(frozen=True)
class SplitPlan:
    """How to split; parts are taken in the order train, val, test.

    A fraction ends at its cumulative share rounded down, so that fractions which sum to 1 leave
    nothing over. `lists` names subjects or recordings; `predefined` reads the recordings' label
    `part`, and takes `val` from the subjects of train where no recording is labelled val.

    Raises:
        RecipeError: the sizes do not fit each other or `by`.
    """

    by: By = "subject"
    order: Literal["seed", "name"] = "seed"
    train: Size = 0.7
    val: Size = 0.15
    test: Size = 0.15
    seed: int = 0  # of order 'seed'

    def __post_init__(self) -> None:
        if problem := _size_problem(self):
            shown = ", ".join(f"{part} {size}" for part, size in self.sizes.items())
            raise RecipeError(f"data.split by '{self.by}' with {shown}: {problem}")

    @property
    def sizes(self) -> dict[str, Size]:
        """Sizes by part."""
        return dict(zip(SPLITS, (self.train, self.val, self.test), strict=True))


def split(recordings: RecordingSet, plan: SplitPlan) -> dict[str, RecordingSet]:
    """The parts train, val and test; val is empty only if no size was asked for it.

    Recordings are ordered by subject and id within a part, so that the order they were read in
    does not matter. By time, the parts of a recording are views called `<id>@train` and so on,
    and the split is within patients.

    Raises:
        DataError: a part is empty, there is less than was asked for, a listed id is unknown, or
            the parts would overlap.
    """
    recordings = RecordingSet(tuple(sorted(recordings, key=_order)), recordings.left_out)
    match plan.by:
        case "time":
            parts = _by_time(recordings, plan)
        case "lists":
            parts = _by_part(recordings, _listed_part(recordings, plan))
        case "predefined":
            parts = _by_part(recordings, _labelled_part)
            if plan.val and not parts["val"]:
                parts |= _val_from_train(parts["train"], plan)
        case "subject":
            parts = _by_part(recordings, _drawn_part(recordings, plan, lambda r: r.subject))
        case "record":
            parts = _by_part(recordings, _drawn_part(recordings, plan, lambda r: _origin(r.id)))
    for part, kept in parts.items():
        optional = part == "val" and not plan.val
        if not kept and not optional:
            counts = ", ".join(f"{name} {len(p)}" for name, p in parts.items())
            raise DataError(
                f"data.split: the {part} part is empty; {len(recordings)} recordings of "
                f"{len(recordings.subjects)} subjects were split by '{plan.by}' into {counts}. "
                f"Change the sizes of the parts, or add recordings."
            )
    result = {part: RecordingSet(tuple(kept)) for part, kept in parts.items()}
    check_disjoint(result, plan.by)
    return result


def check_disjoint(parts: Mapping[str, RecordingSet], by: By = "subject") -> None:
    """Stops where two parts share a subject; by time, where they share a subject's time.

    Raises:
        DataError: naming what is shared.
    """
    for (one, these), (other, those) in combinations(parts.items(), 2):
        shared = set(these.subjects) & set(those.subjects)
        if shared and by != "time":
            raise DataError(
                f"data.split by '{by}': a subject belongs to one part; {one} and {other} share "
                f"{_some(sorted(shared))}. Use by: subject, or correct the parts."
            )
        for subject in sorted(shared):
            for a, b in product(_of(these, subject), _of(those, subject)):
                if _same_time(a, b):
                    raise DataError(
                        f"data.split by 'time': parts share no time of a subject; {a.id} ({one}) "
                        f"and {b.id} ({other}) of {subject} overlap. Use by: subject, or leave "
                        f"one of these recordings out."
                    )


def _size_problem(plan: SplitPlan) -> str | None:
    if plan.by == "predefined":
        whole = isinstance(plan.val, int)
        if isinstance(plan.val, tuple) or plan.val < 0 or (plan.val >= 1 and not whole):
            return "val is a fraction or a count of the train part's subjects, 0 for none."
        return None
    sizes = plan.sizes.values()
    listed = [name for size in sizes if isinstance(size, tuple) for name in size]
    numbers = [size for size in sizes if not isinstance(size, tuple)]
    if plan.by == "lists":
        if numbers:
            return "give a list of ids for each part, [] for none."
        twice = sorted(name for name, count in Counter(listed).items() if count > 1)
        return f"{_some(twice)} is listed twice; leave it in one part." if twice else None
    if len(numbers) < len(SPLITS) or min(numbers) < 0:
        return "give fractions or counts, 0 for no such part; ids go with `by: lists`."
    if all(isinstance(size, int) for size in numbers):
        return "give fractions; counts have no meaning here." if plan.by == "time" else None
    if any(isinstance(size, int) and size for size in numbers):
        return "give only fractions (0.7) or only counts (7)."
    if sum(numbers) > 1 + 1e-9:
        return f"the fractions sum to {sum(numbers):g}; make that 1 or less."
    return None


def _edges(plan: SplitPlan, n: int) -> list[int]:
    """Where the parts begin and end among `n` things: 4 numbers for 3 parts."""
    sizes = [size for size in plan.sizes.values() if not isinstance(size, tuple)]
    counted = all(isinstance(size, int) for size in sizes)
    ends = np.cumsum(sizes) if counted else np.minimum(np.cumsum(sizes) * n, n)
    return [0, *np.floor(ends + _EDGE).astype(int).tolist()]


def _by_part(recordings: RecordingSet, part_of: Choose) -> dict[str, list[Recording]]:
    parts: dict[str, list[Recording]] = {part: [] for part in SPLITS}
    for recording in recordings:
        part = part_of(recording)
        if part is not None:
            parts[part].append(recording)
    return parts


def _by_time(recordings: RecordingSet, plan: SplitPlan) -> dict[str, list[Recording]]:
    parts: dict[str, list[Recording]] = {part: [] for part in SPLITS}
    for recording in recordings:
        edges = _edges(plan, recording.samples)
        for part, first, stop in zip(SPLITS, edges[:-1], edges[1:], strict=True):
            if first < stop:
                parts[part].append(recording.between(first, stop, f"{recording.id}@{part}"))
    return parts


def _drawn_part(recordings: RecordingSet, plan: SplitPlan, group: Group) -> Choose:
    names = sorted({group(recording) for recording in recordings})
    edges = _edges(plan, len(names))
    if edges[-1] > len(names):
        raise DataError(
            f"data.split: {edges[-1]} {plan.by}s are asked for, {len(names)} are there "
            f"({len(recordings.left_out)} recordings were left out by cleaning). Ask for fewer."
        )
    if plan.order == "seed":
        names = [names[i] for i in np.random.default_rng(plan.seed).permutation(len(names))]
    part_of = {
        name: part
        for part, first, stop in zip(SPLITS, edges[:-1], edges[1:], strict=True)
        for name in names[first:stop]
    }
    return lambda recording: part_of.get(group(recording))


def _listed_part(recordings: RecordingSet, plan: SplitPlan) -> Choose:
    part_of = {
        name: part for part, size in plan.sizes.items() if isinstance(size, tuple) for name in size
    }
    known = {name for recording in recordings for name in _names(recording)}
    for name, part in part_of.items():
        if name not in known | set(recordings.left_out):
            raise DataError(
                f"data.split.{part}: no subject or recording is called '{name}'."
                f"{closest(name, known)} There are {_some(sorted(known))}."
            )

    def choose(recording: Recording) -> str | None:
        found = sorted({part_of[name] for name in _names(recording) if name in part_of})
        if len(found) > 1:
            raise DataError(
                f"data.split: recording {recording.id} of {recording.subject} is listed for "
                f"{' and '.join(found)}, once by its subject. List it for one part."
            )
        return found[0] if found else None

    return choose


def _val_from_train(train: list[Recording], plan: SplitPlan) -> dict[str, list[Recording]]:
    """The recordings of train, those of some subjects as val."""
    recordings = RecordingSet(tuple(train))
    if isinstance(plan.val, int):
        left = max(0, len(recordings.subjects) - plan.val)
        inner = replace(plan, by="subject", train=left, test=0)
    else:
        assert isinstance(plan.val, float), plan
        inner = replace(plan, by="subject", train=1.0 - plan.val, test=0.0)
    parts = _by_part(recordings, _drawn_part(recordings, inner, lambda r: r.subject))
    return {"train": parts["train"], "val": parts["val"]}


def _labelled_part(recording: Recording) -> str:
    part = recording.labels.get("part")
    if part not in SPLITS:
        raise DataError(
            f"data.split by 'predefined': {recording.id} has the part {part!r}; parts are "
            f"{', '.join(SPLITS)}. Use a reader that states them, or another `by`."
        )
    return str(part)


def _same_time(a: Recording, b: Recording) -> bool:
    if a.start is None or b.start is None:  # no common clock but the memory that they view
        return bool(np.shares_memory(a.values, b.values))
    gap_s = float((b.start - a.start) / np.timedelta64(1, "s"))
    overlap_s = min(a.duration_s, gap_s + b.duration_s) - max(0.0, gap_s)
    return overlap_s > 1.0  # starts are rounded to seconds


def _of(recordings: RecordingSet, subject: str) -> list[Recording]:
    return [recording for recording in recordings if recording.subject == subject]


def _names(recording: Recording) -> tuple[str, str, str]:
    return recording.subject, recording.id, _origin(recording.id)


def _origin(id: str) -> str:
    """The recording that a piece `<id>#2`, or a piece `<id>#2#1` of a piece, was cut from."""
    return re.sub(r"(#[0-9]+)+$", "", id)


def _order(recording: Recording) -> tuple[str, str, tuple[int, ...], str]:
    origin = _origin(recording.id)
    numbers = recording.id[len(origin) + 1 :].split("#")
    return recording.subject, origin, tuple(int(n) for n in numbers if n), recording.id


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
