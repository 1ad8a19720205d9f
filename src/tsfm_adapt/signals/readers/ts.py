"""UEA and UCR archive files (.ts): labelled series as text, one line a case.

Every case is a recording, with its class as the label `label`, or its target as the label
`target`. Files called `<problem>_TRAIN.ts` and `<problem>_TEST.ts` give the label `part`. `?` and
`NaN` are missing values. Cases may differ in length; the dimensions of one case may not. The
format (Bagnall et al., arXiv 1811.00075) holds neither units nor a rate: the recipe states them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import FloatArray, Recording


class Config(ReaderConfig):
    """The files of one problem. The files name no subjects: each case is its own."""

    name: Literal["ts"] = "ts"
    root: str = Field(description="a file, or the folder of a problem's files")
    problem: str | None = Field(None, description="which of the folder; null = the only one")
    channels: tuple[str, ...] | None = Field(
        None, min_length=1, description="names of the dimensions; null = dim_0, dim_1, ..."
    )
    unit: str = Field(description="of every dimension; '1' where values were standardised")
    rate_hz: RateHz

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the cases in the order of the files, TRAIN before TEST."""
        for path, part in _files(resolve_root(self.root), self.problem):
            header, lines = _header(path)
            digits = len(str(len(lines) - 1))
            for number, (row, line) in enumerate(lines):
                values, label = _case(path, row, line, header)
                names = self.channels or tuple(f"dim_{i}" for i in range(len(values)))
                if len(names) != len(values):
                    raise DataError(
                        f"data.reader.channels names every dimension: {path}, line {row}, has "
                        f"{len(values)}, named are {len(names)}. Correct the list."
                    )
                wanted = [names.index(name) for name in channels or names if name in names]
                identity = f"{part or path.stem}-{number:0{digits}d}"
                yield Recording(
                    id=identity,
                    subject=identity,
                    values=values[wanted],
                    channels=tuple(names[index] for index in wanted),
                    units=(self.unit,) * len(wanted),
                    rate_hz=self.rate_hz,
                    labels={**label, **({"part": part} if part else {})},
                )


@dataclass(frozen=True)
class _Header:
    classes: tuple[str, ...]  # empty: not a classification problem
    target: bool  # a number to regress on at the end of each line
    dimensions: int | None  # where it is stated


def _files(root: Path, problem: str | None) -> list[tuple[Path, str]]:
    """The problem's files, each with its part; '' where the name states none."""
    paths = [root] if root.is_file() else sorted(root.glob("*.ts"))
    found: dict[str, list[tuple[Path, str]]] = {}
    for path in paths:
        stem, _, last = path.stem.rpartition("_")
        part = {"TRAIN": "train", "VAL": "val", "TEST": "test"}.get(last.upper(), "")
        found.setdefault(stem if part else path.stem, []).append((path, part))
    if not found:
        raise DataError(
            f"A folder of an archive's problem holds .ts files: {root} has none. "
            "Set data.reader.root to the folder of <problem>_TRAIN.ts."
        )
    if (len(found) > 1) if problem is None else (problem not in found):
        hint = "" if problem is None else closest(problem, found)
        raise DataError(
            f"data.reader.problem: {root} holds the files of {', '.join(sorted(found))}, and "
            f"{'none' if problem is None else repr(problem)} is named.{hint} Name one of them."
        )
    files = found[problem or next(iter(found))]
    order = ("train", "val", "test", "")
    return sorted(files, key=lambda file: order.index(file[1]))


def _header(path: Path) -> tuple[_Header, list[tuple[int, str]]]:
    """What the header states, and the cases with their line numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path} must be a readable text file: {problem}. Fetch it again."
        ) from problem
    lines = [(row, line.strip()) for row, line in enumerate(text.splitlines(), start=1)]
    lines = [(row, line) for row, line in lines if line and not line.startswith("#")]
    tags: dict[str, list[str]] = {}
    while lines and "@data" not in tags:
        row, line = lines.pop(0)
        name, *words = line.split()
        if not name.startswith("@"):
            raise _broken(path, row, line, "a header line like '@univariate true', up to @data")
        tags[name.lower()] = words
    if "@data" not in tags or not lines:
        raise DataError(
            f"A .ts file holds a header, a line @data, and a line a case: {path} has "
            f"{len(tags)} header lines and {len(lines)} cases. Fetch it again."
        )

    def states(name: str) -> bool:
        return tags.get(name, ["false"])[:1] == ["true"]

    if states("@timestamps"):
        raise DataError(
            f"Series are read as samples at one rate: {path} states '@timeStamps true'. "
            "Write the readings to a CSV table and use the reader csv."
        )
    dimensions = tags.get("@dimensions", tags.get("@dimension", []))
    return _Header(
        classes=tuple(tags["@classlabel"][1:]) if states("@classlabel") else (),
        target=states("@targetlabel"),
        dimensions=int(dimensions[0]) if dimensions and dimensions[0].isdigit() else None,
    ), lines


def _case(
    path: Path, row: int, line: str, header: _Header
) -> tuple[FloatArray, dict[str, str | int | float]]:
    """Values (C, T) of one line, and its label."""
    *series, last = line.split(":")
    label: dict[str, str | int | float] = {}
    if header.classes or header.target:
        plain = _plain(last.strip())
        if header.target and not isinstance(plain, int | float):
            raise _broken(path, row, last, "a number behind the last ':'")
        if header.classes and last.strip() not in header.classes:
            raise _broken(path, row, last, f"one of the classes {', '.join(header.classes)}")
        label = {"target" if header.target else "label": plain}
    else:
        series.append(last)
    if not series or header.dimensions not in (None, len(series)):
        raise _broken(path, row, line, f"{header.dimensions or 'one or more'} dimensions")
    rows = [_numbers(path, row, text) for text in series]
    lengths = sorted({len(values) for values in rows})
    if len(lengths) > 1:
        raise DataError(
            f"The dimensions of a case have one length: {path}, line {row}, has {lengths[0]} to "
            f"{lengths[-1]} samples. Fill the shorter ones with '?' in the file."
        )
    return np.stack(rows), label


def _numbers(path: Path, row: int, text: str) -> FloatArray:
    cells = [cell.strip() for cell in text.split(",")]
    try:
        values = np.array([math.nan if cell == "?" else float(cell) for cell in cells])
    except ValueError:
        values = np.array([math.inf])
    if np.isinf(values).any():
        raise _broken(path, row, text, "finite numbers or '?' with commas between")
    return values


def _plain(text: str) -> str | int | float:
    """A class as a whole number where it is one, so that recipes can list 1, 2, 3."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def _broken(path: Path, row: int, found: str, expected: str) -> DataError:
    return DataError(
        f"{path}, line {row}: expected {expected}, found '{found[:60]}'. Fetch it again."
    )
