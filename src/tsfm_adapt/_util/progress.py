"""Progress of long work: a bar with an ETA on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO


class Meter(Protocol):
    """Counts one piece of work."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Finishes `count` more units; `note` is shown beside the ETA."""


class Progress:
    """Where progress is shown; standard error, so that standard output stays for results.

    Args:
        stream: a terminal gets bars, anything else a line every `interval_s`.
        quiet: show nothing.
        interval_s: seconds between plain lines.
    """

    def __init__(
        self, stream: TextIO | None = None, quiet: bool = False, interval_s: float = 10.0
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._quiet = quiet
        self._interval_s = interval_s

    def say(self, line: str) -> None:
        """One line of plain text."""
        if not self._quiet:
            print(line, file=self._stream, flush=True)

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """Shows how long a short piece of work took."""
        start_s = time.monotonic()
        yield
        self.say(f"{label}: {time.monotonic() - start_s:.1f} s")

    @contextmanager
    def work(self, label: str, total: int, done: int = 0) -> Iterator[Meter]:
        """Shows a piece of work of `total` units while the block runs."""
        if self._quiet:
            yield _Silent()
        elif self._stream.isatty():
            with _bar(self._stream, label, total, done) as meter:
                yield meter
        else:
            yield _Lines(self._stream, label, total, done, self._interval_s)


class _Silent:
    def advance(self, count: int = 1, note: str = "") -> None:
        """Nothing is shown."""


class _Lines:
    """A line at the first and last unit and every few seconds between."""

    def __init__(
        self, stream: TextIO, label: str, total: int, done: int, interval_s: float
    ) -> None:
        self._stream = stream
        self._label = label
        self._total = total
        self._done = self._first = done
        self._interval_s = interval_s
        self._start_s = self._last_line_s = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """Finishes `count` more units."""
        self._done += count
        now_s = time.monotonic()
        if self._done < self._total and now_s - self._last_line_s < self._interval_s:
            return
        self._last_line_s = now_s
        spent_s = now_s - self._start_s
        left_s = spent_s / max(1, self._done - self._first) * (self._total - self._done)
        eta = f"{left_s:.0f} s left" if self._done < self._total else f"{spent_s:.0f} s"
        line = f"{self._label}: {self._done}/{self._total}, {eta}" + (f", {note}" if note else "")
        print(line, file=self._stream, flush=True)


@contextmanager
def _bar(stream: TextIO, label: str, total: int, done: int) -> Iterator[Meter]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[note]}"),
    )
    with progress.Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(label, total=total, completed=done, note="")

        class _Bar:
            def advance(self, count: int = 1, note: str = "") -> None:
                bar.advance(task, count)
                if note:
                    bar.update(task, note=note)

        yield _Bar()
