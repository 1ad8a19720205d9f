"""Epochs of a linear head with features kept and computed: `python benchmarks/frozen_features.py`.

The embedded Chronos-Bolt is frozen, and a linear head trains on windows of a synthetic cohort:
6 channels x 360 samples, batches of 32. With the cache all epochs run, from an empty one; without
it, a few epochs, from which 50 are extrapolated linearly. Both are `training.loop.fit` in one
process, without validation; the head's fit on train, which is the same in both, is left out.
Seconds are the processor's, so that others on the machine do not count.

Bar: 50 epochs at least 20 times as fast with the cache. Exits with 1 where it is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import PreparedData, prepare
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.training.building import assembled
from tsfm_adapt.training.feature_cache import with_cached_features
from tsfm_adapt.training.loop import fit

BAR = 20.0
RECIPE = """
name: frozen-features
data:
  reader: {{name: synthetic, subjects: {subjects}, hours: 48}}
  channels: {{HR: bpm, SpO2: "%", RESP: breaths/min, MAP: mmHg, PULSE: bpm, Temp: degC}}
  rate_hz: 1/120
  split: {{train: 0.8, val: 0.1, test: 0.1}}
backbone: {{name: chronos_bolt, checkpoint: embedded}}
head: {{name: linear, statistics: true}}
task:
  name: classify
  context_s: 43200
  labels: {{of: future, spans: [deterioration], within_s: 21600}}
  stride_s: 1800
train: {{batch_size: 32, accelerator: cpu}}
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--without", type=int, default=2, help="epochs without the cache")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recipe = loads(RECIPE.format(subjects=arguments.subjects), source="benchmark")
    prepared = prepare(recipe)
    windows = len(prepared.windows["train"])
    steps = -(-windows // recipe.train.batch_size)  # of an epoch
    _seconds(recipe, prepared, 5, keep=False)  # what is imported and laid out once
    without = _seconds(recipe, prepared, arguments.without * steps, keep=False) / arguments.without
    with tempfile.TemporaryDirectory() as cache:
        os.environ["TSFM_ADAPT_CACHE"] = cache
        whole = _seconds(recipe, prepared, arguments.epochs * steps, keep=True)
        again = _seconds(recipe, prepared, arguments.epochs * steps, keep=True)
    each = again / arguments.epochs
    ratio = arguments.epochs * without / whole
    print(f"{windows} windows, {steps} steps an epoch, {arguments.threads} thread(s)")
    print(f"{'':<34}{'s an epoch':>12}{f's for {arguments.epochs}':>12}")
    rows = {
        f"without (from {arguments.without} epochs)": (without, arguments.epochs * without),
        "with the cache, empty at first": (whole / arguments.epochs, whole),
        "with the cache, filled": (each, again),
    }
    for name, (epoch, total) in rows.items():
        print(f"{name:<34}{epoch:>12.3f}{total:>12.1f}")
    print(f"{1000 * each / steps:.2f} ms a step from the cache")
    print(f"without / with {ratio:.1f} (bar {BAR:.0f}); filled {without / each:.1f}")
    return int(ratio < BAR)


def _seconds(recipe: Recipe, prepared: PreparedData, steps: int, keep: bool) -> float:
    """Of training for so many steps, the opening of the store included."""
    own = recipe.override({"train.steps": steps, "train.feature_cache": keep})
    progress = Progress(quiet=True)
    train = prepared.windows["train"]
    model = assembled(own, prepared.deviation, prepared.shared_subjects, train)
    with tempfile.TemporaryDirectory() as folder:
        start_s = time.process_time()
        fit(
            model,
            with_cached_features(model, own, train, progress),
            train.take([]),
            own.train.model_copy(update={"checkpoint_every": 1000}),
            own.seed,
            Path(folder),
            progress,
        )
        return time.process_time() - start_s


if __name__ == "__main__":
    sys.exit(main())
