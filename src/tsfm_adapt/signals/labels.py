"""Classes of windows, from labels of recordings and from labelled spans.

A span belongs to the sample in which it begins. A window of T samples from s on ends before
sample s + T, where its future begins.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import BoolArray, IntArray, Recording
from tsfm_adapt.signals.windows import WindowArrays, Windows, WindowSpec

_EDGE = 1e-6  # of a sample: 2.9999999999 computed for a span at sample 3 is sample 3


class Labelling(ABC):
    """A rule that gives windows of a recording their classes."""

    classes: tuple[str, ...]  # K names
    multilabel: bool  # False: exactly one class a window; True: any number of the K

    @abstractmethod
    def of(self, recording: Recording, spec: WindowSpec) -> tuple[IntArray, BoolArray]:
        """The recording's labelled windows, sorted by start.

        Args:
            recording: cleaned.
            spec: context and stride in samples; the horizon is not used.

        Returns:
            The first sample of each window (N,), and its classes (N, K).

        Raises:
            DataError: the recording has a label that the recipe does not list.
        """

    @property
    def future(self) -> int:
        """Samples after the context that the class depends on."""
        return 0


@dataclass(frozen=True)
class RecordingLabel(Labelling):
    """One class for all windows of a recording, from one of its labels.

    A recording without the label has no windows.
    """

    label: str
    values: tuple[str | int | float, ...]  # of the label; value i means class i
    classes: tuple[str, ...]
    multilabel = False

    def __post_init__(self) -> None:
        assert len(self.values) == len(self.classes), (self.values, self.classes)

    def of(self, recording: Recording, spec: WindowSpec) -> tuple[IntArray, BoolArray]:
        """Windows at every stride, with the class of the recording's label."""
        if self.label not in recording.labels:
            return _none(len(self.classes))
        value = recording.labels[self.label]
        if value not in self.values:
            raise DataError(
                f"task.labels: every value of the label '{self.label}' is a class; recording "
                f"{recording.id} has {value!r}, listed are {', '.join(map(repr, self.values))}. "
                "Add it to the list, or leave the recording out."
            )
        starts = _regular(recording, spec)
        one_hot = np.arange(len(self.classes)) == self.values.index(value)
        return starts, np.tile(one_hot, (len(starts), 1))


@dataclass(frozen=True)
class RecordingLabels(Labelling):
    """Several binary labels of a recording, the same for all its windows.

    A recording that lacks one of them has no windows.
    """

    labels: tuple[str, ...]  # each 0 or 1
    classes: tuple[str, ...] = field(init=False)
    multilabel = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", self.labels)

    def of(self, recording: Recording, spec: WindowSpec) -> tuple[IntArray, BoolArray]:
        """Windows at every stride, with the recording's labels."""
        if any(label not in recording.labels for label in self.labels):
            return _none(len(self.labels))
        values = [recording.labels[label] for label in self.labels]
        for label, value in zip(self.labels, values, strict=True):
            if value not in (0, 1):
                raise DataError(
                    f"task.labels: a label among several is 0 or 1; '{label}' of recording "
                    f"{recording.id} is {value!r}. Correct it, or leave the recording out."
                )
        starts = _regular(recording, spec)
        return starts, np.tile(np.array(values, dtype=np.bool_), (len(starts), 1))


@dataclass(frozen=True)
class FutureSpans(Labelling):
    """Whether a span begins within so many samples after the context: early warning.

    A window is left out where one of the spans is running when the context ends (an alarm that is
    on needs no forecast), and where its future reaches beyond the recording.
    """

    spans: tuple[str, ...]  # labels of spans
    within: int  # samples after the context
    classes: tuple[str, ...]  # of one span: no, yes; of several: the spans
    multilabel: bool = field(init=False)

    def __post_init__(self) -> None:
        assert self.within > 0, self.within
        several = len(self.spans) > 1
        assert (self.classes == self.spans) if several else (len(self.classes) == 2), self
        object.__setattr__(self, "multilabel", several)

    @property
    def future(self) -> int:
        """Samples after the context that the class depends on."""
        return self.within

    def of(self, recording: Recording, spec: WindowSpec) -> tuple[IntArray, BoolArray]:
        """Windows at every stride, with the spans that begin in the future of each."""
        starts = _regular(recording, spec, self.within)
        end = starts + spec.context
        begins = np.empty((len(starts), len(self.spans)), dtype=np.bool_)
        running = np.zeros(len(starts), dtype=np.bool_)
        for column, label in enumerate(self.spans):
            first, stop = _samples_of(recording, label)
            before = np.searchsorted(first, end)
            begins[:, column] = np.searchsorted(first, end + self.within) > before
            running |= before > np.searchsorted(np.sort(stop), end, side="right")
        classes = begins if self.multilabel else np.concatenate([~begins, begins], axis=1)
        return starts[~running], classes[~running]


