"""Decodes the samples of WFDB signal files that are not compressed.

The formats: https://physionet.org/physiotools/wag/signal-5.htm. A file holds frames; a frame
holds each signal's samples in the order of the header.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Samples = npt.NDArray[np.integer]
_Decoder = Callable[[Bytes, int], Samples]


@dataclass(frozen=True)
class _Format:
    """One format of samples."""

    size: Fraction  # bytes a sample
    missing: int | None  # the sample that means none


_FORMATS: Mapping[str, _Format] = {
    "8": _Format(Fraction(1), None),
    "16": _Format(Fraction(2), -(1 << 15)),
    "24": _Format(Fraction(3), -(1 << 23)),
    "32": _Format(Fraction(4), -(1 << 31)),
    "61": _Format(Fraction(2), -(1 << 15)),
    "80": _Format(Fraction(1), -(1 << 7)),
    "160": _Format(Fraction(2), -(1 << 15)),
    "212": _Format(Fraction(3, 2), -(1 << 11)),
    "310": _Format(Fraction(4, 3), -(1 << 9)),
    "311": _Format(Fraction(4, 3), -(1 << 9)),
}
_COMPRESSED: Mapping[str, int] = {"508": -(1 << 7), "516": -(1 << 15), "524": -(1 << 23)}

UNCOMPRESSED = frozenset(_FORMATS)
COMPRESSED = frozenset(_COMPRESSED)  # FLAC; the size of a file says nothing
KNOWN = (*_FORMATS, *_COMPRESSED)


def missing_code(format: str) -> int | None:
    """The sample that means that there is none; None = the format has no such code."""
    return _COMPRESSED[format] if format in _COMPRESSED else _FORMATS[format].missing


def bytes_of(format: str, samples: int) -> int:
    """The least bytes that hold so many samples."""
    if format == "310" and samples % 3 == 2:
        return samples // 3 * 4 + 4  # the third sample's bits are in both words
    return math.ceil(samples * _FORMATS[format].size)


def samples_in(format: str, size: int) -> int:
    """The most samples that so many bytes hold."""
    return math.floor(size / _FORMATS[format].size)


def decoded(
    raw: Bytes, format: str, frames: int, per_frame: Sequence[int], initial: Sequence[int]
) -> list[Samples]:
    """The samples of each signal of a file, (frames * per_frame,), in the header's order.

    Args:
        raw: at least `bytes_of` all samples.
        format: one of `UNCOMPRESSED`.
        frames: to read.
        per_frame: samples of each signal in a frame.
        initial: of each signal, to which the differences of format 8 are added.
    """
    total = sum(per_frame)
    count = frames * total
    grid = _DECODERS[format](raw[: bytes_of(format, count)], count).reshape(frames, total)
    ends = np.cumsum(per_frame).tolist()
    signals: list[Samples] = [
        grid[:, end - own : end].reshape(-1) for own, end in zip(per_frame, ends, strict=True)
    ]
    if format == "8":
        return [
            np.cumsum(signal, dtype=np.int64) + first
            for signal, first in zip(signals, initial, strict=True)
        ]
    return signals


def _words(kind: str, below: int = 0) -> _Decoder:
    """A decoder of whole words; `below` is subtracted, in formats with an offset."""

    def decode(raw: Bytes, count: int) -> Samples:
        words = raw.view(kind)[:count]
        return words if not below else words.astype(np.int32) - below

    return decode


def _format_24(raw: Bytes, count: int) -> Samples:
    triples = raw.reshape(count, 3).astype(np.int32)
    return ((triples[:, 0] << 8) | (triples[:, 1] << 16) | (triples[:, 2] << 24)) >> 8


def _format_212(raw: Bytes, count: int) -> Samples:
    """Two samples in three bytes: the middle one has the upper four bits of both."""
    triples = _padded(raw, 3).reshape(-1, 3).astype(np.int16)
    pairs = np.empty((len(triples), 2), dtype=np.int16)
    pairs[:, 0] = triples[:, 0] | ((triples[:, 1] & 0x0F) << 8)
    pairs[:, 1] = triples[:, 2] | ((triples[:, 1] & 0xF0) << 4)
    return _signed(pairs.reshape(-1)[:count], 12)


def _format_310(raw: Bytes, count: int) -> Samples:
    """Three samples in two words: ten bits of each from bit 1 on, five of the third above."""
    words = _padded(raw, 4).view("<u2").reshape(-1, 2).astype(np.int16)
    triples = np.empty((len(words), 3), dtype=np.int16)
    triples[:, :2] = (words >> 1) & 0x3FF
    triples[:, 2] = ((words[:, 0] >> 11) & 0x1F) | (((words[:, 1] >> 11) & 0x1F) << 5)
    return _signed(triples.reshape(-1)[:count], 10)


def _format_311(raw: Bytes, count: int) -> Samples:
    """Three samples in four bytes, ten bits each from the lowest on."""
    words = _padded(raw, 4).view("<u4")
    triples = np.stack([(words >> shift) & 0x3FF for shift in (0, 10, 20)], axis=1)
    return _signed(triples.reshape(-1)[:count].astype(np.int16), 10)


def _padded(raw: Bytes, group: int) -> Bytes:
    """The bytes, with zeros to fill the last group."""
    return np.concatenate([raw, np.zeros(-len(raw) % group, dtype=np.uint8)])


def _signed(values: npt.NDArray[np.int16], bits: int) -> Samples:
    """Two's complement numbers of so many bits."""
    shift = 16 - bits
    return (values << shift) >> shift


_DECODERS: Mapping[str, _Decoder] = {
    "8": _words("i1"),
    "16": _words("<i2"),
    "24": _format_24,
    "32": _words("<i4"),
    "61": _words(">i2"),
    "80": _words("u1", below=1 << 7),
    "160": _words("<u2", below=1 << 15),
    "212": _format_212,
    "310": _format_310,
    "311": _format_311,
}
