"""Processor seconds of `check` on many small CSV files beyond those on two, here and at a commit.

    python benchmarks/small_tables.py --against COMMIT [--turns 3]

Writes 2 000 files of 100 rows into a temporary folder, checks out the commit beside it, and runs
both in turns, so that what else the machine does meets both. The ratio is printed with its range.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
RECIPE = """name: small-tables
seed: 1
data:
  reader: {{name: csv, root: {root}, layout: wide, units: {{HR: bpm, SpO2: "%", RESP: bpm}}}}
  channels: {{HR: bpm, SpO2: "%", RESP: bpm}}
  rate_hz: 1/60
  split: {{by: {by}, train: 0.6, val: 0.2, test: 0.2}}
backbone: {{name: chronos_bolt, checkpoint: embedded}}
task: {{name: forecast, context_s: 480, horizon_s: 120}}
"""


def written(folder: Path, files: int) -> Path:
    """The recipe of so many files, which are written beside it."""
    rng = np.random.default_rng(0)
    root = folder / str(files)
    root.mkdir()
    for number in range(files):
        start = np.datetime64("2024-01-01T00:00:00") + np.timedelta64(number, "h")
        rows = ["time,HR,SpO2,RESP"]
        for minute in range(100):
            stamp = str(start + np.timedelta64(minute, "m")).replace("T", " ")
            hr, spo2, resp = np.array([70, 97, 15]) + rng.normal(size=3)
            rows.append(f"{stamp},{hr:.1f},{spo2:.1f},{resp:.1f}")
        (root / f"p{number:04d}.csv").write_text("\n".join(rows) + "\n")
    recipe = folder / f"{files}.yaml"
    by = "subject" if files > 2 else "time"
    recipe.write_text(RECIPE.format(root=root, by=by))
    return recipe


def seconds(source: Path, recipe: Path) -> float:
    """Processor seconds of one `check` with the package at `source`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "tsfm_adapt", "check", str(recipe)],
        env=os.environ | {"PYTHONPATH": str(source)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Runs the pairs and prints their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", required=True, help="a commit")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        other = folder / "other"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run(
            [*git, "add", "--detach", "--quiet", str(other), options.against], check=True
        )
        try:
            two, many = written(folder, 2), written(folder, 2000)
            ratios = []
            for turn in range(options.turns):
                extra = [
                    seconds(source, many) - seconds(source, two)
                    for source in (other / "src", ROOT / "src")
                ]
                ratios.append(extra[1] / extra[0])
                there, here = extra
                print(f"turn {turn + 1}: {there:.2f} s at {options.against}, {here:.2f} s here")
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    print(f"ratio {np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
