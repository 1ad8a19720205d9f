"""Files of a BIDS dataset: the parts of a name, the sidecars that apply to it, columns of numbers.

Source: https://bids-specification.readthedocs.io, "Physiological recordings" and "The inheritance
principle".
"""

from __future__ import annotations

import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._tables.spelling import plain
from tsfm_adapt.signals.readers._tables.text import REPEATED, opened
from tsfm_adapt.signals.recording import FloatArray

_MISSING = ("n/a", "nan", "NaN")
_TOP = "dataset_description.json"


@dataclass(frozen=True)
class Name:
    """A file's name: `sub-01_task-rest_physio.tsv.gz` has two entities and the suffix physio."""

    entities: frozenset[tuple[str, str]]
    suffix: str

    @classmethod
    def of(cls, file: str) -> Name:
        """The parts of a name; what is no `key-value` is none."""
        stem, *_ = file.split(".")
        *pairs, suffix = stem.split("_")
        entities = (pair.split("-", 1) for pair in pairs if "-" in pair)
        return cls(frozenset((key, value) for key, value in entities), suffix)

    def without(self, key: str) -> frozenset[tuple[str, str]]:
        """The entities but one."""
        return frozenset(own for own in self.entities if own[0] != key)


@dataclass(frozen=True)
class Physio:
    """A file of samples without a header, and what its sidecars say about it."""

    path: Path
    sidecars: tuple[Path, ...]  # the nearest last

    @property
    def id(self) -> str:
        """The name up to its suffix: `sub-01_ses-2_task-rest_run-1`."""
        return identity(self.path)

    @cached_property
    def _stated(self) -> dict[str, JsonValue]:
        """The sidecars' fields; a nearer file goes before a farther one."""
        stated: dict[str, JsonValue] = {}
        for sidecar in self.sidecars:
            try:
                own = json.loads(sidecar.read_text(encoding="utf-8-sig"))
            except (OSError, ValueError, RecursionError) as problem:
                raise DataError(
                    f"A sidecar is JSON: {sidecar}: {problem}. Correct it, or fetch it again."
                ) from problem
            if not isinstance(own, dict):
                raise DataError(f"A sidecar holds one object: {sidecar} holds none. Correct it.")
            stated |= own
        return stated

    @property
    def rate_hz(self) -> float:
        """`SamplingFrequency`."""
        rate_hz = self._number("SamplingFrequency")
        if rate_hz is None or not rate_hz > 0:
            raise self._lacks("SamplingFrequency, in Hz")
        return rate_hz

    @property
    def start_s(self) -> float | None:
        """`StartTime`: seconds from the first volume (or sample) that it belongs to; or None."""
        return self._number("StartTime")

    @property
    def columns(self) -> list[str]:
        """`Columns`."""
        names = self._stated.get("Columns")
        if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
            raise self._lacks("Columns, a list of names")
        columns = [str(name) for name in names]
        if len({*columns}) < len(columns):
            raise self._lacks(f"Columns with distinct names, not {', '.join(columns)}")
        return columns

    def check(self) -> None:
        """Stops where the sidecars lack the rate or the names of the columns."""
        _ = self.rate_hz, self.columns

    def unit(self, column: str) -> str:
        """The unit of a column; '' where none is stated."""
        about = self._stated.get(column)
        unit = about.get("Units") if isinstance(about, dict) else None
        return unit.strip() if isinstance(unit, str) else ""

    def values(self, notes: Counter[str]) -> FloatArray:
        """All samples (C, T) in the order of `columns`; NaN where missing.

        Args:
            notes: a row of names, which such files have not, is counted here.

        Raises:
            DataError: the file cannot be read, or a row has other cells than numbers.
        """
        try:
            with opened(self.path) as file:
                lines = file.read().decode("utf-8-sig").rstrip("\r\n").splitlines()
        except (OSError, EOFError, UnicodeError, zlib.error) as problem:
            raise DataError(
                f"{self.path} must be a table of tabs: {problem}. Fetch it again."
            ) from problem
        columns = self.columns
        first = 0
        if lines and lines[0].split("\t") == columns:
            notes[REPEATED] += 1
            first = 1
        if len(lines) == first:
            raise DataError(f"{self.path} must hold samples; it is empty. Leave it out.")
        return _numbers(self.path, lines[first:], columns, first).T

    def _number(self, key: str) -> float | None:
        value = self._stated.get(key)
        number = plain(str(value)) if isinstance(value, int | float | str) else None
        return number if number is not None and math.isfinite(number) else None

    def _lacks(self, what: str) -> DataError:
        looked = ", ".join(map(str, self.sidecars)) or f"no file like {self.id}_physio.json"
        return DataError(
            f"The sidecar of {self.path} states {what}: looked at {looked}. Add it there."
        )


def identity(path: Path) -> str:
    """The name of a file without its suffix and ending."""
    return path.name.split(".")[0].rpartition("_")[0] or path.name.split(".")[0]


def with_sidecars(paths: Iterable[Path], root: Path) -> list[Physio]:
    """The files with the sidecars that apply to each, sorted by id.

    A sidecar lies beside the file or in a folder above it, up to the dataset's, and its name has
    no entity that the file's has not.

    Args:
        paths: of the files.
        root: that they were looked for at; sidecars lie in no folder above it, unless above lies
            a `dataset_description.json`.
    """
    base = root if root.is_dir() else root.parent
    top = next((up for up in (base, *base.absolute().parents) if (up / _TOP).is_file()), base)
    held: dict[Path, list[Path]] = {}
    found = []
    for path in paths:
        name = Name.of(path.name)
        fitting: list[Path] = []
        for folder in _between(top, path.parent):
            if folder not in held:
                held[folder] = sorted(folder.glob("*.json"))
            own = [(Name.of(file.name), file) for file in held[folder]]
            own = [
                (known, file)
                for known, file in own
                if known.suffix == name.suffix and known.entities <= name.entities
            ]
            fitting += [file for _, file in sorted(own, key=lambda one: len(one[0].entities))]
        found.append(Physio(path, tuple(fitting)))
    return sorted(found, key=lambda physio: physio.id)


def _between(top: Path, folder: Path) -> list[Path]:
    """The folders from the top down to one below it, both among them."""
    folders = [folder]
    while folders[0].absolute() != top.absolute() and folders[0].parent != folders[0]:
        folders.insert(0, folders[0].parent)
    return folders if folders[0].absolute() == top.absolute() else [folder]


def _numbers(path: Path, lines: Sequence[str], columns: Sequence[str], first: int) -> FloatArray:
    """Rows as numbers (T, C), quickly where all are, else cell by cell."""
    try:
        values = np.loadtxt(lines, delimiter="\t", comments=None, ndmin=2)
    except ValueError:
        pass
    else:
        if values.shape == (len(lines), len(columns)) and not np.isinf(values).any():
            return values
    values = np.empty((len(lines), len(columns)))
    for row, line in enumerate(lines):
        cells = line.split("\t")
        place = f"{path}, row {first + row + 1}"
        if len(cells) != len(columns):
            raise DataError(
                f"Every row has a cell for each of Columns, {', '.join(columns)}: {place}, has "
                f"{len(cells)} ('{line[:60]}'). Correct it, or Columns in the sidecar."
            )
        for index, cell in enumerate(cells):
            number = np.nan if cell.strip() in _MISSING else plain(cell)
            if number is None or math.isinf(number):
                raise DataError(
                    f"{place}, column '{columns[index]}': expected a number or n/a, found "
                    f"'{cell}'. Correct the cell."
                )
            values[row, index] = number
    return values
