"""Values for a recipe, each with what was seen that speaks for it.

Everything is proposed from the recordings looked at. Channels are cleaned and split by the code
that a run uses, so that a window which is proposed lies in every part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.overview.survey import Channel, Survey
from tsfm_adapt.signals.cleaning import ChannelPlan, CleaningPlan, clean
from tsfm_adapt.signals.duplicates import duplicated
from tsfm_adapt.signals.plausible import Range, Vital, vital
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.signals.splitting import SplitPlan, split
from tsfm_adapt.signals.units import canonical

Kind = Literal["forecast", "impute", "classify"]

CONTEXT = 512  # samples that every embedded backbone accepts
_CONTEXTS = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8)
_FASTEST_HZ = 128.0  # 256 samples are 2 s: some heartbeats
_MINUTES = (1, 2, 5, 10, 15, 30, 60, 120, 240, 360, 720, 1440, 10080)
_PERIODS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, *(60.0 * m for m in _MINUTES))
_SHARE = 0.1  # of samples that a channel has at least
_MANY, _SLOWER = 0.4, 8  # share of channels that set the rate, and how much slower others may be
_RICH = 0.2  # a channel with fewer readings than this share of the richest sets no clock
_LONG_GAP, _CUT = 64, 12  # samples: gaps longer than this are cut out, and at which length
_FEW = 8  # subjects
_TRIAL = 4096  # samples: a longer recording with a label is no trial
_CLASSES = 50
_SEED = 17


@dataclass(frozen=True)
class ChannelLine:
    """One line of `data.channels`, or the reason why there is none."""

    name: str
    unit: str
    from_unit: str | None  # where the file states none
    why: str
    left_out: bool
    zero: str | None = None  # why 0 is missing
    limits: Range | None = None  # of a known vital sign
    limits_why: str = ""
    wide: Range | None = None  # around what was seen, to think about
    flatline_s: float | None = None  # longer than what a body keeps still


@dataclass(frozen=True)
class Window:
    """The geometry in samples of the clock."""

    context: int
    horizon: int  # 0 = none


@dataclass(frozen=True)
class Proposal:
    """What a recipe is written from; each `why` becomes a comment."""

    reader: ReaderConfig
    kind: Kind
    kind_why: str
    channels: tuple[ChannelLine, ...]
    rate_hz: float
    rate_why: str
    max_gap_s: float | None
    gap_why: str
    split: Mapping[str, str | float]
    split_why: str
    window: Window
    window_why: str
    label: str | None  # of the recordings, for classes
    classes: tuple[str | int | float, ...]
    by_recording: bool
    notes: tuple[str, ...]
    recordings: RecordingSet  # cleaned, those looked at

    @property
    def kept(self) -> tuple[ChannelLine, ...]:
        """The channels of the recipe."""
        return tuple(line for line in self.channels if not line.left_out)


def propose(survey: Survey, reader: ReaderConfig, kind: Kind | None = None) -> Proposal:
    """A recipe's values for the recordings that were surveyed.

    Args:
        survey: of the reader.
        reader: reads the recordings looked at once more, cleaned.
        kind: the task; None = to classify where recordings are short trials with a class,
            otherwise to forecast.

    Raises:
        DataError: no part of the recordings is long enough for the shortest window, or no label
            could be a class.
    """
    label, classes = _label(survey, kind)
    chosen: Kind = kind or ("classify" if label is not None and _trials(survey) else "forecast")
    rate_hz, rate_why, alike = _clock(survey, chosen)
    max_gap_s, gap_why = _gap(survey, rate_hz)
    lines = [_line(channel, survey, alike) for channel in survey.channels]
    while True:  # ends: every round leaves a channel out
        recordings = _cleaned(reader, survey, lines, rate_hz, max_gap_s)
        sparse = _sparse(recordings)
        if not sparse:
            found, unmeasured = _laid_out(recordings, survey, chosen, rate_hz)
            if not unmeasured:
                break
            sparse = dict.fromkeys(unmeasured, "no measured value in what would be the train part")
        lines = [
            replace(line, left_out=True, why=sparse[line.name]) if line.name in sparse else line
            for line in lines
        ]
    window, window_why, sizes, split_why = found
    return Proposal(
        reader=reader,
        kind=chosen,
        kind_why=_kind_why(chosen, kind, label, classes, survey),
        channels=tuple(lines),
        rate_hz=rate_hz,
        rate_why=rate_why,
        max_gap_s=max_gap_s,
        gap_why=gap_why,
        split=sizes,
        split_why=split_why,
        window=window,
        window_why=window_why,
        label=label,
        classes=classes,
        by_recording=chosen == "classify"
        and any(r.samples >= 2 * window.context for r in recordings),
        notes=tuple(_notes(survey, reader, chosen, label, lines, recordings, sizes)),
        recordings=recordings,
    )


def _label(survey: Survey, kind: Kind | None) -> tuple[str | None, tuple[str | int | float, ...]]:
    """The label with the fewest values among those that could be a class."""
    found: dict[str, tuple[str | int | float, ...]] = {}
    for name in dict.fromkeys(name for item in survey.listed for name in item.labels):
        values = {item.labels[name] for item in survey.listed if name in item.labels}
        whole = all(isinstance(value, str) or float(value).is_integer() for value in values)
        if name != "part" and whole and 2 <= len(values) <= _CLASSES:
            found[name] = tuple(sorted(values, key=lambda value: (isinstance(value, str), value)))
    if not found:
        if kind == "classify":
            known = sorted({name for item in survey.listed for name in item.labels})
            raise DataError(
                f"To classify, recordings need a label of 2 to {_CLASSES} values: these have "
                f"{', '.join(known) or 'no labels'}. Use --task forecast, or read labels with "
                "--reader."
            )
        return None, ()
    name = min(found, key=lambda label: (label != "label", len(found[label])))
    return name, found[name]


def _trials(survey: Survey) -> bool:
    """Many short recordings, each with a class."""
    labelled = sum("label" in item.labels for item in survey.listed)
    return (
        len(survey.listed) >= 10
        and labelled >= 0.9 * len(survey.listed)
        and max(survey.samples) <= _TRIAL
    )


def _kind_why(
    chosen: Kind,
    asked: Kind | None,
    label: str | None,
    classes: Sequence[str | int | float],
    survey: Survey,
) -> str:
    if chosen == "classify":
        seen = " so far" if survey.more else ""
        return f"each recording has the label '{label}', with {len(classes)} values{seen}"
    if asked is None and label is not None:
        return f"or classify: recordings have the label '{label}' (init --task classify)"
    return "or impute, to fill gaps (init --task impute)" if chosen == "forecast" else ""


def _clock(survey: Survey, kind: Kind) -> tuple[float, str, frozenset[str]]:
    """The recipe's rate, why, and the channels that have it."""
    usable = [channel for channel in survey.channels if not channel.constant]
    usable = usable or [channel for channel in survey.channels if channel.measured]
    if all(channel.regular for channel in usable):
        return _regular_clock(survey, usable, kind)
    richest = max(channel.readings for channel in usable)
    rich = [channel for channel in usable if channel.readings >= _RICH * richest]
    periods = [1 / channel.usual_hz for channel in rich if channel.usual_hz] or [1.0]
    period = float(np.quantile(periods, 0.8, method="higher"))
    nice = _nice(period)
    return (
        1 / nice,
        f"readings are usually {duration(period)} apart"
        + ("" if len(periods) == 1 else ", in most of the channels that are read often"),
        frozenset(channel.name for channel in survey.channels),
    )


