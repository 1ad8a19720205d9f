"""The digital samples of a WFDB record, from the signal files that its header names."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._wfdb_header import Header, SignalLine
from tsfm_adapt.signals.readers._wfdb_place import Place, SignalFile
from tsfm_adapt.signals.readers._wfdb_samples import (
    COMPRESSED,
    KNOWN,
    UNCOMPRESSED,
    Samples,
    bytes_of,
    decoded,
    missing_code,
    samples_in,
)
from tsfm_adapt.signals.recording import FloatArray

_BEHIND = "signal files that go on behind the samples their headers announce; not read further"


def frames_of(place: Place, header: Header) -> int:
    """The frames of a record without segments: as stated, or as many as its files hold.

    Raises:
        DataError: none are stated, and the files do not tell.
    """
    stored = [line for line in header.signals if line.stored]
    if header.frames is not None or not stored:
        return header.frames or 0
    counts: dict[str, int] = {}
    for name, lines in _by_file(header.signals).items():
        format = _format(place, lines)
        if format in COMPRESSED:
            raise DataError(
                f"A header of compressed signals states their number of frames: {place} has none. "
                "Add it to the first line, behind the rate."
            )
        file = place.signal_file(name)
        size = max(file.size - lines[0].offset, 0)
        samples, per_frame = samples_in(format, size), sum(line.per_frame for line in lines)
        counts[name] = samples // per_frame
        if bytes_of(format, counts[name] * per_frame) != size:
            raise DataError(
                f"Without a number of frames in its header, a signal file holds whole frames: "
                f"{file.name} has {size} bytes, {counts[name]} frames of {per_frame} samples in "
                f"format {format} take {bytes_of(format, counts[name] * per_frame)}. Add the "
                f"number to the first line of {place}."
            )
    if len(set(counts.values())) > 1:
        raise DataError(
            f"The signal files of a record have as many frames each: those of {place} have "
            f"{', '.join(f'{name} {count}' for name, count in counts.items())}. Add the number "
            "to the first line of the header."
        )
    return next(iter(counts.values()))


def digital_signals(
    place: Place,
    lines: Sequence[SignalLine],
    frames: int,
    wanted: Sequence[int],
    verify: bool,
    notes: Counter[str],
) -> Mapping[int, FloatArray]:
    """The samples as stored, by index of their line: (frames * per_frame,), NaN where invalid.

    Args:
        place: of the header.
        lines: all signal lines of the header.
        frames: to read.
        wanted: indices of the lines to read.
        verify: compare each signal with the header's checksum.
        notes: filled in.

    Raises:
        DataError: a file is missing, has too few samples or others than the header describes.
        OSError: one cannot be opened, or fetched.
    """
    signals: dict[int, FloatArray] = {}
    for name in dict.fromkeys(lines[index].file for index in wanted):
        inside = [index for index, line in enumerate(lines) if line.file == name]
        asked = [index for index in inside if index in wanted]
        if not lines[inside[0]].stored:
            for index in asked:
                signals[index] = np.full(frames * lines[index].per_frame, np.nan)
            continue
        own = [lines[index] for index in inside]
        format = _format(place, own)
        file = place.signal_file(name)
        if format in COMPRESSED:
            samples = _decompressed(file, own, format, frames)
        else:
            samples = _stored(place, file, own, format, frames)
        for index in asked:
            _check_sum(place, index, lines[index], samples[inside.index(index)], verify)
        if format not in COMPRESSED:
            kept = [lines[index] for index in asked]
            _check_end(place, file, own, format, frames, kept, verify, notes)
        for index in asked:
            digital = samples[inside.index(index)]
            signals[index] = digital.astype(np.float64)
            if (missing := missing_code(format)) is not None:
                signals[index][digital == missing] = np.nan
    return signals


def _by_file(lines: Sequence[SignalLine]) -> dict[str, list[SignalLine]]:
    files: dict[str, list[SignalLine]] = {}
    for line in lines:
        if line.stored:
            files.setdefault(line.file, []).append(line)
    return files


def _format(place: Place, lines: Sequence[SignalLine]) -> str:
    """The one format of a file."""
    formats = list(dict.fromkeys((line.format, line.offset) for line in lines))
    format, _ = formats[0]
    if len(formats) > 1:
        shown = " and ".join(f"{own}+{offset}" for own, offset in formats)
        raise DataError(
            f"A signal file has one format and offset: {place} states {shown} for "
            f"{lines[0].file}. Correct the header, or leave the record out with `records`."
        )
    if format not in UNCOMPRESSED | COMPRESSED:
        raise DataError(
            f"Signals are in one of the formats {', '.join(KNOWN)}: {place} states {format} for "
            f"{lines[0].file}. Correct the header, or leave the record out with `records`."
        )
    return format


def _stored(
    place: Place, file: SignalFile, lines: Sequence[SignalLine], format: str, frames: int
) -> list[Samples]:
    """All signals of a file that is not compressed."""
    per_frame = [line.per_frame for line in lines]
    offset, needed = lines[0].offset, bytes_of(format, frames * sum(per_frame))
    if file.size < offset + needed:
        held = samples_in(format, max(file.size - offset, 0)) // sum(per_frame)
        raise DataError(
            f"A signal file holds all the samples that its header announces: {file.name} has "
            f"{file.size} bytes, which are {held} frames; {frames} frames in format {format} "
            f"need {offset + needed}. Compare its size with that at its source and copy it again "
            f"if it was cut; if it was not, correct the number in {place.header.name}."
        )
    raw = file.read(offset, needed)
    return decoded(raw, format, frames, per_frame, [line.initial for line in lines])


def _check_sum(place: Place, index: int, line: SignalLine, samples: Samples, verify: bool) -> None:
    stated = line.checksum
    if not verify or stated is None:
        return
    total = int(samples.sum(dtype=np.int64))
    if (total - stated) % 65536:
        raise DataError(
            f"A WFDB signal adds up to its header's checksum: '{line.name or f'signal {index}'}' "
            f"of {place} does not, so one of the two was altered, or they do not belong together "
            f"(the sum is {total % 65536}, stated is {stated % 65536}). Compare them with their "
            "source, or set verify_checksums: false if the header is known to be wrong."
        )


def _check_end(
    place: Place,
    file: SignalFile,
    lines: Sequence[SignalLine],
    format: str,
    frames: int,
    read: Sequence[SignalLine],
    verify: bool,
    notes: Counter[str],
) -> None:
    """Notes bytes behind the announced samples; stops where they may mean another layout.

    They are harmless where checksums prove the samples before them, where they are less than a
    frame, and where all are 0, which fill up a block.
    """
    per_frame = sum(line.per_frame for line in lines)
    end = lines[0].offset + bytes_of(format, frames * per_frame)
    behind = file.size - end
    if behind <= 0:
        return
    proven = verify and all(line.checksum is not None for line in read)
    more = (
        not proven and behind >= bytes_of(format, per_frame) and bool(file.read(end, behind).any())
    )
    if verify and more:
        held = samples_in(format, file.size - lines[0].offset) // per_frame
        raise DataError(
            f"A signal file ends with the samples that its header announces: {file.name} has "
            f"{file.size} bytes, {frames} frames of {per_frame} samples in format {format} "
            f"take {end}, and no checksum tells that they are right. Correct {place} (there "
            f"is room for {held} frames), or set verify_checksums: false to read the "
            f"{frames} alone."
        )
    notes[_BEHIND] += 1


def _decompressed(
    file: SignalFile, lines: Sequence[SignalLine], format: str, frames: int
) -> list[Samples]:
    """All signals of a FLAC file, which the library reads with a header that it understands."""
    import wfdb

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "signal.flac"
        if file.path is None:
            copy.write_bytes(file.read(0, file.size).tobytes())
        else:
            try:
                copy.symlink_to(file.path.absolute())
            except OSError:  # a file system without links
                shutil.copyfile(file.path, copy)
        stated = "".join(
            f"{copy.name} {format}x{line.per_frame}+{line.offset} 1/NU 16 0 0 0 0 s{number}\n"
            for number, line in enumerate(lines)
        )
        (Path(folder) / "r.hea").write_text(f"r {len(lines)} 1 {frames}\n{stated}")
        record = wfdb.rdrecord(str(Path(folder) / "r"), physical=False, smooth_frames=False)
    return [np.asarray(signal) for signal in record.e_d_signal]
