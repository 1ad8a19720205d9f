"""Time of one LoRA step, ours, a bare loop's and upstream's: `python benchmarks/training_step.py`.

32 windows x 7 channels x 512 samples of context and 96 of target, drawn from 20 recordings of
50 000 samples; LoRA rank 8 on q, k, v, o of the embedded Chronos-2. The three run in turns in one
process, and a step is the time from one entry into the encoder to the next, the drawing of its
batch included:

- ours: `tsfm_adapt.training.fit`, on Lightning;
- bare: the same model and batches in a plain PyTorch loop;
- upstream: `Chronos2Pipeline.fit`, on the trainer of transformers, with the same settings.

Bars: ours at most 1.05 x bare and 0.8 x upstream; losses of the last steps within 5 %. Exits with
1 where one is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import mean, median

import numpy as np
import torch

from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones import chronos2
from tsfm_adapt.batches import collate
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.progress import Progress
from tsfm_adapt.recipe.schema import Train
from tsfm_adapt.signals.recording import FloatArray, Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec, step_indices
from tsfm_adapt.training import fit

OVER_BARE, OVER_UPSTREAM, LOSSES_AGREE = 1.05, 0.8, 0.05
BATCH, CHANNELS, CONTEXT, HORIZON = 32, 7, 512, 96
SAMPLES, RECORDINGS = 50_000, 20
RANK, ALPHA, LR, SEED = 8, 16, 1e-3, 0
ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.out")
WARMING_UP = 5  # steps of each turn that are not timed


@dataclass
class Steps:
    """What one contestant did in one turn."""

    seconds: list[float] = field(default_factory=list)  # from step to step
    losses: list[float] = field(default_factory=list)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60, help="of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    recordings = _recordings()
    windows = Windows(
        [
            Recording(str(i), str(i), v, tuple("ABCDEFG"), ("mV",) * CHANNELS, rate_hz=1.0)
            for i, v in enumerate(recordings)
        ],
        WindowSpec(CONTEXT, HORIZON),
    )
    empty = Windows([], WindowSpec(CONTEXT, HORIZON))
    steps = arguments.steps
    contestants: dict[str, Callable[[], Steps]] = {
        "bare": lambda: _bare(windows, steps),
        "ours": lambda: _ours(windows, empty, steps),
        "upstream": lambda: _upstream(recordings, steps),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    final: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(arguments.turns):
        order = list(contestants.items())
        for name, run in order[turn % 3 :] + order[: turn % 3]:
            done = run()
            timed = done.seconds[WARMING_UP:]
            seconds[name] += timed
            final[name].append(mean(done.losses[-steps // 3 :]))
            first = mean(done.losses[: steps // 3])
            print(
                f"turn {turn + 1} {name}: {1000 * median(timed):.1f} ms a step, "
                f"loss {first:.3f} -> {final[name][-1]:.3f}",
                flush=True,
            )
    ours = median(seconds["ours"])
    over_bare, over_upstream = (ours / median(seconds[name]) for name in ("bare", "upstream"))
    apart = abs(mean(final["ours"]) / mean(final["upstream"]) - 1)
    print(f"ours / bare {over_bare:.3f} (bar {OVER_BARE})")
    print(f"ours / upstream {over_upstream:.3f} (bar {OVER_UPSTREAM})")
    print(
        f"losses of the last third apart by {100 * apart:.1f} % (bar {100 * LOSSES_AGREE:.0f} %)"
    )
    missed = over_bare > OVER_BARE or over_upstream > OVER_UPSTREAM or apart > LOSSES_AGREE
    return int(missed)


def _recordings() -> list[FloatArray]:
    """Mean-reverting channels that share a part, a tenth of the samples missing."""
    from scipy.signal import lfilter

    generator = np.random.default_rng(SEED)
    recordings = []
    for _ in range(RECORDINGS):
        noise = generator.normal(size=(CHANNELS + 1, SAMPLES))
        slow = lfilter([1.0], [1.0, -0.98], noise, axis=1)
        values = (slow[:-1] + slow[-1]).astype(np.float32)
        values[generator.random(values.shape) < 0.1] = np.nan
        recordings.append(values)
    return recordings


def _model() -> AdaptedModel:
    torch.manual_seed(SEED)
    adapter = lora.Config(rank=RANK, alpha=ALPHA, sites=ATTENTION).build()
    return AdaptedModel(chronos2.Config().build(), [adapter])


def _bare(windows: Windows, steps: int) -> Steps:
    model = _model().train()
    parameters = list(model.trainable().values())
    optimizer = torch.optim.AdamW(parameters, lr=LR)
    with _recorded() as done:
        for step in range(steps):
            indices = step_indices(len(windows), BATCH, SEED, step)
            loss = model(collate(windows.gather(indices)))
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
    return done


def _ours(windows: Windows, empty: Windows, steps: int) -> Steps:
    model = _model()
    settings = Train(steps=steps, batch_size=BATCH, lr=LR, warmup=0.0, accelerator="cpu")
    with tempfile.TemporaryDirectory() as folder, _recorded() as done:
        fit(model, windows, empty, settings, SEED, Path(folder), Progress(quiet=True))
    return done


def _upstream(recordings: list[FloatArray], steps: int) -> Steps:
    from chronos import Chronos2Pipeline

    np.random.seed(SEED)  # noqa: NPY002  (upstream draws its windows from it)
    torch.manual_seed(SEED)
    pipeline = Chronos2Pipeline(chronos2.Config(group_attention="dense").build().model)
    with tempfile.TemporaryDirectory() as folder, _recorded() as done:
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
            learning_rate=LR,
            num_steps=steps,
            batch_size=BATCH * CHANNELS,
            output_dir=folder,
            remove_printer_callback=True,
            lr_scheduler_type="cosine",
            weight_decay=0.01,
            disable_tqdm=True,
        )
    return done


@contextmanager
def _recorded() -> Iterator[Steps]:
    """The seconds from one training forward of Chronos-2 to the next, and the losses."""
    from chronos.chronos2 import Chronos2Model

    entries: list[float] = []
    losses: list[torch.Tensor] = []
    done = Steps()
    forward = Chronos2Model.forward

    def recording(self, *args, **kwargs):  # type: ignore[no-untyped-def]
        entries.append(time.perf_counter())
        output = forward(self, *args, **kwargs)
        losses.append(output.loss.detach())
        return output

    Chronos2Model.forward = recording
    try:
        yield done
    finally:
        Chronos2Model.forward = forward
        done.seconds += [later - earlier for earlier, later in pairwise(entries)]
        done.losses += [loss.item() for loss in losses]


if __name__ == "__main__":
    sys.exit(main())
