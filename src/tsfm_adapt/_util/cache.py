"""The cache folder; everything in it can be removed at any time."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path


def cache_folder() -> Path:
    """The cache folder: `TSFM_ADAPT_CACHE`, else one in the user's home."""
    return Path(os.environ.get("TSFM_ADAPT_CACHE") or "~/.cache/tsfm-adapt").expanduser()


def cache_bytes(folder: str = "") -> int:
    """Disk space that `cache_folder`, or a folder in it, takes up, in bytes.

    Holes of sparse files do not count.
    """
    total = 0
    for path in (cache_folder() / folder).rglob("*"):
        with suppress(OSError):
            state = path.stat()
            total += getattr(state, "st_blocks", -(-state.st_size // 512)) * 512
    return total


@cache
def code_of(package: str = "") -> str:
    """A hash of this package's source code, or of a package in it.

    Part of cache keys: the version does not change between releases.
    """
    digest = blake2b(digest_size=20)
    root = Path(__file__).parents[1] / package
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
