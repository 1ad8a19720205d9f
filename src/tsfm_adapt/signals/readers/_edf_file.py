"""Reads one EDF or EDF+ file: header, samples and annotations.

The formats: Kemp et al., Electroencephalogr. Clin. Neurophysiol. 82 (1992) 391, and Kemp & Olivan,
Clin. Neurophysiol. 114 (2003) 1755.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._files import distinct
from tsfm_adapt.signals.readers._whose import known_code
from tsfm_adapt.signals.recording import FloatArray, Span

_HEAD = 256  # bytes of the file's header, and of that of each signal
_ANNOTATIONS = "EDF Annotations"
_NO_DATE = np.datetime64("1985-01-01", "D")  # what EDF+ writes where the date is withheld


@dataclass(frozen=True)
class Signal:
    """The description of one signal in a header."""

    name: str  # without trailing dots; '' for annotations
    unit: str  # '' where none is stated
    per_record: int  # samples a record
    calibrated: bool  # True if its physical and digital limits make a scale
    position: int  # among the file's ordinary signals
    first: int  # byte of its first sample in a record


@dataclass(frozen=True)
class Header:
    """The header of a file."""

    path: Path
    signals: tuple[Signal, ...]  # without annotations
    annotations: tuple[Signal, ...]
    records: int
    record_s: float
    discontinuous: bool  # EDF+D
    clock: np.datetime64 | None  # whole seconds, as stated; None where it is no date
    dated: bool  # False: the date was withheld, and only the time of day may be right
    sex: str | None
    born: int | None  # year of birth
    code: str | None = None  # of the patient; None where it is withheld

    @property
    def data(self) -> int:
        """The byte at which records begin."""
        return _HEAD * (1 + len(self.signals) + len(self.annotations))

    @property
    def record_bytes(self) -> int:
        """The bytes of a record."""
        return 2 * sum(signal.per_record for signal in (*self.signals, *self.annotations))

    @property
    def duration_s(self) -> float:
        """Duration of all records in seconds, gaps not counted."""
        return self.records * self.record_s


def looks_like_edf(path: Path) -> bool:
    """True if the file begins like EDF."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    return len(head) == _HEAD and head[:8] == b"0       " and head[252:256].strip().isdigit()