def _regular_clock(
    survey: Survey, usable: Sequence[Channel], kind: Kind
) -> tuple[float, str, frozenset[str]]:
    """The rate of the faster channels; that of slower ones, where they are not much slower."""
    rates = {channel.name: _rounded(channel.rates_hz[0]) for channel in usable}
    many = _MANY * len(rates)
    fast = max(r for r in rates.values() if sum(o >= r for o in rates.values()) >= many)
    group = min(rate for rate in rates.values() if rate * _SLOWER >= fast)
    slowest = min(c.rates_hz[0] for c in usable if rates[c.name] == group)
    names = frozenset(  # of a much slower channel hardly any value would be there
        c.name for c in survey.channels if c.rates_hz and _rounded(c.rates_hz[0]) >= group
    )
    divisor = 1
    if kind == "classify" and _trials(survey):
        while max(survey.samples) > divisor * CONTEXT:
            divisor += 1
    elif slowest > _FASTEST_HZ:
        candidates = range(1, int(np.ceil(slowest)) + 1)
        divisor = next(d for d in candidates if slowest / d <= _FASTEST_HZ)
        whole = [d for d in candidates if d >= divisor and slowest % d == 0]
        if whole and whole[0] <= 2 * divisor:
            divisor = whole[0]
    if divisor == 1:
        same = len(set(rates.values())) == 1
        return slowest, "that of the files" if same else "that of the slowest of these", names
    rate_hz = slowest / divisor
    return (
        rate_hz,
        f"the median of {divisor} samples; at the files' {slowest:g} Hz {CONTEXT} samples, the "
        f"longest context, would be {duration(CONTEXT / slowest)}",
        names,
    )


