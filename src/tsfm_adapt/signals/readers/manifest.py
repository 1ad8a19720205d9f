"""A folder of files with a table that lists them: subject, split, start, labels and attributes.

Any reader of files reads the listed ones, each by itself. What the table states of a file replaces
what the file states, or is added to it. Files that are not listed are not read.
"""

from __future__ import annotations

import csv
import glob
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, JsonValue, ValidationError, WithJsonSchema, field_validator

from tsfm_adapt.components import config_class, configs, require
from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._heads import head
from tsfm_adapt.signals.readers._tables.cells import Table, moment
from tsfm_adapt.signals.readers._tables.spelling import MISSING
from tsfm_adapt.signals.readers._tables.text import Dialect, read_text
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import Attributes, IrregularReadings, Labels, Recording

_TABLES = ("manifest.csv", "manifest.tsv")
_FILES = ("file", "filename", "file_name", "path", "record")
# A setting of a reader; in Python also a tuple. The reader's own schema checks it.
Setting = Annotated[JsonValue | tuple[JsonValue, ...], WithJsonSchema({})]

_SUBJECTS = ("subject", "subject_id", "patient", "patient_id", "participant_id")


class Config(ReaderConfig):
    """Reads the listed files in the table's order; recordings get the table's id of their file.

    Without a column of ids, the id is the path below the root, without the suffix. Where a file
    holds several recordings, the id of each is appended.
    """

    name: Literal["manifest"] = "manifest"
    root: str = Field(description="the folder that holds the table and the files")
    table: str = Field("manifest.csv", description="the table's path below the root, .csv or .tsv")
    reader: dict[str, Setting] = Field(
        description="the reader of each file with its settings, but without root"
    )
    file: str = Field("file", description="column: the file's path below the root")
    subject: str | None = Field("subject", description="column; null = as the reader says")
    id: str | None = Field(None, description="column; null = the file's path")
    part: str | None = Field(None, description="column with train, val or test; null = none")
    start: str | None = Field(None, description="column with the time of the file's first sample")
    attributes: tuple[str, ...] = Field((), description="columns")
    labels: tuple[str, ...] = Field((), description="columns")

    @field_validator("reader")
    @classmethod
    def _reads_single_files(cls, settings: dict[str, Setting]) -> dict[str, Setting]:
        _reader_of(settings, ".")
        return settings

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by a manifest.csv or .tsv whose first file some reader recognises."""
        table = next((path / name for name in _TABLES if (path / name).is_file()), None)
        if table is None:
            return None
        rows = list(csv.reader(head(table).splitlines()[:2], delimiter=_delimiter(table)))
        if len(rows) < 2 or len(rows[0]) != len(rows[1]):
            return None
        first = {name.strip(): cell.strip() for name, cell in zip(*rows, strict=True)}
        column = next((name for name in _FILES if name in first), None)
        inner = None if column is None else _recognised(path / first[column])
        if inner is None:
            return None
        columns = {"file": column, "subject": next((n for n in _SUBJECTS if n in first), None)}
        columns |= {name: name for name in ("id", "part", "start") if name in first}
        return cls.model_validate(
            {
                "root": str(path),
                "table": table.name,
                "reader": inner,
                **columns,
                "attributes": [name for name in first if name not in columns.values()],
            }
        )

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        """Yields the recordings file by file; the table is checked first."""
        root = resolve_root(self.root)
        require("reader", str(self.reader["name"]))
        for row in self._rows(root):
            items = list(_reader_of(self.reader, str(row.path)).read(channels))
            single = len({item.multirate_id or item.id for item in items}) == 1
            yield from (row.applied(item, single) for item in items)

    def _rows(self, root: Path) -> list[_Row]:
        """The table's rows, with files and ids that differ."""
        if not root.is_dir():
            raise DataError(
                f"data.reader.root is a folder with a table of its files: {root} is a file. "
                f"Give its folder, or read it with {self.reader['name']} itself."
            )
        path = root / self.table
        if not path.is_file():
            beside = sorted(p.name for p in path.parent.glob("*") if p.suffix in (".csv", ".tsv"))
            raise DataError(
                f"data.reader.table: {path} does not exist; tables there are: "
                f"{', '.join(beside[:8]) or 'none'}. Correct root or table."
            )
        table = read_text(path, Dialect(delimiter=_delimiter(path)))
        for field in ("file", "subject", "id", "part", "start"):
            column = getattr(self, field)
            table.require([column] if column else [], field)
        table.require(self.attributes, "attributes")
        table.require(self.labels, "labels")
        if not table.rows:
            raise DataError(f"A manifest lists at least one file: {path} has a header only.")
        rows = [self._row(root, table, number) for number in range(table.rows)]
        for column, keys in (
            (self.file, [row.path.resolve() for row in rows]),
            (self.id or self.file, [row.id for row in rows]),
        ):
            first = {key: number for number, key in reversed(list(enumerate(keys)))}
            for number, key in enumerate(keys):
                if first[key] != number:
                    raise table.broken(
                        number, column, f"expected another than in row {first[key] + 2}"
                    )
        return rows

    def _row(self, root: Path, table: Table, number: int) -> _Row:
        """One row, checked."""

        def cell(column: str | None) -> str:
            return "" if column is None else str(table.columns[column][number]).strip()

        for column in (self.file, self.subject, self.id):
            if column and not cell(column):
                raise table.broken(number, column, "expected a name")
        path = _below(root, table, number, self.file)
        start, split_name = cell(self.start), cell(self.part)
        if self.part and split_name not in ("train", "val", "test"):
            raise table.broken(number, self.part, "expected train, val or test")
        try:
            first_sample = None if start in MISSING else moment(start)
        except ValueError:
            rule = "expected a time like 2014-02-03 08:42:12"
            raise table.broken(number, self.start or "", rule) from None
        listed = Path(cell(self.file))
        cells = {name: cell(name) for name in (*self.attributes, *self.labels)}
        known = {name: _plain(text) for name, text in cells.items() if text not in MISSING}
        return _Row(
            path=path,
            id=cell(self.id) or (listed.with_suffix("") if path.is_file() else listed).as_posix(),
            subject=cell(self.subject) or None,
            start=first_sample,
            attributes={name: known[name] for name in self.attributes if name in known},
            labels={name: _whole(known[name]) for name in self.labels if name in known}
            | ({"part": split_name} if split_name else {}),
        )


