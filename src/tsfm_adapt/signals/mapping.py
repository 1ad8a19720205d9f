"""Releases pages of memory-mapped arrays, so that reading a large file does not fill the memory.

The operating system counts a page of a file as the process's memory once it is read. A released
page costs little to read again as long as the system still caches it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_LIMIT = 512e6  # bytes of mapped pages that random reading may hold
_AROUND = 1 << 21  # bytes that one read may map: Linux's largest folio


def release(values: FloatArray) -> None:
    """Releases the mapped pages from the first to the last value; no effect on arrays in memory.

    The values stay readable.
    """
    file = _map_of(values)
    if file is None or not values.size:
        return
    origin = np.frombuffer(file, dtype=np.uint8).__array_interface__["data"][0]
    first = values.__array_interface__["data"][0] - origin
    extent = sum((n - 1) * s for n, s in zip(values.shape, values.strides, strict=True))
    stop = first + extent + values.itemsize
    first -= first % mmap.PAGESIZE
    file.madvise(mmap.MADV_DONTNEED, first, stop - first)


class Pages:
    """Mapped pages of arrays that are read at random; releases them when many have been read."""

    def __init__(self, arrays: Iterable[FloatArray]) -> None:
        maps = (_map_of(array) for array in arrays)
        files = {id(file): file for file in maps if file is not None}
        self._files = tuple(files.values()) if sum(map(len, files.values())) > _LIMIT else ()
        self._touched = 0

    def touch(self, places: int, bytes_each: int) -> None:
        """Counts reads, and releases all pages once they add up to the limit.

        Args:
            places: number of separate reads.
            bytes_each: length of each.
        """
        if not self._files:
            return
        self._touched += places * (bytes_each + _AROUND)
        if self._touched > _LIMIT:
            for file in self._files:
                file.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _map_of(values: FloatArray) -> mmap.mmap | None:
    """The read-only map under an array, or None; a writable one could lose changes."""
    base: object = values
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED")
    return base if mapped and memoryview(base).readonly else None  # type: ignore[return-value,arg-type]
