"""Joins files of one subject that hold different channels, by their times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.plausible import substance
from tsfm_adapt.signals.readers._tables.repeats import repeated, too_many
from tsfm_adapt.signals.recording import FloatArray, IrregularReadings, Recording, Span
from tsfm_adapt.signals.units import convert


def joined(items: Iterable[Recording | IrregularReadings]) -> Iterator[IrregularReadings]:
    """One recording a subject, in the order in which subjects first come; holds all of them.

    Raises:
        DataError: some of a subject's files have calendar times and some do not, units do not
            convert, or readings of one channel and time come from several files.
    """
    of_subject: dict[str, list[IrregularReadings]] = {}
    for item in items:
        assert isinstance(item, IrregularReadings)  # `join` and `rate_hz` exclude each other
        of_subject.setdefault(item.subject, []).append(item)
    for subject in list(of_subject):
        yield _one(subject, of_subject.pop(subject))


def _one(subject: str, items: list[IrregularReadings]) -> IrregularReadings:
    starts = [item.start for item in items if item.start is not None]
    if starts and len(starts) < len(items):
        bare = next(item.id for item in items if item.start is None)
        raise DataError(
            f"data.reader.join: files of '{subject}' are joined by their times; {bare} has no "
            "dates and others have. Set join: false."
        )
    start = min(starts) if starts else None
    units: dict[str, str] = {}
    for item in items:
        for name, unit in zip(item.channels, item.units, strict=True):
            units.setdefault(name, unit)
    names = list(units)
    times, channels, values = [], [], []
    spans: list[Span] = []
    for item in items:
        shift_s = 0.0 if start is None else float((item.start - start) / np.timedelta64(1, "s"))
        times.append(item.time_s + shift_s)
        channels.append(np.array([names.index(name) for name in item.channels])[item.channel])
        values.append(_in_units(item, units))
        spans += (Span(s.start_s + shift_s, s.stop_s + shift_s, s.label) for s in item.spans)
    time_s, channel, value = map(np.concatenate, (times, channels, values))
    order = np.argsort(time_s, kind="stable")
    time_s, channel, value = time_s[order], channel[order].astype(np.int64), value[order]
    if too_many(repeated(time_s, channel)):
        raise DataError(
            f"data.reader.join: files of '{subject}' ({', '.join(i.id for i in items[:4])}) hold "
            "the same channel at the same times. Set join: false, or take copies out."
        )
    notes: Counter[str] = Counter()
    for item in items:
        notes.update(item.notes)
    notes["files joined with others of their subject"] += len(items)
    return IrregularReadings(
        id=subject,
        subject=subject,
        time_s=time_s,
        channel=channel,
        value=value,
        channels=tuple(names),
        units=tuple(units.values()),
        start=start,
        spans=tuple(sorted({*spans}, key=lambda span: (span.start_s, span.stop_s, span.label))),
        attributes={key: own for item in items for key, own in item.attributes.items()},
        labels={key: own for item in items for key, own in item.labels.items()},
        zone=items[0].zone,
        notes=notes,
    )


def _in_units(item: IrregularReadings, units: dict[str, str]) -> FloatArray:
    """The readings (N,) in the units of the first file that holds each channel."""
    value = item.value
    for index, (name, unit) in enumerate(zip(item.channels, item.units, strict=True)):
        if unit != units[name]:
            scale, offset = convert(unit, units[name], substance(name))
            value = np.where(item.channel == index, value * scale + offset, value)
    return value
