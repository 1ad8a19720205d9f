"""What a reader gives for a path, beside what the files hold: series by subject and channel."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsfm_adapt.cli.options import with_options
from tsfm_adapt.errors import DataError, TsfmAdaptError
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import IrregularReadings, Recording
from tsfm_adapt.signals.units import canonical

Item = Recording | IrregularReadings
UNSTATED = ("1",)  # the unit of a channel whose file states none


@dataclass(frozen=True)
class Truth:
    """What the files of a case hold."""

    series: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]
    # subject: channel: (times in seconds, values); NaN = not measured
    units: Mapping[str, tuple[str, ...]]  # by channel, each that would be right
    absolute: bool  # times since 1970, in UTC where a zone is stated; else since any zero
    tolerance_s: float = 0.001
    recordings: int | None = None  # where the files leave no doubt
    named: bool = True  # False = the files do not name the subjects, only tell them apart
    uniform: bool = False  # the files state no rate: only the order of samples is known
    zones: tuple[str | None, ...] | None = None  # each that would be right; None = any
    # readings that may be left out, or hold one of the values: by subject and channel, at a time
    censored: Mapping[tuple[str, str], Mapping[float, tuple[float, ...]]] = field(
        default_factory=dict
    )
    also: frozenset[str] = frozenset()  # further channels that would not be wrong
    any_name: bool = False  # the files leave the name of their only channel open
    said: tuple[str, ...] = ()  # words that a person must be told, where they are not channels


@dataclass(frozen=True)
class Attempt:
    """How reading a path went: without help, after pasting the line of the error, or not."""

    how: str  # read | pasted | refused
    config: ReaderConfig | None
    items: tuple[Item, ...]
    message: str  # of the refusal, or of that before pasting

    @property
    def notes(self) -> str:
        """What the reader changed or left out, in a line."""
        return "; ".join(f"{n} {what}" for item in self.items for what, n in item.notes.items())

    @property
    def asks(self) -> bool:
        """Whether the line that was offered is to be pasted with a number of the person's."""
        return self.how == "pasted" and "in place of" in self.message

    @property
    def told(self) -> str:
        """Notes, the reader's settings as a recipe has them, and the refusal before pasting."""
        return f"{self.notes}\n{self.config!r}\n{self.message}"


def attempt(path: Path) -> Attempt:
    """Reads a path as `init` would, then with the reader's settings that its refusal offers."""
    try:
        config = recognised(path)
        return Attempt("read", config, tuple(config.read(())), "")
    except DataError as error:
        message = with_options(error)
    settings = offered(message)
    if settings is None:
        return Attempt("refused", None, (), message)
    try:
        config = recognised(path, settings)
        return Attempt("pasted", config, tuple(config.read(())), message)
    except TsfmAdaptError as error:
        return Attempt("refused", None, (), f"{message}\nafter pasting {settings}: {error}")