def _gap(survey: Survey, rate_hz: float) -> tuple[float | None, str]:
    """Where to cut, and why."""
    seen = f"nothing is measured for up to {duration(survey.longest_gap_s)}"
    if survey.stated_duration or survey.longest_gap_s * rate_hz <= _LONG_GAP:
        return None, seen
    return _CUT / rate_hz, f"{seen}: recordings are cut at gaps longer than {_CUT} samples"


def _line(channel: Channel, survey: Survey, alike: frozenset[str]) -> ChannelLine:
    """What is said of one channel before it is cleaned."""
    unit, from_unit, unit_why = _unit(channel)
    known = vital(channel.name)
    limits = None if known is None else known.limits_in(unit)
    zero = _zero(channel, known if limits is not None else None, unit)
    line = ChannelLine(
        name=channel.name,
        unit=unit,
        from_unit=from_unit,
        why="; ".join(part for part in (_seen(channel), unit_why) if part),
        left_out=False,
        zero=zero,
        limits=limits,
        limits_why="" if known is None else f"{known.quantity}: possible in a body, {unit}",
        wide=_widened(channel),
        flatline_s=_still(channel),
    )
    reason = _out(channel, survey, alike)
    return line if reason is None else replace(line, left_out=True, why=reason)


def _out(channel: Channel, survey: Survey, alike: frozenset[str]) -> str | None:
    """Why a channel is left out, as far as the files tell."""
    if channel.measured == 0:
        return "never measured"
    if channel.constant:
        return f"always {channel.low:g}"
    if channel.name not in alike:
        return f"much slower than the others, {_rates(channel)}"
    most = max(other.recordings for other in survey.channels if other.name in alike)
    if 2 * channel.recordings <= most:
        return f"measured in {channel.recordings} of {survey.looked} recordings"
    if len(channel.units) > 1 and len({canonical(unit) or unit for unit in channel.units}) > 1:
        return f"its unit differs: {', '.join(channel.units)}"
    return None


def _unit(channel: Channel) -> tuple[str, str | None, str]:
    """The unit to write, the one to assume, and why."""
    stated = channel.units[0].strip()
    if stated not in ("", "1"):
        return stated, None, ""
    known = vital(channel.name)
    told = None if known is None else known.unit_of(channel.nonzero_median)
    if told is not None and told != "1":
        return (
            told,
            told,
            (
                f"no unit in the file: {told} by its name and its median, "
                f"{channel.nonzero_median:.3g}; check it"
            ),
        )
    if stated:
        return stated, None, ""
    return "1", "1", "no unit in the file"


def _zero(channel: Channel, known: Vital | None, unit: str) -> str | None:
    """Why 0 means missing: impossible for the quantity, or far from everything else."""
    if not channel.zeros or channel.constant:
        return None
    part = channel.zeros / channel.measured
    share = f"{'under 0.1%' if part < 0.001 else f'{part:.1%}'} are exactly 0"
    limits = None if known is None else known.limits_in(unit)
    if known is not None and limits is not None:
        return f"{share}, no {known.quantity}" if limits[0] > 0 else None
    if known is not None or channel.few_values or channel.low < 0:
        return None
    lowest, middle = channel.nonzero
    if channel.zeros >= 0.005 * channel.measured and lowest > 0.2 * middle:
        return f"{share}, all else is above {lowest:.3g}"
    return None


def _widened(channel: Channel) -> Range | None:
    """The 0.1 to 99.9 percentiles and half of their width on both sides."""
    low, high = float(channel.quantiles[0]), float(channel.quantiles[4])
    if not high > low:
        return None
    margin = 0.5 * (high - low)
    least = 0.0 if low >= 0 else -np.inf
    return float(f"{max(low - margin, least):.3g}"), float(f"{high + margin:.3g}")


def _still(channel: Channel) -> float | None:
    """A limit for identical values where some last suspiciously long."""
    if channel.few_values or channel.usual_hz is None:
        return None
    rate_hz = channel.usual_hz
    limit_s = max(0.5, 32 / rate_hz) if rate_hz > 16 else 64 / rate_hz
    return float(f"{limit_s:.3g}") if channel.longest_flat_s > limit_s else None


