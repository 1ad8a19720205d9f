"""Atomic writes: a file is either the old version or the new one."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from tsfm_adapt.errors import EnvironmentProblem


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a sibling file, flushes it to disk and renames it over `path`.

    Raises:
        EnvironmentProblem: the disk is full or not writable; the previous file is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> EnvironmentProblem:
    """The error for a file that could not be written."""
    kept = " The previous version is kept." if path.is_file() else ""
    cause = "the disk is full" if error.errno == errno.ENOSPC else str(error)
    return EnvironmentProblem(
        f"cannot write '{path}': {cause}.{kept} Free space or give another folder."
    )


def write_text(path: Path, text: str) -> None:
    """`write_bytes` in UTF-8."""
    write_bytes(path, text.encode("utf-8"))
