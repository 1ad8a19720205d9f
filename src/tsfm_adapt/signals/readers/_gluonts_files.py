"""Files of GluonTS datasets: finding them, reading their entries, and their sampling rate."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._heads import head
from tsfm_adapt.signals.readers._rate import AGREE, rate_of

JSON = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
ARROW = (".arrow", ".feather", ".parquet")
FOLDERS: tuple[Literal["train", "test"], ...] = ("train", "test")

# A field of an entry: of JSON, or of Arrow as NumPy reads it.
EntryValue = JsonValue | npt.NDArray[np.generic] | np.generic


def files_of(root: Path, split_name: str | None) -> list[Path]:
    """The files of a split, sorted by name.

    Args:
        root: a file, a folder of files, or a folder that holds a folder for each split.
        split_name: one of `FOLDERS`; None = the root has no such folders.

    Raises:
        DataError: there are no files, or the split does not fit the folders.
    """
    if root.is_file():
        return [root]
    folders = [name for name in FOLDERS if (root / name).is_dir()]
    if (split_name not in folders) if split_name is not None else folders:
        raise DataError(
            f"data.reader.part: {root} holds {' and '.join(folders) or 'neither train nor test'}, "
            f"and part is {split_name or 'null'}. Set it to {' or '.join(folders) or 'null'}."
        )
    folder = root / (split_name or "")
    files = sorted(p for p in folder.iterdir() if p.name.lower().endswith(JSON + ARROW))
    files = [p for p in files if p.name != "metadata.json" and not p.name.startswith(".")]
    if not files:
        raise DataError(
            f"A GluonTS dataset holds .json, .jsonl (or .gz of them), .arrow or .parquet files: "
            f"{folder} has none. Set data.reader.root to the folder that holds them."
        )
    return files


def entries_of(path: Path) -> Iterator[tuple[str, int, Mapping[str, EntryValue]]]:
    """Yields each entry's place for errors, its number from 0, and its fields.

    Raises:
        DataError: the file cannot be read or is empty, or holds something that is no entry.
    """
    number = -1
    for number, entry in enumerate(
        _rows_of_arrow(path) if path.suffix.lower() in ARROW else _lines(path)
    ):
        where = f"{path}, entry {number + 1}"
        if not isinstance(entry, Mapping) or entry.get("target") is None:
            raise DataError(
                f"An entry holds a start and a target: {where}, holds "
                f"{', '.join(map(str, entry)) if isinstance(entry, Mapping) else type(entry)}. "
                "Correct the file, or take it out of the folder."
            )
        yield where, number, entry
    if number < 0:
        raise DataError(
            f"A file of entries holds at least one: {path} is empty. Take it out of the folder."
        )


def stated_rate(root: Path, stated: float | None) -> float:
    """The rate in Hz, from the recipe or from `freq` in metadata.json.

    Args:
        root: the reader's.
        stated: the rate in the recipe; None = not stated.

    Raises:
        DataError: neither states a rate, or the two contradict each other.
    """
    metadata = metadata_of(root)
    freq = _freq(metadata[0]) if metadata else None
    if freq is None:
        if stated is None:
            raise DataError(
                f"Entries hold no rate: {root} has no metadata.json with a 'freq'. "
                "Set data.reader.rate_hz, for example to 1/3600 for hourly values."
            )
        return stated
    rate_hz = rate_of(freq, str(metadata[0]))
    if stated is not None and not math.isclose(rate_hz, stated, rel_tol=AGREE):
        raise DataError(
            f"data.reader.rate_hz: {metadata[0]} states freq '{freq}', which is {rate_hz:g} Hz, "
            f"the recipe {stated:g} Hz. Correct one of them, or leave rate_hz out."
        )
    return rate_hz if stated is None else stated


def metadata_of(root: Path) -> list[Path]:
    """The metadata.json of a file or folder of entries; [] = none."""
    folder = root if root.is_dir() else root.parent
    folders = (folder, folder.parent) if folder.name in FOLDERS else (folder,)
    return [place / "metadata.json" for place in folders if (place / "metadata.json").is_file()]


def first_keys(path: Path) -> set[str]:
    """The keys in the first 64 kB of the first entry, or the columns of an Arrow table."""
    if path.suffix.lower() in ARROW:
        return _columns(path)
    first = head(path).lstrip().partition("\n")[0]
    return set(re.findall(r'"(\w+)"\s*:', first)) if first.startswith("{") else set()


def _freq(path: Path) -> str | None:
    """The `freq` in a metadata.json; None = it has none."""
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(
            f"{path} must be JSON: {problem}. Correct it, or take it away and set "
            "data.reader.rate_hz."
        ) from problem
    freq = metadata.get("freq") if isinstance(metadata, dict) else None
    return None if freq is None else str(freq)


def _lines(path: Path) -> Iterator[Any]:
    """The JSON values of a file with one on each line."""
    row = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                row += 1
                if line.strip():
                    yield json.loads(line)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as problem:
        raise DataError(
            f"{path} must hold one JSON object a line: line {max(row, 1)}: {problem}. "
            "Correct that line, or write the file again."
        ) from problem


def _rows_of_arrow(path: Path) -> Iterator[Any]:
    """The rows of an Arrow or Parquet file, as GluonTS decodes them."""
    import pyarrow as pa
    from gluonts.dataset.arrow import File

    try:
        yield from File.infer(path)
    except (OSError, ValueError, KeyError, IndexError, pa.ArrowException) as problem:
        raise DataError(
            f"{path} must be an Arrow or Parquet file of entries: {problem}. "
            "Write it again: it is cut off, or no such file."
        ) from problem


def _columns(path: Path) -> set[str]:
    """The names of the columns in a table's schema; none where it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            return set(pq.read_schema(path).names)
        with path.open("rb") as file:
            magic = file.read(6)
            file.seek(0)
            opened = pa.ipc.open_file if magic == b"ARROW1" else pa.ipc.open_stream
            return set(opened(file).schema.names)
    except (OSError, pa.ArrowException):
        return set()
