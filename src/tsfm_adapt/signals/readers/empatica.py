"""Empatica E4 wristband exports: one folder a session, one file a signal, each with its own clock.

Row 1 of a signal's file is its start in unix seconds, row 2 its rate in Hz; then follows one value
a row. HR starts some seconds after the others, so that signals align by time, not by row. Off the
wrist EDA is near zero, while HR goes on with meaningless numbers. HR, EDA and TEMP are read, and
the button presses of tags.csv; ACC, BVP and IBI are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._heads import head
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import (
    FloatArray,
    IntArray,
    IrregularReadings,
    Span,
    spans_between,
)

UNITS: Mapping[str, str] = {"HR": "bpm", "EDA": "uS", "TEMP": "degC"}

_WORN_MEDIAN_S = 300.0


class Config(ReaderConfig):
    """Reads sessions as irregular readings of HR, EDA and TEMP; the subject is the folder above.

    With `worn_only` a session is cut to its longest run in which the 5-minute median of EDA,
    centred on each sample, is above `worn_eda_us`. Readings and tags outside the run are left out,
    and time counts from its beginning; a session that was never worn has no readings. The run
    depends on the whole session, not on the channels to read. Tags are spans of no length.
    """

    states_subjects: ClassVar[bool] = True  # by the folders that the reader asks for

    name: Literal["empatica"] = "empatica"
    root: str = Field(description="the folder that holds <subject>/<session>/HR.csv, ...")
    worn_only: bool = Field(True, description="leave out the time off the wrist")
    worn_eda_us: float = Field(
        0.05, ge=0, description="worn where the 5-minute median of EDA is above this, microsiemens"
    )

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by a start in unix seconds and a rate in `<subject>/<session>/EDA.csv`."""
        first = next(iter(path.glob("*/*/EDA.csv")), None) if path.is_dir() else None
        if first is None:
            return None
        try:
            start_s, rate_hz = (float(line) for line in head(first).splitlines()[:2])
        except ValueError:
            return None
        begins = start_s > 0 and 0 < rate_hz < 1000
        return cls.model_validate({"root": str(path)}) if begins else None

    def read(self, channels: tuple[str, ...]) -> Iterator[IrregularReadings]:
        """Yields the sessions sorted by subject and name, with ids `<subject>/<session>`."""
        root = resolve_root(self.root)
        folders = {path.parent for name in UNITS for path in root.glob(f"*/*/{name}.csv")}
        if not folders:
            raise DataError(
                f"An Empatica folder holds files like S1/Final/HR.csv: {root} has none. "
                "Set data.reader.root to the folder that holds the subjects."
            )
        wanted = tuple(name for name in channels or UNITS if name in UNITS)
        for folder in sorted(folders):
            yield _session(folder, wanted, self.worn_eda_us if self.worn_only else None)


@dataclass(frozen=True)
class _Signal:
    """One file: evenly spaced values from `start_s`, unix seconds."""

    start_s: float
    rate_hz: float
    value: FloatArray  # (N,)

    @property
    def stop_s(self) -> float:
        return self.start_s + len(self.value) / self.rate_hz

    def time_s(self, origin_s: float) -> FloatArray:
        """Time of each value (N,), in seconds since `origin_s`."""
        times: FloatArray = self.start_s - origin_s + np.arange(len(self.value)) / self.rate_hz
        return times


