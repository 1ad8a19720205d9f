"""NumPy arrays of trials: (N, C, T) values and (N,) labels, a pair of files for each split.

Each trial is a recording, with its class as the label `label` and its split as the label `part`.
Values stay memory-mapped. The files hold neither channel names, nor units, nor a rate: the recipe
states them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._rate import RateHz
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import FloatArray, Labels, Recording

SplitName = Literal["train", "val", "test"]

_TRAIN_AND_TEST: dict[SplitName, str] = {"train": "train", "test": "test"}
_GUESSED_FILES = 100


class Config(ReaderConfig):
    """Reads files below one folder; `{part}` in a file's name stands for a value of `parts`."""

    name: Literal["npy"] = "npy"
    root: str = Field(description="the folder that holds the files")
    values: str = Field("X_{part}.npy", description="(N, C, T), or (N, T) of one channel")
    labels: str | None = Field("y_{part}.npy", description="(N,); null = none")
    subjects: str | None = Field(None, description="(N,) subject ids; null = each trial its own")
    parts: dict[SplitName, str] | None = Field(
        _TRAIN_AND_TEST, min_length=1, description="split: its name in the files; null = no splits"
    )
    channels: tuple[str, ...] = Field(min_length=1, description="names, in the arrays' order")
    unit: str | tuple[str, ...] = Field(description="of every channel, or one for each")
    rate_hz: RateHz

    @model_validator(mode="after")
    def _files_and_channels_agree(self) -> Config:
        for file in (self.values, self.labels, self.subjects):
            if file is not None and ("{part}" in file) != (self.parts is not None):
                raise ValueError(
                    f"'{file}' has {'no ' if self.parts else ''}{{part}} in it, and parts is "
                    f"{self.parts}; use both or neither"
                )
        if len(set(self.channels)) != len(self.channels):
            raise ValueError(f"channels has a name twice: {', '.join(self.channels)}")
        if isinstance(self.unit, tuple) and len(self.unit) != len(self.channels):
            raise ValueError(f"unit has {len(self.unit)} for {len(self.channels)} channels")
        return self

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by shapes and names of files; unit '1' and rate 1, which no file states."""
        files = [path] if path.is_file() else sorted(path.glob("*.npy"))[:_GUESSED_FILES]
        shapes = {file.name: shape for file in files if (shape := _shape(file)) is not None}
        template = _template([name for name, shape in shapes.items() if len(shape) == 3])
        if template is None:
            return None
        values, parts = template
        in_files = list(parts.values()) if parts else [""]
        lengths = {part: shapes[values.replace("{part}", part)][0] for part in in_files}

        def beside(words: str) -> str | None:
            """The file name of arrays (N,) that has one of some words in it."""
            for name in shapes:
                pattern = _split_in(name)[0] if parts else name
                every = [(pattern.replace("{part}", part), n) for part, n in lengths.items()]
                if all(shapes.get(file) == (n,) for file, n in every) and re.search(
                    rf"(?i)(^|[^a-z])({words})([^a-z]|$)", pattern
                ):
                    return pattern
            return None

        channels = shapes[values.replace("{part}", in_files[0])][1]
        return cls(
            root=str(path.parent if path.is_file() else path),
            values=values,
            labels=beside("y|labels?|targets?|class(es)?"),
            subjects=beside("subjects?|patients?|groups?|participants?"),
            parts=parts,
            channels=tuple(f"ch{number}" for number in range(channels)),
            unit="1",
            rate_hz=1.0,
        )

    def read(self, channels: tuple[str, ...]) -> Iterator[Recording]:
        """Yields the trials in the order of the files, split by split."""
        root = resolve_root(self.root)
        wanted = [self.channels.index(n) for n in channels or self.channels if n in self.channels]
        units = (self.unit,) * len(self.channels) if isinstance(self.unit, str) else self.unit
        splits: Iterable[tuple[str, str]] = self.parts.items() if self.parts else [("", "")]
        for split_name, in_file in splits:
            file = root / self.values.replace("{part}", in_file)
            values = _values(file, self.channels)
            labels, subjects = (
                None if name is None else _one_each(root / name.replace("{part}", in_file), values)
                for name in (self.labels, self.subjects)
            )
            digits = len(str(len(values) - 1))
            for number, trial in enumerate(values):
                identity = f"{split_name}-{number:0{digits}d}".removeprefix("-")
                yield Recording(
                    id=identity,
                    subject=identity if subjects is None else str(subjects[number]),
                    values=_selected(trial, wanted),
                    channels=tuple(self.channels[index] for index in wanted),
                    units=tuple(units[index] for index in wanted),
                    rate_hz=self.rate_hz,
                    labels={
                        **({} if labels is None else _label(labels[number])),
                        **({"part": split_name} if split_name else {}),
                    },
                )


def _values(path: Path, channels: tuple[str, ...]) -> Any:
    """The trials (N, C, T) of a file, memory-mapped."""
    values = _loaded(path)
    if values.ndim == 2 and len(channels) == 1:
        values = values[:, None, :]
    if values.dtype.kind not in "iuf" or values.ndim != 3 or 0 in values.shape:
        raise DataError(
            f"Values are numbers in an array (trials, channels, samples): {path} is "
            f"{values.dtype} {values.shape}. Transpose or convert it."
        )
    if values.shape[1] != len(channels):
        raise DataError(
            f"data.reader.channels names every channel of the arrays: {path} has "
            f"{values.shape[1]}, named are {len(channels)} ({', '.join(channels)}). "
            "Correct the list, or the order of the array's axes."
        )
    return values


def _one_each(path: Path, values: Any) -> Any:
    """Labels or subjects (N,), one for each of the trials `values`."""
    array = _loaded(path)
    if array.shape != values.shape[:1] or array.dtype.kind not in "biufU":
        raise DataError(
            f"Labels and subjects are numbers or text, one a trial: {path} is {array.dtype} "
            f"{array.shape} for {len(values)} trials. Correct the file."
        )
    return array


def _loaded(path: Path) -> Any:  # an array of any type
    """Opens a .npy file, memory-mapped."""
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*.npy"))
        raise DataError(
            f"data.reader: {path} does not exist; the .npy files there are: "
            f"{', '.join(beside[:8]) or 'none'}. Correct root, parts or the files' names."
        )
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError, EOFError) as problem:
        raise DataError(
            f"{path} must be a .npy file of numbers or text, without Python objects: {problem}. "
            "Save it again with its plain dtype."
        ) from problem


def _selected(trial: Any, wanted: list[int]) -> FloatArray:
    """Some channels of a trial (C, T); a view of the file where they are neighbours in it."""
    first = wanted[0] if wanted else 0
    together = wanted == list(range(first, first + len(wanted)))
    rows = trial[first : first + len(wanted)] if together else trial[wanted]
    return np.asarray(rows if rows.dtype.kind == "f" else rows.astype(np.float64))


def _label(value: Any) -> Labels:
    """A trial's class as the label `label`; {} where it is NaN or empty."""
    plain = value.item()
    if isinstance(plain, str):
        return {"label": plain} if plain else {}
    if plain != plain:
        return {}
    return {"label": int(plain) if float(plain).is_integer() else float(plain)}


