"""Recordings made by a test, and what is proposed for them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import IrregularReadings, Recording


class Given(ReaderConfig):
    """Recordings made by a test."""

    name: str = "given"
    items: ClassVar[list[Any]] = []
    read_so_far: ClassVar[list[str]] = []

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording | IrregularReadings]:
        for item in self.items:
            self.read_so_far.append(item.id)
            yield item


def given_items(*items):
    class Own(Given):
        pass

    Own.items, Own.read_so_far = list(items), []
    return Own()


def recording(values, subject="a", rate_hz=1.0, channels=("HR",), units=("bpm",), **more):
    values = np.atleast_2d(np.asarray(values, float))
    fields = {"id": f"{subject}-1", "subject": subject, "start": None} | more
    return Recording(values=values, channels=channels, units=units, rate_hz=rate_hz, **fields)


def walk(samples, seed=0, around=80.0):
    return around + np.cumsum(np.random.default_rng(seed).normal(size=samples)).clip(-30, 30)


def proposed(*items, task=None):
    reader = given_items(*items)
    return propose(look(reader), reader, task)
