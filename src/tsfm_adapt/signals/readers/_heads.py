"""Names and first bytes of a few files, to recognise formats in folders of any size."""

from __future__ import annotations

import gzip
import zlib
from itertools import islice
from pathlib import Path

from tsfm_adapt.signals.listing import visible

_BYTES = 1 << 16
_ENTRIES = 20_000  # files after which the search ends


def some_files(path: Path, suffixes: tuple[str, ...], most: int = 8) -> list[Path]:
    """Up to `most` visible files with such names, nearest to the top first, then by name.

    Args:
        path: a folder, or a file, which is returned where its name fits.
        suffixes: ends of names in lower case, like '.hea'.
        most: largest number of files.
    """
    if path.is_file():
        return [path] if path.name.lower().endswith(suffixes) else []
    if not path.is_dir():
        return []
    fitting = (
        file
        for file in islice(visible(path, "*", in_order=True), _ENTRIES)
        if file.name.lower().endswith(suffixes) and file.is_file()
    )
    return list(islice(fitting, most))


def head(path: Path) -> str:
    """The first 64 kB of a file as text, decompressed from .gz; '' where it cannot be read."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read(_BYTES).decode("utf-8-sig", errors="replace")
    except (OSError, EOFError, zlib.error):
        return ""
