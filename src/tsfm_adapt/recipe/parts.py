"""Prepares a recipe's data: reads, cleans, splits, and cuts into windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from tsfm_adapt._util.cache import cache_folder
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.base import Scale
from tsfm_adapt.evaluation.forecast_errors import mase_scale
from tsfm_adapt.recipe.schema import Channel, Data, Recipe
from tsfm_adapt.signals import store
from tsfm_adapt.signals.attributes import grouped
from tsfm_adapt.signals.audit import Audit, audit
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import CleaningLog, channels_of_first, clean, clean_each
from tsfm_adapt.signals.rates import ChannelRate, channel_rates
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import (
    FloatArray,
    IrregularReadings,
    Notes,
    Recording,
    RecordingSet,
)
from tsfm_adapt.signals.splitting import SplitPlan, split
from tsfm_adapt.signals.statistics import moments
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import SplitName, Task

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

# Subjects and windows that a smoke run keeps of each split.
_SMOKE_SUBJECTS, _SMOKE_WINDOWS = 3, 4

# Settings of data.split that `SplitPlan` does not take as they are.
_NO_PLAN = {"seed", "allow_duplicates"}


@dataclass(frozen=True)
class PreparedData:
    """The clean recordings and the windows of a run, by split."""

    recordings: Mapping[SplitName, tuple[Recording, ...]]  # long enough for a window
    windows: Mapping[SplitName, Windows]  # test: at most `evaluate.max_windows`, evenly spaced
    fit: tuple[Recording, ...]  # train and val, short ones too: for scales and baselines
    left_out: Mapping[str, str]  # recording id: reason
    deviation: FloatArray  # (C,) standard deviation in train, in the data's units
    shared_subjects: tuple[str, ...]  # sorted; those of train where the split is by time
    audit: Audit  # what the splits share: nothing, or copies that the recipe allows
    rates: tuple[ChannelRate, ...]  # how each channel is resampled to `data.rate_hz`
    notes: Notes  # what the reader changed or left out

    def subjects(self, split_name: SplitName) -> int:
        """Number of subjects in a split."""
        return len({recording.subject for recording in self.recordings[split_name]})


def scale_of(recipe: Recipe, prepared: PreparedData) -> Scale:
    """Channel names, units and the scales of scores: MASE denominators, standard deviations.

    They come from train and validation only.
    """
    units = cleaning_plan(recipe.data).units
    return Scale(tuple(recipe.data.channels), units, mase_scale(prepared.fit), prepared.deviation)


def prepare(recipe: Recipe, smoke: bool = False, progress: Progress | None = None) -> PreparedData:
    """Reads, cleans and splits the recipe's data and lays the windows out.

    Args:
        recipe: validated.
        smoke: keep three subjects and four windows of each split.
        progress: shows what is cached on disk, or why it cannot be.

    Raises:
        DataError: a split has no window, a channel is never measured in train, or splits share
            recordings or subjects.
        EnvironmentProblem: the reader needs a package that is not installed.
    """
    cleaned = read_clean(recipe.data, progress)
    seed = recipe.seed if recipe.data.split.seed is None else recipe.data.split.seed
    plan = SplitPlan(**recipe.data.split.model_dump(exclude=_NO_PLAN), seed=seed)
    task = recipe.task.build()
    recordings: dict[SplitName, tuple[Recording, ...]] = {}
    windows: dict[SplitName, Windows] = {}
    left_out = dict(cleaned.left_out)
    by_split = split(cleaned, plan)
    for split_name in SPLITS:
        kept, too_short = _long_enough(by_split[split_name], task, recipe.data.rate_hz, split_name)
        left_out |= too_short
        if split_name == "train":
            # before smoke leaves too few for rare channels
            deviation = moments(kept).standard_deviation
        if smoke:
            subjects = sorted({r.subject for r in kept})[:_SMOKE_SUBJECTS]
            kept = tuple(r for r in kept if r.subject in subjects)
        recordings[split_name] = kept
        windows[split_name] = task.windows(kept, recipe.data.rate_hz, split_name)
        if split_name == "test":
            windows[split_name] = windows[split_name].evenly_spaced(recipe.evaluate.max_windows)
        if smoke and len(windows[split_name]):
            windows[split_name] = windows[split_name].evenly_spaced(_SMOKE_WINDOWS)
        needed = split_name != "val" or by_split[split_name].recordings
        if needed and not len(windows[split_name]):
            raise DataError(_no_windows(split_name, by_split[split_name], too_short))
    _refuse_unmeasured(recipe, deviation, len(recordings["train"]))
    leakage = _audited(recipe, by_split, windows)
    _refuse_leaks(leakage, recipe.data.split.allow_duplicates)
    for attribute, group_edges in recipe.evaluate.grouping.items():
        grouped(by_split["test"], attribute, group_edges)  # stops here, before anything is trained
    by_time = recipe.data.split.by == "time"
    shared = sorted({r.subject for r in recordings["train"] if by_time})
    return PreparedData(
        recordings=recordings,
        windows=windows,
        fit=(*by_split["train"], *by_split["val"]),
        left_out=left_out,
        deviation=deviation,
        shared_subjects=tuple(shared),
        audit=leakage,
        rates=channel_rates(cleaned.rates, cleaning_plan(recipe.data)),
        notes=cleaned.notes,
    )


def _audited(
    recipe: Recipe, by_split: Mapping[str, RecordingSet], windows: Mapping[SplitName, Windows]
) -> Audit:
    """What the splits share."""
    train, val = by_split["train"].recordings, by_split["val"].recordings
    return audit(
        {name: of.recordings for name, of in by_split.items()},
        {str(name): of for name, of in windows.items()},
        {"deviation": train, "MASE scale and baselines": (*train, *val)},
        recipe.data.split.by == "time",
        unknown_subjects(recipe.data.reader),
    )


def unknown_subjects(reader: ReaderConfig) -> str | None:
    """How to tell a reader who was recorded; None = it knows."""
    if reader.names_subjects:
        return None
    if not reader.subject_settings:
        return f"the reader {reader.name} has no setting for them, a manifest of the files has"
    return f"name them with data.reader.{' or '.join(reader.subject_settings)}"


def _refuse_unmeasured(recipe: Recipe, deviation: FloatArray, recordings: int) -> None:
    """Stops where a channel has no deviation (C,) in the `recordings` of train."""
    never = [n for n, d in zip(recipe.data.channels, deviation, strict=True) if np.isnan(d)]
    if never:
        raise DataError(
            f"data.channels: {', '.join(never)} has no measured value in the train split "
            f"({recordings} recordings). Remove it, or check cleaning.ranges and "
            "cleaning.zero_is_missing."
        )


def _refuse_leaks(leakage: Audit, allow_duplicates: bool) -> None:
    leaks = [f for f in leakage.findings if not (allow_duplicates and f.kind == "duplicate")]
    if not leaks:
        return
    shown = "; ".join(leak.what for leak in leaks[:3])
    more = f"; and {len(leaks) - 3} more" if len(leaks) > 3 else ""
    step = "Correct data.split"
    if all(leak.kind == "duplicate" for leak in leaks):
        step = (
            "Remove one of each two, put both into one split with data.split.by: lists, or, where "
            "that is meant, set data.split.allow_duplicates: true"
        )
    raise DataError(
        "data.split: what is learned from is not scored on, but the leakage audit found: "
        f"{shown}{more}. {step}."
    )


def read_clean(data: Data, progress: Progress | None = None) -> RecordingSet:
    """Reads and cleans the recipe's recordings, all at `data.rate_hz`.

    Large cohorts are cached in `TSFM_ADAPT_CACHE` as float32 and memory-mapped; small ones are
    read into memory each time.

    Args:
        data: the recipe's section.
        progress: shows what is cached on disk, or why it cannot be.

    Raises:
        DataError: a file cannot be read, a channel is absent, a unit does not convert.
        EnvironmentProblem: the reader needs a package that is not installed.
    """
    require("reader", data.reader.name)
    plan = cleaning_plan(data)

    def all_channels() -> tuple[str, ...]:
        return channels_of_first(data.reader.read(()))

    def read() -> Iterator[Recording | IrregularReadings]:
        return data.reader.read(plan.sources)

    files = data.reader.files()
    if files is None:
        return clean(read(), plan, all_channels)
    progress = progress or Progress()
    origin = store.origin(data.reader.model_dump_json(), plan, files)
    folder = cache_folder() / "recordings" / origin.key
    cached = store.opened(folder)
    if cached is not None:
        return cached
    log = CleaningLog()
    pieces = clean_each(read(), plan, log, all_channels)
    try:
        cached = store.collect(pieces, log, folder, origin.file_bytes)
    except store.NotKept as problem:
        progress.say(f"recordings {problem}. They are held in memory, and read again each time.")
        return clean(read(), plan, all_channels)
    if folder.exists():
        progress.say(f"recordings kept in '{folder}'; later runs open them at once")
    return cached


def cleaning_plan(data: Data) -> CleaningPlan:
    """The recipe's channels and cleaning rules as a `CleaningPlan`."""
    channels = {
        name: entry if isinstance(entry, Channel) else Channel(unit=entry)
        for name, entry in data.channels.items()
    }
    return CleaningPlan(
        channels=tuple(
            ChannelPlan(name, c.unit, c.source or name, c.from_unit)
            for name, c in channels.items()
        ),
        rate_hz=data.rate_hz,
        resample=data.resample,
        zero_is_missing=data.cleaning.zero_is_missing,
        ranges=data.cleaning.ranges,
        flatline_s=data.cleaning.flatline_s,
        max_gap_s=data.cleaning.max_gap_s,
    )