@dataclass(frozen=True)
class _Row:
    """One row of the table: a file and what is stated of it."""

    path: Path
    id: str
    subject: str | None  # None = as in the file
    start: np.datetime64 | None  # None = as in the file
    attributes: Attributes
    labels: Labels

    def applied(
        self, item: Recording | IrregularReadings, single: bool
    ) -> Recording | IrregularReadings:
        """A recording of the file with the row's id, subject, start, attributes and labels.

        Args:
            item: as read from the file.
            single: the file holds one recording, perhaps at several rates.
        """
        stretch = item.multirate_id or item.id
        name = self.id if single else f"{self.id}/{stretch}"
        return replace(
            item,
            id=name + item.id.removeprefix(stretch),
            multirate_id=None if item.multirate_id is None else name,
            subject=self.subject or item.subject,
            start=item.start if self.start is None else self.start,
            attributes={**item.attributes, **self.attributes},
            labels={**item.labels, **self.labels},
        )


def _reader_of(settings: Mapping[str, Setting], root: str) -> ReaderConfig:
    """The reader of one file; ValueError where the settings are not a reader's of files."""
    name = settings.get("name")
    known = [n for n, config in configs("reader").items() if "root" in config.model_fields]
    if name not in known or name == "manifest":
        hint = closest(str(name), known)
        raise ValueError(
            f"name is that of a reader of files, found {name!r}.{hint} Known: "
            f"{', '.join(n for n in known if n != 'manifest')}"
        )
    if "root" in settings:
        raise ValueError("root is each file of the table in turn; leave it out")
    config = config_class("reader", name)
    try:
        return config.model_validate({**settings, "root": root})  # type: ignore[no-any-return]
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(key) for key in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = closest(where, config.model_fields)
            raise ValueError(f"{where} is no setting of the reader {name}.{hint}") from None
        message = first["msg"].removeprefix("Value error, ")
        raise ValueError(f"{where}: {message}" if where else message) from None


def _recognised(path: Path) -> dict[str, Setting] | None:
    """Settings, without root, of a reader that recognises a file; special readers go first."""
    recognised = []
    for name, config in configs("reader").items():
        guessed = None if name == "manifest" or not path.exists() else config.guess(path)
        if guessed is not None:
            recognised.append((config.general, guessed))
    if not recognised:
        return None
    guessed = min(recognised, key=lambda pair: pair[0])[1]
    settings: dict[str, Setting] = guessed.model_dump(
        mode="json", exclude_defaults=True, exclude={"root"}
    )
    return {"name": guessed.name, **settings}


def _below(root: Path, table: Table, number: int, column: str) -> Path:
    """The path of a listed file, which must lie below the root, links resolved."""
    text = str(table.columns[column][number]).strip()
    path = root / text
    try:
        inside = root.resolve() in path.resolve().parents
    except (OSError, RuntimeError, ValueError):  # a loop of links, or no path at all
        inside = False
    if Path(text).is_absolute() or not inside:
        raise table.broken(number, column, f"expected a path that stays below {root}")
    if not path.exists() and not any(path.parent.glob(f"{glob.escape(path.name)}.*")):
        raise table.broken(number, column, f"expected a file that exists below {root}")
    return path


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _plain(text: str) -> str | float:
    try:
        number = float(text)
    except ValueError:
        return text
    return number if math.isfinite(number) else text


def _whole(value: str | float) -> str | int | float:
    return int(value) if isinstance(value, float) and value.is_integer() else value
