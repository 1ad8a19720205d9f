"""The visible files below a folder, in one pass; links to folders are followed once."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import translate
from operator import attrgetter
from pathlib import Path

from tsfm_adapt.errors import DataError


def visible(folder: Path, pattern: str, *, in_order: bool = False) -> Iterator[Path]:
    """Files in a folder and below whose names fit; hidden ones are skipped.

    Links to folders are followed after all real folders, and each folder is visited once, by
    whichever way. A link to a folder that the given one lies in is not followed.

    Args:
        folder: existing.
        pattern: of names; upper and lower case are equal.
        in_order: by name within a folder, the folders nearest to the top first.

    Raises:
        DataError: a folder cannot be listed.
    """
    return map(Path, _visible(folder, pattern, in_order))


def _visible(folder: Path, pattern: str, in_order: bool) -> Iterator[str]:
    """The paths of `visible` as text: a `Path` costs as much as finding it."""
    fits = re.compile(translate(pattern.lower())).match
    folders, linked = deque([str(folder)]), deque[str]()
    visited = {_identity(parent) for parent in folder.resolve().parents}
    while folders or linked:
        here = folders.popleft() if folders else linked.popleft()
        if (identity := _identity(here)) in visited:
            continue
        visited.add(identity)
        try:
            with os.scandir(here) as entries:
                listed = [entry for entry in entries if not entry.name.startswith(".")]
        except OSError as problem:
            raise DataError(
                f"Every folder below data.reader.root is searched: {here} cannot be listed: "
                f"{problem.strerror or problem}. Correct its permissions, or give a folder "
                "without it."
            ) from problem
        for entry in sorted(listed, key=attrgetter("name")) if in_order else listed:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_symlink() and Path(entry.path).is_dir():
                linked.append(entry.path)
            elif fits(entry.name.lower()) and not _is_pipe(entry):
                yield entry.path


def _is_pipe(entry: os.DirEntry[str]) -> bool:
    """True for pipes and devices; a link to a file that is gone is for the reader to name."""
    try:
        return not entry.is_file() and Path(entry.path).exists()
    except OSError:
        return False


def _identity(folder: str | Path) -> tuple[int, int]:
    """What is the same for one folder by all its names."""
    state = os.stat(folder)  # noqa: PTH116  # called for every folder; a Path costs more
    return state.st_dev, state.st_ino


def files_below(root: Path) -> list[Path]:
    """Every visible file, sorted by path; the file itself where `root` is one.

    Raises:
        DataError: a folder cannot be listed.
    """
    if not root.is_dir():
        return [root]
    found = _visible(root, "*", in_order=False)
    order = sorted((path.split(os.sep), path) for path in found)  # noqa: PTH206  # of 1e5 files
    return [Path(path) for _, path in order]


def matching(files: Iterable[Path], patterns: Sequence[str]) -> list[Path]:
    """The files whose names fit one of some patterns; upper and lower case are equal."""
    fits = re.compile("|".join(translate(pattern.lower()) for pattern in patterns)).match
    return [path for path in files if fits(path.name.lower())]


def by_suffix(files: Iterable[Path]) -> str:
    """How many files there are of each suffix, the commonest first: '.txt 3, .md 1'."""
    ends = Counter(path.suffix.lower() or "no suffix" for path in files)
    common = sorted(ends, key=lambda end: (-ends[end], end))[:5]
    more = f" and {len(ends) - 5} other kinds" if len(ends) > 5 else ""
    return ", ".join(f"{end} {ends[end]}" for end in common) + more


def unread(files: Iterable[Path]) -> dict[str, int]:
    """The note on files that are below the root and not read, as `Recording.notes` has it."""
    every = list(files)
    return {f"files below the root, not read ({by_suffix(every)})": len(every)} if every else {}
