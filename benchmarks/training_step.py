"""Time of one LoRA step, ours and a bare loop's, of every backbone: `training_step.py --help`.

32 windows x 7 channels x 512 samples of context and 96 of target (fewer windows and steps for
the slowest), drawn from 20 recordings of 50 000 samples; LoRA rank 8 on q, k, v, o of the embedded
weights. The contestants run in turns in one process, and a step is the time from one entry into
the model to the next, the drawing of its batch included:

- ours: `tsfm_adapt.training.loop.fit`, on Lightning;
- bare: the same model, batches and settings in a plain PyTorch loop; its losses must be ours, bit
  by bit;
- upstream, of Chronos-2: `Chronos2Pipeline.fit`, on the trainer of transformers, with the same
  settings on batches of its own.

Bars: ours at most 1.05 x bare and 0.8 x upstream; the loss of the last third of the steps below
that of the first, and within 5 % of upstream's. Exits with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from math import cos, pi
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.adapters import lora
from tsfm_adapt.batches import collate
from tsfm_adapt.cli.tables import lines
from tsfm_adapt.components import component, config_class, names
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.schema import Train
from tsfm_adapt.signals.recording import FloatArray, Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec, step_indices
from tsfm_adapt.training.checkpoints import reseed, stream
from tsfm_adapt.training.loop import fit

OVER_BARE, OVER_UPSTREAM, LOSSES_AGREE = 1.05, 0.8, 0.05
BATCH, CHANNELS, CONTEXT, HORIZON = 32, 7, 512, 96
SAMPLES, RECORDINGS = 50_000, 20
RANK, ALPHA, LR, SEED = 8, 16, 3e-3, 0
ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.out")
WARMING_UP = 5  # steps of each turn that are not timed

# A token a sample: steps of several seconds. Windows a batch, and a share of the steps.
SLOW: Mapping[str, tuple[int, float]] = {"chronos_t5": (4, 0.5), "lag_llama": (8, 0.5)}


@dataclass
class Steps:
    """What one contestant did, over all turns."""

    seconds: list[float] = field(default_factory=list)  # from step to step, warmed up
    losses: list[list[float]] = field(default_factory=list)  # of each turn

    def thirds(self) -> tuple[float, float]:
        """The loss of the first and of the last third of the steps, mean over turns."""
        third = max(1, len(self.losses[0]) // 3)
        return (
            mean(mean(turn[:third]) for turn in self.losses),
            mean(mean(turn[-third:]) for turn in self.losses),
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--backbones", nargs="+", choices=names("backbone"), metavar="NAME")
    parser.add_argument("--steps", type=int, default=60, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recordings = _recordings()
    rows, missed = [], []
    for name in arguments.backbones or names("backbone"):
        if problem := component("backbone", name).problem:
            missed.append(f"{name} {problem}")
            continue
        row, own = _raced(name, recordings, arguments.steps, arguments.turns)
        rows.append(row)
        missed += own
        print(flush=True)
    titles = (
        "backbone",
        "ours, ms",
        "bare, ms",
        "ours / bare",
        "loss",
        "as bare",
        "ours / upstr.",
    )
    for line in lines(titles, rows, titles[1:]):
        print(line)
    for bar in missed:
        print(f"MISSED: {bar}")
    return int(bool(missed))


def _raced(
    name: str, recordings: list[FloatArray], steps: int, turns: int
) -> tuple[list[str], list[str]]:
    """One backbone's row of the table, and the bars that it missed."""
    batch, share = SLOW.get(name, (BATCH, 1.0))
    steps = max(6, round(share * steps))
    windows = Windows(
        [
            Recording(str(i), str(i), v, tuple("ABCDEFG"), ("mV",) * CHANNELS, rate_hz=1.0)
            for i, v in enumerate(recordings)
        ],
        WindowSpec(CONTEXT, HORIZON),
    )
    settings = Train(steps=steps, batch_size=batch, lr=LR, warmup=0.0, accelerator="cpu")
    contestants: dict[str, Callable[[], tuple[list[float], list[float]]]] = {
        "bare": lambda: _bare(_model(name), windows, settings),
        "ours": lambda: _ours(_model(name), windows, settings),
    }
    if name in UPSTREAM:
        contestants["upstream"] = lambda: UPSTREAM[name](recordings, settings)
    done = {contestant: Steps() for contestant in contestants}
    for turn in range(turns):
        order = list(contestants.items())
        first = turn % len(order)
        for contestant, run in order[first:] + order[:first]:
            seconds, losses = run()
            timed = seconds[min(WARMING_UP, len(seconds) - 1) :]
            done[contestant].seconds += timed
            done[contestant].losses.append(losses)
            print(
                f"{name}, turn {turn + 1}, {contestant}: {1000 * median(timed):.1f} ms a step, "
                f"loss {losses[0]:.4f} -> {losses[-1]:.4f}",
                flush=True,
            )
    return _judged(name, done)


