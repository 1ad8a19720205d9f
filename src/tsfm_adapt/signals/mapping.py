"""Memory-mapped values: giving their pages back, so that reading a file does not hold it.

The system counts a page of a file as the process's own from when it is first read. Such a page can
be given back at any time, and costs little to read again as long as the system still has it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]

_LIMIT = 512e6  # bytes of files that random reading may hold
_AROUND = 1 << 21  # bytes that the system may map where one is read: Linux's largest folio


def release(values: FloatArray) -> None:
    """Gives back the pages between the first and the last of the values; in memory, nothing.

    The values stay as readable as before.
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
    """The pages of some arrays, given back whenever random reading has touched many of them."""

    def __init__(self, arrays: Iterable[FloatArray]) -> None:
        found = (_map_of(array) for array in arrays)
        files = {id(file): file for file in found if file is not None}
        self._files = tuple(files.values()) if sum(map(len, files.values())) > _LIMIT else ()
        self._touched = 0

    def touch(self, places: int, bytes_each: int) -> None:
        """Counts stretches that were read."""
        if not self._files:
            return
        self._touched += places * (bytes_each + _AROUND)
        if self._touched > _LIMIT:
            for file in self._files:
                file.madvise(mmap.MADV_DONTNEED)
            self._touched = 0


def _map_of(values: FloatArray) -> mmap.mmap | None:
    """The read-only map that the values are a view of; a writable one might lose what it holds."""
    base: object = values
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED")
    return base if mapped and memoryview(base).readonly else None  # type: ignore[return-value,arg-type]