def _long_enough(
    split_name: RecordingSet, task: Task, rate_hz: float, name: SplitName
) -> tuple[tuple[Recording, ...], dict[str, str]]:
    spec = task.window(rate_hz, name)
    needed = spec.context + spec.horizon
    too_short = {
        r.id: f"{r.samples} samples, a window needs {spec.context} + {spec.horizon}"
        for r in split_name
        if r.samples < needed
    }
    return tuple(r for r in split_name if r.samples >= needed), too_short


def _no_windows(
    split_name: SplitName, recordings: RecordingSet, too_short: Mapping[str, str]
) -> str:
    if len(too_short) < len(recordings):  # some are long enough, and none of it has a class
        return (
            f"data: the {split_name} split has no window: {len(recordings) - len(too_short)} of "
            f"its {len(recordings)} recordings are as long as task.context_s, but none of their "
            "windows has a class. Check the names in task.labels against the recordings, and "
            "that the labelled future still lies inside them."
        )
    shown = "; ".join(f"{id}: {reason}" for id, reason in list(too_short.items())[:3])
    return (
        f"data: the {split_name} split has no window: none of its {len(recordings)} recordings is "
        f"long enough ({shown}). Shorten task.context_s or task.horizon_s, or set "
        "data.cleaning.max_gap_s higher."
    )
