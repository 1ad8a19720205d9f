"""Memory-mapped values: what is given back reads the same again."""

import mmap
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.signals.mapping import Pages, release
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

TABLE = Path("/proc/self/pagemap")
counted = pytest.mark.skipif(not TABLE.exists(), reason="needs Linux's table of a process's pages")


def resident(values):
    """Bytes of mapped values that this process holds in memory."""
    first = values.ctypes.data // mmap.PAGESIZE
    last = (values.ctypes.data + values.nbytes - 1) // mmap.PAGESIZE
    with TABLE.open("rb") as table:
        table.seek(8 * first)
        entries = np.frombuffer(table.read(8 * (last - first + 1)), np.uint64)
    assert len(entries) == last - first + 1
    return int((entries >> np.uint64(63)).sum()) * mmap.PAGESIZE  # the highest bit: it is there


@pytest.fixture
def stored(tmp_path):
    """`stored(C, T)`: a read-only map of random values in a file."""

    def build(channels, samples):
        path = tmp_path / "values.npy"
        rng = np.random.default_rng(0)
        np.save(path, rng.random((channels, samples), dtype=np.float32))
        return np.load(path, mmap_mode="r")

    return build


def recording(values):
    names = tuple(f"c{i}" for i in range(len(values)))
    return Recording("r", "s", values, names, ("mV",) * len(values), 1.0)


@counted
def test_released_values_are_no_longer_held_and_read_the_same(stored):
    values = stored(2, 300_000)
    expected = np.array(values)
    assert resident(values) >= values.nbytes
    release(np.asarray(values)[:, 1000:])
    assert resident(values) < 2 * mmap.PAGESIZE
    np.testing.assert_array_equal(values, expected)


def test_what_could_lose_values_is_left_alone(stored):
    path = stored(1, 5000).filename
    for mode in ("c", "r+"):
        private = np.load(path, mmap_mode=mode)
        private[:] = 7.0
        release(private)
        Pages([private]).touch(10**6, 10**6)
        assert (np.asarray(private) == 7.0).all()
    plain = np.ones((1, 5000))
    release(plain)
    release(plain[:, :0])
    assert (plain == 1).all()


@counted
def test_a_pass_over_a_recording_holds_a_block_of_it(stored):
    values = stored(1, 8_000_000)
    held = []
    whole = recording(values)
    release(values)
    total = 0.0
    for block in whole.blocks():
        total += block.sum(dtype=np.float64)
        held.append(resident(values))
    assert total == pytest.approx(np.asarray(values).sum(dtype=np.float64), rel=1e-12)
    assert max(held) < values.nbytes / 3


@pytest.mark.parametrize("samples", [1, 2, 65_536, 65_537, 200_000])
@pytest.mark.parametrize("overlap", [0, 1])
def test_blocks_are_the_recording_in_order(samples, overlap):
    values = np.arange(2.0 * samples).reshape(2, samples)
    blocks = list(recording(values).blocks(overlap))
    steps = [np.diff(block) for block in blocks] if overlap else blocks
    expected = np.diff(values) if overlap else values
    joined = np.concatenate([np.empty((2, 0)), *steps], axis=1)
    np.testing.assert_array_equal(joined, expected)
    assert all(np.shares_memory(block, values) for block in chain(blocks))


@counted
def test_windows_at_random_hold_a_bounded_part_of_the_file(stored, monkeypatch):
    monkeypatch.setattr("tsfm_adapt.signals.mapping._LIMIT", 8e6)
    values = stored(1, 16_000_000)
    windows = Windows([recording(values)], WindowSpec(64, 0))
    taken = windows.take(np.random.default_rng(0).permutation(len(windows))[:400])
    release(values)
    most = 0
    for first in range(0, 400, 4):
        arrays = taken.gather(np.arange(first, first + 4))
        starts = taken.start[first : first + 4]
        np.testing.assert_array_equal(arrays.values[3, 0], values[0, starts[3] : starts[3] + 64])
        most = max(most, resident(values))
    assert most < values.nbytes / 2
