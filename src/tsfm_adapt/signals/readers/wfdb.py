"""WFDB records: PhysioNet's headers with signal files, one segment or many, on disk or remote.

Every sample is kept. Where the channels to read have several rates (several samples a frame), a
record becomes one recording per rate, `<id>/<rate>Hz`, with one `multirate_id`. Skewed signals are
shifted into place. A signal without a gain is read as raw counts, in `adu`, and noted. Annotations
become spans of no length, with the symbol as the label. Comments of headers become attributes, and
labels where `labels` names them. Remote records are streamed from PhysioNet whenever they are
read; nothing is kept on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import visible
from tsfm_adapt.signals.readers._files import first_noted, group_in, one_group, picked
from tsfm_adapt.signals.readers._heads import head, some_files
from tsfm_adapt.signals.readers._wfdb_comments import (
    LabelTable,
    attributes_of,
    subject_of,
    values_of,
)
from tsfm_adapt.signals.readers._wfdb_folder import Listed, Listing, far_files, header_of, listing
from tsfm_adapt.signals.readers._wfdb_header import lines_of
from tsfm_adapt.signals.readers._wfdb_place import Place, list_records
from tsfm_adapt.signals.readers._wfdb_record import (
    StoredRecord,
    read_annotations,
    read_header,
    read_record,
)
from tsfm_adapt.signals.readers._whose import tell_apart
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import Labels, Recording, Span

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
    subject: Literal["header"] | None = Field(
        default=None,
        description="header: the subject or patient that a comment of the header names; null = "
        "by subject_pattern, or the id",
    )
    labels: tuple[str, ...] = Field(
        default=("Dx",),
        description="comments of headers that are labels, like Dx; where some have several "
        "values, separated by commas, each value is a label of 0 or 1, like Dx_426783006",
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

    @model_validator(mode="after")
    def _has_one_rule_for_subjects(self) -> Config:
        if self.subject is not None and self.subject_pattern is not None:
            raise ValueError("subjects are known by subject or by subject_pattern; state one")
        return self

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by headers in a folder, by a header, or by a signal file beside one."""
        files = some_files(header_of(path) if path.is_file() else path, (".hea",))
        if not any(_looks_like_a_header(file) for file in files):
            return None
        named = path.is_dir() and any(subject_of(_comments(file)) for file in files)
        records = listing(path).records.values() if named else ()
        codes = [subject_of(record.comments) for record in records]
        subject = {"subject": "header"} if tell_apart(codes) else {}
        return cls.model_validate({"name": "wfdb", "root": str(path), **subject})

    @field_validator("subject_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else one_group(pattern)

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the records sorted by id, every signal at its own rate."""
        require("reader", "wfdb")
        found = self._found()
        places = {id: record.place for id, record in found.records.items()}
        labels = self._label_table(found)
        recordings = (
            recording
            for id, place in places.items()
            for recording in self._of_record(id, place, channels, labels.of(id))
        )
        yield from first_noted(recordings, found.notes)

    def files(self) -> Iterable[Path] | None:
        """All visible files below the folder; for one record, all beside its header."""
        if self.root is None:
            return None
        path = _located(self.root)
        if path.is_file():
            near = {file for file in path.parent.iterdir() if file.is_file()}
            return near | set(far_files([header_of(path)]))
        near = set(visible(path, "*"))
        return near | set(far_files(f for f in near if f.suffix.lower() == ".hea"))

    def _of_record(
        self, id: str, place: Place, channels: tuple[str, ...], labels: Labels
    ) -> Iterator[Recording]:
        stored = read_record(place, channels, self.verify_checksums)
        spans = () if self.annotations is None else read_annotations(place, self.annotations)
        subject = self._subject(id, place, stored.comments)
        recordings = _recordings(stored, spans, id, subject, channels)
        attributes = attributes_of(stored.comments, without=self.labels)
        described = (replace(r, attributes=attributes, labels=labels) for r in recordings)
        yield from first_noted(described, stored.notes)

    def _found(self) -> Listing:
        """The records to read, sorted by id."""
        if self.root is not None:
            path = _located(self.root)
            found = listing(path)
            records = picked(
                {id: record.place.header for id, record in found.records.items()},
                self.records,
                self.root,
                ".hea",
            )
            return replace(found, records={id: found.records[id] for id in sorted(records)})
        assert self.pn_dir is not None
        names = list_records(self.pn_dir) if self.records is None else self.records
        places = {name: Place(Path(f"{name}.hea"), self.pn_dir) for name in sorted(names)}
        return Listing({name: Listed(place, ()) for name, place in places.items()})

    def _label_table(self, found: Listing) -> LabelTable:
        """The labels of all records; from PhysioNet only if the first header has some."""
        comments = {id: record.comments for id, record in found.records.items()}
        if self.pn_dir is not None and comments and self.labels:
            first = read_header(next(iter(found.records.values())).place).comments
            if any(values_of(first, name) for name in self.labels):
                comments = {id: read_header(r.place).comments for id, r in found.records.items()}
        return LabelTable(comments, self.labels)

    def _subject(self, id: str, place: Place, comments: tuple[str, ...]) -> str:
        if self.subject == "header":
            subject = subject_of(comments)
            if subject is None:
                raise DataError(
                    "data.reader.subject: header: every header names its subject or patient in a "
                    f"comment; {place} has none that tells people apart. Use subject_pattern, or "
                    "leave the record out with `records`."
                )
            return subject
        if self.subject_pattern is None:
            return id
        subject = group_in(self.subject_pattern, id)
        if not subject:
            raise DataError(
                f"data.reader.subject_pattern: '{self.subject_pattern}' finds no subject in the "
                f"record '{id}'. Change the pattern, or leave the record out with `records`."
            )
        return subject


def _located(root: str) -> Path:
    """The path of the folder, or of a file of the one record."""
    try:
        return resolve_root(root)
    except DataError as problem:
        try:
            return resolve_root(f"{root}.hea")
        except DataError:
            raise problem from None


def _looks_like_a_header(file: Path) -> bool:
    """True if the first line that is no comment has a name and a number of signals."""
    lines = [line for line in head(file).splitlines() if line.strip() and line[0] != "#"]
    name = r"([-\w.]+[/\\])*[-\w.]+"  # with folders, or a number of segments
    return bool(lines) and re.match(rf"{name}\s+\d+(\s|$)", lines[0]) is not None


def _comments(file: Path) -> tuple[str, ...]:
    return lines_of(head(file).encode())[1]


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
            multirate_id=identity if len(rates) > 1 else None,
        )
