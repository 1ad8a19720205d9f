"""What readers have in common whose files are a record each: which, whose, and when."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from pydantic import Field, field_validator

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root


class FilesConfig(ReaderConfig):
    """One file, or the visible files of a folder and of those below it, through no link.

    A record's id is its path below the root without the suffix, or the name of the one file.
    """

    root: str = Field(description="a file, or a folder that is searched")
    pattern: str = Field(description="of the names in a folder; capitals do not matter")
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
        """Every file that fits by id, sorted.

        Raises:
            DataError: there is none, or two would share an id.
        """
        root = resolve_root(self.root)
        if not root.is_dir():
            return {root.stem: root}
        found: dict[str, Path] = {}
        for path in sorted(visible(root, self.pattern)):
            id = path.relative_to(root).with_suffix("").as_posix()
            if id in found:
                raise DataError(
                    f"Files of one folder differ by more than their suffix: {found[id]} and "
                    f"{path} would share an id. Rename one, or narrow data.reader.pattern."
                )
            found[id] = path
        if not found:
            raise DataError(
                f"data.reader.root: {root} and the folders below hold no visible file called "
                f"'{self.pattern}'. Correct the folder, or data.reader.pattern."
            )
        return found

    def picked(self, found: Mapping[str, Path]) -> dict[str, Path]:
        """Those of the files that `records` names.

        Raises:
            DataError: a name is that of no file or of several.
        """
        if self.records is None:
            return dict(found)
        picked = set()
        for record in self.records:
            fitting = [id for id, path in found.items() if record in (id, path.stem, path.name)]
            if len(fitting) != 1:
                raise DataError(
                    f"data.reader.records: '{record}' names {len(fitting)} of the {len(found)} "
                    f"records below {self.root}, not one.{closest(record, found)} "
                    "Use the path below the root, without the suffix."
                )
            picked.update(fitting)
        return {id: path for id, path in found.items() if id in picked}

    def subject(self, id: str) -> str:
        """Whose record it is.

        Raises:
            DataError: the pattern finds nothing.
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


def one_group(pattern: str) -> str:
    """A regular expression as it is; ValueError where it has not exactly one group."""
    try:
        groups = re.compile(pattern).groups
    except re.error as problem:
        raise ValueError(f"not a regular expression: {problem}") from None
    if groups != 1:
        raise ValueError(f"has {groups} groups, needs one, for example '^(s[0-9]+)-'")
    return pattern


def group_in(pattern: str, text: str) -> str | None:
    """What the pattern's one group finds; None where it finds nothing."""
    match = re.search(pattern, text)
    return None if match is None else match.group(1)


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """Files below a folder whose names fit, none hidden, through no link to a folder."""
    for path in folder.rglob("*"):
        if (
            fnmatchcase(path.name.lower(), pattern.lower())
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
            and not path.is_dir()
        ):
            yield path


def distinct(names: Iterable[str]) -> list[str]:
    """Names for all channels: 'signal 0' where none is given, 'ECG#2' for a second ECG."""
    seen: dict[str, int] = {}
    told_apart = []
    for index, given in enumerate(names):
        name = given or f"signal {index}"
        seen[name] = seen.get(name, 0) + 1
        told_apart.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return told_apart


@dataclass(frozen=True)
class Stretch:
    """When a file was recorded."""

    path: Path
    subject: str
    start: np.datetime64
    duration_s: float


def refuse_overlaps(stretches: Iterable[Stretch]) -> None:
    """Stops where a subject would be in two places at once: the clocks or the names are wrong.

    Files that state the very same start are let through: whoever removed the dates from a data
    set often wrote one start into all its files.

    Raises:
        DataError: naming the two files and their times.
    """
    last: dict[str, Stretch] = {}
    for stretch in sorted(stretches, key=lambda s: (s.subject, s.start, s.path)):
        before = last.get(stretch.subject)
        if before is not None and before.start != stretch.start:
            lag_s = float((stretch.start - before.start) / np.timedelta64(1, "s"))
            if lag_s < before.duration_s - 1:  # starts are in whole seconds
                raise DataError(
                    f"Files of one subject follow each other in time: of '{stretch.subject}', "
                    f"{before.path} begins {before.start} and lasts {before.duration_s:g} s, "
                    f"{stretch.path} begins {stretch.start}. Correct "
                    "data.reader.subject_pattern, or read one of them with `records`."
                )
        last[stretch.subject] = stretch
