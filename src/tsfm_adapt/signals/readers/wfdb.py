"""WFDB records: PhysioNet's headers with signal files, one segment or many, on disk or remote.

Every sample is kept. Where the channels to read have several rates (several samples a frame), a
record becomes one recording per rate, `<id>/<rate>Hz`, with one `multirate_id`. Skewed signals are
shifted into place. Annotations become spans of no length, with the symbol as the label. Remote
records are streamed from PhysioNet whenever they are read; nothing is kept on disk.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._files import one_group
from tsfm_adapt.signals.readers._heads import head, some_files
from tsfm_adapt.signals.readers._wfdb_record import (
    Place,
    StoredRecord,
    list_records,
    read_annotations,
    read_record,
)
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import Recording, Span

REQUIRES = ("wfdb",)
EXTRA = "wfdb"


class Config(ReaderConfig):
    """Reads records on disk (`root`) or open ones of PhysioNet (`pn_dir`).

    Segments of a multi-segment record are no records of their own.
    """

    name: Literal["wfdb"] = "wfdb"
    root: str | None = Field(
        default=None, description="a folder, searched for headers, or one record (its header)"
    )
    pn_dir: str | None = Field(
        default=None,
        pattern=r"^[\w-]+/\d+\.[\w.]+(/[\w.-]+)*$",
        description="in place of root: project, version and folders on PhysioNet, like "
        "mitdb/1.0.0; needs a network",
    )
    records: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="ids or names to read; null = all, or the list RECORDS of pn_dir",
    )
    subject_pattern: str | None = Field(
        default=None,
        description="regular expression; its one group in the id is the subject; null = id",
    )
    annotations: str | None = Field(
        default=None,
        min_length=1,
        description="extension of the annotation files, like atr; null = none",
    )
    verify_checksums: bool = Field(
        default=True, description="compare signals with the header's checksums"
    )

    @model_validator(mode="after")
    def _lies_in_one_place(self) -> Config:
        if (self.root is None) == (self.pn_dir is None):
            raise ValueError(
                "records lie on disk, root, or on PhysioNet, pn_dir: "
                f"{'neither' if self.root is None else 'both'} is stated; state one"
            )
        return self

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by headers in a folder, by a header, or by a signal file beside one."""
        files = some_files(path.with_suffix(".hea") if path.is_file() else path, (".hea",))
        if not any(_looks_like_a_header(file) for file in files):
            return None
        return cls(root=str(path))

    @field_validator("subject_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else one_group(pattern)

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the records sorted by id, every signal at its own rate."""
        require("reader", "wfdb")
        places = self._places()
        for identity in sorted(places):
            subject = _subject(identity, self.subject_pattern)
            place = places[identity]
            stored = read_record(place, channels, self.verify_checksums)
            spans = () if self.annotations is None else read_annotations(place, self.annotations)
            yield from _recordings(stored, spans, identity, subject, channels)

    def files(self) -> Iterable[Path] | None:
        """All files below the folder; for one record, all beside its header."""
        if self.root is None:
            return None
        path = _located(self.root)
        near = path.parent.iterdir() if path.is_file() else path.rglob("*")
        return (file for file in near if file.is_file())

    def _places(self) -> dict[str, Place]:
        """The records to read by id."""
        if self.root is not None:
            headers = _find(self.root)
            picked = _picked(headers, self.records, self.root)
            return {identity: Place(headers[identity]) for identity in picked}
        assert self.pn_dir is not None
        records = list_records(self.pn_dir) if self.records is None else self.records
        return {record: Place(Path(f"{record}.hea"), self.pn_dir) for record in records}


def _located(root: str) -> Path:
    """The path of the folder, or of a file of the one record."""
    try:
        return resolve_root(root)
    except DataError as problem:
        try:
            return resolve_root(f"{root}.hea")
        except DataError:
            raise problem from None


def _find(root: str) -> dict[str, Path]:
    """Headers by id: the path below the root, or the name of the one record."""
    path = _located(root)
    if path.is_file():
        header = path.with_suffix(".hea")
        if not header.exists():
            raise DataError(
                f"A WFDB record needs its header: {header} does not exist beside {path.name}. "
                "Fetch it, or name another record."
            )
        return {header.stem: header}
    headers = sorted(path.rglob("*.hea"))
    segments: set[Path] = set()
    without_signals: set[Path] = set()
    for header in headers:
        lines = [line.split() for line in _header_lines(header)]
        if lines and "/" in lines[0][0]:
            segments.update(header.parent / f"{line[0]}.hea" for line in lines[1:])
        if lines and lines[0][1:2] == ["0"]:
            without_signals.add(header)
    records = [header for header in headers if header not in segments | without_signals]
    if not records:
        files = sum(1 for file in path.rglob("*") if file.is_file())
        raise DataError(
            f"A WFDB folder holds at least one header (.hea) with signals: {path} has none among "
            f"its {files} files. Set data.reader.root to the folder with the records."
        )
    return {header.relative_to(path).with_suffix("").as_posix(): header for header in records}


def _looks_like_a_header(file: Path) -> bool:
    """True if the first line that is no comment has a name and a number of signals."""
    lines = [line for line in head(file).splitlines() if line.strip() and line[0] != "#"]
    return bool(lines) and re.match(r"[-\w]+(/\d+)?\s+\d+(\s|$)", lines[0]) is not None


def _header_lines(header: Path) -> list[str]:
    """The lines of a header without comments."""
    try:
        text = header.read_text(encoding="ascii", errors="ignore")
    except OSError as problem:
        raise DataError(f"{header} must be a readable file: {problem}. Fetch it again.") from None
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _picked(headers: Mapping[str, Path], records: tuple[str, ...] | None, root: str) -> list[str]:
    if records is None:
        return sorted(headers)
    picked = set()
    for record in records:
        matches = [key for key, path in headers.items() if record in (key, path.stem)]
        if len(matches) != 1:
            raise DataError(
                f"data.reader.records: '{record}' names {len(matches)} of the {len(headers)} "
                f"records below {root}, not one.{closest(record, headers)} "
                "Use the path below the root, without .hea."
            )
        picked.update(matches)
    return sorted(picked)


def _subject(identity: str, pattern: str | None) -> str:
    if pattern is None:
        return identity
    match = re.search(pattern, identity)
    if match is None or not match.group(1):
        raise DataError(
            f"data.reader.subject_pattern: '{pattern}' finds no subject in the record "
            f"'{identity}'. Change the pattern, or leave the record out with `records`."
        )
    return match.group(1)


def _recordings(
    stored: StoredRecord,
    spans: tuple[Span, ...],
    identity: str,
    subject: str,
    channels: tuple[str, ...],
) -> Iterator[Recording]:
    """One recording per rate among the channels to read, slowest first."""
    signals = stored.signals
    names = [name for name in channels or signals if name in signals]
    rates = sorted({signals[name].per_frame for name in names}) or [1]
    for per_frame in rates:
        alike = [name for name in names if signals[name].per_frame == per_frame]
        rate_hz = stored.frames_hz * per_frame
        values = np.empty((len(alike), stored.frames * per_frame))
        for row, name in enumerate(alike):
            values[row] = signals[name].values
        yield Recording(
            id=identity if len(rates) == 1 else f"{identity}/{rate_hz:g}Hz",
            subject=subject,
            values=values,
            channels=tuple(alike),
            units=tuple(signals[name].unit for name in alike),
            rate_hz=rate_hz,
            start=stored.start,
            spans=spans,
            attributes=_attributes(stored.comments),
            multirate_id=identity if len(rates) > 1 else None,
        )


def _attributes(comments: tuple[str, ...]) -> dict[str, str | float]:
    """Attributes from comments like `<age>: 60 <sex>: F` or `age: 60`; `?` means unknown."""
    attributes: dict[str, str | float] = {}
    for comment in comments:
        pairs = re.findall(r"<([^<>]+)>:\s*([^<]*)", comment) or re.findall(
            r"^([A-Za-z][\w ()-]*):\s*(.*)$", comment
        )
        for key, text in pairs:
            name, value = key.strip().lower().replace(" ", "_"), text.strip()
            if value.strip("?") in ("", "n/a"):
                continue
            if name in ("sex", "gender") and value.lower() in ("f", "m", "female", "male"):
                name, value = "sex", value[0].upper()
            attributes[name] = _number(value)
    return attributes


def _number(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text
