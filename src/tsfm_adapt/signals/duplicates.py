"""Copied stretches in recordings, found by their values.

Every stretch of `STRETCH` observed values in a row gets a fingerprint, a hash; stretches of equal
fingerprints are compared value by value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from tsfm_adapt.signals.mapping import release
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray, Recording

Hashes = npt.NDArray[np.uint64]

STRETCH = 32  # observed values in a row: the shortest copy; a power of 2

# Independent stretches with b bits of entropy agree by chance once in about 2 ** b pairs. A copy
# must have so many bits more than it takes to number all pairs.
_SPARE_BITS = 10.0
_TURNS = 6  # changes of slope that a stretch needs: no ramps, no flat lines
_KEPT = 1 << 21  # most fingerprints kept; of more, those whose hash ends in zeros
_SEARCHED = 1 << 27  # most samples; of larger cohorts the beginning of every recording
_BATCH = 1 << 16  # samples processed at once
_REACH = 1 << 20  # samples on either side within which a copy is followed

_PRIME = 0x9E3779B97F4A7C15
_MIX = 0xBF58476D1CE4E5B9


@dataclass(frozen=True)
class Duplicate:
    """A stretch of a channel that two recordings hold bit for bit, apart from gaps.

    Times are in seconds from the start of the respective recording.
    """

    channel: str
    samples: int  # observed values in a row
    one: Recording
    one_s: tuple[float, float]  # times of the first and the last sample
    other: Recording
    other_s: tuple[float, float]


def duplicated(
    recordings: Sequence[Recording], owner: Callable[[Recording], str] | None = None
) -> list[Duplicate]:
    """Stretches of at least `STRETCH` observed values that recordings of two owners share.

    Values are compared bit for bit, channel by channel, at any shift in time. Gaps are skipped:
    the order of the observed values counts.

    Flat lines, ramps, what repeats itself within fewer than 16 samples, and stretches so common in
    the cohort that two may agree by chance are no copies: the entropy of the differences within a
    stretch must exceed, by 10 bits, what it takes to number all pairs of samples. A channel that
    hardly changes (SpO2 at 98 and 99) is therefore seldom reported by itself.

    Time grows with the number of samples. Memory is bounded: values are read in blocks, and at
    most two million fingerprints are kept. Of more than that many samples every 2nd, 4th, ...
    fingerprint is kept, chosen by its hash: a copy of a whole recording is still found, one of a
    few dozen samples may be missed. Of more than 134 million samples, the same share of every
    recording is searched, from its beginning.

    Args:
        recordings: with the same channels; may be memory-mapped.
        owner: the owner of a recording; copies within one owner are no finding. Default: subject.

    Returns:
        The longest first. A stretch in many recordings is reported once for each, beside the
        first.
    """
    owner_of_one = owner or (lambda recording: recording.subject)
    owners = [owner_of_one(recording) for recording in recordings]
    if len(set(owners)) < 2:
        return []
    table = _fingerprints(recordings)
    number = {name: index for index, name in enumerate(dict.fromkeys(owners))}
    owner_of = np.array([number[name] for name in owners], dtype=np.int64)
    channels = len(recordings[0].channels)
    one, other = _shared(table, owner_of, channels)
    informative = _informative(recordings, table, np.unique(one), channels)
    kept = np.isin(one, informative)
    copies = _followed(recordings, table, one[kept], other[kept], channels)
    return sorted(copies, key=lambda copy: -copy.samples)


@dataclass(frozen=True)
class _Table:
    """Fingerprints (F,) and where they are; a row is one channel of one recording."""

    hash: Hashes = field(default_factory=lambda: np.empty(0, dtype=np.uint64))  # (F,)
    row: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # (F,)
    first: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))  # (F,) samples
    searched: int = 0  # stretches, before any were dropped

    def where(self, some: BoolArray) -> _Table:
        """The fingerprints where `some` (F,) is true."""
        return _Table(self.hash[some], self.row[some], self.first[some], self.searched)


def _fingerprints(recordings: Sequence[Recording]) -> _Table:
    """Fingerprints of all recordings, thinned by hash where they are too many."""
    channels = len(recordings[0].channels)
    pieces: list[_Table] = []
    kept = searched = 0
    mask = np.uint64(0)
    for values, row, sample in _observed(recordings):
        piece = _stretches(values, row, sample, channels, mask)
        searched += len(values)
        pieces.append(piece)
        kept += len(piece.hash)
        while kept > _KEPT:
            mask = (mask << np.uint64(1)) | np.uint64(1)
            pieces = [piece.where((piece.hash & mask) == 0) for piece in pieces]
            kept = sum(len(piece.hash) for piece in pieces)
    if not pieces:
        return _Table()
    return _Table(
        np.concatenate([piece.hash for piece in pieces]),
        np.concatenate([piece.row for piece in pieces]),
        np.concatenate([piece.first for piece in pieces]),
        searched,
    )


def _observed(
    recordings: Sequence[Recording],
) -> Iterator[tuple[FloatArray, IntArray, IntArray]]:
    """Observed values with row and sample, (N,) each, in batches that overlap by STRETCH - 1."""
    carried: tuple[FloatArray, IntArray, IntArray] | None = None  # the end of the last batch
    for batch in _batches(recordings):
        lengths = np.array([len(values) for _, _, values in batch])
        values = np.concatenate([values for _, _, values in batch]).astype(np.float64)
        before = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        offset = np.array([first for _, first, _ in batch]) - before
        sample = np.arange(len(values)) + np.repeat(offset, lengths)
        row = np.repeat(np.array([number for number, _, _ in batch]), lengths)
        finite = np.isfinite(values)
        some = values[finite], row[finite], sample[finite]
        if carried is not None:
            some = (
                np.concatenate([carried[0], some[0]]),
                np.concatenate([carried[1], some[1]]),
                np.concatenate([carried[2], some[2]]),
            )
        yield some
        last = slice(max(0, len(some[0]) - STRETCH + 1), None)
        carried = some[0][last], some[1][last], some[2][last]


def _batches(
    recordings: Sequence[Recording],
) -> Iterator[list[tuple[int, int, FloatArray]]]:
    """Blocks of rows as (row, first sample, values), about `_BATCH` samples at a time."""
    batch: list[tuple[int, int, FloatArray]] = []
    size = row = 0
    total = sum(recording.values.size for recording in recordings)
    share = min(1.0, _SEARCHED / max(total, 1))
    for recording in recordings:
        length = round(share * recording.samples)
        for values in np.asarray(recording.values):  # a plain view, also of a memory map
            for first in range(0, length, _BATCH):
                batch.append((row, first, values[first : min(first + _BATCH, length)]))
                size += len(batch[-1][2])
                if size >= _BATCH:
                    yield batch
                    batch, size = [], 0
            row += 1
        release(recording.values)
    if batch:
        yield batch


def _stretches(
    values: FloatArray, row: IntArray, sample: IntArray, channels: int, mask: np.uint64
) -> _Table:
    """Fingerprints of the stretches of a batch that lie in one row and are no ramps."""
    count = len(values) - STRETCH + 1
    if count < 1:
        return _Table()
    step = np.diff(values)
    turned = np.zeros(len(step), dtype=np.int32)
    np.cumsum(step[1:] != step[:-1], out=turned[1:])
    good = turned[STRETCH - 2 :] - turned[:count] >= _TURNS
    good &= row[:count] == row[STRETCH - 1 :]
    hashes = _mixed((values + 0.0).view(np.uint64))  # -0.0 is 0.0
    width, factor = 1, _PRIME
    while width < STRETCH:  # of 1, 2, 4, ... values: a polynomial modulo 2 ** 64
        hashes = hashes[:-width] * np.uint64(factor) + hashes[width:]
        width, factor = 2 * width, factor**2 % 2**64
    good &= (hashes & mask) == 0
    some = np.flatnonzero(good)
    salt = _mixed(np.arange(1, channels + 1, dtype=np.uint64) << np.uint64(32))
    # The salt leaves the bits of a mask as they are, so that a later, longer one still holds.
    hashes = hashes[some] ^ (salt[row[some] % channels] << np.uint64(32))
    return _Table(hashes, row[some], sample[some])


def _mixed(bits: Hashes) -> Hashes:
    """Mixes 64 bits one to one, so that each depends on all."""
    bits = (bits ^ (bits >> np.uint64(32))) * np.uint64(_PRIME)
    bits = (bits ^ (bits >> np.uint64(29))) * np.uint64(_MIX)
    return bits ^ (bits >> np.uint64(32))


def _shared(table: _Table, owner_of: IntArray, channels: int) -> tuple[IntArray, IntArray]:
    """Pairs of equal fingerprints of two owners, by position: the first one, and another."""
    order = np.argsort(table.hash, kind="stable")
    ordered = table.hash[order]
    begins = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    first = order[np.flatnonzero(begins)[np.cumsum(begins) - 1]] if len(order) else order
    owner = owner_of[table.row // channels]
    differ = owner[first] != owner[order]
    return first[differ], order[differ]


def _informative(
    recordings: Sequence[Recording], table: _Table, some: IntArray, channels: int
) -> IntArray:
    """The fingerprints among `some` whose stretches carry too much entropy to agree by chance."""
    if not len(some):
        return some
    needed = 2 * np.log2(max(table.searched, 2)) + _SPARE_BITS
    some = some[np.argsort(table.row[some], kind="stable")]
    edges = np.flatnonzero(np.diff(table.row[some])) + 1
    kept = []
    for group in np.split(some, edges):
        number, channel = divmod(int(table.row[group[0]]), channels)
        values, sample = _around(recordings[number], channel, table.first[group])
        at = np.searchsorted(sample, table.first[group])
        steps = np.diff(values[at[:, None] + np.arange(STRETCH)], axis=1)
        kept.append(group[(_bits(steps) >= needed) & ~_periodic(steps)])
    return np.concatenate(kept)


def _bits(steps: FloatArray) -> FloatArray:
    """L times the entropy in bits of the L differences of each stretch, (n, L) to (n,)."""
    length = steps.shape[1]
    ordered = np.sort(steps, axis=1)
    ends = np.ones(ordered.shape, dtype=bool)
    ends[:, :-1] = ordered[:, 1:] != ordered[:, :-1]
    last = np.where(ends, np.arange(1, length + 1), 0)
    before = np.concatenate([np.zeros((len(last), 1)), last[:, :-1]], axis=1)
    count = np.where(ends, last - np.maximum.accumulate(before, axis=1), 1.0)
    entropy: FloatArray = -(np.where(ends, count * np.log2(count / length), 0.0)).sum(axis=1)
    return entropy


def _periodic(steps: FloatArray) -> BoolArray:
    """True for differences (n, L) that repeat with a period below STRETCH / 2, (n,)."""
    repeats = [(steps[:, p:] == steps[:, :-p]).all(axis=1) for p in range(1, STRETCH // 2)]
    periodic: BoolArray = np.any(repeats, axis=0)
    return periodic


def _around(recording: Recording, channel: int, first: IntArray) -> tuple[FloatArray, IntArray]:
    """Observed values (N,) of a channel around some samples, and their sample numbers (N,)."""
    low = max(0, int(first.min()) - _REACH)
    values = np.asarray(recording.values[channel, low : int(first.max()) + _REACH])
    measured = np.flatnonzero(np.isfinite(values))
    return values[measured].astype(np.float64), measured + low


def _followed(
    recordings: Sequence[Recording],
    table: _Table,
    one: IntArray,
    other: IntArray,
    channels: int,
) -> list[Duplicate]:
    """Extends pairs of equal fingerprints to whole copied stretches, by pairs of rows."""
    copies: list[Duplicate] = []
    if not len(one):
        return copies
    order = np.lexsort((table.first[other], table.row[one], table.row[other]))
    one, other = one[order], other[order]
    rows = np.stack([table.row[one], table.row[other]])
    edges = np.flatnonzero((np.diff(rows, axis=1) != 0).any(axis=0)) + 1
    for begin, stop in pairwise([0, *edges.tolist(), len(one)]):
        done = -1  # last sample of the other recording within a stretch that was reported
        for a, b in zip(one[begin:stop].tolist(), other[begin:stop].tolist(), strict=True):
            if table.first[b] > done:
                copy = _whole_stretch(recordings, table, a, b, channels)
                if copy is not None:
                    copies.append(copy)
                    done = round(copy.other_s[1] * copy.other.rate_hz)
    return copies


def _whole_stretch(
    recordings: Sequence[Recording], table: _Table, a: int, b: int, channels: int
) -> Duplicate | None:
    """The longest copied stretch around two equal fingerprints; None = only the hashes agree."""
    number, channel = divmod(int(table.row[a]), channels)
    theirs = recordings[int(table.row[b]) // channels]
    ours = recordings[number]
    values, sample = _around(ours, channel, table.first[a : a + 1])
    copied, copied_sample = _around(theirs, channel, table.first[b : b + 1])
    at = int(np.searchsorted(sample, table.first[a]))
    there = int(np.searchsorted(copied_sample, table.first[b]))
    after = min(len(values) - at, len(copied) - there)
    before = min(at, there)
    forward = values[at : at + after] == copied[there : there + after]
    backward = (values[at - before : at] == copied[there - before : there])[::-1]
    ahead = after if forward.all() else int(np.argmin(forward))
    behind = before if backward.all() else int(np.argmin(backward))
    if ahead + behind < STRETCH:
        return None
    return Duplicate(
        channel=ours.channels[channel],
        samples=ahead + behind,
        one=ours,
        one_s=_seconds(sample, at - behind, at + ahead - 1, ours.rate_hz),
        other=theirs,
        other_s=_seconds(copied_sample, there - behind, there + ahead - 1, theirs.rate_hz),
    )


def _seconds(sample: IntArray, first: int, last: int, rate_hz: float) -> tuple[float, float]:
    """Times of two of some samples."""
    return float(sample[first]) / rate_hz, float(sample[last]) / rate_hz
