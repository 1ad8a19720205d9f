"""A first look at unknown data: names and beginnings of a few files, however many there are."""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from pathlib import Path

_BYTES = 1 << 16
_ENTRIES = 20_000  # folder entries looked at before the search gives up


def some_files(path: Path, suffixes: tuple[str, ...], most: int = 8) -> list[Path]:
    """Up to `most` visible files with such names, nearest to the top first, then by name.

    Args:
        path: a file, which is itself the answer where its name fits, or a folder.
        suffixes: ends of names in small letters, like '.hea'.
        most: how many are wanted.
    """
    if path.is_file():
        return [path] if path.name.lower().endswith(suffixes) else []
    found: list[Path] = []
    folders, looked = deque([path]), 0
    while folders and looked < _ENTRIES:
        try:
            entries = sorted(folders.popleft().iterdir())
        except OSError:
            continue
        looked += len(entries)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if not entry.is_symlink():  # it may lead back to where it lies
                    folders.append(entry)
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                found.append(entry)
                if len(found) == most:
                    return found
    return found


def head(path: Path) -> str:
    """The first 64 kB as text, of what is compressed in a .gz; '' where it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
