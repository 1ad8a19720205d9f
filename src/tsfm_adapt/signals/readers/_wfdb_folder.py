"""The WFDB records of a folder: headers that are no segments of others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.listing import visible
from tsfm_adapt.signals.readers._wfdb_header import (
    is_list_of_segments,
    last_part,
    lines_of,
    named_files,
)
from tsfm_adapt.signals.readers._wfdb_place import Place
from tsfm_adapt.signals.recording import Notes

_SIGNALS = (".dat", ".mat")


@dataclass(frozen=True)
class Listed:
    """A record before it is read."""

    place: Place
    comments: tuple[str, ...]  # of its header; () on PhysioNet


@dataclass(frozen=True)
class Listing:
    """The records below a root, by id."""

    records: Mapping[str, Listed]
    notes: Notes = field(default_factory=dict)


def listing(path: Path) -> Listing:
    """The records below a folder by their paths, or the one that a file is of by its name.

    Raises:
        DataError: there is no record, two share an id, or a header cannot be read.
    """
    if not path.is_dir():
        header = header_of(path)
        if not header.is_file():
            raise DataError(
                f"A WFDB record needs its header: {header} does not exist beside {path.name}. "
                "Put it there, or name another record."
            )
        return Listing({header.stem: Listed(Place(header), lines_of(_read(header))[1])})
    files = sorted(visible(path, "*"))
    headers = [file for file in files if file.suffix.lower() == ".hea"]
    comments: dict[Path, tuple[str, ...]] = {}
    segments: set[Path] = set()
    signals: set[str] = set()
    without_signals: set[Path] = set()
    for header in headers:
        lines, comments[header] = lines_of(_read(header))
        if not lines:
            continue
        names = {str(header.parent / last_part(name)).lower() for name in named_files(lines)}
        names |= {str(header.parent / name).lower() for name in named_files(lines)}
        if is_list_of_segments(lines, header.stem):
            segments.update(Path(f"{name}.hea") for name in names)
        else:
            signals |= names
        if lines[0].split()[1:2] == ["0"]:
            without_signals.add(header)
    records: dict[str, Listed] = {}
    for header in headers:
        if Path(str(header).lower()) in segments or header in without_signals:
            continue
        id = header.relative_to(path).with_suffix("").as_posix()
        if id in records:
            raise DataError(
                f"Headers of one folder differ by more than their suffix: {header} and "
                f"{records[id].place} would share an id. Rename or remove one."
            )
        records[id] = Listed(Place(header), comments[header])
    if not records:
        raise DataError(
            f"A WFDB folder holds at least one header (.hea) with signals: {path} has none among "
            f"its {len(files)} files. Set data.reader.root to the folder with the records."
        )
    lone = sum(f.suffix.lower() in _SIGNALS and str(f).lower() not in signals for f in files)
    note = {f"files ({', '.join(_SIGNALS)}) that no header names, not read": lone} if lone else {}
    return Listing(records, note)


def header_of(path: Path) -> Path:
    """The header of the record that a file belongs to, which may not exist."""
    if path.suffix.lower() == ".hea":
        return path
    header = path.with_suffix(".hea")
    alike = [f for f in path.parent.iterdir() if f.name.lower() == header.name.lower()]
    return alike[0] if len(alike) == 1 else header


def far_files(headers: Iterable[Path]) -> Iterator[Path]:
    """Files that headers name with a folder, and that are there."""
    for header in headers:
        with suppress(OSError, DataError):
            lines, _ = lines_of(header.read_bytes())
            ends = ".hea" if is_list_of_segments(lines, header.stem) else ""
            for name in named_files(lines):
                if last_part(name) != name:
                    path = Place(header).file(f"{name}{ends}")
                    yield path
                    if ends:
                        yield from far_files([path])


def _read(header: Path) -> bytes:
    try:
        return header.read_bytes()
    except OSError as problem:
        raise DataError(
            f"{header} must be a readable file: {problem.strerror or problem}. Correct its "
            "permissions, or give a folder without it."
        ) from problem
