"""Memory of a run on a cohort larger than the bar: `python benchmarks/cohort_memory.py`.

Writes WFDB records of 2 h of 8 channels at 125 Hz (16 bits a sample) until their cleaned values,
float32, take `--gigabytes`; indexes them (reading, cleaning, the store, splitting, what is counted
over the train part); opens them again; and runs `tsfm-adapt train` for 20 steps of LoRA on the
embedded Chronos-Bolt with 200 test windows and all baselines. Each is a process of its own, with
an empty cache at first. The folder needs half as much again as the size, and is emptied.

What a process holds is sampled from /proc: `anonymous` memory is the process's own, `file` are
pages of files that it has read, which the system may take back; the peak of both together is the
system's own count (VmHWM). Linux only.

Bar: a peak of 2 GB in every process. Exits with 1 where it is missed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BAR_GB = 2.0
CHANNELS, RATE_HZ, SAMPLES = 8, 125, 2 * 3600 * 125
RECORD_BYTES = 4 * CHANNELS * SAMPLES  # cleaned
RECIPE = """
name: cohort-memory
data:
  reader: {{name: wfdb, root: {root}}}
  channels: {{{channels}}}
  rate_hz: 125
  cleaning: {{ranges: {{c0: [-30, 30]}}}}
backbone: {{name: chronos_bolt, checkpoint: embedded}}
adapters: [{{name: lora, rank: 4}}]
task: {{name: forecast, context_s: 4.096, horizon_s: 0.512}}
train: {{steps: 20, batch_size: 16, val_windows: 32, validate_every: 10, accelerator: cpu}}
evaluate: {{max_windows: 200}}
"""
INDEX = """
import sys, time
from pathlib import Path
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import prepare, read_clean
recipe = load(Path(sys.argv[1]), ())
for what, do in (("read, clean and keep", read_clean), ("open again", read_clean)):
    start_s = time.monotonic()
    recordings = do(recipe.data, Progress(quiet=True))
    print(f"{what}: {time.monotonic() - start_s:.2f} s, {len(recordings)} recordings", flush=True)
start_s = time.monotonic()
parts = prepare(recipe)
windows = {part: len(own) for part, own in parts.windows.items()}
print(f"open, split and look for leaks: {time.monotonic() - start_s:.1f} s, windows {windows}")
"""


@dataclass
class Peak:
    """The most that a process held, GB."""

    whole: float = 0.0
    anonymous: float = 0.0
    file: float = 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cohort-memory-", dir=arguments.folder) as name:
        folder = Path(name)
        root = folder / "records"
        records = max(4, round(1e9 * arguments.gigabytes / RECORD_BYTES))
        start_s = time.monotonic()
        _write(root, records)
        print(
            f"wrote {records} records, {records * RECORD_BYTES / 2e9:.1f} GB of files: "
            f"{time.monotonic() - start_s:.0f} s",
            flush=True,
        )
        recipe = folder / "recipe.yaml"
        channels = ", ".join(f"c{c}: mV" for c in range(CHANNELS))
        recipe.write_text(RECIPE.format(root=root, channels=channels))
        os.environ["TSFM_ADAPT_CACHE"] = str(folder / "cache")
        runs = str(folder / "runs")
        peaks = [
            _run("index", "-c", INDEX, str(recipe)),
            _run("train", "-m", "tsfm_adapt", "train", str(recipe), "--runs", runs),
        ]
    worst = max(peak.whole for peak in peaks)
    print(f"at most {worst:.2f} GB (bar {BAR_GB:g})")
    return int(worst > BAR_GB)


def _write(root: Path, records: int) -> None:
    """Random walks with noise and gaps, one record a patient, in little-endian 16 bits."""
    root.mkdir()
    for number in range(records):
        generator = np.random.default_rng(number)
        steps = generator.integers(-30, 31, size=(SAMPLES, CHANNELS), dtype=np.int16)
        values = np.cumsum(steps, axis=0, dtype=np.int32)
        values = (values % 20_000 - 10_000).astype("<i2")
        gap = int(generator.integers(SAMPLES - 5000))
        values[gap : gap + 5000, number % CHANNELS] = -32768  # the format's code for missing
        values.tofile(root / f"p{number:05d}.dat")
        sums = values.sum(axis=0, dtype=np.int64) % 65536
        lines = [f"p{number:05d} {CHANNELS} {RATE_HZ} {SAMPLES}"]
        lines += [
            f"p{number:05d}.dat 16 1000/mV 16 0 {values[0, c]} {sums[c]} 0 c{c}"
            for c in range(CHANNELS)
        ]
        (root / f"p{number:05d}.hea").write_text("\n".join(lines) + "\n")


def _run(what: str, *command: str) -> Peak:
    """Runs Python on a command and watches what it holds."""
    peak, start_s = Peak(), time.monotonic()
    process = subprocess.Popen([sys.executable, *command])
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        held = {key: int(kb) / 1e6 for key, kb in re.findall(r"(\w+):\s+(\d+) kB", status)}
        peak.whole = max(peak.whole, held.get("VmHWM", 0.0))
        peak.anonymous = max(peak.anonymous, held.get("RssAnon", 0.0))
        peak.file = max(peak.file, held.get("RssFile", 0.0))
        time.sleep(0.1)
    if process.wait():
        raise SystemExit(f"{what} failed with exit code {process.returncode}")
    print(
        f"{what}: {time.monotonic() - start_s:.0f} s, at most {peak.whole:.2f} GB: "
        f"{peak.anonymous:.2f} anonymous, {peak.file:.2f} file",
        flush=True,
    )
    return peak


if __name__ == "__main__":
    sys.exit(main())
