"""GluonTS datasets: one entry a series, as JSON lines, Arrow or Parquet; read and written.

An entry holds `start`, `target`, (T,) or (C, T), and optionally `item_id` and features. Features
that change with time become channels beside the target, static ones become attributes. `NaN` and
null are missing values. `entries` turns recordings into a dataset that GluonTS takes and writes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict

import numpy as np
from pydantic import Field

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._gluonts_files import (
    ARROW,
    FOLDERS,
    JSON,
    EntryValue,
    entries_of,
    files_of,
    first_keys,
    metadata_of,
    stated_rate,
)
from tsfm_adapt.signals.readers._heads import some_files
from tsfm_adapt.signals.readers._rate import AGREE, RateHz, frequency, rate_of
from tsfm_adapt.signals.readers._tables.cells import moment
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import FloatArray, Recording

if TYPE_CHECKING:
    import pandas as pd

_DYNAMIC = ("feat_dynamic_real", "past_feat_dynamic_real")
_STATIC = ("feat_static_real", "feat_static_cat")
_OF_NANOSECONDS = (np.datetime64("1678-01-01", "s"), np.datetime64("2262-01-01", "s"))


class Entry(TypedDict):
    """A data entry of GluonTS, with the subject beside it."""

    start: pd.Period
    item_id: str
    subject: str
    target: FloatArray  # (C, T), or (T,) of one channel; NaN = not measured


class Config(ReaderConfig):
    """Reads entries in the order of the files; one without `item_id` is named by file and number.

    Of a folder that GluonTS saved, `train` or `test` is read: each series of `test` usually begins
    with the same series of `train`, so that reading both would leak. Features longer than the
    target, which state a future that was not measured, are cut to its length.
    """

    name: Literal["gluonts"] = "gluonts"
    root: str = Field(description="a file of entries, a folder of them, or what GluonTS saved")
    part: Literal["train", "test"] | None = Field(
        default=None, description="the folder below the root; null = the root has neither"
    )
    rate_hz: RateHz | None = Field(
        default=None, description="samples a second; null = by `freq` in metadata.json"
    )
    channels: tuple[str, ...] | None = Field(
        default=None,
        min_length=1,
        description="names of the target's rows; null = target, or target_0, target_1, ...",
    )
    unit: str | tuple[str, ...] = Field(description="of every row of the target, or one for each")
    subject: str | None = Field(
        default=None, description="the entries' key that holds the subject; null = item_id"
    )

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by start and target in the first entry; unit '1', which no file states."""
        part = next((name for name in FOLDERS if (path / name).is_dir()), None)
        folder = path / (part or "")
        files = [
            file
            for file in some_files(folder, JSON + ARROW, 16)
            if file.name != "metadata.json" and folder in (file, file.parent)
        ]
        keys = first_keys(files[0]) if files else set()
        if not {"start", "target"} <= keys:
            return None
        subject = "subject" if "subject" in keys else None
        guessed = cls(root=str(path), part=part, unit="1", subject=subject)
        try:
            stated_rate(path, None)
        except DataError:
            return guessed.model_copy(update={"rate_hz": 1.0})
        return guessed

    def files(self) -> list[Path]:
        """The files of the split, and the metadata beside or above them."""
        root = resolve_root(self.root)
        return [*files_of(root, self.part), *metadata_of(root)]

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields one recording for each entry."""
        root = resolve_root(self.root)
        rate_hz = stated_rate(root, self.rate_hz)
        seen: set[str] = set()
        for file in files_of(root, self.part):
            for where, number, entry in entries_of(file):
                identity = str(entry.get("item_id", f"{file.name.partition('.')[0]}-{number:06d}"))
                if identity in seen:
                    raise DataError(
                        f"An item_id occurs once: '{identity}' of {where} has come before. Give "
                        "the entries item_ids of their own, or read the part train: the part "
                        "test may hold several stretches of one series."
                    )
                seen.add(identity)
                subject = identity if self.subject is None else entry.get(self.subject)
                if subject in (None, ""):
                    raise DataError(
                        f"data.reader.subject: {where} has no '{self.subject}'. Keys: "
                        f"{', '.join(map(str, entry))}. Correct the key."
                    )
                names, values = self._rows(where, entry)
                units = self._units(where, names)
                wanted = [names.index(name) for name in channels or names if name in names]
                yield Recording(
                    id=identity,
                    subject=str(subject),
                    values=values[wanted],
                    channels=tuple(names[index] for index in wanted),
                    units=tuple(units[index] for index in wanted),
                    rate_hz=rate_hz,
                    start=_start(where, entry),
                    attributes=_attributes(where, entry),
                )

    def _rows(self, where: str, entry: Mapping[str, EntryValue]) -> tuple[list[str], FloatArray]:
        """Names of the channels, the target's first, and values (C, T)."""
        target = _numbers(where, "target", entry.get("target"))
        rows, samples = target.shape
        default = ["target"] if rows == 1 else [f"target_{index}" for index in range(rows)]
        names = default if self.channels is None else list(self.channels)
        if len(names) != rows:
            raise DataError(
                f"data.reader.channels names every row of the target: {where} has {rows}, named "
                f"are {len(names)}. Correct the list."
            )
        rows_of = [target]
        for key in _DYNAMIC:
            if entry.get(key) is None:
                continue
            feature = _numbers(where, key, entry[key])
            if feature.shape[1] < samples:
                raise DataError(
                    f"A feature is as long as the target or longer: {where} has {samples} samples "
                    f"of the target and {feature.shape[1]} of {key}. Correct the entry."
                )
            names += [f"{key}_{index}" for index in range(len(feature))]
            rows_of.append(feature[:, :samples])
        return names, np.concatenate(rows_of)

    def _units(self, where: str, names: list[str]) -> tuple[str, ...]:
        """The unit of each channel (C,); '1' for features, whose units no file states."""
        features = [name for name in names if name.rpartition("_")[0] in _DYNAMIC]
        rows = len(names) - len(features)
        stated = (self.unit,) * rows if isinstance(self.unit, str) else self.unit
        if len(stated) != rows:
            raise DataError(
                f"data.reader.unit is one, or one for each row of the target: {where} has {rows} "
                f"rows, stated are {', '.join(stated)}. Correct the list."
            )
        return stated + ("1",) * len(features)


