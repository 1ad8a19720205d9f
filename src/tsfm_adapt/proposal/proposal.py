"""Proposes the values of a recipe, each with its reason.

Everything is proposed from the recordings looked at. Channels are cleaned and split by the code
that a run uses, so that every split has windows of the length that is proposed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np

from tsfm_adapt.components import configs
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.channel_lines import ChannelLine, line_of
from tsfm_adapt.proposal.clock import clock, gap
from tsfm_adapt.proposal.layout import Layout, Window, laid_out
from tsfm_adapt.proposal.notes import notes
from tsfm_adapt.proposal.outcome import Trial
from tsfm_adapt.proposal.survey import Survey
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.cleaning import clean
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.tasks.base import Proposed, Sighting, TaskConfig

_SHARE = 0.1  # of samples that a channel has at least
_CLASSES = 50
_FIRST = "forecast"  # what is proposed where nothing speaks for another task


@dataclass(frozen=True)
class Proposal:
    """What a recipe is written from; each `why` becomes a comment."""

    reader: ReaderConfig
    task: str
    task_why: str
    written: Proposed  # by the task
    channels: tuple[ChannelLine, ...]
    rate_hz: float
    rate_why: str
    max_gap_s: float | None
    gap_why: str
    split: Mapping[str, str | float]
    split_why: str
    window: Window
    window_why: str
    notes: tuple[str, ...]
    recordings: RecordingSet  # cleaned, those looked at
    trial: Trial | None = None  # what candidates scored; None = they were not compared

    @property
    def kept(self) -> tuple[ChannelLine, ...]:
        """The channels of the recipe."""
        return tuple(line for line in self.channels if not line.left_out)


def propose(
    survey: Survey,
    reader: ReaderConfig,
    task: str | None = None,
    clock_hz: float | None = None,
) -> Proposal:
    """A recipe's values for the recordings that were surveyed.

    Args:
        survey: of the reader.
        reader: reads the recordings looked at once more, cleaned.
        task: its name; None = one that needs labels where recordings are short trials with a
            class, otherwise to forecast.
        clock_hz: where channels differ much in rate, propose those of about this one.

    Raises:
        DataError: no recording is long enough for the shortest window, or no label could be a
            class.
    """
    configs = proposable()
    label, classes = _label(survey, task is not None and configs[task].of_labels)
    chosen = task or _default(configs, of_labels=label is not None and survey.trials)
    config = configs[chosen]
    time = clock(survey, config.of_labels and survey.trials, clock_hz)
    max_gap_s, gap_why = gap(survey, time.rate_hz)
    every_line = [line_of(channel, survey, time.channels) for channel in survey.channels]
    lines, recordings, layout = _settled(
        every_line, reader, survey, config, rate_hz=time.rate_hz, max_gap_s=max_gap_s
    )
    window = layout.window
    sighting = Sighting(
        rate_hz=time.rate_hz,
        context=window.context,
        horizon=window.horizon,
        channels=sum(not line.left_out for line in lines),
        label=label,
        classes=classes,
        several_windows=any(r.samples >= 2 * window.context for r in recordings),
    )
    offered = None if config.of_labels else label
    return Proposal(
        reader=reader,
        task=chosen,
        task_why=_task_why(configs, chosen, task, label, classes, survey),
        written=config.proposed(sighting),
        channels=tuple(lines),
        rate_hz=time.rate_hz,
        rate_why=time.why,
        max_gap_s=max_gap_s,
        gap_why=gap_why,
        split=layout.split,
        split_why=layout.split_why,
        window=window,
        window_why=layout.window_why,
        notes=tuple(notes(survey, reader, offered, lines, recordings, layout, time.others)),
        recordings=recordings,
    )


def with_trial(proposal: Proposal, trial: Trial) -> Proposal:
    """The proposal with the best network of a trial in the place of the usual one."""
    written = proposal.written
    if trial.best is not None:
        why = "the best of the trial above"
        known = written.section_reasons
        reasons = {n: "; ".join(filter(None, (known.get(n), why))) for n in trial.sections}
        written = replace(
            written,
            sections={**written.sections, **trial.sections},
            section_reasons={**known, **reasons},
        )
    return replace(proposal, written=written, trial=trial)


def _settled(
    lines: list[ChannelLine],
    reader: ReaderConfig,
    survey: Survey,
    task: type[TaskConfig],
    *,
    rate_hz: float,
    max_gap_s: float | None,
) -> tuple[list[ChannelLine], RecordingSet, Layout]:
    """Leaves out channels until all that stay are measured in the training split.

    Returns:
        The lines, the cleaned recordings of the channels that stay, and how they are laid out.
    """
    while True:  # ends: every round leaves a channel out
        recordings = _cleaned(reader, survey, lines, rate_hz, max_gap_s)
        sparse = _sparse(recordings)
        if not sparse:
            layout, unmeasured = laid_out(recordings, survey, task, rate_hz)
            if not unmeasured:
                return lines, recordings, layout
            sparse = dict.fromkeys(
                unmeasured, "no measured value in what would be the training split"
            )
        lines = [
            replace(line, left_out=True, why=sparse[line.name]) if line.name in sparse else line
            for line in lines
        ]


def proposable() -> dict[str, type[TaskConfig]]:
    """The tasks that `init` can write a recipe for, by name."""
    return {name: own for name, own in configs("task").items() if own.can_be_proposed()}


def _default(configs: Mapping[str, type[TaskConfig]], of_labels: bool) -> str:
    """The first task that needs labels, or one that does not; forecast before others."""
    fitting = [name for name, config in configs.items() if config.of_labels == of_labels]
    return _FIRST if _FIRST in fitting else fitting[0]


def _label(survey: Survey, needed: bool) -> tuple[str | None, tuple[str | int | float, ...]]:
    """The label with the fewest values among those that could be a class."""
    classes: dict[str, tuple[str | int | float, ...]] = {}
    for name in dict.fromkeys(name for item in survey.listed for name in item.labels):
        values = {item.labels[name] for item in survey.listed if name in item.labels}
        whole = all(isinstance(value, str) or float(value).is_integer() for value in values)
        if name != "part" and whole and 2 <= len(values) <= _CLASSES:
            classes[name] = tuple(
                sorted(values, key=lambda value: (isinstance(value, str), value))
            )
    if not classes:
        if needed:
            known = sorted({name for item in survey.listed for name in item.labels})
            raise DataError(
                f"To classify, recordings need a label of 2 to {_CLASSES} values: these have "
                f"{', '.join(known) or 'no labels'}. Propose a forecast, or read "
                "labels with other settings of the reader.",
                remedy="task=forecast",
            )
        return None, ()
    name = min(classes, key=lambda label: (label != "label", len(classes[label])))
    return name, classes[name]


def _task_why(
    configs: Mapping[str, type[TaskConfig]],
    chosen: str,
    given: str | None,
    label: str | None,
    classes: Sequence[str | int | float],
    survey: Survey,
) -> str:
    """Why this task, or which other there is."""
    if configs[chosen].of_labels:
        seen = " so far" if survey.more else ""
        return f"each recording has the label '{label}', with {len(classes)} values{seen}"
    if given is not None:
        return ""
    others = [n for n, c in configs.items() if n != chosen and c.of_labels == (label is not None)]
    with_label = f": recordings have the label '{label}'" if label is not None else ""
    command = f"tsfm-adapt init --task {others[0]}" if others else ""
    return f"or {others[0]}{with_label} ({command})" if others else ""


def _cleaned(
    reader: ReaderConfig,
    survey: Survey,
    lines: Sequence[ChannelLine],
    rate_hz: float,
    max_gap_s: float | None,
) -> RecordingSet:
    """The recordings looked at, as the recipe will have them."""
    kept = [line for line in lines if not line.left_out]
    if not kept:
        reasons = "; ".join(f"{line.name}: {line.why}" for line in lines[:5])
        raise DataError(f"No channel is left to propose ({reasons}). Write the recipe by hand.")
    plan = CleaningPlan(
        channels=tuple(ChannelPlan(c.name, c.unit, c.name, c.from_unit) for c in kept),
        rate_hz=rate_hz,
        zero_is_missing=tuple(line.name for line in kept if line.zero),
        ranges={line.name: line.limits for line in kept if line.limits is not None},
        max_gap_s=max_gap_s,
    )
    looked = {item.id for item in survey.listed[: survey.looked]}
    items = reader.read(tuple(line.name for line in kept))
    return clean(takewhile(lambda item: (item.multirate_id or item.id) in looked, items), plan)


def _sparse(recordings: RecordingSet) -> dict[str, str]:
    """Channels with too few measured samples, and the reason; never all of them."""
    first = recordings.recordings[0]
    measured = sum(np.isfinite(r.values).sum(axis=1) for r in recordings)
    share = np.asarray(measured) / max(sum(r.samples for r in recordings), 1)
    least = min(_SHARE, float(share.max()))
    return {
        name: f"measured in {own:.1%} of the samples after cleaning"
        for name, own in zip(first.channels, share.tolist(), strict=True)
        if own < least
    }
