"""Names and first bytes of a few files, to recognise formats in folders of any size."""

from __future__ import annotations

import gzip
import zlib
from collections import deque
from pathlib import Path

_BYTES = 1 << 16
_ENTRIES = 20_000  # folder entries after which the search ends


def some_files(path: Path, suffixes: tuple[str, ...], most: int = 8) -> list[Path]:
    """Up to `most` visible files with such names, nearest to the top first, then by name.

    Args:
        path: a folder, or a file, which is returned where its name fits.
        suffixes: ends of names in lower case, like '.hea'.
        most: largest number of files.
    """
    if path.is_file():
        return [path] if path.name.lower().endswith(suffixes) else []
    files: list[Path] = []
    folders, searched = deque([path]), 0
    while folders and searched < _ENTRIES:
        try:
            entries = sorted(folders.popleft().iterdir())
        except OSError:
            continue
        searched += len(entries)
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                if not entry.is_symlink():  # it may lead back to where it lies
                    folders.append(entry)
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                files.append(entry)
                if len(files) == most:
                    return files
    return files


def head(path: Path) -> str:
    """The first 64 kB of a file as text, decompressed from .gz; '' where it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
