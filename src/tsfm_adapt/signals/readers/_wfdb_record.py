"""Reads one WFDB record, on disk or from PhysioNet: every sample, or an error.

Headers and samples are read here; the library `wfdb` fetches from PhysioNet and reads annotations
and compressed signals. Its own headers lose letters beyond ASCII and folders in names, and it
reads no digital samples of format 61.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._files import distinct
from tsfm_adapt.signals.readers._wfdb_header import Header, SignalLine, parse_header
from tsfm_adapt.signals.readers._wfdb_place import Place, naming
from tsfm_adapt.signals.readers._wfdb_signals import digital_signals, frames_of
from tsfm_adapt.signals.recording import FloatArray, Notes, Span

_GAP_FRAMES = 1 << 28  # most frames in gaps: 2 GB a channel, 25 days at 125 Hz
_UNCALIBRATED = "signals that headers leave uncalibrated (no gain), read as raw counts, unit adu"

_NO_START = "headers whose start is in a form that is not understood, taken as unknown"


@dataclass(frozen=True)
class Signal:
    """One channel over a whole record."""

    unit: str
    per_frame: int  # samples a frame
    values: FloatArray  # (frames * per_frame,); NaN = invalid by the format, or in a gap


@dataclass(frozen=True)
class StoredRecord:
    """A record's signals by name, in the file's order."""

    signals: dict[str, Signal]
    frames: int
    frames_hz: float
    start: np.datetime64 | None  # whole seconds
    comments: tuple[str, ...]
    notes: Notes = field(default_factory=dict)


def read_header(place: Place) -> Header:
    """Reads the header of a record.

    Raises:
        DataError: it is missing, or no WFDB header.
        EnvironmentProblem: it cannot be fetched from PhysioNet.
    """
    with naming(place):
        return parse_header(place.head(), str(place), place.header.stem)


def read_record(place: Place, channels: tuple[str, ...], verify: bool) -> StoredRecord:
    """Reads a record.

    Args:
        place: of the header.
        channels: signal names to read; empty = all.
        verify: compare each signal with the header's checksum.

    Raises:
        DataError: a file is missing, truncated, altered, or not WFDB.
        EnvironmentProblem: a file of PhysioNet cannot be fetched.
    """
    header = read_header(place)
    notes: Counter[str] = Counter() if header.understood else Counter([_NO_START])
    with naming(place):
        if header.segments is None:
            signals, frames = _segment(place, header, channels, verify, notes)
        else:
            signals, frames = _joined(place, header, channels, verify, notes)
    return StoredRecord(
        signals=signals,
        frames=frames,
        frames_hz=_exact(header.frames_hz),
        start=header.start,
        comments=header.comments,
        notes=dict(notes),
    )


def read_annotations(place: Place, extension: str) -> tuple[Span, ...]:
    """A record's annotations as spans of no length, with their symbols as labels.

    Args:
        place: of the header.
        extension: of the annotation file beside it, such as `atr`.

    Raises:
        DataError: the file is missing or cannot be read.
        EnvironmentProblem: a file of PhysioNet cannot be fetched.
    """
    import wfdb

    record = place.record
    if place.pn_dir is None:
        file = _annotations_beside(place, extension)
        record, extension = str(file.absolute().with_suffix("")), file.suffix[1:]
    with naming(place):
        annotations = wfdb.rdann(record, extension, pn_dir=place.folder)
        # The file's own time resolution, or else the header's rate, which the library may miss.
        rate_hz = _exact(annotations.fs or read_header(place).frames_hz)
        return tuple(
            Span(sample / rate_hz, sample / rate_hz, symbol)
            for sample, symbol in zip(annotations.sample.tolist(), annotations.symbol, strict=True)
        )


def _annotations_beside(place: Place, extension: str) -> Path:
    """The annotation file of a record on disk, whose suffix may be in capitals."""
    path = place.header
    beside = sorted(f for f in path.parent.iterdir() if f.stem.lower() == path.stem.lower())
    wanted = f".{extension}"
    fitting = [f for f in beside if f.suffix == wanted] or [
        f for f in beside if f.suffix.lower() == wanted.lower()
    ]
    if len(fitting) != 1:
        raise DataError(
            f"data.reader.annotations: every record has its annotation file; "
            f"{path.with_suffix(wanted)} does not exist, beside its header are: "
            f"{', '.join(f.suffix[1:] for f in beside if f.suffix)}. Correct the extension, or "
            "leave the record out with `records`."
        )
    return fitting[0]


def _joined(
    place: Place, header: Header, channels: tuple[str, ...], verify: bool, notes: Counter[str]
) -> tuple[dict[str, Signal], int]:
    """The wanted signals over all segments, NaN in gaps, and the number of frames."""
    segments = header.segments or ()
    frames = sum(length for _, length in segments)
    gaps = sum(length for name, length in segments if name == "~")
    if gaps > _GAP_FRAMES:
        raise DataError(
            f"The gaps of a record are kept as missing samples: {place} has {gaps} of them, "
            f"{gaps / header.frames_hz / 86400:.0f} days, {_GAP_FRAMES} are read at most. Read "
            "its segments as records of their own, with the reader manifest."
        )
    joined: dict[str, Signal] = {}
    begin = 0
    for name, length in segments:
        if name != "~" and length > 0:  # a layout segment has no samples
            segment = place.segment(name)
            own = read_header(segment)
            if own.segments is not None:  # itself among them
                raise DataError(
                    f"A segment has samples and no segments of its own: {segment}, which {place} "
                    f"lists, has {len(own.segments)}. Correct the list, or leave the record out "
                    "with `records`."
                )
            signals, samples = _segment(segment, own, channels, verify, notes)
            if (samples, own.frames_hz) != (length, header.frames_hz):
                raise DataError(
                    f"Segments have the length and rate that the master header states: {segment} "
                    f"has {samples} frames at {own.frames_hz:g} Hz, {place.header.name} states "
                    f"{length} at {header.frames_hz:g} Hz. Compare both with their source, or "
                    "leave the record out with `records`."
                )
            for channel, signal in signals.items():
                _join(joined, channel, signal, begin, frames, segment)
        begin += length
    if header.frames is not None and header.frames != frames:
        raise DataError(
            f"Segments add up to the frames that the master header announces: {place} announces "
            f"{header.frames}, its {len(segments)} segments have {frames}. Compare it with its "
            "source, or leave the record out with `records`."
        )
    return joined, frames


def _join(
    joined: dict[str, Signal], channel: str, signal: Signal, begin: int, frames: int, place: Place
) -> None:
    """Copies a segment's signal into that of the whole record, from frame `begin` on."""
    whole = joined.setdefault(
        channel,
        Signal(signal.unit, signal.per_frame, np.full(frames * signal.per_frame, np.nan)),
    )
    if (whole.unit, whole.per_frame) != (signal.unit, signal.per_frame):
        raise DataError(
            f"A channel keeps unit and rate over a record: '{channel}' in {place} is in "
            f"{signal.unit} with {signal.per_frame} samples a frame, before it was in "
            f"{whole.unit} with {whole.per_frame}. Read the segments as records of their own."
        )
    first = begin * signal.per_frame
    whole.values[first : first + len(signal.values)] = signal.values


