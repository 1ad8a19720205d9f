"""What is kept from run to run, in one folder; all of it can be removed at any time."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path


def cache_folder() -> Path:
    """Where results are kept from run to run: `TSFM_ADAPT_CACHE`, else a folder of the user's."""
    return Path(os.environ.get("TSFM_ADAPT_CACHE") or "~/.cache/tsfm-adapt").expanduser()


def cache_bytes(part: str = "") -> int:
    """What `cache_folder`, or a folder in it, takes up on disk.

    Files with holes count what they fill.
    """
    found = 0
    for path in (cache_folder() / part).rglob("*"):
        with suppress(OSError):
            state = path.stat()
            found += getattr(state, "st_blocks", -(-state.st_size // 512)) * 512
    return found


@cache
def code_of(package: str = "") -> str:
    """A hash of this package's own code, or of a package in it.

    Between releases the version stays as it is.
    """
    digest = blake2b(digest_size=20)
    root = Path(__file__).parents[1] / package
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()
