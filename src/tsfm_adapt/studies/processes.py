"""Which processes run a study's trials, and whether they live: on this machine or another."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from tsfm_adapt.studies.folder import StudyFolder

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

HEARTBEAT_S, SILENT_S = 10, 120  # of a process on another machine


def this_process() -> dict[str, str | int]:
    """Host, process number and start time, by which others see whether a trial's process lives."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _started(os.getpid()) or "unknown",
    }


def alive(trial: FrozenTrial, study: StudyFolder) -> bool:
    """True where the process that runs a trial may still be at it."""
    process = trial.user_attrs.get("process")
    if process is None:  # it is marked under the lock, so that it died before it was
        begun = trial.datetime_start or datetime.min
        young = (datetime.now() - begun).total_seconds() < SILENT_S
        return study.in_database and young  # another machine may be about to
    if process["host"] == socket.gethostname():
        return bool(_started(int(process["pid"])) == process["started"])
    if study.in_database:
        return True  # until the database misses its heartbeat
    sign = _sign(study, process)
    here = _sign(study, {"host": socket.gethostname(), "pid": os.getpid()})
    here.parent.mkdir(exist_ok=True)
    here.touch()  # by the clock of the file's machine
    return sign.exists() and here.stat().st_mtime - sign.stat().st_mtime < SILENT_S


@contextmanager
def signs_of_life(study: StudyFolder, parent: int | None) -> Iterator[None]:
    """Touches a heartbeat file while the block runs, and ends the process with its parent.

    Args:
        study: whose folder the sign is in.
        parent: number of the parent process; None = do not watch it.
    """
    over = threading.Event()
    sign = _sign(study, this_process())
    sign.parent.mkdir(exist_ok=True)

    def beat() -> None:
        for second in count():
            if second % HEARTBEAT_S == 0:
                with suppress(OSError):
                    sign.touch()
            if over.wait(1.0):
                return
            if parent is not None and os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            sign.unlink()


def _started(pid: int) -> str | None:
    """The start time of a process on this machine, or 'unknown'; None if it is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    try:  # a number may be given to another process later; Linux tells them apart
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return None if fields[0] == "Z" else fields[19]


def _sign(study: StudyFolder, process: Mapping[str, JsonValue]) -> Path:
    return study.folder / "alive" / f"{process['host']}-{process['pid']}"