def _segment(
    place: Place, header: Header, channels: tuple[str, ...], verify: bool, notes: Counter[str]
) -> tuple[dict[str, Signal], int]:
    """The wanted signals of one segment, in the file's order, and its number of frames."""
    lines = header.signals
    names = distinct(line.name for line in lines)
    wanted = [index for index, name in enumerate(names) if not channels or name in channels]
    frames = frames_of(place, header)
    digital = digital_signals(place, lines, frames, wanted, verify, notes)
    signals = {}
    for index in wanted:
        line = lines[index]
        if line.gain is None:
            notes[_UNCALIBRATED] += 1
        signals[names[index]] = Signal(line.unit, line.per_frame, _physical(line, digital[index]))
    return signals, frames


def _physical(line: SignalLine, digital: FloatArray) -> FloatArray:
    """A signal in its unit, without its skew; raw counts where it is not calibrated."""
    values = digital
    if line.gain is not None:
        values -= line.baseline
        values /= line.gain
    skew = line.skew * line.per_frame  # sample t is stored at t + skew
    if skew:
        values = np.concatenate([values[skew:], np.full(min(skew, len(values)), np.nan)])
    return values


def _exact(rate_hz: float) -> float:
    """A rate in Hz; a decimal approximation of one sample in n seconds becomes 1/n."""
    seconds = round(1 / rate_hz)
    if seconds > 0 and math.isclose(rate_hz * seconds, 1.0, rel_tol=1e-6):
        return 1 / seconds
    return float(rate_hz)
