"""EDF and EDF+ files: EEG, sleep and other polygraphic recordings, each signal at its own rate.

A file is a record. Where the channels to read have several rates, it becomes a recording for each,
`<id>/<rate>Hz`, with one `multirate_id`. EDF+D is cut where its records leave a gap, into
`<id>#1`, `<id>#2`, ... Labels lose their trailing dots: `Fc5.` is the channel `Fc5`, and has no
other name. Units are the header's; where it states none, the recipe has to (`from_unit`).
Annotations become spans with their text as the label; those without a duration are marks.
Channels whose limits make no scale (minimum = maximum) are left out with a note, unless the recipe
names them.

Sleep-EDF, where hypnograms are separate files and subjects have two nights each:

    reader:
      name: edf
      root: sleep-cassette
      pattern: "*-PSG.edf"
      subject_pattern: "^(SC4[0-9]{2})"
      annotations: {files: "*-Hypnogram.edf", key: "^(SC4[0-9]{3})"}
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import unread, visible
from tsfm_adapt.signals.readers._edf_file import (
    EdfFile,
    Header,
    Signal,
    looks_like_edf,
    read_header,
    stretches,
)
from tsfm_adapt.signals.readers._files import (
    FilesConfig,
    FileTimes,
    first_noted,
    group_in,
    one_group,
    refuse_overlaps,
)
from tsfm_adapt.signals.readers._heads import some_files
from tsfm_adapt.signals.readers._whose import tell_apart
from tsfm_adapt.signals.recording import Notes, Recording, Span, later, spans_between

REQUIRES = ("edfio",)
EXTRA = "edf"


class Beside(BaseModel):
    """Annotations in separate files beside the signals, aligned by the clocks in the headers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: str = Field(
        "*-Hypnogram.edf", description="pattern of their names; they are no records"
    )
    key: str | None = Field(
        None,
        description="regular expression; its one group is the same in both names; null = one file "
        "of annotations in a folder",
    )

    @field_validator("key")
    @classmethod
    def _has_one_group(cls, key: str | None) -> str | None:
        return None if key is None else one_group(key)


class Config(FilesConfig):
    """Reads records sorted by id; all headers are checked before the first sample is read.

    Files with annotations only are no records. Files of a subject must not overlap in time, unless
    dates were withheld or all starts are the same.
    """

    name: Literal["edf"] = "edf"
    pattern: str = Field(
        "*.edf", description="of the names in a folder; upper and lower case are equal"
    )
    annotations: Literal["own"] | Beside | None = Field(
        "own", description="own: those of the file itself; files and key: those of files beside it"
    )

    subject: Literal["header"] | None = Field(
        None,
        description="header: the patient's code in the header is the subject; null = by "
        "subject_pattern, or the id",
    )
    dead: Literal["refuse", "leave_out"] = Field(
        "refuse",
        description="a channel of the recipe whose limits in a file make no scale (minimum = "
        "maximum): refuse, or leave_out there: not measured",
    )

    @model_validator(mode="after")
    def _has_one_rule_for_subjects(self) -> Config:
        if self.subject is not None and self.subject_pattern is not None:
            raise ValueError("subjects are known by subject or by subject_pattern; state one")
        return self

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """The settings for EDF files at or below `path`, by the headers of all of them."""
        files = some_files(path, (".edf",))
        if not any(looks_like_edf(file) for file in files):
            return None
        settings = {"name": "edf", "root": str(path)}
        headers = list(_readable(cls.model_validate(settings).find().values()))
        if tell_apart([header.code for header in headers]):
            settings["subject"] = "header"
        signals = [signal for header in headers for signal in header.signals]
        alive = {signal.name for signal in signals if signal.calibrated}
        if any(signal.name in alive and not signal.calibrated for signal in signals):
            settings["dead"] = "leave_out"
        return cls.model_validate(settings)

    def files(self) -> Iterable[Path]:
        """The files of records, and of annotations beside them."""
        records = {id: path for id, path in self.picked(self.find()).items() if path.is_file()}
        beside = self.annotations if isinstance(self.annotations, Beside) else None
        return {*records.values(), *(_fitting(records, beside.files) if beside else ())}

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the records sorted by id, the rates of each slowest first."""
        require("reader", "edf")
        found = self.listed()
        files, unused = found.records, set(found.others)
        records = files
        if isinstance(self.annotations, Beside):
            others = _fitting(files, self.annotations.files)
            records = {id: path for id, path in files.items() if path not in others}
            unused -= others
        every = {id: read_header(path) for id, path in self.picked(records).items()}
        headers = {id: header for id, header in every.items() if header.signals}
        if not headers:
            raise DataError(
                f"An EDF record has signals: none of the {len(files)} files of {self.root} has "
                "any besides annotations. Set data.reader.root to the files with the signals."
            )
        subjects = {id: self._subject(id, header) for id, header in headers.items()}
        refuse_overlaps(
            FileTimes(header.path, subjects[id], header.clock, header.duration_s)
            for id, header in headers.items()
            if header.clock is not None and header.dated
        )
        recordings = (
            recording
            for id, header in headers.items()
            for recording in self._of_file(id, subjects[id], header, channels)
        )
        notes = dict(unread(unused))
        if len(headers) < len(every):
            notes["files that hold annotations alone, not read"] = len(every) - len(headers)
        yield from first_noted(recordings, notes)

    def _subject(self, id: str, header: Header) -> str:
        if self.subject is None:
            return self.subject_of(id)
        if header.code is None:
            raise DataError(
                f"data.reader.subject: header: every header has the code of its patient; "
                f"{header.path} has none that tells people apart. Use subject_pattern, or leave "
                "the file out with `records`."
            )
        return header.code

    def _of_file(
        self, id: str, subject: str, header: Header, channels: tuple[str, ...]
    ) -> Iterator[Recording]:
        """A file's recordings; dead channels are left out, or refused when they are read."""
        named = {signal.name: signal for signal in header.signals}
        wanted = [named[name] for name in channels or named if name in named]
        dead = [s for s in wanted if not s.calibrated]
        if self.dead == "refuse" and (channels or len(dead) == len(wanted)):
            dead = []
        wanted = [signal for signal in wanted if signal not in dead]
        recordings = _recordings(id, subject, header, wanted, self.annotations)
        yield from first_noted(recordings, _without_scale(dead))