def offered(message: str) -> str | None:
    """The settings in an offer `--reader '{...}'`, as a shell would read them; None = no offer."""
    found = re.search(r"--reader (['\"]\{.*)", message, re.S)
    if found is None:
        return None
    lexer = shlex.shlex(found.group(1), posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    settings = lexer.get_token()
    return None if settings is None or "..." in settings else settings.rstrip(").")


@dataclass(frozen=True)
class Series:
    """All readings of one channel of one subject, in order of time."""

    time_s: np.ndarray
    value: np.ndarray
    units: frozenset[str]
    dated: bool


def series_of(items: Iterable[Item]) -> dict[str, dict[str, Series]]:
    """The measured values by subject and channel, the recordings of a subject in a row.

    Times of a recording with a start are seconds since 1970, those of the others as they are.
    """
    parts: dict[str, dict[str, list[Series]]] = {}
    for item in items:
        zero = 0.0
        if item.start is not None:
            zero = float(item.start.astype("datetime64[s]").astype(np.int64))
        for index, name in enumerate(item.channels):
            if isinstance(item, Recording):
                value = np.asarray(item.values[index], dtype=np.float64)
                time_s = np.arange(item.samples) / item.rate_hz
            else:
                own = item.channel == index
                value, time_s = item.value[own], item.time_s[own]
            seen = np.isfinite(value)
            part = Series(
                zero + time_s[seen],
                value[seen],
                frozenset({item.units[index]}),
                item.start is not None,
            )
            parts.setdefault(item.subject, {}).setdefault(name, []).append(part)
    return {
        subject: {name: _joined(own) for name, own in channels.items()}
        for subject, channels in parts.items()
    }


def _joined(parts: list[Series]) -> Series:
    time_s = np.concatenate([part.time_s for part in parts])
    order = np.argsort(time_s, kind="stable")
    return Series(
        time_s[order],
        np.concatenate([part.value for part in parts])[order],
        frozenset().union(*(part.units for part in parts)),
        all(part.dated for part in parts),
    )


def right(
    items: Iterable[Item],
    subject: str,
    channel: str,
    time_s: np.ndarray,
    value: np.ndarray,
    unit: str | None = None,
) -> None:
    """Stops unless a channel of a subject has these values at these times, to a millisecond."""
    read = series_of(items)
    assert subject in read, sorted(read)
    truth = Truth(
        {subject: {channel: (np.asarray(time_s, float), np.asarray(value, float))}},
        {channel: UNSTATED if unit is None else (unit,)},
        absolute=read[subject][channel].dated,
    )
    assert differences({subject: {channel: read[subject][channel]}}, truth) == []


def problems(attempt: Attempt, truth: Truth) -> list[str]:
    """What was read otherwise than the files hold it; [] = nothing."""
    found = differences(series_of(attempt.items), truth)
    if truth.recordings is not None and len(attempt.items) != truth.recordings:
        found.append(f"{len(attempt.items)} recordings for {truth.recordings}")
    if truth.zones is not None:
        zones = {item.zone for item in attempt.items}
        if not zones <= set(truth.zones):
            found.append(f"zones {zones} for {truth.zones}")
    found += [f"nothing said of {word}" for word in truth.said if word not in attempt.told]
    return found


def differences(read: Mapping[str, Mapping[str, Series]], truth: Truth) -> list[str]:
    """What differs between series that were read and those that the files hold."""
    names, found = _matched(read, truth)
    if found:
        return found
    for subject, channels in truth.series.items():
        own = read[names[subject]]
        match = {wanted: name for wanted in channels if (name := _named(wanted, own)) is not None}
        match = {w: n for w, n in match.items() if w == n or n not in channels}
        if truth.any_name and len(own) == len(channels) == 1:
            match = dict(zip(channels, own, strict=True))
        extra = set(own) - set(match.values()) - truth.also
        extra = {name for name in extra if len(own[name].value)}
        if extra:
            found.append(f"{subject}: {', '.join(sorted(extra))} is no channel")
        for wanted, (time_s, value) in channels.items():
            if wanted not in match:
                if np.isfinite(value).any():
                    found.append(f"{subject}: no channel {wanted} among {', '.join(own)}")
                continue
            zero = _zeros(channels, own, match, truth)
            found += [
                f"{subject}, {wanted}: {what}"
                for what in _differs(
                    own[match[wanted]], time_s, value, zero, truth, subject, wanted
                )
            ]
        if len(found) > 6:
            break
    return found


def _matched(
    read: Mapping[str, Mapping[str, Series]], truth: Truth
) -> tuple[dict[str, str], list[str]]:
    """Which subject that was read is which of the files."""
    if set(read) == set(truth.series):
        return {name: name for name in read}, []
    wanted, got = sorted(truth.series), sorted(read)
    if truth.named or len(wanted) != len(got):
        return {}, [f"subjects {', '.join(got[:12])} for {', '.join(wanted[:12])}"]
    return dict(zip(wanted, got, strict=True)), []


def _named(wanted: str, own: Mapping[str, Series]) -> str | None:
    """The channel of a column's name, or of that name without its unit."""
    if wanted in own:
        return wanted
    alike = [name for name in own if plain(name) == plain(wanted)]
    return alike[0] if len(alike) == 1 else None


def plain(name: str) -> str:
    """A name without brackets, case and blanks."""
    return re.sub(r"[\s_]+", " ", re.sub(r"[(\[].*?[)\]]", "", name)).strip().casefold()


def _zeros(
    channels: Mapping[str, tuple[np.ndarray, np.ndarray]],
    own: Mapping[str, Series],
    match: Mapping[str, str],
    truth: Truth,
) -> tuple[float, float]:
    """The first times of the subject, as it should be and as it was read."""
    if truth.absolute:
        return 0.0, 0.0
    first = min(
        float(np.min(time_s[np.isfinite(v)], initial=np.inf)) for time_s, v in channels.values()
    )
    read = [float(own[name].time_s[0]) for name in match.values() if len(own[name].time_s)]
    return first, min(read, default=0.0)


def _differs(
    series: Series,
    time_s: np.ndarray,
    value: np.ndarray,
    zero: tuple[float, float],
    truth: Truth,
    subject: str,
    channel: str,
) -> list[str]:
    """What differs in one channel of one subject."""
    found = []
    accepted = {canonical(unit) or unit for unit in truth.units[channel]}
    units = {canonical(unit or "1") or unit for unit in series.units}  # none stated: '' or '1'
    if not units <= accepted:
        found.append(f"unit {'/'.join(sorted(units))} for {'/'.join(truth.units[channel])}")
    if truth.absolute and not series.dated:
        return [*found, "no date"]
    seen = np.isfinite(value)
    time_s, value = _ordered(time_s[seen] - zero[0], value[seen])
    got_s, got = _ordered(series.time_s - zero[1], series.value)
    for at, values in truth.censored.get((subject, channel), {}).items():
        near = np.abs(got_s - (at - zero[0])) <= truth.tolerance_s
        drop = near & np.isin(got, values)
        got_s, got = got_s[~drop], got[~drop]
    if len(got) != len(value):
        return [*found, f"{len(got)} values for {len(value)}"]
    if truth.uniform:
        step = np.diff(np.unique(got_s))
        if len(step) and not np.allclose(step, step[0], rtol=1e-6):
            found.append("samples are not evenly spaced")
    elif len(got) and np.abs(got_s - time_s).max() > truth.tolerance_s:
        worst = int(np.abs(got_s - time_s).argmax())
        found.append(f"time {got_s[worst]:.3f} for {time_s[worst]:.3f} s (reading {worst})")
    off = np.flatnonzero(~np.isclose(got, value, rtol=1e-9, atol=1e-12))
    if len(off):
        found.append(f"value {got[off[0]]:g} for {value[off[0]]:g} (reading {off[0]})")
    return found


def _ordered(time_s: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By time, values of one time by their size: trials of a subject overlap."""
    order = np.lexsort((value, np.round(time_s, 3)))
    return time_s[order], value[order]