def read_header(path: Path) -> Header:
    """Reads the header and compares it with the size of the file.

    Raises:
        DataError: the file is not EDF, or has fewer or more bytes than the header announces.
    """
    head, table, size = _raw_header(path)
    signals, annotations = _signals(path, table, len(table) // _HEAD)
    behind = size - len(head) - len(table)
    record_bytes = 2 * sum(signal.per_record for signal in (*signals, *annotations))
    if _text(head[236:244]) == "-1":
        raise DataError(
            f"An EDF header states the number of records: {path} has '-1', as the recorder never "
            f"closed the file. It holds {behind // record_bytes} whole records: write that "
            "number into bytes 237 to 244, or leave the file out with `records`."
        )
    records = _whole(path, head[236:244], "number of records", least=0 if signals else 1)
    record_s = _number(head[244:252])
    if not (np.isfinite(record_s) and (record_s > 0 if signals else record_s >= 0)):
        raise _broken(path, head[244:252], "duration of a record in seconds")
    clock, dated = _clock(head)
    header = Header(
        path=path,
        signals=signals,
        annotations=annotations,
        records=records,
        record_s=record_s,
        discontinuous=head[192:197] == b"EDF+D",
        clock=clock,
        dated=dated,
        sex=_patient(head)[0],
        born=_patient(head)[1],
        code=_code(head),
    )
    needed = header.data + records * record_bytes
    if size != needed:
        raise DataError(
            f"An EDF file holds the records that its header announces: {path} has {size} bytes, "
            f"{records} records of {record_bytes} bytes behind a header of {header.data} need "
            f"{needed}. Compare its size with that at its source and copy it again if it was cut; "
            f"if it was not, it holds {behind // record_bytes} whole records, and the header has "
            "to say so."
        )
    return header


def _raw_header(path: Path) -> tuple[bytes, bytes, int]:
    """The file's header, the table of its signals, and the size of the file."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if len(head) < _HEAD or head[:8] != b"0       ":
                raise _no_edf(path, head)
            count = _whole(path, head[252:256], "number of signals", least=1)
            table = file.read(_HEAD * count)
        size = path.stat().st_size
    except OSError as problem:
        raise DataError(
            f"{path} must be a readable file: {problem.strerror or problem}. Correct the link or "
            "its permissions, or leave it out with `records`."
        ) from problem
    if len(table) < _HEAD * count:
        raise DataError(
            f"An EDF header describes every signal: {path} announces {count} and ends within "
            f"their descriptions, after {size} bytes. It was cut short: copy it again from its "
            "source, or leave it out with `records`."
        )
    return head, table, size


class EdfFile:
    """The data of a file; samples are read from disk on request.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, header: Header) -> None:
        import edfio

        self.header = header
        with _naming(header.path):
            self._file: Any = edfio.read_edf(header.path, lazy_load_data=True)

    def samples(self, signal: Signal) -> FloatArray:
        """All samples (T,) of a signal in its unit.

        Raises:
            DataError: the header states no scale for it.
        """
        if not signal.calibrated:
            raise DataError(
                f"An EDF header states two different physical limits and a digital minimum below "
                f"its maximum: those of '{signal.name}' in {self.header.path} make no scale. "
                "Leave the channel or the file out, or set data.reader.dead: leave_out to have it "
                "as not measured there."
            )
        with _naming(self.header.path):
            values: FloatArray = self._file.signals[signal.position].data
        return values

    def annotations(self) -> tuple[Span, ...]:
        """The file's own annotations, by time, in seconds from its first sample.

        Those without a duration have no length; those without a text are left out.

        Raises:
            DataError: they cannot be read.
        """
        with _naming(self.header.path):
            annotations = self._file.annotations
        return tuple(
            Span(float(a.onset), float(a.onset) + float(a.duration or 0.0), a.text.strip())
            for a in annotations
            if a.text.strip()
        )

    def onsets_s(self) -> FloatArray:
        """Start of each record, (records,) seconds since the header's clock.

        Raises:
            DataError: a record of EDF+ does not state its start, or begins before the last ends.
        """
        header = self.header
        steps: FloatArray = np.arange(header.records) * header.record_s
        if not header.annotations:
            return steps
        timekeeper = header.annotations[0]  # the signal whose annotations state the starts
        with _naming(header.path):
            records = np.memmap(
                header.path,
                np.uint8,
                mode="r",
                offset=header.data,
                shape=(header.records, header.record_bytes),
            )
        texts = records[:, timekeeper.first : timekeeper.first + 2 * timekeeper.per_record]
        if not header.discontinuous:
            return steps + _onset_s(header.path, 0, texts[0].tobytes())
        onsets = np.array([_onset_s(header.path, n, row.tobytes()) for n, row in enumerate(texts)])
        early = np.flatnonzero(np.diff(onsets) < header.record_s - 1e-6)
        if early.size:
            number = int(early[0])
            raise DataError(
                f"Records of EDF+D follow each other: record {number + 1} of {header.path} begins "
                f"at {onsets[number]:g} s and lasts {header.record_s:g} s, the next one begins at "
                f"{onsets[number + 1]:g} s. Leave the file out with `records`, or repair it."
            )
        return onsets


def stretches(onsets_s: FloatArray, record_s: float) -> list[tuple[int, int]]:
    """Ranges [first, stop) of records without a gap between them."""
    breaks = np.flatnonzero(np.abs(np.diff(onsets_s) - record_s) > 1e-6) + 1
    return list(pairwise([0, *breaks.tolist(), len(onsets_s)]))


def _onset_s(path: Path, number: int, raw: bytes) -> float:
    """Start in seconds of a record, from the beginning of its annotations."""
    match = re.match(rb"([+-]\d+(?:\.\d*)?)\x14", raw)
    if match is None:
        raise DataError(
            f"A record of EDF+ begins its annotations with its own time: record {number + 1} of "
            f"{path} begins them with {raw[:12]!r}. Leave the file out with `records`, or repair "
            "it."
        )
    return float(match.group(1))


def _signals(
    path: Path, table: bytes, count: int
) -> tuple[tuple[Signal, ...], tuple[Signal, ...]]:
    """The signals of a header's table, and those that hold annotations."""
    fields = {}
    begin = 0
    for name, width in _FIELDS:
        cells = table[begin : begin + width * count]
        fields[name] = [cells[i * width : (i + 1) * width] for i in range(count)]
        begin += width * count
    labels = [_text(label).rstrip(". ") for label in fields["label"]]
    ordinary = [index for index, label in enumerate(labels) if label != _ANNOTATIONS]
    names = dict(zip(ordinary, distinct(labels[index] for index in ordinary), strict=True))
    signals: list[Signal] = []
    annotations: list[Signal] = []
    first = 0
    for index in range(count):
        low, high, digital_low, digital_high = (_number(fields[f][index]) for f in _LIMITS)
        signal = Signal(
            name=names.get(index, ""),
            unit=_text(fields["unit"][index]),
            per_record=_whole(path, fields["samples"][index], "number of samples", least=1),
            calibrated=bool(
                np.isfinite([low, high]).all() and low != high and digital_low < digital_high
            ),
            position=len(signals),
            first=first,
        )
        first += 2 * signal.per_record
        (signals if index in names else annotations).append(signal)
    return tuple(signals), tuple(annotations)


