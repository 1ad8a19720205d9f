"""Pretrains an embedded checkpoint on the synthetic corpus; a stopped run continues where it was.

Run:  python experiments/embedded_checkpoints/train.py chronos2 --steps 10000
Batch k depends only on (seed, k), the learning rate only on k and the schedule: a run that was
killed and started again ends in the weights of an uninterrupted one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from corpus import CorpusBatch, Plan, draw_batch

from tsfm_adapt.backbones.base import Forecaster

HERE = Path(__file__).parent
EMBEDDED = HERE.parents[1] / "src" / "tsfm_adapt" / "backbones" / "embedded"


class Network(Protocol):
    """What a module of `networks/` offers: sizes, an untrained model, its loss, its file."""

    LOADS_WITH: str  # for the card
    Size: type[Any]  # a frozen dataclass

    def build(self, size: Any, seed: int) -> Forecaster:
        """The backbone with an untrained model of upstream's own class."""

    def loss(self, backbone: Any, batch: CorpusBatch) -> torch.Tensor:
        """What training lowers, a scalar."""

    def save(self, backbone: Any, folder: Path) -> None:
        """Writes config.json and model.safetensors in upstream's own layout."""


def network(name: str) -> Network:
    """The module of one backbone."""
    module: Any = importlib.import_module(f"networks.{name}")
    return module


@dataclass(frozen=True)
class Schedule:
    """How the weights are found."""

    steps: int
    seed: int = 20
    peak_rate: float = 4e-3
    warm_up: int = 200
    level: int = 1200  # steps before the first fall
    restart: int = 5000  # steps before the second
    second_rate: float = 1.5e-3
    weight_decay: float = 0.02
    clip: float = 1.0

    def rate(self, step: int) -> float:
        """Learning rate of a step: warm-up, then two cosines, each to a hundredth of its start.

        A warm restart (Loshchilov and Hutter 2017). Before it the rate does not depend on
        `steps`, so a run that proved too short may be given a later end.
        """
        if step >= self.restart:
            return self.second_rate * _fallen(step - self.restart, self.steps - self.restart)
        rising = min(1.0, (step + 1) / self.warm_up)
        return self.peak_rate * rising * _fallen(step - self.level, self.restart - self.level)


def _fallen(step: int, steps: int) -> float:
    return 0.01 + 0.99 * (1 + math.cos(math.pi * max(0, step) / max(1, steps))) / 2


@dataclass
class Progress:
    """Everything that a stopped run needs beside its arguments."""

    backbone: Forecaster
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0
    losses: list[float] = field(default_factory=list)


def start(net: Network, plan: Plan, size: Any, schedule: Schedule, state: Path) -> Progress:
    """A fresh run, or the one that `state` holds.

    Raises:
        ValueError: that one is of another corpus, size or seed.
    """
    backbone = net.build(size, schedule.seed)
    model = backbone.network.train()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    other = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed}, {"params": other, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
        weight_decay=schedule.weight_decay,
    )
    progress = Progress(backbone, optimizer)
    if state.exists():
        saved: dict[str, Any] = torch.load(state, weights_only=True)
        if saved["identity"] != _identity(plan, size, schedule):
            raise ValueError(
                f"A run continues with the corpus, size and seed it began with: {state} holds "
                f"{saved['identity']}. Name another --state, or delete it."
            )
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        progress.step, progress.seconds = saved["step"], saved["seconds"]
        progress.losses = saved["losses"]
    return progress


def advance(net: Network, progress: Progress, batch: CorpusBatch, schedule: Schedule) -> float:
    """One step of the optimiser on the model's own loss, which is returned."""
    for group in progress.optimizer.param_groups:
        group["lr"] = schedule.rate(progress.step)
    torch.manual_seed(schedule.seed * 1_000_003 + progress.step)  # of dropout and masks
    loss = net.loss(progress.backbone, batch)
    progress.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(progress.backbone.network.parameters(), schedule.clip)
    progress.optimizer.step()
    progress.step += 1
    progress.losses.append(loss.item())
    return progress.losses[-1]


def keep(progress: Progress, identity: str, state: Path) -> None:
    """Writes the state beside its final name first: a kill leaves the old or the new one."""
    state.parent.mkdir(parents=True, exist_ok=True)
    unfinished = state.with_suffix(".unfinished")
    torch.save(
        {
            "identity": identity,
            "model": progress.backbone.network.state_dict(),
            "optimizer": progress.optimizer.state_dict(),
            "step": progress.step,
            "seconds": progress.seconds,
            "losses": progress.losses,
        },
        unfinished,
    )
    unfinished.replace(state)


def _identity(plan: Plan, size: Any, schedule: Schedule) -> str:
    """What the weights of a step depend on; the schedule's end is free until the restart."""
    return json.dumps([asdict(plan), asdict(size), asdict(replace(schedule, steps=0))])


def train(
    net: Network,
    plan: Plan,
    size: Any,
    schedule: Schedule,
    state: Path,
    stop_at: int | None = None,
) -> Progress:
    """Trains to the schedule's end (or `stop_at`), keeping the state every 200 steps."""
    progress = start(net, plan, size, schedule, state)
    last = schedule.steps if stop_at is None else stop_at
    began = time.perf_counter() - progress.seconds
    while progress.step < last:
        batch = draw_batch(plan, schedule.seed, progress.step)
        loss = advance(net, progress, batch, schedule)
        progress.seconds = time.perf_counter() - began
        if progress.step % 200 == 0 or progress.step == last:
            keep(progress, _identity(plan, size, schedule), state)
            recent = progress.losses[-200:]
            print(
                f"step {progress.step}/{schedule.steps}  {progress.seconds:.0f} s  "
                f"loss {sum(recent) / len(recent):.3f} (last {loss:.3f})",
                flush=True,
            )
    return progress


def main() -> None:
    """Trains, writes the checkpoint folder and the record of the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("backbone", help="a module of networks/")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--state", type=Path, help="default: runs/embedded_BACKBONE/state.pt")
    parser.add_argument("--out", type=Path, help="default: where the package looks for it")
    parser.add_argument("--plan", type=json.loads, default={}, help="JSON: fields of Plan")
    parser.add_argument("--size", type=json.loads, default={}, help="JSON: fields of Size")
    parser.add_argument("--schedule", type=json.loads, default={}, help="JSON: of Schedule")
    parser.add_argument("--record", type=Path, help="default: results/BACKBONE.json")
    arguments = parser.parse_args()
    name = arguments.backbone
    torch.set_num_threads(arguments.threads)
    fields = dict(arguments.plan)
    for option in {"contexts", "patches"} & set(fields):
        fields[option] = {int(key): share for key, share in fields[option].items()}
    net = network(name)
    plan, size = Plan(**fields), net.Size(**arguments.size)
    schedule = Schedule(arguments.steps, arguments.seed, **arguments.schedule)
    state = arguments.state or Path(f"runs/embedded_{name}/state.pt")
    progress = train(net, plan, size, schedule, state)
    progress.backbone.network.eval()
    net.save(progress.backbone, arguments.out or EMBEDDED / name)
    curve = [progress.losses[i : i + 100] for i in range(0, len(progress.losses), 100)]
    record = {
        "corpus": asdict(plan),
        "size": asdict(size),
        "schedule": asdict(schedule),
        "parameters": sum(p.numel() for p in progress.backbone.network.parameters()),
        "seconds": round(progress.seconds),
        "threads": arguments.threads,
        "loss_per_100_steps": [round(sum(part) / len(part), 4) for part in curve],
    }
    target = arguments.record or HERE / "results" / f"{name}.json"
    target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
