"""Time to gather one batch of windows, on one core: `python benchmarks/windows.py`.

32 windows x 7 channels x 608 samples (512 of context, 96 of target) at random places of 20
recordings, in memory and memory-mapped. Exits with 1 where the median is over the bar.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tsfm_adapt.signals.recording import FloatArray, Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec, step_indices

BAR_MS = 1.0
BATCH, CHANNELS, CONTEXT, HORIZON = 32, 7, 512, 96
SAMPLES, RECORDINGS, STEPS = 50_000, 20, 500


def main() -> int:
    generator = np.random.default_rng(0)
    arrays = [
        generator.normal(size=(CHANNELS, SAMPLES)).astype(np.float32) for _ in range(RECORDINGS)
    ]
    for values in arrays:
        values[generator.random(values.shape) < 0.2] = np.nan
    with tempfile.TemporaryDirectory() as folder:
        medians = {
            "in memory": _median_ms(arrays),
            "memory-mapped": _median_ms([_mapped(a, folder, i) for i, a in enumerate(arrays)]),
        }
    for name, median_ms in medians.items():
        print(
            f"{name}: {median_ms:.3f} ms per batch of {BATCH} x {CHANNELS} x "
            f"{CONTEXT + HORIZON} (median of {STEPS}; bar {BAR_MS} ms)"
        )
    return int(max(medians.values()) > BAR_MS)


def _mapped(values: FloatArray, folder: str, index: int) -> FloatArray:
    path = Path(folder) / f"{index}.npy"
    np.save(path, values)
    return np.load(path, mmap_mode="r")


def _median_ms(arrays: list[FloatArray]) -> float:
    names = tuple(f"c{index}" for index in range(CHANNELS))
    recordings = [
        Recording(str(i), str(i), values, names, ("mV",) * CHANNELS, rate_hz=1.0)
        for i, values in enumerate(arrays)
    ]
    windows = Windows(recordings, WindowSpec(CONTEXT, HORIZON))
    elapsed_ms = []
    for step in range(STEPS):
        indices = step_indices(len(windows), BATCH, seed=0, step=step)
        began = time.perf_counter()
        windows.gather(indices)
        elapsed_ms.append(1e3 * (time.perf_counter() - began))
    return float(np.median(elapsed_ms))


if __name__ == "__main__":
    sys.exit(main())
