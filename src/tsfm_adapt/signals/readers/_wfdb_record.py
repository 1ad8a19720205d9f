"""Reads one WFDB record, on disk or from PhysioNet: every sample, or an error."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt.errors import DataError, EnvironmentProblem, TsfmAdaptError
from tsfm_adapt.signals.readers._files import distinct
from tsfm_adapt.signals.recording import FloatArray, Span


@dataclass(frozen=True)
class Place:
    """Location of a record: a header on disk, or below a folder of PhysioNet."""

    header: Path  # relative to `pn_dir` where that is set
    pn_dir: str | None = None  # project, version and folders; None = on disk

    def __str__(self) -> str:
        if self.pn_dir is None:
            return str(self.header)
        from wfdb.io import download

        return posixpath.join(download.config.db_index_url, self.pn_dir, self.header.as_posix())

    @property
    def record(self) -> str:
        """The record's name, as the library takes it."""
        path = self.header.with_suffix("")
        return path.name if self.pn_dir is not None else str(path.absolute())

    @property
    def folder(self) -> str | None:
        """The record's folder of PhysioNet, as the library takes it; None = on disk."""
        if self.pn_dir is None:
            return None
        return posixpath.normpath(posixpath.join(self.pn_dir, self.header.parent.as_posix()))

    def beside(self, record: str) -> Place:
        """Another record in the same folder."""
        return replace(self, header=self.header.with_name(f"{record}.hea"))


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


def list_records(pn_dir: str) -> list[str]:
    """The records that a folder of PhysioNet lists in its file RECORDS.

    Raises:
        DataError: there is no such file, or it lists folders.
        EnvironmentProblem: it cannot be fetched.
    """
    import wfdb

    place = Place(Path("RECORDS"), pn_dir)
    with _naming(place):
        try:
            listed: list[str] = wfdb.get_record_list(pn_dir)
        except ValueError as problem:  # of the library: the file is not there, or is no text
            raise DataError(
                f"data.reader.pn_dir is a folder with a list RECORDS: {place} is none. Correct "
                "it, or name the records in data.reader.records."
            ) from problem
    records = [record.strip() for record in listed if record.strip()]
    folders = [record for record in records if record.endswith("/")]
    if folders or not records:
        raise DataError(
            f"data.reader.pn_dir: {place} lists {len(records)} records and of them {len(folders)} "
            f"folders{f' like {folders[0]}' if folders else ''}. Set pn_dir to a folder of "
            "records, or name the records in data.reader.records."
        )
    return records


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
    with _naming(place):
        header = _header(place)
        signals, frames = _signals(place, header, channels, verify)
        start = header.base_datetime
        return StoredRecord(
            signals=signals,
            frames=frames,
            frames_hz=_exact(header.fs),
            start=None if start is None else np.datetime64(start.replace(microsecond=0), "s"),
            comments=tuple(header.comments),
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

    path = place.header
    file = path.with_suffix(f".{extension}")
    if place.pn_dir is None and not file.is_file():
        beside = sorted(f.suffix[1:] for f in path.parent.glob(f"{path.stem}.*") if f.suffix)
        raise DataError(
            f"data.reader.annotations: every record has its annotation file; {file} does not "
            f"exist, beside its header are: {', '.join(beside)}. Correct the extension, or leave "
            "the record out with `records`."
        )
    with _naming(place):
        annotations = wfdb.rdann(place.record, extension, pn_dir=place.folder)
        # The file's own time resolution, or else the header's rate.
        times_s = [sample / _exact(annotations.fs) for sample in annotations.sample.tolist()]
        return tuple(
            Span(time_s, time_s, symbol)
            for time_s, symbol in zip(times_s, annotations.symbol, strict=True)
        )


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    """Turns errors of the library into errors that name the record."""
    try:
        yield
    except TsfmAdaptError:
        raise
    except OSError as problem:
        raise _unreachable(place, problem) from problem
    except Exception as problem:  # the library raises IndexError, KeyError and bare Exception too
        raise DataError(
            f"{place} and its signal files must be a valid WFDB record: "
            f"{type(problem).__name__}: {problem}. Fetch the files again, or leave the record "
            "out with `records`."
        ) from problem


def _unreachable(place: Place, problem: OSError) -> TsfmAdaptError:
    """The error for a file that disk or server did not give."""
    if place.pn_dir is None:
        if isinstance(problem, FileNotFoundError):
            return DataError(
                f"Every file that a WFDB header names must exist: {problem.filename} does not, "
                f"and {place} needs it. Fetch the file, or leave the record out with `records`."
            )
        return DataError(
            f"{place} and its signal files must be readable: {problem}. Fetch the files again, "
            "or leave the record out with `records`."
        )
    url = getattr(problem, "url", None) or place  # of the library's own errors
    if isinstance(problem, FileNotFoundError):
        return DataError(
            f"data.reader.pn_dir: PhysioNet has no file {url}. Correct pn_dir, records or "
            "annotations."
        )
    if isinstance(problem, PermissionError):
        return EnvironmentProblem(
            f"{url} is for credentialed users. Fetch the files with your own account, and read "
            "them with data.reader.root in place of pn_dir."
        )
    reason = getattr(next(iter(problem.args), None), "reason", problem)  # behind the retries
    text = str(reason).rpartition("): ")[2][:120]
    return EnvironmentProblem(
        f"{url} could not be fetched: {type(reason).__name__}: {text}. Connect this machine, or "
        "fetch the files elsewhere and set data.reader.root in place of pn_dir."
    )


def _header(place: Place) -> Any:  # wfdb has no types: a Record or a MultiRecord
    """The record's header."""
    import wfdb

    header = wfdb.rdheader(place.record, pn_dir=place.folder)
    if header.n_sig is None or not header.fs > 0:
        raise DataError(
            f"A WFDB header states a number of signals and a positive rate: {place} has "
            f"{header.n_sig} and {header.fs} Hz. Correct or fetch it again."
        )
    return header


_GAP_FRAMES = 1 << 28  # most frames in gaps: 2 GB a channel, 25 days at 125 Hz


def _signals(
    place: Place, header: Any, channels: tuple[str, ...], verify: bool
) -> tuple[dict[str, Signal], int]:
    """The wanted signals over all segments, NaN in gaps, and the number of frames."""
    if not hasattr(header, "seg_name"):
        return _segment(place, header, channels, verify)
    frames = sum(header.seg_len)
    stated = zip(header.seg_name, header.seg_len, strict=True)
    gaps = sum(length for name, length in stated if name == "~")
    if gaps > _GAP_FRAMES:
        raise DataError(
            f"The gaps of a record are kept as missing samples: {place} has {gaps} of them, "
            f"{gaps / header.fs / 86400:.0f} days, {_GAP_FRAMES} are read at most. Read its "
            "segments as records of their own, with the reader manifest."
        )
    joined: dict[str, Signal] = {}
    begin = 0
    for name, length in zip(header.seg_name, header.seg_len, strict=True):
        if name != "~" and length > 0:  # a layout segment has no samples
            segment = place.beside(name)
            segment_header = _header(segment)
            signals, samples = _segment(segment, segment_header, channels, verify)
            if (samples, segment_header.fs) != (length, header.fs):
                raise DataError(
                    f"Segments have the length and rate that the master header states: {segment} "
                    f"has {samples} frames at {segment_header.fs} Hz, {place.header.name} states "
                    f"{length} at {header.fs} Hz. Fetch both again."
                )
            for channel, signal in signals.items():
                _join(joined, channel, signal, begin, frames, segment)
        begin += length
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
    place: Place, header: Any, channels: tuple[str, ...], verify: bool
) -> tuple[dict[str, Signal], int]:
    """The wanted signals of one segment, in the file's order, and its number of frames."""
    import wfdb

    names = distinct((name or "").strip() for name in header.sig_name or [])
    if len(names) != header.n_sig:
        raise DataError(
            f"A WFDB header describes each signal in a line: {place} announces {header.n_sig} and "
            f"describes {len(names)}. Fetch it again."
        )
    wanted = [index for index, name in enumerate(names) if not channels or name in channels]
    _check_sizes(place, header, {header.file_name[index] for index in wanted})
    if not wanted:
        return {}, int(header.sig_len or 0)
    record = wfdb.rdrecord(
        place.record,
        pn_dir=place.folder,
        channels=wanted,
        physical=False,
        smooth_frames=False,
        ignore_skew=True,  # the library fails on two different skews in one file
    )
    for row, index in enumerate(wanted):
        stated, samples = header.checksum[index], record.e_d_signal[row]
        if verify and stated is not None and (int(samples.sum(dtype=np.int64)) - stated) % 65536:
            raise DataError(
                f"A WFDB signal adds up to its header's checksum: '{names[index]}' of {place} "
                "does not, so the signal file was altered. Fetch it again, or set "
                "verify_checksums: false if the header is known to be wrong."
            )
    record.dac(expanded=True, inplace=True)
    signals = {}
    for row, index in enumerate(wanted):
        per_frame, values = record.samps_per_frame[row], record.e_p_signal[row]
        skew = (header.skew[index] or 0) * per_frame  # sample t is stored at t + skew
        if skew:
            values = np.concatenate([values[skew:], np.full(min(skew, len(values)), np.nan)])
        signals[names[index]] = Signal(record.units[row], per_frame, values)
    return signals, int(record.sig_len)


