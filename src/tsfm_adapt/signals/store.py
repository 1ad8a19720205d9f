"""A disk cache of cleaned recordings in one memory-mapped file, for cohorts larger than memory.

    values.f32   float32 of this machine's byte order, each recording's (C, T) after the other
    index.json   the other fields of the recordings, and the offset of each one's values

A store is written once, as a draft that is renamed when it is complete and on the disk, and never
changed. Its name is its cache key, a hash of everything that its content depends on. Files count
by path, size and time of change, not by content, since hashing them takes as long as reading
them: a file that is altered with its size and time restored is not noticed.

What the store cannot keep is read again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from io import FileIO
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TypedDict

import numpy as np

from tsfm_adapt._util.cache import code_of
from tsfm_adapt.signals.channel_rules import CleaningPlan
from tsfm_adapt.signals.cleaning import CleaningLog
from tsfm_adapt.signals.recording import (
    Attributes,
    FloatArray,
    Labels,
    Notes,
    Recording,
    RecordingSet,
    Span,
)

# Smaller cohorts are not stored: they fit into memory, and are read in seconds.
SMALL = 64e6  # bytes of float32 values
SMALL_FILES = 32e6  # bytes; text is read at a few million a second

_VERSION = 2  # of the layout
_VALUES, _INDEX = "values.f32", "index.json"
_LEFT_FREE = 1e9  # bytes of the disk that a store never takes
_DRAFT_S, _UNUSED_S = 86_400, 30 * 86_400  # a draft, or store, not touched for longer is removed


class NotKept(Exception):
    """The store cannot be written; the recordings that were passed to it are used up."""


@dataclass(frozen=True)
class Origin:
    """Cache key and size of the files that recordings are read from."""

    key: str  # sha256 of all that the cleaned recordings depend on
    file_bytes: int


def origin(settings: str, plan: CleaningPlan, files: Iterable[Path]) -> Origin:
    """The cache key of cleaned recordings: reader, plan, code, package versions, state of files.

    Args:
        settings: of the reader, as text.
        plan: the cleaning rules.
        files: every file that the reader opens.
    """
    dependencies = [_VERSION, settings, repr(plan), code_of("signals")]
    dependencies += [version(package) for package in ("tsfm-adapt", "numpy", "pandas")]
    digest = sha256(repr(dependencies).encode())
    total = 0
    for path in sorted(files):
        with suppress(FileNotFoundError):
            state = path.stat()
            about = (str(path.absolute()), state.st_size, state.st_mtime_ns)
            digest.update(repr(about).encode())
            total += state.st_size
    return Origin(digest.hexdigest(), total)


def collect(
    recordings: Iterable[Recording], log: CleaningLog, folder: Path, file_bytes: int
) -> RecordingSet:
    """Keeps recordings in memory where they and their files are small, else in a new store.

    Args:
        recordings: from `clean_each`; consumed. None is held while the store is written.
        log: of that `clean_each`; complete once the recordings are consumed.
        folder: of the store; its name is the cache key.
        file_bytes: size of the files that the recordings are read from.

    Raises:
        NotKept: the disk is full or not writable; nothing is left of the store.
    """
    small = 0.0 if file_bytes > SMALL_FILES else SMALL
    held: list[Recording] = []
    coming, size = iter(recordings), 0
    for recording in coming:
        held.append(recording)
        size += 4 * recording.values.size
        if size > small:
            break
    else:
        return log.recording_set(held)
    del recording
    _write(folder, chain(_emptied(held), coming), log)
    stored = opened(folder)
    if stored is None:
        raise NotKept(f"cannot be read back from '{folder}'")
    return stored


def opened(folder: Path) -> RecordingSet | None:
    """Opens a store; values stay on disk until they are used. None = there is no store.

    A store that cannot be read is removed.
    """
    if not folder.exists():
        return None
    try:
        index: _Index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        size = (folder / _VALUES).stat().st_size
        if index["version"] != _VERSION or size != 4 * index["samples"]:
            raise ValueError(f"{size} bytes")
        flat = np.asarray(np.memmap(folder / _VALUES, dtype=np.float32, mode="r"))
        recordings = tuple(_recording(entry, index, flat) for entry in index["recordings"])
        rates = {name: tuple(rates_hz) for name, rates_hz in index["rates"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):
        os.utime(folder)  # it is in use
    return RecordingSet(
        recordings,
        MappingProxyType(index["left_out"]),
        MappingProxyType(rates),
        MappingProxyType(index["notes"]),
    )


def _write(folder: Path, recordings: Iterable[Recording], log: CleaningLog) -> None:
    """Writes a draft and renames it to `folder`."""
    with _kept_in(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _tidy(folder.parent)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    entries: list[_Entry] = []
    samples = 0
    try:
        with _kept_in(folder):
            values = FileIO(draft / _VALUES, "w")
        with values:
            for recording in recordings:
                with _kept_in(folder):
                    _require_room(draft, 4 * recording.values.size)
                    for row in recording.values:
                        _put(values, row)
                entries.append(_entry(recording, samples))
                samples += recording.values.size
            with _kept_in(folder):
                os.fsync(values.fileno())
        index: _Index = {
            "version": _VERSION,
            "samples": samples,
            "channels": recording.channels,
            "units": recording.units,
            "rate_hz": recording.rate_hz,
            "left_out": log.left_out,
            "rates": log.rates,
            "notes": log.notes,
            "recordings": entries,
        }
        with _kept_in(folder):
            with (draft / _INDEX).open("w", encoding="utf-8") as file:
                json.dump(index, file, separators=(",", ":"), default=np.generic.item)
                file.flush()
                os.fsync(file.fileno())
            _named(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """Turns errors of the disk into `NotKept`; errors of readers pass."""
    try:
        yield
    except OSError as error:
        cause = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise NotKept(f"cannot be kept in '{folder}': {cause}") from error


def _require_room(draft: Path, size: int) -> None:
    if shutil.disk_usage(draft).free - size < _LEFT_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _put(file: FileIO, row: FloatArray) -> None:
    """Writes a channel (T,) as float32; what overflows becomes NaN, as in windows."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(row, dtype=np.float32)
    if np.isinf(values).any():
        values = np.where(np.isinf(values), np.float32(np.nan), values)
    left = values.view(np.uint8)
    while left.size:
        left = left[file.write(left.data) :]