def entries(recordings: Iterable[Recording], freq: str | None = None) -> list[Entry]:
    """Turns recordings into a GluonTS dataset, one multivariate entry each; values are not copied.

    GluonTS accepts such a list wherever it takes a dataset. Channel names, units, labels and
    attributes are lost. An unknown start becomes 1970-01-01.

    Args:
        recordings: their values (C, T) become the target.
        freq: pandas' name of the sampling interval, such as `min`; None = `frequency`. Where it
            is coarser than a start, the start is rounded down to it.

    Raises:
        DataError: `freq` is not the recordings' rate, or a start lies outside its range.
    """
    return [
        Entry(
            start=_period(recording, freq),
            item_id=recording.id,
            subject=recording.subject,
            target=recording.values,
        )
        for recording in recordings
    ]


def channel_entries(recordings: Iterable[Recording], freq: str | None = None) -> list[Entry]:
    """Turns recordings into a GluonTS dataset with one univariate entry a channel; see `entries`.

    The item_id is `<id>/<channel>`.
    """
    return [
        Entry(
            start=whole["start"],
            item_id=f"{recording.id}/{channel}",
            subject=recording.subject,
            target=row,
        )
        for recording in recordings
        for whole in entries([recording], freq)
        for channel, row in zip(recording.channels, recording.values, strict=True)
    ]


def _period(recording: Recording, freq: str | None) -> pd.Period:
    """The recording's start as the period of its first sample."""
    import pandas as pd

    chosen = frequency(recording.rate_hz) if freq is None else freq
    rate_hz = rate_of(chosen, "entries")
    if not math.isclose(rate_hz, recording.rate_hz, rel_tol=AGREE):
        raise DataError(
            f"entries: freq is the interval between samples; {recording.id} has "
            f"{recording.rate_hz:g} a second, '{chosen}' means {rate_hz:g}. Resample the "
            "recordings first, or correct it."
        )
    start = np.datetime64(0, "s") if recording.start is None else recording.start
    first, last = _OF_NANOSECONDS
    if chosen.endswith("ns") and not first < start < last:  # pandas would silently make it 1970
        raise DataError(
            f"entries: an interval of {chosen} has starts from 1678 to 2261 only, {recording.id} "
            f"starts at {start}. Shift the start, or resample to a whole number of microseconds."
        )
    return pd.Period(str(start), freq=chosen)


def _numbers(where: str, key: str, cells: EntryValue) -> FloatArray:
    """Values (C, T) of a key; null and text like 'NaN' become NaN."""
    try:
        values = np.array(cells, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        values = np.array(math.inf)
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or 0 in values.shape or np.isinf(values).any():
        raise DataError(
            f"Values are finite numbers or NaN, one list or several of one length: {key} of "
            f"{where} is not. Correct the entry."
        )
    return values


def _start(where: str, entry: Mapping[str, EntryValue]) -> np.datetime64:
    """The entry's start in whole seconds."""
    text = str(entry.get("start", "")).split("/")[0]  # weeks are '2013-12-30/2014-01-05'
    try:
        return moment(text)
    except ValueError:
        raise DataError(
            f"A start is a time like 2014-02-03 08:42:12: {where} has '{text[:60]}'. "
            "Correct the entry."
        ) from None


def _attributes(where: str, entry: Mapping[str, EntryValue]) -> dict[str, str | float]:
    """Static features as attributes, by key and number."""
    attributes: dict[str, str | float] = {}
    for key in _STATIC:
        if entry.get(key) is None:
            continue
        for index, value in enumerate(_numbers(where, key, entry[key])[0].tolist()):
            if not math.isnan(value):
                attributes[f"{key}_{index}"] = value
    return attributes
