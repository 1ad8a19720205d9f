"""Base of the readers of tables (CSV, Parquet, ...): settings, files, subjects, joined files."""

from __future__ import annotations

import json
import os
import posixpath
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, JsonValue, field_validator, model_validator

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import by_suffix, files_below, matching, unread
from tsfm_adapt.signals.readers._files import one_group
from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers._tables.cells import Table, Undecided
from tsfm_adapt.signals.readers._tables.dialect import Sample
from tsfm_adapt.signals.readers._tables.gaps import filled_down, renamed, timed, together
from tsfm_adapt.signals.readers._tables.guess import settings_of_files
from tsfm_adapt.signals.readers._tables.joined import joined
from tsfm_adapt.signals.readers._tables.layouts import Layout, Plan, read_table
from tsfm_adapt.signals.readers._tables.order import Backward
from tsfm_adapt.signals.readers._tables.paths import commonest, in_path, without_suffix
from tsfm_adapt.signals.readers._tables.records import Columns
from tsfm_adapt.signals.readers._tables.repeats import SHARE, Duplicates
from tsfm_adapt.signals.readers._tables.spelling import Censored, Spelling
from tsfm_adapt.signals.readers._tables.times import FORMATS, TimeColumns
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import IrregularReadings, Recording


class TableConfig(ReaderConfig):
    """Reads each record of a table as irregular readings, or as samples where `rate_hz` is set.

    A record is the rows that share subject and record. Its id is made of the file's path below
    the root (where the root is a folder), subject and record. Timestamps with an offset become
    UTC. Rows of one time stay separate readings, in the file's order, unless `duplicates` merges
    them.
    """

    patterns: ClassVar[tuple[str, ...]]  # of the names of such files, in lower case
    guessed_patterns: ClassVar[tuple[str, ...]] = ()  # of names that may be such files
    general: ClassVar[bool] = True

    root: str = Field(description="a file, or a folder of such files")
    pattern: str | None = Field(
        None, description="of the names in a folder, like *.txt; upper and lower case are equal"
    )
    layout: Layout = Field(
        description="one row a reading (long), a time (wide), a time with a column a subject "
        "(subjects), or one row a recording (trials)"
    )
    time: str | None = Field("time", description="column; null = rows are samples at rate_hz")
    date: str | None = Field(None, description="column with the day, where `time` is a clock")
    time_format: str = Field(
        "auto",
        description="auto; seconds, milliseconds, microseconds, minutes, hours, days or clock "
        "(HH:MM) since the record's zero; unix, unix_ms, unix_us, unix_ns, excel, matlab; iso; or "
        "a strptime pattern like %d/%m/%Y %H:%M",
    )
    time_zone: str | None = Field(
        None, description="IANA name of the zone of stamps without an offset, like Europe/Berlin"
    )
    backward: Backward | None = Field(
        None,
        description="what a step back in time is, in the file's order: sort (rows are unsorted), "
        "midnight, summer_time (its end), session (a new record); null = only what is sure",
    )
    duplicates: Duplicates | None = Field(
        None,
        description="of several readings of one channel and time: median, first, last or mean, "
        "or packets (one stamp for several samples, spread at the nominal rate); null = more than "
        f"{SHARE:.0%} stop",
    )
    subject: str | tuple[str, ...] | None = Field(
        None, description="column, or columns that say it together; null = the file's name"
    )
    subject_pattern: str | None = Field(
        None,
        description="regular expression; its one group in the file's path below the root is the "
        "subject",
    )
    channel_pattern: str | None = Field(
        None,
        description="wide: regular expression; its one group in the file's path below the root is "
        "the channel that the column `value` holds",
    )
    record: str | None = Field(None, description="column; null = one record a subject and file")
    fill_down: tuple[str, ...] = Field(
        (), description="columns that are filled once a block: empty cells hold what is above"
    )
    untimed: Literal["error", "skip"] = Field("error", description="of rows without a time")
    join: bool = Field(
        False,
        description="files of a subject, or of a folder where no subject is known, that hold "
        "other channels are one recording",
    )
    channel: str = Field(
        "channel",
        description="long: the column with the channel's name; subjects: the channel, where the "
        "file is not called by one of `units`",
    )
    value: str = Field(
        "value", description="long: the column with the reading; trials: the channel"
    )
    unit: str | None = Field(None, description="the column with the reading's unit")
    units: dict[str, str] = Field({}, description="channel: unit; in wide tables the columns read")
    units_by_subject: dict[str, dict[str, str]] = Field(
        {}, description="subject: {channel: unit}, where theirs differ"
    )
    attributes: tuple[str, ...] = Field((), description="columns, constant over a record")
    labels: tuple[str, ...] = Field((), description="columns, constant over a record")
    row_labels: tuple[str, ...] = Field(
        (), description="columns that label rows; runs of one value become spans"
    )
    ignored: dict[str, str] = Field(
        {}, description="column, or channel of a long table: why it is not read"
    )
    missing_values: tuple[str | float, ...] = Field(
        (), description="cells that mean missing, besides empty, NA, NaN, null and None"
    )
    censored: Censored = Field(
        "error",
        description="cells beyond a sensor's range, '>400' or 'Low': limit (the number; a word is "
        "missing), missing, or error",
    )
    unit_in_cells: bool = Field(False, description="cells like '7.2 mmol/L'")
    rate_hz: RateHz | None = Field(
        None,
        description="one row a sample at this rate, checked against the times where there are "
        "some; null = time-stamped readings",
    )

    @field_validator("time_format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in FORMATS and "%" not in value:
            raise ValueError(f"is one of {', '.join(FORMATS)}, or a pattern with %")
        return value

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        from zoneinfo import ZoneInfo

        try:
            return value if value is None else ZoneInfo(value).key
        except (OSError, ValueError, KeyError):
            raise ValueError(f"'{value}' is no time zone; give one like Europe/Berlin") from None

    @field_validator("subject_pattern", "channel_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        return None if pattern is None else one_group(pattern)

    @model_validator(mode="after")
    def _fields_fit(self) -> Self:
        if not all(unit.strip() for unit in self.units.values()):
            raise ValueError("units: state a unit for every channel; '1' where there is none")
        if self.layout == "wide" and not self.units:
            raise ValueError("a wide table needs `units`, one for each column to read")
        if self.layout == "wide" and self.unit is not None and len(self.units) > 1:
            raise ValueError("unit: a wide table has a column of units for one channel only")
        if self.layout == "long" and (self.unit is None) == (not self.units):
            raise ValueError("a long table needs either `unit`, a column, or `units`")
        if self.layout in ("long", "subjects") and self.rate_hz is not None:
            raise ValueError("rate_hz: only wide tables and trials have one row a sample")
        if self.layout == "trials" and (self.rate_hz is None or self.time is not None):
            raise ValueError("trials have `rate_hz`, and `time: null`")
        if self.time is None and self.rate_hz is None:
            raise ValueError("rate_hz: without a column of times the samples a second are needed")
        if self.join and self.rate_hz is not None:
            raise ValueError("join: files are joined by their times; leave rate_hz out")
        if self.subject is not None and self.subject_pattern is not None:
            raise ValueError("the subject is a column or in the file's path, not both")
        return self

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by names, first rows and values of a few files.

        Raises:
            Undecided: a table whose settings are not sure; the text has a line to paste.
        """
        every = files_below(path)
        pattern, files = commonest(every, cls.guessed_patterns or cls.patterns)
        if not files:
            return None
        root = files[0] if len(files) == 1 else path
        own: dict[str, JsonValue] = {}
        if root.is_dir() and pattern not in cls.patterns:
            own["pattern"] = pattern
        try:
            parts = [part for file in files for part in cls.parts(file)]
            settings = settings_of_files(path if path.is_dir() else path.parent, parts, cls.sample)
        except Undecided as problem:
            if path.is_dir() and pattern not in cls.patterns:
                own["pattern"] = pattern
            raise cls._with_line(problem, {**own, **problem.settings}) from problem
        return cls.model_validate({"root": str(root), **own, **cls.completed(settings)})

    @classmethod
    def parts(cls, path: Path) -> list[Path]:
        """What `sample` takes for the tables of a file; by default the file is one.

        Raises:
            DataError: the file holds none.
            Undecided: it holds several that do not belong together.
        """
        return [path]

    @classmethod
    def completed(cls, settings: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Guessed settings, with what follows from them in this format."""
        return settings

    @classmethod
    @abstractmethod
    def sample(cls, path: Path) -> Sample:
        """The first rows of a file, and how it is written.

        Raises:
            DataError: it is no table.
        """

    @abstractmethod
    def load(self, path: Path) -> Table:
        """Reads the columns of a file.

        Raises:
            DataError: not such a file.
        """

    def tables(self, path: Path) -> Iterator[Table]:
        """The rows of a file in parts, each with whole records; by default all of them."""
        yield self.load(path)

    @property
    def spelling(self) -> Spelling:
        """How numbers are written."""
        missing = tuple(str(value) for value in self.missing_values)
        return Spelling(missing=missing, censored=self.censored, unit_in_cells=self.unit_in_cells)

    @property
    def names_subjects(self) -> bool:
        """True where a column or a pattern says who was recorded."""
        return (
            self.subject is not None
            or self.subject_pattern is not None
            or self.layout in ("subjects",)
        )

    def files(self) -> list[Path]:
        """The file, or the tables in the folder, sorted by path."""
        root = resolve_root(self.root)
        return self._fitting(root, files_below(root))

    def _fitting(self, root: Path, every: list[Path]) -> list[Path]:
        if root.is_file():
            return every
        return matching(every, self.patterns if self.pattern is None else (self.pattern,))

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        """Yields the records, files in order of their names, sorted by id within a file."""
        try:
            items = self._items(channels)
            yield from joined(items) if self.join else items
        except Undecided as problem:
            own = self.model_dump(mode="json", exclude_defaults=True, exclude={"root"})
            raise self._with_line(problem, {**own, **problem.settings}) from problem

    def _items(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        root = resolve_root(self.root)
        every = files_below(root)
        paths = self._fitting(root, every)
        if not paths:
            raise DataError(
                f"A folder of tables holds {self.pattern or self.patterns[0]} files: {root} has "
                f"none ({by_suffix(every) or 'no file at all'}). "
                "Set data.reader.root to the folder or file that is meant."
            )
        plan = self._plan()
        others = {*every} - {*paths}
        above = len(str(root)) + 1
        for path in paths:
            below = without_suffix(str(path)[above:].replace(os.sep, "/"))
            own = plan
            whose = self._subject_of(below, path, root)
            if whose is not None:
                own = replace(plan, columns=replace(plan.columns, file_subject=whose))
            for number, loaded in enumerate(self.tables(path)):
                table = self._completed(loaded, below or path.name)
                if number == 0:
                    self._note_unread(table, own)
                    if others and path is paths[0]:
                        table.notes.update(unread(others))
                yield from read_table(table, own, channels, below)

    def _completed(self, table: Table, place: str) -> Table:
        """The table, as the settings name its channel, fill it or leave rows out."""
        if self.channel_pattern is not None:
            table.require([self.value], "value")
            table = renamed(table, self.value, in_path(self.channel_pattern, place, "channel"))
        if isinstance(self.subject, tuple):
            table.require(self.subject, "subject")
            table = together(table, self.subject)
        if self.fill_down:
            table.require(self.fill_down, "fill_down")
            table = filled_down(table, self.fill_down)
        if self.untimed == "skip" and self.time is not None and self.time in table.columns:
            table = timed(table, self.time)
        return table

    @property
    def subject_columns(self) -> tuple[str, ...]:
        """The columns that say the subject together; () = none does."""
        if self.subject is None or isinstance(self.subject, tuple):
            return self.subject or ()
        return (self.subject,)

    def _plan(self) -> Plan:
        times = None
        if self.time is not None:
            times = TimeColumns(self.time, self.time_format, self.date, self.time_zone)
        columns = Columns(
            times=times,
            subject="/".join(self.subject_columns) or None,
            record=self.record,
            series=self.channel if self.layout == "long" else None,
            attributes=self.attributes,
            labels=self.labels,
            row_labels=self.row_labels,
            backward=self.backward,
            packets=self.duplicates == "packets",
            rate_hz=self.rate_hz or 1.0,
        )
        return Plan(
            layout=self.layout,
            columns=columns,
            channel=self.channel,
            value=self.value,
            unit=self.unit,
            units=self.units,
            units_by_subject=self.units_by_subject,
            ignored=frozenset(self.ignored),
            duplicates=self.duplicates,
            rate_hz=self.rate_hz,
        )

    def _subject_of(self, below: str, path: Path, root: Path) -> str | None:
        """The subject that a file's path says; None = it says none."""
        if self.subject_pattern is None:
            together = self.join and self.subject is None and self.layout != "subjects"
            return posixpath.dirname(below) or root.name if together else None
        place = below or path.name
        return in_path(self.subject_pattern, place, "subject")

    def _note_unread(self, table: Table, plan: Plan) -> None:
        """Notes the columns that are neither read nor ignored with a reason."""
        if self.layout in ("subjects", "trials"):
            return
        known = plan.used | self.ignored.keys() | {*self.subject_columns}
        left = [name for name in table.columns if name not in known]
        if left:
            more = f" and {len(left) - 8} more" if len(left) > 8 else ""
            table.notes[
                f"file(s) with columns that are not read: {', '.join(left[:8])}{more}"
            ] += 1

    @classmethod
    def _with_line(cls, problem: Undecided, settings: Mapping[str, JsonValue]) -> DataError:
        """The error with the line that would go on."""
        name = cls.model_fields["name"].default
        line = json.dumps({"name": name, **cls.completed(settings)}, ensure_ascii=False)
        return DataError(f"{problem} To go on with the likeliest", remedy=f"reader={line}")