_BYTES = {"8": 1, "16": 2, "24": 3, "32": 4, "61": 2, "80": 1, "160": 2} | {
    "212": Fraction(3, 2),
    "310": Fraction(4, 3),
    "311": Fraction(4, 3),
}  # per sample; compressed formats have no fixed size


def _check_sizes(place: Place, header: Any, files: set[str]) -> None:
    """Stops at truncated signal files on disk, which the library pads in some formats."""
    for file in sorted(files) if place.pn_dir is None else ():
        path = place.header.with_name(file)
        in_file = [index for index, name in enumerate(header.file_name) if name == file]
        size = _BYTES.get(header.fmt[in_file[0]])
        if size is None or header.sig_len is None:
            continue
        samples = header.sig_len * sum(header.samps_per_frame[index] for index in in_file)
        needed = (header.byte_offset[in_file[0]] or 0) + math.ceil(samples * size)
        size_on_disk = path.stat().st_size
        if size_on_disk < needed:
            raise DataError(
                f"A signal file holds all the samples that its header announces: "
                f"{path} has {size_on_disk} bytes, {header.sig_len} frames in format "
                f"{header.fmt[in_file[0]]} need {needed}. Fetch the file again."
            )


def _exact(rate_hz: float) -> float:
    """A rate in Hz; a decimal approximation of one sample in n seconds becomes 1/n."""
    seconds = round(1 / rate_hz)
    if seconds > 0 and math.isclose(rate_hz * seconds, 1.0, rel_tol=1e-6):
        return 1 / seconds
    return float(rate_hz)
