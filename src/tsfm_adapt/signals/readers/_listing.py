"""The visible files below a folder, in one pass; links to folders are followed once."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import translate
from pathlib import Path


def files_below(root: Path) -> list[Path]:
    """Every visible file, sorted by path; the file itself where `root` is one.

    Hidden files and folders are left out: notebooks and file managers keep copies there. A folder
    that links lead to twice, or back into itself, is searched once.
    """
    if not root.is_dir():
        return [root]
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    folders = [str(root)]
    while folders:
        folder = folders.pop()
        try:
            state = Path(folder).stat()
            if (state.st_dev, state.st_ino) in seen:
                continue
            seen.add((state.st_dev, state.st_ino))
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(entry.path)
                    elif entry.is_file():
                        found.append(entry.path)
        except OSError:
            continue  # a folder that may not be read
    order = sorted((path.split(os.sep), path) for path in found)  # noqa: PTH206  # of 1e5 files
    return [Path(path) for _, path in order]


def matching(files: Iterable[Path], patterns: Sequence[str]) -> list[Path]:
    """The files whose names fit one of some patterns; upper and lower case are equal."""
    fits = re.compile("|".join(translate(pattern.lower()) for pattern in patterns)).match
    return [path for path in files if fits(path.name.lower())]


def by_suffix(files: Iterable[Path]) -> str:
    """How many files there are of each suffix, the commonest first: '.txt 3, .md 1'."""
    counts = Counter(path.suffix.lower() or path.name for path in files)
    shown = [f"{suffix} {count}" for suffix, count in counts.most_common(5)]
    return ", ".join(shown) + (", ..." if len(counts) > 5 else "")