def _readable(paths: Iterable[Path]) -> Iterator[Header]:
    """The headers of files with signals; one that is broken is refused when it is read."""
    for path in paths:
        with suppress(DataError):
            header = read_header(path)
            if header.signals:
                yield header


def _without_scale(dead: Sequence[Signal]) -> Notes:
    if not dead:
        return {}
    shown = ", ".join(signal.name for signal in dead[:4]) + (", ..." if dead[4:] else "")
    return {f"channels without a scale (minimum = maximum), left out ({shown})": len(dead)}


def _fitting(files: Mapping[str, Path], pattern: str) -> set[Path]:
    """Files in the folders of some files whose names fit a pattern."""
    folders = {path.parent for path in files.values()}
    return {path for folder in folders for path in visible(folder, pattern)}


def _recordings(
    id: str,
    subject: str,
    header: Header,
    wanted: Sequence[Signal],
    annotations: Literal["own"] | Beside | None,
) -> Iterator[Recording]:
    """A file's stretches in order, each at the rates of the channels to read."""
    file = EdfFile(header)
    onsets_s = file.onsets_s()
    if isinstance(annotations, Beside):
        spans = _spans_beside(header, float(onsets_s[0]), annotations)
    else:
        spans = file.annotations() if annotations == "own" else ()
    rates = sorted({signal.per_record for signal in wanted}) or [header.signals[0].per_record]
    groups = [[signal for signal in wanted if signal.per_record == rate] for rate in rates]
    values = [_values(file, group, rate) for group, rate in zip(groups, rates, strict=True)]
    pieces = stretches(onsets_s, header.record_s)
    for number, (first, stop) in enumerate(pieces, start=1):
        stretch = id if len(pieces) == 1 else f"{id}#{number}"
        begin_s = float(onsets_s[first] - onsets_s[0])
        end_s = begin_s + (stop - first) * header.record_s
        start = later(header.clock, float(np.floor(onsets_s[first])))
        for group, rate, rows in zip(groups, rates, values, strict=True):
            rate_hz = rate / header.record_s
            yield Recording(
                id=stretch if len(rates) == 1 else f"{stretch}/{rate_hz:g}Hz",
                subject=subject,
                values=rows[:, first * rate : stop * rate],
                channels=tuple(signal.name for signal in group),
                units=tuple(signal.unit for signal in group),
                rate_hz=rate_hz,
                start=start if header.dated else None,
                spans=spans_between(spans, begin_s, end_s),
                attributes=_attributes(header),
                multirate_id=None if len(rates) == 1 else stretch,
            )


def _values(file: EdfFile, signals: list[Signal], per_record: int) -> np.ndarray:
    """Samples (C, T) of signals of one rate."""
    values = np.empty((len(signals), file.header.records * per_record))
    for row, signal in enumerate(signals):
        values[row] = file.samples(signal)
    return values


def _spans_beside(header: Header, onset_s: float, beside: Beside) -> tuple[Span, ...]:
    """Annotations in the companion file, in seconds from the first sample of the signals."""
    other = read_header(_companion(header.path, beside))
    if header.clock is None or other.clock is None:
        raise DataError(
            f"Files are aligned by the start in their headers: {header.path} states "
            f"{header.clock}, {other.path} states {other.clock}. Repair the header."
        )
    file = EdfFile(other)
    lag_s = float((other.clock - header.clock) / np.timedelta64(1, "s")) - onset_s
    lag_s += float(file.onsets_s()[0])
    spans = tuple(
        Span(span.start_s + lag_s, span.stop_s + lag_s, span.label) for span in file.annotations()
    )
    if not any(span.overlaps(0.0, header.duration_s) for span in spans):
        raise DataError(
            f"Annotations overlap in time with their signals: {other.path} begins {other.clock} "
            f"and has {len(spans)}, none of them within the {header.duration_s:g} s of "
            f"{header.path} from {header.clock} on. Correct data.reader.annotations."
        )
    return spans


def _companion(path: Path, beside: Beside) -> Path:
    """The file with the annotations of a record."""
    files = [file for file in sorted(visible(path.parent, beside.files)) if file != path]
    files = [file for file in files if file.parent == path.parent]
    rule = f"is called '{beside.files}'"
    if beside.key is not None:
        key = group_in(beside.key, path.name)
        files = [file for file in files if key and group_in(beside.key, file.name) == key]
        rule += f" and shares '{key}' with it" if key else f"; '{beside.key}' is not in its name"
    if len(files) != 1:
        shown = ", ".join(file.name for file in files[:4]) or "none"
        raise DataError(
            f"data.reader.annotations: one file beside {path} {rule}; found {shown}. Correct "
            "files or key, or leave the record out with `records`."
        )
    return files[0]


def _attributes(header: Header) -> dict[str, str | float]:
    """Sex and age in years, where the header states them."""
    attributes: dict[str, str | float] = {} if header.sex is None else {"sex": header.sex}
    if header.born is not None and header.clock is not None and header.dated:
        year = header.clock.astype("datetime64[Y]").astype(int) + 1970
        attributes["age"] = float(year - header.born)
    return attributes
