"""Workers share the work, and none of them outlives the process that began them."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from contracts.processes import python
from tsfm_adapt._util.workers import each
from tsfm_adapt.errors import DataError, EnvironmentProblem

DEADLINE_S = 60

# Two works that never end by themselves; each says that it began, under which number.
ENDLESS = """
import os, pathlib, sys, time
from tsfm_adapt._util.workers import each

def endless(item):
    pathlib.Path(item).write_text(str(os.getpid()))
    while True:
        time.sleep(0.01)

if __name__ == "__main__":
    for _ in each(endless, ["a", "b", "c", "d"], 2):
        pass
"""


def _square(item: int) -> tuple[int, int]:
    return item * item, os.getpid()


def _refuse_odd(item: int) -> int:
    if item % 2:
        raise DataError(f"{item} is odd")
    return item


def _die(item: int) -> None:
    if item == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.2)


def test_every_item_is_worked_on_once_and_elsewhere() -> None:
    found = dict(each(_square, range(8), 2))
    assert {item: square for item, (square, _) in found.items()} == {k: k * k for k in range(8)}
    workers = {worker for _, worker in found.values()}
    assert 1 <= len(workers) <= 2
    assert os.getpid() not in workers


def test_an_error_of_the_work_arrives_with_its_words() -> None:
    with pytest.raises(DataError, match="1 is odd"):
        list(each(_refuse_odd, [0, 1], 2))


def test_a_killed_worker_is_told_of() -> None:
    with pytest.raises(EnvironmentProblem, match="one of 2 workers was killed"):
        list(each(_die, range(4), 2))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the state of processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_the_first_process(number: signal.Signals, tmp_path: Path) -> None:
    """Only the first process is told; a terminal would tell all, a supervisor does not."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    first = python("endless.py", cwd=tmp_path, stderr=subprocess.DEVNULL)
    try:
        begun = [tmp_path / name for name in "ab"]
        _until(lambda: all(path.is_file() and path.read_text() for path in begun))
        first.send_signal(number)
        first.wait(DEADLINE_S)
    finally:
        first.kill()
    workers = [int(path.read_text()) for path in begun]
    _until(lambda: not any(map(_lives, workers)))
    assert not (tmp_path / "c").exists(), "nothing else was begun"


def _lives(process: int) -> bool:
    """Whether it runs; one that ended and that nobody waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def _until(condition) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
