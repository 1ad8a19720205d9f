"""Base of readers with one record a file: finding files, subjects and overlaps in time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import translate
from pathlib import Path
from typing import TypeVar

import numpy as np
from pydantic import Field, field_validator

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.listing import visible
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import IrregularReadings, Notes, Recording

_Item = TypeVar("_Item", Recording, IrregularReadings, Recording | IrregularReadings)


@dataclass(frozen=True)
class Found:
    """The files below a root."""

    records: Mapping[str, Path]  # whose names fit, by id, sorted
    others: tuple[Path, ...] = field(default=())


class FilesConfig(ReaderConfig):
    """Reads one file, or the visible files in a folder and below; links to folders are followed.

    A record's id is its path below the root without the suffix, or the name of the one file.
    """

    root: str = Field(description="a file, or a folder that is searched")
    pattern: str = Field(description="of the names in a folder; upper and lower case are equal")
    records: tuple[str, ...] | None = Field(None, description="ids or names to read; null = all")
    subject_pattern: str | None = Field(
        None, description="regular expression; its one group in the id is the subject; null = id"
    )

    @field_validator("subject_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else one_group(pattern)

    def files(self) -> Iterable[Path]:
        """The records' files."""
        return [path for path in self.picked(self.find()).values() if path.is_file()]

    def find(self) -> dict[str, Path]:
        """The files whose names fit, by id, sorted.

        Raises:
            DataError: there is none, or two share an id.
        """
        return dict(self.listed().records)

    def listed(self) -> Found:
        """The files whose names fit, and the other visible ones below the root.

        Raises:
            DataError: none fits, or two that do share an id.
        """
        root = resolve_root(self.root)
        if not root.is_dir():
            return Found({root.stem: root})
        files: dict[str, Path] = {}
        others: list[Path] = []
        fits = re.compile(translate(self.pattern.lower())).match
        for path in sorted(visible(root, "*")):
            if not fits(path.name.lower()):
                others.append(path)
                continue
            id = path.relative_to(root).with_suffix("").as_posix()
            if id in files:
                raise DataError(
                    f"Files of one folder differ by more than their suffix: {files[id]} and "
                    f"{path} would share an id. Rename one, or narrow data.reader.pattern."
                )
            files[id] = path
        if not files:
            raise DataError(
                f"data.reader.root: {root} and the folders below hold no visible file called "
                f"'{self.pattern}'. Correct the folder, or data.reader.pattern."
            )
        return Found(files, tuple(others))

    def picked(self, files: Mapping[str, Path]) -> dict[str, Path]:
        """The files that `records` names.

        Raises:
            DataError: a name fits no file, or several.
        """
        return picked(files, self.records, self.root, "the suffix")

    def subject_of(self, id: str) -> str:
        """The subject of a record, by its id.

        Raises:
            DataError: `subject_pattern` does not match the id.
        """
        if self.subject_pattern is None:
            return id
        subject = group_in(self.subject_pattern, id)
        if not subject:
            raise DataError(
                f"data.reader.subject_pattern: '{self.subject_pattern}' finds no subject in the "
                f"record '{id}'. Change the pattern, or leave the record out with `records`."
            )
        return subject


def picked(
    files: Mapping[str, Path], records: tuple[str, ...] | None, root: str, suffix: str
) -> dict[str, Path]:
    """The files, by id, that the setting `records` names; all where it is None.

    Args:
        files: all there are, by id.
        records: ids or names.
        root: as the recipe names it.
        suffix: what a name of `records` does without.

    Raises:
        DataError: a name fits no file, or several.
    """
    if records is None:
        return dict(files)
    chosen = set()
    for record in records:
        fitting = [id for id, path in files.items() if record in (id, path.stem, path.name)]
        if len(fitting) != 1:
            raise DataError(
                f"data.reader.records: '{record}' names {len(fitting)} of the {len(files)} "
                f"records below {root}, not one.{closest(record, files)} "
                f"Use the path below the root, without {suffix}."
            )
        chosen.update(fitting)
    return {id: path for id, path in files.items() if id in chosen}


def one_group(pattern: str) -> str:
    """Returns a regular expression; ValueError unless it has exactly one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as problem:
        raise ValueError(f"not a regular expression: {problem}") from None
    if groups != 1:
        raise ValueError(f"has {groups} groups, needs one, for example '^(s[0-9]+)-'")
    return pattern


def group_in(pattern: str, text: str) -> str | None:
    """The text in the pattern's one group; None = no match."""
    match = re.search(pattern, text)
    return None if match is None else match.group(1)


def first_noted(items: Iterable[_Item], notes: Notes) -> Iterator[_Item]:
    """The items; the first one has some more notes."""
    for number, item in enumerate(items):
        yield replace(item, notes={**item.notes, **notes}) if notes and not number else item


def distinct(names: Iterable[str]) -> list[str]:
    """Distinct channel names: 'signal 0' where none is given, 'ECG#2' for a second ECG."""
    counts: dict[str, int] = {}
    result = []
    for index, given in enumerate(names):
        name = given or f"signal {index}"
        counts[name] = counts.get(name, 0) + 1
        result.append(name if counts[name] == 1 else f"{name}#{counts[name]}")
    return result


@dataclass(frozen=True)
class FileTimes:
    """Subject, start and duration of a file."""

    path: Path
    subject: str
    start: np.datetime64
    duration_s: float


def refuse_overlaps(files: Iterable[FileTimes]) -> None:
    """Stops where files of a subject overlap in time: clocks or names are wrong.

    Files with the same start pass: data sets without dates often have one start in all files.

    Raises:
        DataError: two files overlap; the text has their names and times.
    """
    last: dict[str, FileTimes] = {}
    for file in sorted(files, key=lambda s: (s.subject, s.start, s.path)):
        before = last.get(file.subject)
        if before is not None and before.start != file.start:
            lag_s = float((file.start - before.start) / np.timedelta64(1, "s"))
            if lag_s < before.duration_s - 1:  # starts are in whole seconds
                raise DataError(
                    f"Files of one subject follow each other in time: of '{file.subject}', "
                    f"{before.path} begins {before.start} and lasts {before.duration_s:g} s, "
                    f"{file.path} begins {file.start}. Correct "
                    "data.reader.subject_pattern, or read one of them with `records`."
                )
        last[file.subject] = file
