"""VitalRecorder files (.vital): waveforms and numbers of the monitors around one patient.

A file is a record. Numeric tracks become irregular readings at the times in the file; waveforms
of one rate become a recording. All share a `multirate_id` and begin at the whole second of the
file's first record. Packets of a waveform are placed at the nearest sample; samples without a
packet are missing. The track EVENT becomes spans of no length, other texts are not read.

A channel is called `Device/TRACK`, or `TRACK` where a file has one of that name. Units are the
file's; where it states none, the recipe has to (`from_unit`). Times are UTC. Files are read from
disk only, and nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field

from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import unread
from tsfm_adapt.signals.readers._files import (
    FilesConfig,
    FileTimes,
    first_noted,
    refuse_overlaps,
)
from tsfm_adapt.signals.readers._heads import some_files
from tsfm_adapt.signals.readers._vital_file import (
    Survey,
    Track,
    VitalData,
    looks_like_vital,
    stated_times,
    survey,
)
from tsfm_adapt.signals.recording import IrregularReadings, Recording, Span

REQUIRES = ("vitaldb",)
EXTRA = "vitaldb"

_MARKS = "EVENT"
_FASTEST_HZ = 50_000.0


class Config(FilesConfig):
    """Reads records sorted by id: readings before waveforms, and these slowest first.

    Files of a subject must not overlap in time, unless all their starts are the same.
    """

    name: Literal["vitaldb"] = "vitaldb"
    pattern: str = Field(
        "*.vital", description="of the names in a folder; upper and lower case are equal"
    )

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """The settings for .vital files at or below `path`."""
        files = some_files(path, (".vital",))
        if not files or not all(looks_like_vital(file) for file in files):
            return None
        return cls.model_validate({"name": "vitaldb", "root": str(path)})

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        """Yields the records sorted by id; channels are named as in `channels`."""
        require("reader", "vitaldb")
        found = self.listed()
        files = self.picked(found.records)
        subjects = {id: self.subject_of(id) for id in files}
        times = {id: stated_times(path) for id, path in files.items()}
        refuse_overlaps(
            FileTimes(files[id], subjects[id], np.datetime64(int(first_s), "s"), stop_s - first_s)
            for id, (first_s, stop_s) in ((id, time) for id, time in times.items() if time)
        )
        recordings = (
            recording
            for id, path in files.items()
            for recording in _of_file(id, subjects[id], path, channels)
        )
        yield from first_noted(recordings, unread(found.others))


def _of_file(
    id: str, subject: str, path: Path, channels: tuple[str, ...]
) -> Iterator[Recording | IrregularReadings]:
    """The recordings of a file."""
    surveyed = survey(path)
    yield from _recordings(id, subject, surveyed, _wanted(surveyed, channels))


def _wanted(surveyed: Survey, channels: tuple[str, ...]) -> dict[str, Track]:
    """The numeric and wave tracks to read, by the names in `channels`; empty = all."""
    tracks = {track.name: track for track in surveyed.tracks if track.kind != "text"}
    if not channels:
        return tracks
    wanted: dict[str, Track] = {}
    for name in channels:
        fitting = [name] if name in tracks else [t for t in tracks if t.endswith(f"/{name}")]
        if len(fitting) > 1:
            raise DataError(
                f"data.channels: '{name}' is the name of {len(fitting)} tracks of "
                f"{surveyed.path}: {', '.join(fitting)}. Name one of them in full, with `source:`."
            )
        wanted.update((name, tracks[track]) for track in fitting)
    return wanted


def _recordings(
    id: str, subject: str, surveyed: Survey, tracks: dict[str, Track]
) -> Iterator[Recording | IrregularReadings]:
    """The readings of a file, then a recording for each rate of its waveforms."""
    marks = [track for track in surveyed.tracks if track.kind == "text" and _is_marks(track)]
    data = VitalData(surveyed, {track.name for track in (*tracks.values(), *marks)})
    origin_s = math.floor(surveyed.start_s)
    start = np.datetime64(origin_s, "s")
    duration_s = math.floor(surveyed.stop_s) + 1.0 - origin_s  # the last reading is inside
    spans = tuple(
        Span(time_s - origin_s, time_s - origin_s, text)
        for track in marks
        for time_s, text in data.texts(track)
        if text.strip() and origin_s <= time_s <= surveyed.stop_s
    )
    numbers = {name: track for name, track in tracks.items() if track.kind == "number"}
    waves = {name: track for name, track in tracks.items() if track.kind == "wave"}
    for name, track in waves.items():
        if not 0 < track.rate_hz <= _FASTEST_HZ:
            raise DataError(
                f"A waveform has a rate of up to {_FASTEST_HZ:g} Hz: {surveyed.path} states "
                f"{track.rate_hz:g} for '{name}'. Leave the channel out."
            )
    rates = sorted({track.rate_hz for track in waves.values()})
    items = len(rates) + bool(numbers)
    multirate_id = id if items > 1 else None
    if numbers or not rates:
        yield _readings(id, subject, data, numbers, origin_s, duration_s, spans, multirate_id)
    for rate_hz in rates:
        alike = {name: track for name, track in waves.items() if track.rate_hz == rate_hz}
        samples = max(math.ceil((surveyed.stop_s - origin_s) * rate_hz - 1e-3), 1)
        values = np.full((len(alike), samples), np.nan, dtype=np.float32)
        for row, track in zip(values, alike.values(), strict=True):
            data.place(track, origin_s, row)
        yield Recording(
            id=f"{id}/{rate_hz:g}Hz" if multirate_id else id,
            subject=subject,
            values=values,
            channels=tuple(alike),
            units=tuple(track.unit for track in alike.values()),
            rate_hz=rate_hz,
            start=start,
            spans=spans,
            multirate_id=multirate_id,
        )


def _is_marks(track: Track) -> bool:
    """True for the track EVENT of any device."""
    return track.name.rpartition("/")[2] == _MARKS


def _readings(
    id: str,
    subject: str,
    data: VitalData,
    numbers: dict[str, Track],
    origin_s: float,
    duration_s: float,
    spans: tuple[Span, ...],
    multirate_id: str | None,
) -> IrregularReadings:
    """The numeric tracks of a file, sorted by time."""
    readings = [data.readings(track) for track in numbers.values()]
    time_s = np.concatenate([np.empty(0), *(times for times, _ in readings)]) - origin_s
    value = np.concatenate([np.empty(0), *(values for _, values in readings)])
    channel = np.repeat(np.arange(len(readings)), [len(times) for times, _ in readings])
    order = np.argsort(time_s, kind="stable")
    return IrregularReadings(
        id=f"{id}/readings" if multirate_id else id,
        subject=subject,
        time_s=time_s[order],
        channel=channel[order].astype(np.int64),
        value=value[order],
        channels=tuple(numbers),
        units=tuple(track.unit for track in numbers.values()),
        start=np.datetime64(int(origin_s), "s"),
        duration_s=duration_s,
        spans=spans,
        multirate_id=multirate_id,
    )
