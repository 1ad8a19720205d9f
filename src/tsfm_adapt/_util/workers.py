"""Worker processes that share the cores and stop with their parent process."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from tsfm_adapt.errors import EnvironmentProblem, Interrupted

Item = TypeVar("Item")
Result = TypeVar("Result")

_working = threading.Event()  # in a worker: it has something that can be stopped
_leaving = threading.Event()  # in a worker: it has to stop

_LOOK_S = 0.1


def each(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[tuple[Item, Result]]:
    """Yields items with their results, as they are finished.

    Whatever ends this process or the loop over the results, SIGKILL included, ends the work too:
    training after the current step, which is saved, everything else at once.

    Args:
        work: of one item; pickled, as items and results are.
        items: in the order in which they are begun.
        workers: processes, each with its share of the cores.

    Raises:
        EnvironmentProblem: a worker died, as it does where memory ends.
        Exception: that `work` raised; what others are at is stopped.
    """
    spawn = multiprocessing.get_context("spawn")
    theirs, ours = spawn.Pipe(duplex=False)  # closed with this process, in whatever way it ends
    threads = max(1, (os.cpu_count() or 1) // workers)
    with theirs, ours, ProcessPoolExecutor(workers, spawn, _begin, (threads, theirs)) as pool:
        try:
            futures = {pool.submit(_one, work, item): item for item in items}
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException as error:
            ours.close()
            pool.shutdown(cancel_futures=True)
            if isinstance(error, BrokenProcessPool):
                raise EnvironmentProblem(
                    f"one of {workers} workers was killed, as happens where memory ends. What is "
                    "finished is kept. Try again with fewer at once."
                ) from None
            raise


def _begin(threads: int, link: Connection) -> None:
    """Of a worker, before anything else."""
    import torch

    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the first process too
    signal.signal(signal.SIGTERM, _stop)
    threading.Thread(target=_watch, args=(link,), daemon=True).start()


def _one(work: Callable[[Item], Result], item: Item) -> Result:
    _working.set()
    try:
        if _leaving.is_set():
            raise KeyboardInterrupt
        return work(item)
    except KeyboardInterrupt:  # which must not end the worker: the pool would kill the others
        raise Interrupted("stopped") from None
    finally:
        _working.clear()


def _stop(_number: int, _frame: Any) -> None:
    """Of SIGTERM, where training does not listen to it."""
    _leaving.set()
    if _working.is_set():
        raise KeyboardInterrupt


def _watch(link: Connection) -> None:
    """Stops the work once the other end is closed, and the process if the first one died."""
    wait([link])
    _leaving.set()
    os.kill(os.getpid(), signal.SIGTERM)
    first = multiprocessing.parent_process()
    assert first is not None
    first.join()
    while _working.is_set():
        time.sleep(_LOOK_S)
    os._exit(1)  # the queue that it waits for will bring nothing
