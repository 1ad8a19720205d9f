"""Reads the text of a WFDB header: record line, signal lines or segments, comments.

The format: https://physionet.org/physiotools/wag/header-5.htm. Names and units may hold letters
beyond ASCII, in UTF-8 or Latin-1; the record line may name the record with its folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.units import plain_micro

RAW = "adu"  # the unit of samples without a gain: analog-to-digital converter units
_DEFAULT_HZ = 250.0  # by the format, where the record line states no rate
_DEFAULT_UNIT = "mV"  # by the format, where a gain has no unit
_NO_FILE = "~"


@dataclass(frozen=True)
class SignalLine:
    """How one signal is stored."""

    file: str  # as the header names it
    format: str
    per_frame: int  # samples a frame
    skew: int  # frames
    offset: int  # of the file's first sample: bytes, of compressed files samples
    gain: float | None  # counts a unit; None = uncalibrated: none stated, or 0
    baseline: int  # the count that means 0
    unit: str
    initial: int  # the sample before the first difference, in format 8
    checksum: int | None
    name: str  # '' where there is none

    @property
    def stored(self) -> bool:
        """False for a signal that only a layout announces."""
        return self.file != _NO_FILE


@dataclass(frozen=True)
class Header:
    """What a header states."""

    signals: tuple[SignalLine, ...]
    segments: tuple[tuple[str, int], ...] | None  # name and frames of each; None = one record
    frames: int | None
    frames_hz: float
    start: np.datetime64 | None  # whole seconds
    comments: tuple[str, ...]
    understood: bool = True  # False: what stands where the start should is no time


def lines_of(raw: bytes) -> tuple[list[str], tuple[str, ...]]:
    """The lines of a header, and its comments without their #, each decoded by itself."""
    lines: list[str] = []
    comments: list[str] = []
    for number, row in enumerate(raw.splitlines()):
        line = _decoded(row, first=number == 0).strip()
        if line.startswith("#"):
            comments.append(line.strip(" \t#"))
        elif line:
            lines.append(line)
    return lines, tuple(comments)


def parse_header(raw: bytes, where: str, stem: str) -> Header:
    """Reads a header.

    Args:
        raw: the file's bytes.
        where: the file's name, for errors.
        stem: its last part, without the suffix; the record's name where that has a folder.

    Raises:
        DataError: it is no WFDB header, contradicts itself, or describes another number of
            signals or segments than it announces.
    """
    lines, comments = lines_of(raw)
    if not lines:
        raise DataError(
            f"A WFDB header begins with the record's name and its number of signals: {where} has "
            f"{len(raw)} bytes and no such line. Copy it again from its source, or leave it out "
            "with `records`."
        )
    record, *fields = lines[0].split()
    segments = _segment_count(record, lines, where, stem)
    count = _whole(fields[0] if fields else "", "number of signals", where)
    signals: tuple[SignalLine, ...] = ()
    listed: tuple[tuple[str, int], ...] | None = None
    if segments is None:
        _check_count("signal", count, len(lines) - 1, where)
        signals = tuple(_signal(line, where) for line in lines[1:])
    else:
        _check_count("segment", segments, len(lines) - 1, where)
        listed = tuple(_segment(line, where) for line in lines[1:])
    start, understood = _start(fields[3:5], where)
    return Header(
        signals=signals,
        segments=listed,
        frames=(_whole(fields[2], "number of frames", where) or None) if fields[2:] else None,
        frames_hz=_rate(fields[1], where) if fields[1:] else _DEFAULT_HZ,
        start=start,
        comments=comments,
        understood=understood,
    )


def named_files(lines: Sequence[str]) -> set[str]:
    """The signal files of a header's lines, or its segments, without any check."""
    return {line.split()[0] for line in lines[1:]} - {_NO_FILE}


def is_list_of_segments(lines: Sequence[str], stem: str) -> bool:
    """True if the record line is that of a master header."""
    match = re.fullmatch(r"(.+)/(\d+)", lines[0].split()[0]) if lines else None
    if match is None:
        return False
    folder, last = match.groups()
    if stem != last or last_part(folder) == stem:
        return True
    return all(re.fullmatch(r"\S+\s+\d+", line) for line in lines[1:]) and int(last) > 0


def last_part(name: str) -> str:
    """A name without its folders, whichever way they are separated."""
    return re.split(r"[/\\]", name)[-1]


def _decoded(row: bytes, first: bool) -> str:
    try:
        return row.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError:
        return row.decode("latin-1")


def _segment_count(record: str, lines: Sequence[str], where: str, stem: str) -> int | None:
    """The number of segments that the record line announces; None = it is one record."""
    if is_list_of_segments(lines, stem):
        record, _, number = record.rpartition("/")
        count = int(number)
    else:
        count = None
    if last_part(record) != record and last_part(record) != stem:
        raise DataError(
            f"A WFDB header is called like its record: {where} is that of '{record}'. Give the "
            "file its record's name, or correct the first line."
        )
    return count