def _session(
    folder: Path, channels: tuple[str, ...], worn_eda_us: float | None
) -> IrregularReadings:
    signals = {name: _signal(folder / f"{name}.csv") for name in UNITS}
    starts = {name: signal.start_s for name, signal in signals.items()}
    if max(starts.values()) > min(signal.stop_s for signal in signals.values()):
        listed = ", ".join(f"{name}.csv {start:.0f}" for name, start in starts.items())
        raise DataError(
            f"The files of one session overlap in time: those of {folder} start at unix second "
            f"{listed}. Put each file back into the folder of its session."
        )
    origin_s = math.floor(min(starts.values()))
    first_s, stop_s = 0.0, max(signal.stop_s for signal in signals.values()) - origin_s
    if worn_eda_us is not None:
        first_s, stop_s = _worn(signals["EDA"], worn_eda_us, origin_s)
    begin_s = math.floor(first_s)  # `start` is in whole seconds

    times: list[FloatArray] = [np.empty(0)]
    indices: list[IntArray] = [np.empty(0, np.int64)]
    values: list[FloatArray] = [np.empty(0)]
    for index, name in enumerate(channels):
        time_s = signals[name].time_s(origin_s)
        kept = (time_s >= first_s) & (time_s < stop_s)
        times.append(time_s[kept] - begin_s)
        indices.append(np.full(int(kept.sum()), index))
        values.append(signals[name].value[kept])
    time_s = np.concatenate(times)
    order = np.argsort(time_s, kind="stable")
    return IrregularReadings(
        id=f"{folder.parent.name}/{folder.name}",
        subject=folder.parent.name,
        time_s=time_s[order],
        channel=np.concatenate(indices)[order],
        value=np.concatenate(values)[order],
        channels=channels,
        units=tuple(UNITS[name] for name in channels),
        start=np.datetime64(origin_s + begin_s, "s"),
        duration_s=stop_s - begin_s or None,  # None where the session was never worn
        spans=spans_between(_tags(folder / "tags.csv", origin_s + begin_s), 0, stop_s - begin_s),
    )


def _worn(eda: _Signal, worn_eda_us: float, origin_s: float) -> tuple[float, float]:
    """The longest worn run [first, stop), in seconds since `origin_s`."""
    import pandas as pd

    samples = 2 * round(_WORN_MEDIAN_S / 2 * eda.rate_hz) + 1  # odd: as many before as after
    median = pd.Series(eda.value).rolling(samples, center=True, min_periods=1).median()
    worn = median.to_numpy() > worn_eda_us
    runs = np.flatnonzero(np.diff(worn, prepend=False, append=False)).reshape(-1, 2)
    if not len(runs):
        return 0.0, 0.0
    first, stop = runs[np.argmax(runs[:, 1] - runs[:, 0])] / eda.rate_hz
    offset_s = eda.start_s - origin_s
    return offset_s + float(first), offset_s + float(stop)


def _signal(path: Path) -> _Signal:
    """Reads one signal."""
    numbers = _numbers(path)
    for row, rule in enumerate(["a start in unix seconds", "a rate in Hz"], start=1):
        if len(numbers) < row:
            raise _broken(path, row, "nothing", rule)
        if numbers[row - 1] <= 0:
            raise _broken(path, row, f"{numbers[row - 1]:g}", rule)
    return _Signal(start_s=numbers[0], rate_hz=numbers[1], value=np.array(numbers[2:]))


def _tags(path: Path, origin_s: float) -> tuple[Span, ...]:
    """Button presses in seconds since `origin_s`; none where the file is missing."""
    times = [number - origin_s for number in _numbers(path)] if path.exists() else []
    return tuple(Span(time_s, time_s, "tag") for time_s in times)


def _numbers(path: Path) -> list[float]:
    """The numbers of a file with one on each row.

    Raises:
        DataError: the file cannot be read as text, or a row is no finite number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path} must be readable UTF-8 text: {problem}. Correct its "
            "permissions or encoding, or take it out of the folder."
        ) from problem
    numbers = []
    for row, line in enumerate(lines, start=1):
        try:
            number = float(line)
            if not math.isfinite(number):
                raise ValueError
        except ValueError:
            raise _broken(path, row, line, "one number") from None
        numbers.append(number)
    return numbers


def _broken(path: Path, row: int, text: str, expected: str) -> DataError:
    return DataError(
        f"{path}, row {row}: expected {expected}, found '{text}'. Correct that row, or take the "
        "sitting's folder out."
    )
