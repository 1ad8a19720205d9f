"""Reads one .vital file of VitalRecorder: first all packets, then the wanted tracks.

The package `vitaldb` decodes the tracks. It reads a truncated or damaged file as a shorter one, so
that all packets are checked first.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import FloatArray

_DEVICE, _TRACK, _RECORD = 9, 0, 1  # kinds of packets
_WAVE, _NUMBER, _TEXT = 1, 2, 5  # kinds of tracks
_GAP = {3: -128, 4: 255, 5: -32768, 6: 65535, 7: -(2**31), 8: 2**32 - 1}  # in packed files
_NO_VALUE = 4e9  # above this a sample is a code, not a measurement
_LONGEST_S = 7 * 86400.0  # of a file
_LAST_S = 1e11  # of all unix seconds; later is no date
_LARGEST = 1_000_000  # bytes of a packet in a file that is not packed


@dataclass(frozen=True)
class Track:
    """The description of one track in a file."""

    name: str  # `Device/TRACK`
    kind: Literal["wave", "number", "text"]
    unit: str  # '' where none is stated
    rate_hz: float  # of a wave


@dataclass(frozen=True)
class Survey:
    """A file's tracks in its order, and the time range of its records in unix seconds."""

    path: Path
    tracks: tuple[Track, ...]
    start_s: float
    stop_s: float
    records: Mapping[str, int]  # number of records by track


def looks_like_vital(path: Path) -> bool:
    """True if the file begins like a .vital file."""
    try:
        with gzip.open(path) as file:
            return file.read(4) == b"VITA"
    except (OSError, EOFError, zlib.error):
        return False


def stated_times(path: Path) -> tuple[float, float] | None:
    """Start and end in the header, in unix seconds; None = not stated.

    Raises:
        DataError: not a .vital file.
    """
    with _opened(path) as file:
        _, start_s, stop_s = _header(path, file)
    return (start_s, stop_s) if 0 < start_s < stop_s < _LAST_S else None


def survey(path: Path) -> Survey:
    """Reads the heads of all packets of a file.

    Raises:
        DataError: the file is truncated, damaged or no .vital file, has no records, or its records
            span more than 7 days.
    """
    devices: dict[int, str] = {}
    tracks: dict[int, Track] = {}
    counts: Counter[int] = Counter()
    first_s, last_s = math.inf, -math.inf
    with _opened(path) as file:
        packed, _, _ = _header(path, file)
        for kind, body in _packets(path, file, packed):
            if kind == _DEVICE:
                number, text = struct.unpack_from("<L", body)[0], _Texts(body, 4)
                devices[number] = text.next() or ""
                devices[number] = text.next() or devices[number]
            elif kind == _TRACK:
                number, track = _track(body, devices)
                tracks[number] = track
            elif kind == _RECORD and len(body) >= 12:
                time_s, number = struct.unpack_from("<dH", body, 2)
                counts[number] += 1
                if 0 < time_s < _LAST_S and number in tracks:
                    wave = tracks[number].kind == "wave" and tracks[number].rate_hz > 0
                    samples = struct.unpack_from("<L", body, 12)[0] if wave else 0
                    first_s = min(first_s, time_s)
                    last_s = max(last_s, time_s + samples / (tracks[number].rate_hz or 1.0))
    if not last_s >= first_s:
        raise DataError(
            f"A .vital file holds records: {path} has {len(tracks)} tracks and no record in any. "
            "Leave it out with `records`."
        )
    if last_s - first_s > _LONGEST_S:
        raise DataError(
            f"The records of a .vital file lie within {_LONGEST_S / 86400:g} days: those of "
            f"{path} begin {np.datetime64(int(first_s), 's')} and last {last_s - first_s:g} s, so "
            "its clock was set while it ran. Cut the file in VitalRecorder, or leave it out with "
            "`records`."
        )
    unique = {track.name: track for track in tracks.values()}
    records = {
        name: sum(counts[number] for number, track in tracks.items() if track.name == name)
        for name in unique
    }
    return Survey(path, tuple(unique.values()), first_s, last_s, records)


