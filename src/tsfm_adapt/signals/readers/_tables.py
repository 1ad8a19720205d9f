"""Base of the readers of tables (CSV, Parquet): long or wide, one subject or many."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._cells import Table
from tsfm_adapt.signals.readers._columns import FirstRows, TableSettings, settings_of
from tsfm_adapt.signals.readers._heads import some_files
from tsfm_adapt.signals.readers._layouts import readings_of_long, readings_of_wide, regular_of_wide
from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers._records import Columns, records
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import IrregularReadings, Recording

_TIME_FORMATS = ("auto", "seconds", "unix", "clock", "iso")


class TableConfig(ReaderConfig):
    """Reads each record of a table as irregular readings, or as samples where `rate_hz` is set.

    A record is the rows that share subject and record. Its id is made of the file's path below
    the root (where the root is a folder), subject and record. Timestamps with an offset become
    UTC. Rows of one time stay separate readings, in the file's order.
    """

    suffix: ClassVar[str]
    general: ClassVar[bool] = True

    root: str = Field(description="a file, or a folder of such files")
    layout: Literal["long", "wide"] = Field(description="one row a reading, or one row a time")
    time: str = Field("time", description="column")
    time_format: str = Field(
        "auto",
        description="auto; seconds or clock (HH:MM) since the record's zero; unix; iso; or a "
        "strptime pattern like %d/%m/%Y %H:%M",
    )
    subject: str | None = Field(None, description="column; null = the file's name")
    record: str | None = Field(None, description="column; null = one record a subject and file")
    channel: str = Field("channel", description="long: the column with the channel's name")
    value: str = Field("value", description="long: the column with the reading")
    unit: str | None = Field(None, description="long: the column with the reading's unit")
    units: dict[str, str] = Field({}, description="channel: unit; in wide tables the columns read")
    attributes: tuple[str, ...] = Field((), description="columns, constant over a record")
    labels: tuple[str, ...] = Field((), description="columns, constant over a record")
    missing_values: tuple[str | float, ...] = Field(
        (), description="cells that mean missing, besides empty, NA, NaN, null and None"
    )
    rate_hz: RateHz | None = Field(
        None,
        description="wide: one row a sample at this rate, checked; null = time-stamped readings",
    )

    @field_validator("time_format")
    @classmethod
    def _known_format(cls, value: str) -> str:
        if value not in _TIME_FORMATS and "%" not in value:
            raise ValueError(f"is one of {', '.join(_TIME_FORMATS)}, or a pattern with %")
        return value

    @model_validator(mode="after")
    def _units_are_stated(self) -> TableConfig:
        if not all(unit.strip() for unit in self.units.values()):
            raise ValueError("units: state a unit for every channel; '1' where there is none")
        if self.layout == "wide" and (self.unit is not None or not self.units):
            raise ValueError("a wide table needs `units`, one for each column to read, not `unit`")
        if self.layout == "long" and (self.unit is None) == (not self.units):
            raise ValueError("a long table needs either `unit`, a column, or `units`")
        if self.layout == "long" and self.rate_hz is not None:
            raise ValueError("rate_hz: only wide tables have one row a sample")
        return self

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by the headers and first rows of up to three files, which must agree.

        Units are read from brackets after a column's name; '1' where there are none.
        """
        files = some_files(path, (cls.suffix,), most=3)
        settings: TableSettings = {}
        for file in files:
            rows = cls.first_rows(file)
            of_file = settings_of(rows.cells, rows.time_columns) if rows and rows.cells else None
            if rows is None or of_file is None:
                return None
            of_file = {**of_file, **rows.settings}
            units = settings.get("units", {}) | of_file.get("units", {})
            words = {*settings.get("missing_values", ()), *of_file.get("missing_values", ())}
            if settings and any(
                settings.get(key) != of_file.get(key)
                for key in {*settings, *of_file} - {"units", "missing_values"}
            ):
                return None
            settings = of_file
            if units:
                settings["units"] = units
            if words:
                settings["missing_values"] = tuple(sorted(words))
        if not files:
            return None
        root = str(files[0] if len(files) == 1 else path)
        return cls.model_validate({"root": root, **settings})

    @classmethod
    @abstractmethod
    def first_rows(cls, path: Path) -> FirstRows | None:
        """The first rows of a file; None = not such a file, or its rows are too long."""

    @abstractmethod
    def load(self, path: Path) -> Table:
        """Reads the columns of a file.

        Raises:
            DataError: not such a file.
        """

    def files(self) -> list[Path]:
        """The file, or the tables in the folder, sorted by path."""
        root = resolve_root(self.root)
        return [root] if root.is_file() else sorted(_visible(root, self.suffix))

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        """Yields the records, files in order of their names, sorted by id within a file."""
        root = resolve_root(self.root)
        paths = self.files()
        if not paths:
            raise DataError(
                f"A folder of tables holds *{self.suffix} files: {root} has none. "
                "Set data.reader.root to the folder or file that is meant."
            )
        for path in paths:
            below = path.relative_to(root).with_suffix("").as_posix() if path != root else ""
            yield from self._recordings(self.load(path), below, channels)

    def _recordings(
        self, table: Table, below: str, channels: tuple[str, ...]
    ) -> Iterator[Recording | IrregularReadings]:
        missing = tuple(str(value) for value in self.missing_values)
        columns = Columns(
            time=self.time,
            time_format=self.time_format,
            subject=self.subject,
            record=self.record,
            attributes=self.attributes,
            labels=self.labels,
        )
        rows_by_record = records(table, columns, below)
        if self.layout == "long":
            return readings_of_long(
                table,
                rows_by_record,
                channels,
                self.channel,
                self.value,
                self.unit or self.units,
                missing,
            )
        if self.rate_hz is None:
            return readings_of_wide(table, rows_by_record, channels, self.units, missing)
        return regular_of_wide(
            table, rows_by_record, channels, self.units, missing, self.time, self.rate_hz
        )


def _visible(root: Path, suffix: str) -> Iterator[Path]:
    """The visible files below a folder; notebooks keep hidden copies."""
    for path in root.rglob(f"*{suffix}"):
        if not any(name.startswith(".") for name in path.relative_to(root).parts):
            yield path