def _check_count(what: str, announced: int, described: int, where: str) -> None:
    if announced != described:
        cause = (
            "It was cut short: copy it again from its source"
            if described < announced
            else "Correct the number in its first line"
        )
        raise DataError(
            f"A WFDB header has a line for each {what}: {where} announces {announced} and has "
            f"{described}. {cause}, or leave the record out with `records`."
        )


# file, format with samples a frame, skew and offset; the fields behind may be absent, and a
# name may follow wherever they end
_STORAGE = re.compile(r"(\S+)\s+(\d+)(?:x(\d+))?(?::(\d+))?(?:\+(\d+))?(?=\s|$)")
_GAIN = re.compile(
    r"\s+([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(?:\((-?\d+)\))?(?:/(\S*))?(?=\s|$)"
)
_NUMBER = re.compile(r"\s+([-+]?\d+)(?=\s|$)")


def _signal(line: str, where: str) -> SignalLine:
    storage = _STORAGE.match(line)
    if storage is None:
        raise DataError(
            f"A signal line of a WFDB header begins with a file and its format: {where} has "
            f"'{line[:60]}'. Correct the line, or leave the record out with `records`."
        )
    file, kind, per_frame, skew, offset = storage.groups()
    end = storage.end()
    stated = _GAIN.match(line, end)
    end = stated.end() if stated else end
    numbers: list[int] = []  # resolution, zero, initial value, checksum, block size
    while len(numbers) < 5 and stated and (number := _NUMBER.match(line, end)):
        numbers.append(int(number[1]))
        end = number.end()
    gain = float(stated[1]) if stated else 0.0
    zero = numbers[1] if numbers[1:] else 0
    calibrated = gain != 0 and np.isfinite(gain)
    unit = plain_micro(stated[3] or _DEFAULT_UNIT) if stated else _DEFAULT_UNIT
    return SignalLine(
        file=file,
        format=kind,
        per_frame=int(per_frame or 1) or 1,
        skew=int(skew or 0),
        offset=int(offset or 0),
        gain=gain if calibrated else None,
        baseline=int(stated[2]) if stated and stated[2] else zero,
        unit=unit if calibrated else RAW,
        initial=numbers[2] if numbers[2:] else 0,
        checksum=numbers[3] if numbers[3:] else None,
        name=line[end:].strip(),
    )


def _segment(line: str, where: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\S+)\s+(\d+)(?:\s.*)?", line)
    if match is None:
        raise DataError(
            f"A segment line of a WFDB header has a record and its number of frames: {where} has "
            f"'{line[:60]}'. Correct the line, or leave the record out with `records`."
        )
    return match[1], int(match[2])


def _whole(text: str, meaning: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise DataError(
            f"A WFDB header states the {meaning} in its first line: {where} has '{text[:40]}' "
            "there. Correct the line, or leave the record out with `records`."
        )
    return int(text)


def _rate(text: str, where: str) -> float:
    """The frames a second, without the frequency of the counter behind it."""
    try:
        rate_hz = float(text.partition("/")[0])
    except ValueError:
        rate_hz = np.nan
    if not (rate_hz > 0 and np.isfinite(rate_hz)):
        raise DataError(
            f"A WFDB header states a positive rate in Hz behind the number of signals: {where} "
            f"has '{text[:40]}'. Correct the line, or leave the record out with `records`."
        )
    return rate_hz


_CLOCK = re.compile(r"(?:(?:(\d{1,2}):)?(\d{1,2}):)?(\d{1,2})(?:\.\d*)?")
_DATES = {  # the format's own, and two that leave no doubt: Challenge 2020 has the second
    "%d/%m/%Y": re.compile(r"\d{1,2}/\d{1,2}/\d{4}"),
    "%d-%b-%Y": re.compile(r"\d{1,2}-[A-Za-z]{3}-\d{4}"),
    "%Y-%m-%d": re.compile(r"\d{4}-\d{1,2}-\d{1,2}"),
}


def _start(fields: Sequence[str], where: str) -> tuple[np.datetime64 | None, bool]:
    """The start in whole seconds, and False where something stands there that is not understood.

    None without a date, or where all of it is 0. Date and time may be exchanged.
    """
    if len(fields) < 2 or not re.search(r"[1-9]", "".join(f for f in fields if "/" in f) or "1"):
        return None, True
    for clock, date in (fields, fields[::-1]):
        kinds = [kind for kind, form in _DATES.items() if form.fullmatch(date)]
        if not kinds or (parts := _CLOCK.fullmatch(clock)) is None:
            continue
        hour, minute, second = (int(number or 0) for number in parts.groups())
        try:
            day = datetime.strptime(date, kinds[0])
            return np.datetime64(day.replace(hour=hour, minute=minute, second=second), "s"), True
        except ValueError:
            raise DataError(
                f"A WFDB header states the start as HH:MM:SS DD/MM/YYYY: {where} has "
                f"'{' '.join(fields)[:40]}'. Correct it, or take it out of the first line."
            ) from None
    return None, False