_LIMITS = ("low", "high", "digital_low", "digital_high")
_FIELDS = (
    ("label", 16),
    ("transducer", 80),
    ("unit", 8),
    *((name, 8) for name in _LIMITS),
    ("filter", 80),
    ("samples", 8),
)


def _clock(head: bytes) -> tuple[np.datetime64 | None, bool]:
    """The start, and True if its date is real; EDF+ states the date in full in another field."""
    date, time = _text(head[168:176]), _text(head[176:184])
    words = _text(head[88:168]).split()
    full = words[1] if words[:1] == ["Startdate"] and len(words) > 1 else ""
    clock = None
    with suppress(ValueError):
        digits = [int(n) for n in re.split(r"[.:\-/ ]+", f"{date} {time}".strip())]
        day, month, year, hours, minutes, seconds = digits
        year += 1900 if year >= 85 else 2000
        clock = datetime(year, month, day, hours, minutes, seconds)
        with suppress(ValueError):
            stated = datetime.strptime(full, "%d-%b-%Y")
            clock = datetime.combine(stated.date(), clock.time())
    start = None if clock is None else np.datetime64(clock, "s")
    return start, start is not None and full != "X" and start.astype(_NO_DATE.dtype) != _NO_DATE


def _patient(head: bytes) -> tuple[str | None, int | None]:
    """Sex and year of birth, where the field has the format of EDF+; nothing else is read."""
    words = _text(head[8:88]).split()
    sex = words[1] if len(words) >= 4 and words[1] in ("F", "M") else None
    born = None
    with suppress(ValueError, IndexError):
        born = datetime.strptime(words[2], "%d-%b-%Y").year
    return sex, born


def _code(head: bytes) -> str | None:
    """The patient's code: the first word of EDF+, or a single word with a digit.

    Other text of plain EDF may be a name, and is not read.
    """
    words = _text(head[8:88]).split()
    of_plus = head[192:196] == b"EDF+" or (len(words) >= 4 and words[1] in ("F", "M", "X"))
    if words and (of_plus or (len(words) == 1 and re.search(r"\d", words[0]))):
        return known_code(words[0])
    return None


def _text(field: bytes) -> str:
    """Text of a header field: ASCII by the standard, UTF-8 or Latin-1 from many recorders."""
    try:
        text = field.decode("utf-8")
    except UnicodeDecodeError:
        text = field.decode("latin-1")
    return text.replace("\x00", " ").strip()


def _number(field: bytes) -> float:
    try:
        return float(_text(field))
    except ValueError:
        return float("nan")


def _whole(path: Path, field: bytes, meaning: str, least: int) -> int:
    number = _number(field)
    if not (number >= least and number == round(number)):
        raise _broken(path, field, meaning)
    return int(number)


def _broken(path: Path, field: bytes, meaning: str) -> DataError:
    return DataError(
        f"An EDF header states the {meaning}: {path} has '{_text(field)}'. Leave the file out "
        "with `records`, or repair its header."
    )


def _no_edf(path: Path, head: bytes) -> DataError:
    if head[:8] == b"\xffBIOSEMI":
        return DataError(
            f"Files of 16-bit samples are read: {path} is BDF, which has 24. Convert it to EDF."
        )
    problem = f"begins with {head[:8]!r}" if len(head) >= _HEAD else f"has {len(head)} bytes"
    return DataError(
        f"An EDF file begins with '0' and a header of {_HEAD} bytes: {path} {problem}, so it is "
        "cut short or of another format. Leave it out with data.reader.pattern or `records`."
    )


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turns errors and warnings of the library into a DataError that names the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            yield
    except Exception as problem:  # it raises ValueError, IndexError and UnicodeDecodeError
        raise DataError(
            f"{path} must be a valid EDF file: {type(problem).__name__}: {problem}. Compare it "
            "with its source, or leave it out with `records`."
        ) from problem