def _shape(path: Path) -> tuple[int, ...] | None:
    """The shape in a file's header; None = not an array of numbers or text."""
    if path.suffix != ".npy" or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0
            if version != (1, 0):
                read = np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
    except (OSError, ValueError, EOFError):
        return None
    numbers = dtype.kind in ("iuf" if len(shape) == 3 else "biufU")
    return tuple(shape) if numbers and 0 not in shape else None


def _split_in(name: str) -> tuple[str, SplitName | None, str]:
    """A file's name with `{part}` in place of its split, the split, and its name in the file's."""
    match = re.search(r"(?i)(?<![a-z])(train|val|valid|test)(?![a-z])", name.removesuffix(".npy"))
    if match is None:
        return name, None, ""
    in_name = match.group(1)
    splits: dict[str, SplitName] = {"train": "train", "val": "val", "valid": "val", "test": "test"}
    template = f"{name[: match.start()]}{{part}}{name[match.end() :]}"
    return template, splits[in_name.lower()], in_name


def _template(names: list[str]) -> tuple[str, dict[SplitName, str] | None] | None:
    """The name under which most splits have a file, else the first name; None = no names."""
    by_template: dict[str, dict[SplitName, str]] = {}
    for name in names:
        template, split_name, in_name = _split_in(name)
        if split_name is not None:
            by_template.setdefault(template, {})[split_name] = in_name
    for template, splits in sorted(by_template.items(), key=lambda item: -len(item[1])):
        if "train" in splits and "test" in splits:
            return template, {
                name: splits[name] for name in ("train", "val", "test") if name in splits
            }
    return (names[0], None) if names else None
