"""UEA and UCR archive files (.ts, .arff): labelled series as text, one line a case.

Each case is a recording, with its class as the label `label`, or its target as the label
`target`. The names `<problem>_TRAIN.ts` and `<problem>_TEST.ts` give the split, as the label
`part`. `?` and `NaN` are missing values. Cases may differ in length; the dimensions of one case
may not. The formats (Bagnall et al., arXiv 1811.00075) hold neither units nor a rate: the recipe
states them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from pydantic import Field

from tsfm_adapt.errors import DataError, closest
from tsfm_adapt.signals.readers._arff import read_arff
from tsfm_adapt.signals.readers._heads import head, some_files
from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers._series import Case, Series, broken, label_of, lines_of, stacked
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import Recording


class Config(ReaderConfig):
    """Reads the files of one problem. Files name no subjects: each case is a subject.

    The .arff files of a folder are read only where it has no .ts: archives hold both.
    """

    name: Literal["ts"] = "ts"
    root: str = Field(description="a file, or the folder of a problem's files")
    problem: str | None = Field(
        default=None, description="which of the folder; null = the only one"
    )
    channels: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="names of the dimensions; null = dim_0, dim_1, ..."
    )
    unit: str = Field(description="of every dimension; '1' where values were standardised")
    rate_hz: RateHz

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognises files of the archives, the first problem of a folder; unit '1', rate 1."""
        files = [
            (file, lines)
            for file in some_files(path, (".ts", ".arff"))
            if file.parent == path or file == path
            if (lines := head(file).casefold().splitlines())
            and any(line.startswith(("@problemname", "@relation")) for line in lines)
        ]
        if not files:
            return None
        if path.is_file():
            return cls(root=str(path), unit="1", rate_hz=1.0)
        problems = sorted(_problems(path))
        problem = problems[0] if len(problems) > 1 else None
        return cls(root=str(path), problem=problem, unit="1", rate_hz=1.0)

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the cases in the order of the files, train before test."""
        for path, split_name in _files(resolve_root(self.root), self.problem):
            series = read_arff(path) if path.suffix.lower() == ".arff" else _read_ts(path)
            digits = len(str(len(series.lines) - 1))
            for number, (row, line) in enumerate(series.lines):
                values, label = series.case(row, line)
                names = self.channels or tuple(f"dim_{i}" for i in range(len(values)))
                if len(names) != len(values):
                    raise DataError(
                        f"data.reader.channels names every dimension: {path}, line {row}, has "
                        f"{len(values)}, named are {len(names)}. Correct the list."
                    )
                wanted = [names.index(name) for name in channels or names if name in names]
                identity = f"{split_name or path.stem}-{number:0{digits}d}"
                yield Recording(
                    id=identity,
                    subject=identity,
                    values=values[wanted],
                    channels=tuple(names[index] for index in wanted),
                    units=(self.unit,) * len(wanted),
                    rate_hz=self.rate_hz,
                    labels={**label, **({"part": split_name} if split_name else {})},
                )


@dataclass(frozen=True)
class _Header:
    classes: tuple[str, ...]  # empty: not a classification problem
    target: bool  # regression: each line ends with a number
    dimensions: int | None  # None = not stated


def _files(root: Path, problem: str | None) -> list[tuple[Path, str]]:
    """The problem's files, each with its split; '' where the name states none."""
    problems = _problems(root)
    if not problems:
        raise DataError(
            f"A folder of an archive's problem holds .ts or .arff files: {root} has none. "
            "Set data.reader.root to the folder of <problem>_TRAIN.ts."
        )
    if (len(problems) > 1) if problem is None else (problem not in problems):
        hint = "" if problem is None else closest(problem, problems)
        raise DataError(
            f"data.reader.problem: {root} holds the files of {', '.join(sorted(problems))}, and "
            f"{'none' if problem is None else repr(problem)} is named.{hint} Name one of them."
        )
    files = problems[problem or next(iter(problems))]
    order = ("train", "val", "test", "")
    return sorted(files, key=lambda file: order.index(file[1]))


def _problems(root: Path) -> dict[str, list[tuple[Path, str]]]:
    """The files of each problem, with their splits."""
    paths = [root] if root.is_file() else sorted(root.glob("*.ts")) or sorted(root.glob("*.arff"))
    problems: dict[str, list[tuple[Path, str]]] = {}
    for path in paths:
        stem, _, last = path.stem.rpartition("_")
        split_name = {"TRAIN": "train", "VAL": "val", "TEST": "test"}.get(last.upper(), "")
        problems.setdefault(stem if split_name else path.stem, []).append((path, split_name))
    return problems


def _read_ts(path: Path) -> Series:
    """Reads the header of a file; cases are parsed one at a time."""
    header, lines = _header(path)
    return Series(lines, lambda row, line: _case(path, row, line, header))


def _header(path: Path) -> tuple[_Header, list[tuple[int, str]]]:
    """The header, and the lines of the cases with their numbers."""
    lines = lines_of(path, "#")
    tags: dict[str, list[str]] = {}
    while lines and "@data" not in tags:
        row, line = lines.pop(0)
        name, *words = line.split()
        if not name.startswith("@"):
            raise broken(path, row, line, "a header line like '@univariate true', up to @data")
        tags[name.lower()] = words
    if "@data" not in tags or not lines:
        raise DataError(
            f"A .ts file holds a header, a line @data, and a line a case: {path} has "
            f"{len(tags)} header lines and {len(lines)} cases. Take it out of the folder."
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


def _case(path: Path, row: int, line: str, header: _Header) -> Case:
    """Parses one line to values (C, T) and its label."""
    *series, last = line.split(":")
    labelled = bool(header.classes) or header.target
    if not labelled:
        series.append(last)
    if not series or header.dimensions not in (None, len(series)):
        raise broken(path, row, line, f"{header.dimensions or 'one or more'} dimensions")
    values = stacked(path, row, series)
    if not labelled:
        return values, {}
    expected = "a number behind the last ':'"
    return values, label_of(path, row, last.strip(), header.classes, expected)