def _seen(channel: Channel) -> str:
    """In a few words."""
    spread = f"mostly {channel.quantiles[1]:.3g} to {channel.quantiles[3]:.3g}"
    if channel.regular and channel.measured < channel.samples:
        return f"{share_measured(channel)} measured, {spread}"
    if not channel.regular:
        return f"about {readings(channel)} readings a recording, {spread}"
    return spread


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
    return clean(takewhile(lambda item: (item.part_of or item.id) in looked, items), plan)


def _sparse(recordings: RecordingSet) -> dict[str, str]:
    """Channels with too few measured samples, and the reason; never all of them."""
    first = recordings.recordings[0]
    measured = sum(np.isfinite(r.values).sum(axis=1) for r in recordings)
    share = np.asarray(measured) / max(sum(r.samples for r in recordings), 1)
    least = min(_SHARE, float(share.max()))
    return {
        name: f"measured in {part:.1%} of the samples after cleaning"
        for name, part in zip(first.channels, share.tolist(), strict=True)
        if part < least
    }


_Found = tuple[Window, str, Mapping[str, str | float], str]


def _laid_out(
    recordings: RecordingSet, survey: Survey, kind: Kind, rate_hz: float
) -> tuple[_Found, list[str]]:
    """Split and window that leave windows in every part, and channels that train never has.

    Raises:
        DataError: there are none.
    """
    problem = ""
    for sizes, split_why in _splits(recordings, survey):
        try:
            plan = SplitPlan(**sizes, seed=_SEED)  # type: ignore[arg-type]  # its own fields
            parts = split(recordings, plan)
        except DataError as error:
            problem = problem or f" {error}"
            continue
        for strict in (True, False):
            for window in _windows(recordings, kind):
                if not _holds(parts, window, strict):
                    continue
                train = [r for r in parts["train"] if r.samples >= window.context + window.horizon]
                measured = np.any([np.isfinite(r.values).any(axis=1) for r in train], axis=0)
                names = recordings.recordings[0].channels
                unmeasured = [n for n, m in zip(names, measured, strict=True) if not m]
                why = _window_why(window, parts, rate_hz)
                return (window, why, sizes, split_why), unmeasured
    longest = max(recordings, key=lambda recording: recording.samples)
    raise DataError(
        f"The shortest window, {_CONTEXTS[-1]} + {_CONTEXTS[-1] // 4} samples at {rate_hz:g} Hz, "
        f"lies in every part: of {len(recordings)} recordings the longest, {longest.id}, has "
        f"{longest.samples} samples.{problem} Give longer recordings; if these are arrays, check "
        "that their last axis is time."
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
        few = subjects < _FEW
        large, small = (0.6, 0.2) if few else (0.7, 0.15)
        ways.append(
            (
                {"by": "subject", "order": "seed", "train": large, "val": small, "test": small},
                f"{count}, fewer than {_FEW}: intervals will be wide" if few else count,
            )
        )
    ways.append(
        (
            {"by": "time", "train": 0.6, "val": 0.2, "test": 0.2},
            f"{count}: within each, the earlier to learn; no evidence for any other patient",
        )
    )
    return ways


def _windows(recordings: RecordingSet, kind: Kind) -> list[Window]:
    """Geometries, the longest first."""
    if kind == "classify":
        lengths = np.array([recording.samples for recording in recordings])
        whole = int(np.quantile(lengths, 0.1, method="lower"))
        longest = min(whole, CONTEXT)
        return [Window(longest, 0)] + [Window(c, 0) for c in _CONTEXTS if c < longest]
    if kind == "impute":
        return [Window(context, 0) for context in _CONTEXTS]
    return [Window(c, c // (8 if c >= 192 else 4)) for c in _CONTEXTS]


def _holds(parts: Mapping[str, RecordingSet], window: Window, strict: bool) -> bool:
    """Whether every part has windows; strictly, some, and in most of the time recorded."""
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
    needed = window.context + window.horizon
    every = [recording for part in parts.values() for recording in part]
    fitting = sum(recording.samples >= needed for recording in every)
    return (
        f"{window.context} samples, {duration(window.context / rate_hz)}; {fitting} of "
        f"{len(every)} pieces of recordings are as long as a window"
    )


def _notes(
    survey: Survey,
    reader: ReaderConfig,
    kind: Kind,
    label: str | None,
    lines: Sequence[ChannelLine],
    recordings: RecordingSet,
    sizes: Mapping[str, str | float],
) -> list[str]:
    """What a user should know before any number is believed."""
    notes = []
    if survey.looked < len(survey.listed) or survey.more:
        every = f"{len(survey.listed)} or more" if survey.more else str(len(survey.listed))
        notes.append(f"looked at the first {survey.looked} of {every} recordings")
    if sizes["by"] == "time":
        notes.append(
            f"{survey.subjects} subject{'s' if survey.subjects != 1 else ''}: split by time; "
            "what holds within one patient is never evidence for another"
        )
    elif survey.subjects < _FEW:
        notes.append(f"{survey.subjects} subjects, fewer than {_FEW}: intervals will be wide")
    if not _names_subjects(reader) and len(survey.listed) > 1:
        notes.append(
            "each recording or file is taken as a subject of its own: if people have several, "
            "say so to the reader, or parts will share them"
        )
    if "rate_hz" in reader.model_fields_set and type(reader).model_fields["rate_hz"].is_required():
        notes.append("the format states no rate: seconds are samples until rate_hz is corrected")
    assumed = [f"{c.name} {c.unit}" for c in lines if c.from_unit not in (None, "1")]
    if assumed:
        notes.append(f"no unit in the file, assumed by name and values: {', '.join(assumed[:8])}")
    if recordings.left_out:
        shown = next(iter(recordings.left_out.items()))
        notes.append(f"{len(recordings.left_out)} recordings left out: {' '.join(shown)}")
    notes += _copies(recordings)
    if kind != "classify" and label is not None:
        notes.append(f"recordings have the label '{label}': --task classify learns it")
    if survey.spans:
        common = sorted(survey.spans, key=lambda name: -survey.spans[name])[:5]
        notes.append(f"marked: {', '.join(f'{name} {survey.spans[name]}' for name in common)}")
    return [note.encode(errors="replace").decode() for note in notes]  # ids are names of files


def _copies(recordings: RecordingSet) -> list[str]:
    """Stretches that two subjects share: one file under two names, or one person."""
    found = duplicated(recordings.recordings)
    if not found:
        return []
    pairs = {tuple(sorted((copy.one.subject, copy.other.subject))) for copy in found}
    copy = found[0]
    return [
        f"{len(pairs)} pair{'s' if len(pairs) != 1 else ''} of subjects share stretches: the "
        f"longest is {copy.samples} values of {copy.channel} in {copy.one.id} and "
        f"{copy.other.id}; training refuses to learn from one and score on the other"
    ]


def _names_subjects(reader: ReaderConfig) -> bool:
    """Whether the reader knows who was recorded, as far as its settings tell."""
    fields = ("subject", "subjects", "subject_pattern")
    known = [getattr(reader, name) for name in fields if name in type(reader).model_fields]
    return any(value is not None for value in known) or not (
        known or "rate_hz" in type(reader).model_fields
    )


def _nice(period_s: float) -> float:
    """A period that divides days or seconds well, close to one or the next longer one."""
    if period_s < 0.95:
        return 1 / max(1, round(1 / period_s))
    close = [p for p in _PERIODS_S if abs(p - period_s) <= 0.05 * period_s]
    longer = [p for p in _PERIODS_S if p >= period_s]
    return (close or longer or [period_s])[0]


def _rounded(rate_hz: float) -> float:
    """Headers write 1/60 Hz with more or fewer digits."""
    return float(f"{rate_hz:.3g}")


def _rates(channel: Channel) -> str:
    return " and ".join(f"{rate:g} Hz" for rate in channel.rates_hz[:3]) or "unknown"


def share_measured(channel: Channel) -> str:
    """Of the samples; not 100% where one is missing."""
    share = channel.measured / max(channel.samples, 1)
    return "over 99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def readings(channel: Channel) -> str:
    """How many a recording has."""
    return f"{channel.readings:.2g}" if channel.readings < 10 else f"{channel.readings:,.0f}"


def duration(seconds: float) -> str:
    """A time in the unit that reads best."""
    for unit, size in (("days", 172800.0), ("h", 7200.0), ("min", 120.0)):
        if seconds >= size:
            return f"{seconds / {'days': 86400.0, 'h': 3600.0, 'min': 60.0}[unit]:.3g} {unit}"
    return f"{seconds:.3g} s"
