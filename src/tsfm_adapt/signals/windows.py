"""Windows over recordings: positions are computed, values are read batch by batch."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from tsfm_adapt.signals.mapping import Pages
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray, Recording

_LISTED = 1 << 22  # windows whose shuffled order is kept as a list; of more it is computed
_ROUNDS = 6  # of the computed order


@dataclass(frozen=True)
class WindowSpec:
    """Length and spacing of windows, in samples; a window lies wholly inside one recording."""

    context: int  # T
    horizon: int  # H; 0 = no target
    stride: int = 1
    min_context: int = 1  # observed context values that a (window, channel) pair needs for a score

    def __post_init__(self) -> None:
        assert self.context > 0, self.context
        assert self.horizon >= 0, self.horizon
        assert self.stride > 0, self.stride


@dataclass(frozen=True)
class WindowArrays:
    """B windows as arrays; `batches.collate` makes a `Batch` of them."""

    values: FloatArray  # (B, C, T) float32, 0 where not observed
    observed: BoolArray  # (B, C, T)
    target: FloatArray | None  # (B, C, H) float32, 0 where not observed; (B, C, T), (B, K) by task
    target_observed: BoolArray | None  # the shape of `target`
    start_s: FloatArray  # (B,) float64 seconds since the epoch of the first context sample
    rate_hz: float
    channels: tuple[str, ...]
    subjects: tuple[str, ...]
    mask: IntArray | None = None  # (B,) index of the mask, where hidden values are the target
    features: FloatArray | None = None  # (B, ...) float32, cached inputs of a head


# Gives the features (B, ...) of windows, from their positions in the whole list (B,) and arrays.
Features = Callable[[IntArray, WindowArrays], FloatArray]


class Windows:
    """The windows of recordings, one after the other, at every `stride` from the first sample.

    Only counts are held, so that millions of windows take no memory. `gather` reads, copies and
    casts values, so that memory-mapped recordings stay on disk until then. A recording shorter
    than context + horizon has no windows.

    Args:
        recordings: with the same channels and rate.
        spec: lengths in samples.
    """

    def __init__(self, recordings: Sequence[Recording], spec: WindowSpec) -> None:
        assert len({(r.channels, r.rate_hz) for r in recordings}) <= 1
        self.recordings = tuple(recordings)
        self.spec = spec
        self.subject_names = tuple(sorted({r.subject for r in recordings}))
        # np.memmap pays for each slice; a plain view of the same pages does not.
        self._values = [np.asarray(r.values) for r in recordings]
        self._pages = Pages(self._values)
        self._origin_s = np.array([_seconds_since_epoch(r.start) for r in recordings], float)
        counts = [_count(r.samples, spec) for r in recordings]
        self._ends = np.cumsum(counts, dtype=np.int64)  # (R,) windows up to each recording's last
        self._firsts = self._ends - np.array(counts, dtype=np.int64)
        self._picked: IntArray | None = None  # positions in the whole list; None = all of it
        self._features: Features | None = None

    def __len__(self) -> int:
        if self._picked is not None:
            return len(self._picked)
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def recording(self) -> IntArray:
        """Each window's recording, an index into `recordings`, (N,)."""
        return self._locate(np.arange(len(self)))[0]

    @property
    def start(self) -> IntArray:
        """Each window's first context sample, counted in its recording, (N,)."""
        return self._locate(np.arange(len(self)))[1]

    @property
    def subjects(self) -> IntArray:
        """Each window's subject, an index into `subject_names`, (N,)."""
        number = {name: index for index, name in enumerate(self.subject_names)}
        of_recording = np.array([number[r.subject] for r in self.recordings], dtype=np.int64)
        return of_recording[self.recording]

    @property
    def overlap(self) -> int:
        """Most consecutive windows that share samples."""
        return -(-(self.spec.context + self.spec.horizon) // self.spec.stride)

    def reach(self) -> tuple[IntArray, IntArray, IntArray]:
        """The recordings with windows (R,), and first samples of the first and last of each, (R,).

        For a whole list the cost does not grow with the number of windows.
        """
        if self._picked is None:
            some = np.flatnonzero(self._ends > self._firsts)
            return some, self._at(self._firsts[some])[1], self._at(self._ends[some] - 1)[1]
        recording, start = self.recording, self.start
        first = np.full(len(self.recordings), np.iinfo(np.int64).max)
        last = np.full(len(self.recordings), -1)
        np.minimum.at(first, recording, start)
        np.maximum.at(last, recording, start)
        some = np.flatnonzero(last >= 0)
        return some, first[some], last[some]

    @property
    def whole(self) -> Self:
        """All windows, of which these were taken."""
        view = copy.copy(self)
        view._picked = None
        return view

    def with_features(self, features: Features) -> Self:
        """The same windows; `gather` also returns their features."""
        view = copy.copy(self)
        view._features = features
        return view

    def take(self, indices: Sequence[int] | IntArray) -> Windows:
        """The windows at `indices`, in that order, over the same recordings."""
        view = copy.copy(self)
        view._picked = self._positions(indices)
        return view

    def evenly_spaced(self, n: int) -> Windows:
        """At most `n` windows, evenly spaced over the list."""
        assert n > 0, n
        if len(self) <= n:
            return self
        return self.take(np.arange(n) * len(self) // n)

    def batches(self, size: int) -> Iterator[IntArray]:
        """The indices of all windows in order, at most `size` at a time, (B,) each."""
        for first in range(0, len(self), size):
            yield np.arange(first, min(first + size, len(self)))

    def gather(self, indices: Sequence[int] | IntArray) -> WindowArrays:
        """Copies the values of B windows.

        Raises:
            IndexError: an index is negative or not below the number of windows.
        """
        arrays = self._gathered(indices)
        if self._features is None:
            return arrays
        return replace(arrays, features=self._features(self._positions(indices), arrays))

    def _gathered(self, indices: Sequence[int] | IntArray) -> WindowArrays:
        """The arrays of B windows, without features."""
        recording, start = self._locate(indices)
        context, horizon = self.spec.context, self.spec.horizon
        first = self.recordings[0]
        values, observed = self._copied(recording, start, context)
        target, target_observed = (
            self._copied(recording, start + context, horizon) if horizon else (None, None)
        )
        return WindowArrays(
            values=values,
            observed=observed,
            target=target,
            target_observed=target_observed,
            start_s=self._origin_s[recording] + start / first.rate_hz,
            rate_hz=first.rate_hz,
            channels=first.channels,
            subjects=tuple(self.recordings[r].subject for r in recording),
        )

    def origins_sha256(self) -> str:
        """Sha256 of the windows' positions: a line `recording id, tab, start sample` for each."""
        digest = hashlib.sha256()
        for recording, start in zip(self.recording, self.start, strict=True):
            digest.update(f"{self.recordings[recording].id}\t{start}\n".encode())
        return digest.hexdigest()

    def _positions(self, indices: Sequence[int] | IntArray) -> IntArray:
        """Positions (B,) in the whole list."""
        index = np.asarray(indices, dtype=np.int64)
        if index.size and not (index.min() >= 0 and index.max() < len(self)):
            raise IndexError(f"window index {index.min()}..{index.max()} of {len(self)} windows")
        return index if self._picked is None else self._picked[index]

    def _locate(self, indices: Sequence[int] | IntArray) -> tuple[IntArray, IntArray]:
        """Recording and first sample of windows, (B,) each."""
        return self._at(self._positions(indices))

    def _at(self, position: IntArray) -> tuple[IntArray, IntArray]:
        """Recording and first sample by position in the whole list, (B,) each."""
        recording = np.searchsorted(self._ends, position, side="right")
        return recording, (position - self._firsts[recording]) * self.spec.stride

    def _copied(
        self, recording: IntArray, start: IntArray, length: int
    ) -> tuple[FloatArray, BoolArray]:
        """Values (B, C, length) float32, 0 where not observed, and what is observed."""
        channels = len(self.recordings[0].channels)
        values = np.empty((len(recording), channels, length), dtype=np.float32)
        with np.errstate(over="ignore"):  # beyond float32 becomes inf, which is not observed
            for row, (r, s) in enumerate(zip(recording.tolist(), start.tolist(), strict=True)):
                values[row] = self._values[r][:, s : s + length]
        self._pages.touch(len(recording) * channels, length * self._values[0].itemsize)
        observed = np.isfinite(values)
        # As integers, 0 x the bits of NaN is the bits of 0.0: 6 times faster than a masked copy.
        bits = values.view(np.int32)
        np.multiply(bits, observed, out=bits)
        return values, observed


def step_indices(n: int, batch_size: int, seed: int, step: int) -> IntArray:
    """The windows of a training step: a pure function, so that a resumed run repeats it.

    The steps read one endless sequence of shuffled epochs: any n consecutive draws that begin at
    a multiple of n hold every window once, and a batch may reach over an epoch's end. The order
    of more than 4 million windows is computed, not listed, so that it takes no memory.

    Returns:
        (batch_size,) indices below `n`.
    """
    assert n > 0, "no windows to draw from"
    epoch, within = np.divmod(np.arange(step * batch_size, (step + 1) * batch_size), n)
    drawn = np.empty(batch_size, dtype=np.int64)
    for e in np.unique(epoch).tolist():
        rows = epoch == e
        at = within[rows]
        drawn[rows] = _shuffled(n, seed, e)[at] if n <= _LISTED else _permuted(at, n, seed, e)
    return drawn


@lru_cache(maxsize=2)  # a batch reads one epoch, or two at its end; longer lists are large
def _shuffled(n: int, seed: int, epoch: int) -> IntArray:
    order = np.random.default_rng([seed, epoch]).permutation(n)
    order.flags.writeable = False
    return order


def _permuted(at: IntArray, n: int, seed: int, epoch: int) -> IntArray:
    """The entries `at` (N,) of a random permutation of `n`, without computing the others.

    A Feistel network permutes the next power of 4; a result of n or more is permuted again until
    it is less (cycle walking; Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    keys = np.random.default_rng([seed, epoch]).integers(2**64, size=_ROUNDS, dtype=np.uint64)
    half = np.uint64((int(n - 1).bit_length() + 1) // 2)
    low = (np.uint64(1) << half) - np.uint64(1)

    def once(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = x >> half, x & low
        for key in keys:
            left, right = right, left ^ (_mixed(right ^ key) & low)
        return (left << half) | right

    x = once(at.astype(np.uint64))
    while (outside := x >= n).any():
        x[outside] = once(x[outside])
    return x.astype(np.int64)


def _mixed(x: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Mixes 64 bits, so that each depends on all (Steele, Lea & Flood 2014, SplitMix)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _count(samples: int, spec: WindowSpec) -> int:
    return max(0, (samples - spec.context - spec.horizon) // spec.stride + 1)


def _seconds_since_epoch(start: np.datetime64 | None) -> float:
    if start is None or np.isnat(start):
        return np.nan
    return float((start - np.datetime64(0, "s")) / np.timedelta64(1, "s"))
