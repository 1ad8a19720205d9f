"""Train, validation and test splits that share no subject, or by time no time of a subject."""

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
Group = Callable[[Recording], str]  # recordings of one group stay together
Choose = Callable[[Recording], str | None]  # the split of a recording; None = left out

SPLITS = ("train", "val", "test")

_EDGE = 1e-6  # of a subject or sample: 0.29 * 100 is 28.999999999999996 and means 29


@dataclass(frozen=True)
class SplitPlan:
    """How to split recordings: train first, then val, then test.

    With fractions, a split ends at its cumulative share rounded down, so that fractions which sum
    to 1 leave nothing over. `lists` names subjects or recordings. `predefined` reads the
    recordings' label `part`, and takes `val` from the subjects of train where no recording is
    labelled val.

    Raises:
        RecipeError: the sizes do not fit each other or `by`.
    """

    by: By = "subject"
    order: Literal["seed", "name"] = "seed"
    train: Size = 0.7
    val: Size = 0.15
    test: Size = 0.15
    seed: int = 0  # used with order 'seed'

    def __post_init__(self) -> None:
        if problem := _size_problem(self):
            shown = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
            raise RecipeError(f"data.split by '{self.by}' with {shown}: {problem}")

    @property
    def sizes(self) -> dict[str, Size]:
        """Sizes by split."""
        return dict(zip(SPLITS, (self.train, self.val, self.test), strict=True))


def split(recordings: RecordingSet, plan: SplitPlan) -> dict[str, RecordingSet]:
    """Divides recordings into train, val and test; val is empty only where its size is 0.

    Recordings are ordered by subject and id within a split, so that the order they were read in
    does not matter. By time, each recording is divided into views called `<id>@train` and so on,
    and the split is within subjects.

    Raises:
        DataError: a split is empty, there are fewer recordings or subjects than asked for, a
            listed id is unknown, or the splits would overlap.
    """
    recordings = RecordingSet(tuple(sorted(recordings, key=_order)), recordings.left_out)
    match plan.by:
        case "time":
            splits = _by_time(recordings, plan)
        case "lists":
            splits = _divided(recordings, _choose_listed(recordings, plan))
        case "predefined":
            splits = _divided(recordings, _labelled_split)
            if plan.val and not splits["val"]:
                splits |= _val_from_train(splits["train"], plan)
        case "subject":
            splits = _divided(recordings, _choose_drawn(recordings, plan, lambda r: r.subject))
        case "record":
            splits = _divided(
                recordings, _choose_drawn(recordings, plan, lambda r: origin_id(r.id))
            )
    for name, kept in splits.items():
        optional = name == "val" and not plan.val
        if not kept and not optional:
            counts = ", ".join(f"{name} {len(kept)}" for name, kept in splits.items())
            raise DataError(
                f"data.split: the {name} split is empty; {len(recordings)} recordings of "
                f"{len(recordings.subjects)} subjects were split by '{plan.by}' into {counts}. "
                f"Change the sizes of the splits, or add recordings."
            )
    result = {name: RecordingSet(tuple(kept)) for name, kept in splits.items()}
    check_disjoint(result, plan.by)
    return result


def check_disjoint(splits: Mapping[str, RecordingSet], by: By = "subject") -> None:
    """Stops where two splits share a subject; by time, where they share a subject's time.

    Raises:
        DataError: two splits share a subject or its time; the text names both.
    """
    for (one, these), (other, those) in combinations(splits.items(), 2):
        shared = set(these.subjects) & set(those.subjects)
        if shared and by != "time":
            raise DataError(
                f"data.split by '{by}': a subject belongs to one split; {one} and {other} share "
                f"{_some(sorted(shared))}. Use by: subject, or correct the splits."
            )
        for subject in sorted(shared):
            for a, b in product(_of(these, subject), _of(those, subject)):
                if _same_time(a, b):
                    raise DataError(
                        f"data.split by 'time': splits share no time of a subject; {a.id} ({one}) "
                        f"and {b.id} ({other}) of {subject} overlap. Use by: subject, or leave "
                        f"one of these recordings out."
                    )


def _size_problem(plan: SplitPlan) -> str | None:
    """What is wrong with the sizes, as the end of a message; None = nothing."""
    if plan.by == "predefined":
        whole = isinstance(plan.val, int)
        if isinstance(plan.val, tuple) or plan.val < 0 or (plan.val >= 1 and not whole):
            return "val is a fraction or a count of the train split's subjects, 0 for none."
        return None
    sizes = plan.sizes.values()
    listed = [name for size in sizes if isinstance(size, tuple) for name in size]
    numbers = [size for size in sizes if not isinstance(size, tuple)]
    if plan.by == "lists":
        if numbers:
            return "give a list of ids for each split, [] for none."
        twice = sorted(name for name, count in Counter(listed).items() if count > 1)
        return f"{_some(twice)} is listed twice; leave it in one split." if twice else None
    if len(numbers) < len(SPLITS) or min(numbers) < 0:
        return "give fractions or counts, 0 for no such split; ids go with `by: lists`."
    if all(isinstance(size, int) for size in numbers):
        return "give fractions; counts have no meaning here." if plan.by == "time" else None
    if any(isinstance(size, int) and size for size in numbers):
        return "give only fractions (0.7) or only counts (7)."
    if sum(numbers) > 1 + 1e-9:
        return f"the fractions sum to {sum(numbers):g}; make that 1 or less."
    return None