class VitalData:
    """Some of a file's tracks in memory.

    Args:
        surveyed: of the file.
        names: of the tracks to read.
    """

    def __init__(self, surveyed: Survey, names: Collection[str]) -> None:
        import vitaldb

        self._file: Any = vitaldb.VitalFile()
        self._file.dtstart = self._file.dtend = 0.0  # it starts with the time of day
        path = str(surveyed.path.absolute())  # never a URL or a number: those it would download
        with contextlib.redirect_stdout(io.StringIO()) as printed, warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # of its file, which it leaves open
            complete = self._file.load_vital(path, track_names=list(names) or ["/"])
        if not complete:
            raise _damaged(
                surveyed.path, printed.getvalue().strip() or "the package cannot read it"
            )
        for name in names:
            if name not in self._file.trks:
                raise _damaged(surveyed.path, f"'{name}' is stored in a form the package lacks")
            track = self._file.trks[name]
            if track.type != _TEXT and len(track.recs) != surveyed.records[name]:
                raise _damaged(
                    surveyed.path,
                    f"the package reads {len(track.recs)} of the {surveyed.records[name]} records "
                    f"of '{name}'",
                )

    def readings(self, track: Track) -> tuple[FloatArray, FloatArray]:
        """Times (N,) in unix seconds and values (N,) of a numeric track, sorted by time."""
        records = self._file.trks[track.name].recs
        time_s = np.array([record["dt"] for record in records], dtype=np.float64)
        value = np.array([record["val"] for record in records], dtype=np.float64)
        order = np.argsort(time_s, kind="stable")
        order = order[np.isfinite(value[order]) & np.isfinite(time_s[order])]
        return time_s[order], value[order]

    def texts(self, track: Track) -> list[tuple[float, str]]:
        """Times in unix seconds and texts of a text track, sorted by time."""
        return sorted((float(r["dt"]), str(r["val"])) for r in self._file.trks[track.name].recs)

    def place(self, track: Track, start_s: float, row: FloatArray) -> None:
        """Writes the samples of a wave track into `row` (T,), whose first sample is at `start_s`.

        Each packet begins at the sample nearest to its time. Where two overlap, because the clock
        jitters, the later one counts. A packet without a time is left out.
        """
        stored = self._file.trks[track.name]
        records = [record for record in stored.recs if math.isfinite(record["dt"])]
        for record in sorted(records, key=lambda record: record["dt"]):
            values = np.asarray(record["val"])
            samples = values.astype(row.dtype)
            if stored.fmt in _GAP:
                samples = samples * stored.gain + stored.offset
                if self._file.packed:
                    samples[values == _GAP[stored.fmt]] = np.nan
            samples[~np.isfinite(samples) | (samples > _NO_VALUE)] = np.nan
            first = round((record["dt"] - start_s) * track.rate_hz)
            skip = max(-first, 0)
            stop = min(first + len(samples), len(row))
            if stop > first + skip:
                row[first + skip : stop] = samples[skip : stop - first]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """The decompressed file; errors in it become a DataError that names the file."""
    try:
        with gzip.open(path) as file:
            yield file
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error, UnicodeDecodeError) as problem:
        raise _damaged(path, str(problem)) from problem
    except OSError as problem:
        raise DataError(
            f"{path} must be a readable file: {problem.strerror or problem}. Correct its "
            "permissions, or fetch it again."
        ) from problem


def _header(path: Path, file: io.BufferedIOBase) -> tuple[bool, float, float]:
    """True if the file is packed, and its start and end in unix seconds; 0 = not stated."""
    head = file.read(10)
    if head[:4] != b"VITA" or len(head) < 10:
        raise _damaged(path, f"it begins with {head[:4]!r}, not with b'VITA'")
    body = _exactly(path, file, struct.unpack_from("<H", head, 8)[0])
    start_s, stop_s = struct.unpack_from("<dd", body, 10) if len(body) >= 26 else (0.0, 0.0)
    return body[26:27] == b"\x01", start_s, stop_s


def _packets(path: Path, file: io.BufferedIOBase, packed: bool) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each packet."""
    while head := file.read(5):
        if len(head) < 5:
            raise _damaged(path, "it ends within a packet")
        kind, length = struct.unpack("<BL", head)
        if length > _LARGEST and not packed:
            raise _damaged(path, f"a packet of it announces {length} bytes")
        yield kind, _exactly(path, file, length)


def _exactly(path: Path, file: io.BufferedIOBase, length: int) -> bytes:
    """The next bytes; DataError where the file ends before."""
    body = file.read(length)
    if len(body) < length:
        raise _damaged(path, f"it ends {length - len(body)} bytes within a packet")
    return body


class _Texts:
    """Texts in a packet, each after its length."""

    def __init__(self, body: bytes, position: int) -> None:
        self.body, self.position = body, position

    def next(self) -> str | None:
        """The next text; None after the last."""
        if self.position >= len(self.body):
            return None
        begin = self.position + 4
        self.position = begin + int(struct.unpack_from("<L", self.body, self.position)[0])
        if self.position > len(self.body):
            raise struct.error("a text is longer than its packet")
        return self.body[begin : self.position].decode("utf-8", "ignore")


def _track(body: bytes, devices: dict[int, str]) -> tuple[int, Track]:
    """Number and description of a track; old files end after the unit."""
    number, kind, _ = struct.unpack_from("<HBB", body)
    text = _Texts(body, 4)
    name, unit = text.next() or "", text.next() or ""
    tail = body[text.position :]
    rate_hz = struct.unpack_from("<f", tail, 12)[0] if len(tail) >= 16 else 0.0
    device = devices.get(struct.unpack_from("<L", tail, 33)[0], "") if len(tail) >= 37 else ""
    kinds: dict[int, Literal["wave", "number", "text"]] = {_WAVE: "wave", _NUMBER: "number"}
    return number, Track(
        name=f"{device}/{name}" if device else name,
        kind=kinds.get(kind, "text"),
        unit=unit.strip(),
        rate_hz=float(rate_hz),
    )


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(
        f"{path} must be a whole .vital file: {reason}. Fetch it again, or leave it out with "
        "`records`."
    )