def _judged(name: str, done: Mapping[str, Steps]) -> tuple[list[str], list[str]]:
    """A row of the table, and the missed bars."""
    milliseconds = {contestant: 1000 * median(steps.seconds) for contestant, steps in done.items()}
    ours, bare = milliseconds["ours"], milliseconds["bare"]
    first, last = done["ours"].thirds()
    same = done["ours"].losses == done["bare"].losses
    row = [
        name,
        f"{ours:.1f}",
        f"{bare:.1f}",
        f"{ours / bare:.3f}",
        f"{first:.4f} -> {last:.4f}",
        "bit by bit" if same else "DIFFERENT",
    ]
    missed = {
        f"ours / bare {ours / bare:.3f} (bar {OVER_BARE})": ours > OVER_BARE * bare,
        f"the loss does not fall: {first:.4f} -> {last:.4f}": not last < first,
        "losses are not those of the bare loop": not same,
    }
    if "upstream" in done:
        ratio = ours / milliseconds["upstream"]
        apart = abs(last / done["upstream"].thirds()[1] - 1)
        row.append(f"{ratio:.3f}")
        missed |= {
            f"ours / upstream {ratio:.3f} (bar {OVER_UPSTREAM})": ratio > OVER_UPSTREAM,
            f"losses apart from upstream's by {apart:.1%} (bar {LOSSES_AGREE:.0%})": (
                apart > LOSSES_AGREE
            ),
        }
    else:
        row.append("-")
    return row, [f"{name}: {bar}" for bar, over in missed.items() if over]


def _recordings() -> list[FloatArray]:
    """Pulses that go up and down in turn, of a period of each channel; a tenth is missing.

    That is far from what the models were trained on, so that the losses fall within a few steps.
    """
    generator = np.random.default_rng(SEED)
    periods = np.array([8, 8, 16, 16, 16, 32, 12])[:, None]  # samples from pulse to pulse
    recordings = []
    for _ in range(RECORDINGS):
        offsets = generator.integers(0, 1000, (CHANNELS, 1))
        beat, place = np.divmod(np.arange(SAMPLES) + offsets, periods)
        values = np.where(place < 3, 8.0 * (-1.0) ** beat, 0.0)
        values = (values + 0.1 * generator.normal(size=values.shape)).astype(np.float32)
        values[generator.random(values.shape) < 0.1] = np.nan
        recordings.append(values)
    return recordings


def _model(name: str) -> AdaptedModel:
    torch.manual_seed(SEED)
    adapter = lora.Config(rank=RANK, alpha=ALPHA, sites=ATTENTION).build()
    return AdaptedModel(config_class("backbone", name)().build(), [adapter])


def _bare(
    model: AdaptedModel, windows: Windows, settings: Train
) -> tuple[list[float], list[float]]:
    assert settings.clip is not None
    model.train()
    parameters = list(model.trainable().values())
    optimizer = torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay)
    with _recorded(AdaptedModel, lambda loss: loss) as done:
        for step in range(settings.steps):
            indices = step_indices(len(windows), settings.batch_size, SEED, step)
            batch = collate(windows.gather(indices))
            reseed(stream(SEED, step, 0))
            optimizer.param_groups[0]["lr"] = (
                settings.lr * 0.5 * (1 + cos(pi * step / settings.steps))
            )
            loss = model(batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, settings.clip)
            optimizer.step()
    return done


def _ours(
    model: AdaptedModel, windows: Windows, settings: Train
) -> tuple[list[float], list[float]]:
    empty = Windows([], WindowSpec(CONTEXT, HORIZON))
    with (
        tempfile.TemporaryDirectory() as folder,
        _recorded(AdaptedModel, lambda loss: loss) as done,
    ):
        fit(model, windows, empty, settings, SEED, Path(folder), Progress(quiet=True))
    return done


def _chronos2(recordings: list[FloatArray], settings: Train) -> tuple[list[float], list[float]]:
    from chronos import Chronos2Pipeline
    from chronos.chronos2 import Chronos2Model

    np.random.seed(SEED)  # noqa: NPY002  (upstream draws its windows from it)
    torch.manual_seed(SEED)
    backbone: Any = config_class("backbone", "chronos2")(group_attention="dense").build()
    pipeline = Chronos2Pipeline(backbone.model)
    with (
        tempfile.TemporaryDirectory() as folder,
        _recorded(Chronos2Model, lambda output: output.loss) as done,
    ):
        pipeline.fit(
            inputs=recordings,
            prediction_length=HORIZON,
            finetune_mode="lora",
            lora_config={
                "r": RANK,
                "lora_alpha": ALPHA,
                "target_modules": [f"self_attention.{name}" for name in "qkvo"],
            },
            context_length=CONTEXT,
            min_past=CONTEXT,
            learning_rate=settings.lr,
            num_steps=settings.steps,
            batch_size=settings.batch_size * CHANNELS,
            output_dir=folder,
            remove_printer_callback=True,
            lr_scheduler_type="cosine",
            weight_decay=settings.weight_decay,
            disable_tqdm=True,
        )
    return done


# The families whose own package trains them by LoRA.
UPSTREAM = {"chronos2": _chronos2}


@contextmanager
def _recorded(
    model_class: type[torch.nn.Module], loss_of: Callable[[Any], torch.Tensor]
) -> Iterator[tuple[list[float], list[float]]]:
    """The seconds from one forward of a class of models to the next, and the losses."""
    entries: list[float] = []
    losses: list[torch.Tensor] = []
    done: tuple[list[float], list[float]] = ([], [])
    forward = model_class.forward

    def recording(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        entries.append(time.perf_counter())
        output = forward(self, *args, **kwargs)
        losses.append(loss_of(output).detach())
        return output

    model_class.forward = recording
    try:
        yield done
    finally:
        model_class.forward = forward
        done[0].extend(later - earlier for earlier, later in pairwise(entries))
        done[1].extend(loss.item() for loss in losses)


if __name__ == "__main__":
    sys.exit(main())