def _edges(plan: SplitPlan, n: int) -> list[int]:
    """Where the splits of `n` things begin and end: 4 numbers for 3 splits."""
    sizes = [size for size in plan.sizes.values() if not isinstance(size, tuple)]
    counted = all(isinstance(size, int) for size in sizes)
    ends = np.cumsum(sizes) if counted else np.minimum(np.cumsum(sizes) * n, n)
    return [0, *np.floor(ends + _EDGE).astype(int).tolist()]


def _divided(recordings: RecordingSet, choose: Choose) -> dict[str, list[Recording]]:
    """The recordings of each split."""
    splits: dict[str, list[Recording]] = {name: [] for name in SPLITS}
    for recording in recordings:
        chosen = choose(recording)
        if chosen is not None:
            splits[chosen].append(recording)
    return splits


def _by_time(recordings: RecordingSet, plan: SplitPlan) -> dict[str, list[Recording]]:
    """Each recording cut into its splits, in the order of time."""
    splits: dict[str, list[Recording]] = {name: [] for name in SPLITS}
    for recording in recordings:
        edges = _edges(plan, recording.samples)
        for name, first, stop in zip(SPLITS, edges[:-1], edges[1:], strict=True):
            if first < stop:
                splits[name].append(recording.between(first, stop, f"{recording.id}@{name}"))
    return splits


def _choose_drawn(recordings: RecordingSet, plan: SplitPlan, group: Group) -> Choose:
    """Splits of whole groups, in seeded random order or by name."""
    names = sorted({group(recording) for recording in recordings})
    edges = _edges(plan, len(names))
    if edges[-1] > len(names):
        raise DataError(
            f"data.split: {edges[-1]} {plan.by}s are asked for, {len(names)} are there "
            f"({len(recordings.left_out)} recordings were left out by cleaning). Ask for fewer."
        )
    if plan.order == "seed":
        names = [names[i] for i in np.random.default_rng(plan.seed).permutation(len(names))]
    split_of = {
        name: split_name
        for split_name, first, stop in zip(SPLITS, edges[:-1], edges[1:], strict=True)
        for name in names[first:stop]
    }
    return lambda recording: split_of.get(group(recording))


def _choose_listed(recordings: RecordingSet, plan: SplitPlan) -> Choose:
    """Splits by lists of subjects and recordings."""
    split_of = {
        name: split_name
        for split_name, size in plan.sizes.items()
        if isinstance(size, tuple)
        for name in size
    }
    known = {name for recording in recordings for name in _names(recording)}
    for name, split_name in split_of.items():
        if name not in known | set(recordings.left_out):
            raise DataError(
                f"data.split.{split_name}: no subject or recording is called '{name}'."
                f"{closest(name, known)} There are {_some(sorted(known))}."
            )

    def choose(recording: Recording) -> str | None:
        listed = sorted({split_of[name] for name in _names(recording) if name in split_of})
        if len(listed) > 1:
            raise DataError(
                f"data.split: recording {recording.id} of {recording.subject} is listed for "
                f"{' and '.join(listed)}, once by its subject. List it for one split."
            )
        return listed[0] if listed else None

    return choose


def _val_from_train(train: list[Recording], plan: SplitPlan) -> dict[str, list[Recording]]:
    """Moves some subjects of train to val."""
    recordings = RecordingSet(tuple(train))
    if isinstance(plan.val, int):
        left = max(0, len(recordings.subjects) - plan.val)
        inner = replace(plan, by="subject", train=left, test=0)
    else:
        assert isinstance(plan.val, float), plan
        inner = replace(plan, by="subject", train=1.0 - plan.val, test=0.0)
    splits = _divided(recordings, _choose_drawn(recordings, inner, lambda r: r.subject))
    return {"train": splits["train"], "val": splits["val"]}


def _labelled_split(recording: Recording) -> str:
    """The recording's label `part`."""
    split_name = recording.labels.get("part")
    if split_name not in SPLITS:
        raise DataError(
            f"data.split by 'predefined': {recording.id} has {split_name!r} as its label 'part'; "
            f"splits are {', '.join(SPLITS)}. Use a reader that states them, or another `by`."
        )
    return str(split_name)


def _same_time(a: Recording, b: Recording) -> bool:
    """True if two recordings of a subject overlap by more than a second."""
    if a.start is None or b.start is None:  # no common clock but the memory that they view
        return bool(np.shares_memory(a.values, b.values))
    gap_s = float((b.start - a.start) / np.timedelta64(1, "s"))
    overlap_s = min(a.duration_s, gap_s + b.duration_s) - max(0.0, gap_s)
    return overlap_s > 1.0  # starts are rounded to seconds


def _of(recordings: RecordingSet, subject: str) -> list[Recording]:
    return [recording for recording in recordings if recording.subject == subject]


def _names(recording: Recording) -> tuple[str, str, str]:
    """The names by which a list may call a recording."""
    return recording.subject, recording.id, origin_id(recording.id)


def origin_id(id: str) -> str:
    """The id of the recording that a piece `<id>#2`, or `<id>#2#1`, was cut from."""
    return re.sub(r"(#[0-9]+)+$", "", id)


def _order(recording: Recording) -> tuple[str, str, tuple[int, ...], str]:
    origin = origin_id(recording.id)
    numbers = recording.id[len(origin) + 1 :].split("#")
    return recording.subject, origin, tuple(int(n) for n in numbers if n), recording.id


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