@dataclass(frozen=True)
class AroundSpans(Labelling):
    """One window around the beginning of each span, with the span's class: single heartbeats.

    The stride is not used. Spans with other labels are ignored, and windows that reach beyond the
    recording are left out.
    """

    spans: Mapping[str, int] | tuple[tuple[str, int], ...]  # label of a span: index of its class
    classes: tuple[str, ...]
    before: int  # samples of the window before the one in which the span begins
    multilabel = False

    def __post_init__(self) -> None:
        assert set(dict(self.spans).values()) <= set(range(len(self.classes))), self

    def of(self, recording: Recording, spec: WindowSpec) -> tuple[IntArray, BoolArray]:
        """One window a span; several may share their samples."""
        starts = [np.empty(0, dtype=np.int64)]
        class_index = [np.empty(0, dtype=np.int64)]
        for label, number in dict(self.spans).items():
            first, _ = _samples_of(recording, label)
            starts.append(first - self.before)
            class_index.append(np.full(len(first), number, dtype=np.int64))
        start, index = np.concatenate(starts), np.concatenate(class_index)
        kept = np.flatnonzero((start >= 0) & (start + spec.context <= recording.samples))
        kept = kept[np.argsort(start[kept], kind="stable")]
        return start[kept], index[kept, None] == np.arange(len(self.classes))


class LabelledWindows(Windows):
    """Windows with known classes, recording by recording; the classes are the target.

    `gather` gives `target` (B, K), 1 where the window is of the class, and `target_observed`
    (B, K), which is all true.

    Args:
        recordings: with the same channels and rate.
        spec: the geometry in samples; without a horizon.
        labelling: gives the windows and their classes.

    Raises:
        DataError: a recording has a label that the labelling does not list.
    """

    def __init__(
        self, recordings: Sequence[Recording], spec: WindowSpec, labelling: Labelling
    ) -> None:
        assert spec.horizon == 0, spec
        super().__init__(recordings, spec)
        self.labelling = labelling
        labelled = [labelling.of(recording, spec) for recording in recordings]
        starts = [start for start, _ in labelled]
        counts = np.array([len(start) for start in starts], dtype=np.int64)
        self._ends = np.cumsum(counts)
        self._firsts = self._ends - counts
        self._starts: IntArray = np.concatenate([np.empty(0, dtype=np.int64), *starts])
        none = np.empty((0, len(labelling.classes)), dtype=np.bool_)
        self._classes: BoolArray = np.concatenate([none, *(classes for _, classes in labelled)])
        length = spec.context + labelling.future
        self._overlap = max((_sharing(start, length) for start in starts), default=1)

    @property
    def classes_of(self) -> BoolArray:
        """Each window's classes, (N, K)."""
        return self._classes[self._positions(np.arange(len(self)))]

    @property
    def overlap(self) -> int:
        """Most consecutive windows that share samples, those of `future` included."""
        return self._overlap

    def _gathered(self, indices: Sequence[int] | IntArray) -> WindowArrays:
        """Values of B windows, and their classes (B, K) as the target."""
        target = self._classes[self._positions(indices)].astype(np.float32)
        return replace(
            super()._gathered(indices),
            target=target,
            target_observed=np.ones(target.shape, dtype=np.bool_),
        )

    def _at(self, position: IntArray) -> tuple[IntArray, IntArray]:
        """Recording and first sample by position in the whole list."""
        return np.searchsorted(self._ends, position, side="right"), self._starts[position]


def _regular(recording: Recording, spec: WindowSpec, future: int = 0) -> IntArray:
    """First samples (N,) at every stride; context and future lie inside the recording."""
    room = recording.samples - spec.context - future
    return np.arange(0, room + 1, spec.stride, dtype=np.int64)


def _none(classes: int) -> tuple[IntArray, BoolArray]:
    """No windows."""
    return np.empty(0, dtype=np.int64), np.empty((0, classes), dtype=np.bool_)


def _samples_of(recording: Recording, label: str) -> tuple[IntArray, IntArray]:
    """Sample ranges [first, stop) of the spans with a label, (N,) each, sorted by first."""
    spans = sorted((s.start_s, s.stop_s) for s in recording.spans if s.label == label)
    times = np.array(spans, dtype=np.float64).reshape(-1, 2) * recording.rate_hz
    first = np.floor(times[:, 0] + _EDGE).astype(np.int64)
    stop = np.ceil(times[:, 1] - _EDGE).astype(np.int64)
    return first, np.maximum(stop, first + 1)  # a mark takes up its sample


def _sharing(starts: IntArray, length: int) -> int:
    """The most consecutive windows of `length` samples that share one; `starts` (N,) is sorted."""
    ends = np.searchsorted(starts, starts + length)
    return int((ends - np.arange(len(starts))).max(initial=1))