def _emptied(held: list[Recording]) -> Iterator[Recording]:
    """Yields the recordings in order and drops each from the list."""
    held.reverse()
    while held:
        yield held.pop()


def _named(draft: Path, folder: Path) -> None:
    """Renames a draft, unless another process was first."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / _INDEX).exists():
            raise


def _tidy(place: Path) -> None:
    """Removes drafts of killed processes, and stores that were not opened for 30 days."""
    for folder in place.iterdir():
        with suppress(OSError):
            draft = folder.name.startswith(".")
            used_s = max(p.stat().st_mtime for p in (folder, *folder.iterdir()))
            if time.time() - used_s > (_DRAFT_S if draft else _UNUSED_S):
                shutil.rmtree(folder, ignore_errors=True)


class _Entry(TypedDict):
    """One recording in index.json."""

    id: str
    subject: str
    offset: int  # of its first value in values.f32, in values
    samples: int  # T
    start: str | None
    zone: str | None
    spans: Sequence[tuple[float, float, str]]
    attributes: Attributes
    labels: Labels


class _Index(TypedDict):
    """index.json; tuples come back as lists."""

    version: int
    samples: int  # values of all recordings and channels
    channels: Sequence[str]
    units: Sequence[str]
    rate_hz: float
    left_out: Mapping[str, str]
    rates: Mapping[str, Sequence[float | None]]
    notes: Notes
    recordings: Sequence[_Entry]


def _entry(recording: Recording, offset: int) -> _Entry:
    return {
        "id": recording.id,
        "subject": recording.subject,
        "offset": offset,
        "samples": recording.samples,
        "start": None if recording.start is None else str(recording.start),
        "zone": recording.zone,
        "spans": [(span.start_s, span.stop_s, span.label) for span in recording.spans],
        "attributes": dict(recording.attributes),
        "labels": dict(recording.labels),
    }


def _recording(entry: _Entry, index: _Index, flat: FloatArray) -> Recording:
    first, channels = entry["offset"], tuple(index["channels"])
    shape = (len(channels), entry["samples"])
    return Recording(
        id=entry["id"],
        subject=entry["subject"],
        values=flat[first : first + shape[0] * shape[1]].reshape(shape),
        channels=channels,
        units=tuple(index["units"]),
        rate_hz=index["rate_hz"],
        start=None if entry["start"] is None else np.datetime64(entry["start"], "s"),
        zone=entry["zone"],
        spans=tuple(Span(*span) for span in entry["spans"]),
        attributes=MappingProxyType(entry["attributes"]),
        labels=MappingProxyType(entry["labels"]),
    )
