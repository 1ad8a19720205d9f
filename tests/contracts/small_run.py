"""A run that trains in about a second: windows, a tiny model, settings, a child process."""

import multiprocessing
import os
from contextlib import contextmanager

import numpy as np

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.recipe.schema import Train
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

SEED = 11


def windows(subjects=3, stride=1, seed=0, horizon=12):
    """Smooth waves with noise and gaps, predictable enough to learn; (B, 2, 32) -> (B, 2, 12)."""
    generator = np.random.default_rng(seed)
    time = np.arange(120)
    recordings = []
    for number in range(subjects):
        phase = generator.uniform(0, 6, (2, 1))
        values = [[80.0], [120.0]] + 10 * np.sin(time / 5 + phase)
        values += generator.normal(0, 0.5, values.shape)
        values[generator.random(values.shape) < 0.05] = np.nan
        recordings.append(
            Recording(
                id=f"r{number}",
                subject=f"p{number}",
                values=values,
                channels=("HR", "MAP"),
                units=("bpm", "mmHg"),
                rate_hz=1 / 60,
            )
        )
    return Windows(recordings, WindowSpec(context=32, horizon=horizon, stride=stride))


def model(dropout=0.0, seed=SEED, adapters=None, setting=None):
    """A tiny Chronos-2 with LoRA; the same seed gives the same weights."""
    import torch

    from contracts.batch import roughened
    from tsfm_adapt.adapters import lora
    from tsfm_adapt.backbones.chronos2 import Chronos2
    from tsfm_adapt.model import AdaptedModel

    torch.set_num_threads(1)
    if adapters is None:
        adapters = [lora.Config(rank=2, dropout=dropout).build()]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AdaptedModel(roughened(Chronos2.tiny()), adapters, setting=setting)


def settings(**changes):
    """Twelve steps of four windows on the CPU."""
    plain = {
        "steps": 12,
        "batch_size": 4,
        "lr": 0.02,
        "validate_every": 4,
        "checkpoint_every": 3,
        "accelerator": "cpu",
    }
    return Train(**plain | changes)


class Watched(Progress):
    """Silent; calls `on_step` with the number of each step that is done, saved or not."""

    def __init__(self, on_step):
        super().__init__(quiet=True)
        self._on_step = on_step

    @contextmanager
    def work(self, label, total, done=0):
        yield _Meter(self._on_step, done)


class _Meter:
    def __init__(self, on_step, done):
        self._on_step = on_step
        self._done = done

    def advance(self, count=1, note=""):
        self._done += count
        self._on_step(self._done)


def train(folder, on_step=None, adapted=None, dropout=0.0, seed=SEED, **changes):
    """Trains in `folder`, going on from its last checkpoint; what `fit` returns, and the model."""
    from tsfm_adapt.training.loop import fit

    adapted = adapted or model(dropout)
    progress = Watched(on_step or (lambda step: None))
    val = windows(subjects=1, stride=12, seed=1)
    return fit(adapted, windows(), val, settings(**changes), seed, folder, progress), adapted


def children():
    """A context of processes that import the package once, not in every child."""
    context = multiprocessing.get_context("forkserver")
    imported_late = ["chronos.chronos2", "peft", "torch.utils.tensorboard"]
    context.set_forkserver_preload(["tsfm_adapt.training.loop", *imported_late])
    return context


def train_in_child(folder, steps, options):
    """`train`, telling each step through the connection `steps`; to be killed."""
    os.environ["OMP_NUM_THREADS"] = "1"
    train(folder, on_step=steps.send, **options)
