"""Cleaned recordings in one memory-mapped file, so that a cohort may be larger than memory.

    values.f32   float32 of this machine's byte order, each recording's (C, T) after the other
    index.json   everything else that recordings hold, and where each one's values begin

A store is written once, into a draft that gets its name when it is complete and on the disk, and
never changed. Its name is a hash of all that it depends on. Files count by path, size and time of
change, not by content: to read them all before one may leave them unread would be absurd. A file
that is altered with its size and time restored is thus not noticed.

A store is a cache: what it cannot keep is read again.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from io import FileIO
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from tsfm_adapt._util.cache import code_of
from tsfm_adapt.signals.cleaning import CleaningPlan, Seen
from tsfm_adapt.signals.recording import FloatArray, Recording, RecordingSet, Span

# What is smaller is not kept: it fits into memory, and is read in seconds.
SMALL = 64e6  # bytes of float32 values
SMALL_FILES = 32e6  # bytes; text is read at a few million a second

_VERSION = 1  # of the layout
_VALUES, _INDEX = "values.f32", "index.json"
_LEFT_FREE = 1e9  # bytes of the disk that a store never takes
_DRAFT_S, _UNUSED_S = 86_400, 30 * 86_400  # a draft, or store, not touched for longer is removed


class NotKept(Exception):
    """A store cannot be written; the recordings that went into it are gone."""


@dataclass(frozen=True)
class Origin:
    """What recordings are made of."""

    key: str  # sha256 of all that they depend on
    file_bytes: int


def origin(settings: str, plan: CleaningPlan, files: Iterable[Path]) -> Origin:
    """The state of a reader's files and of everything that is done with them.

    Args:
        settings: the reader's.
        plan: the cleaning rules.
        files: all that the reader looks into.
    """
    said = [_VERSION, settings, repr(plan), code_of("signals")]
    said += [version(package) for package in ("tsfm-adapt", "numpy", "pandas")]
    digest = sha256(repr(said).encode())
    total = 0
    for path in sorted(files):
        with suppress(FileNotFoundError):
            state = path.stat()
            about = (str(path.absolute()), state.st_size, state.st_mtime_ns)
            digest.update(repr(about).encode())
            total += state.st_size
    return Origin(digest.hexdigest(), total)


def collect(
    recordings: Iterable[Recording], seen: Seen, folder: Path, file_bytes: int
) -> RecordingSet:
    """The recordings in memory where they and their files are small, else from a new store.

    Args:
        recordings: what `cleaned` yields; none is held while the store is written.
        seen: what `cleaned` notes.
        folder: of the store, whose name is the key.
        file_bytes: of the files that they are read from.

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
        kept = tuple(held)
        return RecordingSet(kept, MappingProxyType(seen.left_out), MappingProxyType(seen.rates))
    del recording
    _write(folder, chain(_emptied(held), coming), seen)
    found = opened(folder)
    if found is None:
        raise NotKept(f"cannot be read back from '{folder}'")
    return found


def opened(folder: Path) -> RecordingSet | None:
    """A store's recordings, whose values are read when they are asked for; None = no store.

    What is broken is removed.
    """
    if not folder.exists():
        return None
    try:
        about = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        size = (folder / _VALUES).stat().st_size
        if about["version"] != _VERSION or size != 4 * about["samples"]:
            raise ValueError(f"{size} bytes")
        flat = np.asarray(np.memmap(folder / _VALUES, dtype=np.float32, mode="r"))
        recordings = tuple(_recording(entry, about, flat) for entry in about["recordings"])
        rates = {name: tuple(own) for name, own in about["rates"].items()}
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    with suppress(OSError):
        os.utime(folder)  # it is in use
    return RecordingSet(recordings, MappingProxyType(about["left_out"]), MappingProxyType(rates))


def _write(folder: Path, recordings: Iterable[Recording], seen: Seen) -> None:
    with _kept_in(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _tidy(folder.parent)
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    entries: list[dict[str, Any]] = []
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
        about = {
            "version": _VERSION,
            "samples": samples,
            "channels": recording.channels,
            "units": recording.units,
            "rate_hz": recording.rate_hz,
            "left_out": seen.left_out,
            "rates": seen.rates,
            "recordings": entries,
        }
        with _kept_in(folder):
            with (draft / _INDEX).open("w", encoding="utf-8") as index:
                json.dump(about, index, separators=(",", ":"), default=np.generic.item)
                index.flush()
                os.fsync(index.fileno())
            _named(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _kept_in(folder: Path) -> Iterator[None]:
    """A problem of the disk means that nothing is kept; what readers raise passes."""
    try:
        yield
    except OSError as error:
        cause = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        raise NotKept(f"cannot be kept in '{folder}': {cause}") from error


def _require_room(draft: Path, size: int) -> None:
    if shutil.disk_usage(draft).free - size < _LEFT_FREE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _put(file: FileIO, row: FloatArray) -> None:
    """Writes a channel as float32; what is too large for it is not measured, as in windows."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(row, dtype=np.float32)
    if np.isinf(values).any():
        values = np.where(np.isinf(values), np.float32(np.nan), values)
    left = values.view(np.uint8)
    while left.size:
        left = left[file.write(left.data) :]


def _emptied(held: list[Recording]) -> Iterator[Recording]:
    held.reverse()
    while held:
        yield held.pop()


def _named(draft: Path, folder: Path) -> None:
    """Gives a draft its name, unless another process was first."""
    try:
        draft.rename(folder)
    except OSError:
        if not (folder / _INDEX).exists():
            raise


def _tidy(place: Path) -> None:
    """Removes what killed processes left, and what nobody has opened for long."""
    for folder in place.iterdir():
        with suppress(OSError):
            draft = folder.name.startswith(".")
            used_s = max(p.stat().st_mtime for p in (folder, *folder.iterdir()))
            if time.time() - used_s > (_DRAFT_S if draft else _UNUSED_S):
                shutil.rmtree(folder, ignore_errors=True)


def _entry(recording: Recording, offset: int) -> dict[str, Any]:
    return {
        "id": recording.id,
        "subject": recording.subject,
        "offset": offset,
        "samples": recording.samples,
        "start": None if recording.start is None else str(recording.start),
        "spans": [(span.start_s, span.stop_s, span.label) for span in recording.spans],
        "attributes": dict(recording.attributes),
        "labels": dict(recording.labels),
    }


def _recording(entry: Mapping[str, Any], about: Mapping[str, Any], flat: FloatArray) -> Recording:
    first, channels = entry["offset"], tuple(about["channels"])
    shape = (len(channels), entry["samples"])
    return Recording(
        id=entry["id"],
        subject=entry["subject"],
        values=flat[first : first + shape[0] * shape[1]].reshape(shape),
        channels=channels,
        units=tuple(about["units"]),
        rate_hz=about["rate_hz"],
        start=None if entry["start"] is None else np.datetime64(entry["start"], "s"),
        spans=tuple(Span(*span) for span in entry["spans"]),
        attributes=MappingProxyType(entry["attributes"]),
        labels=MappingProxyType(entry["labels"]),
    )
