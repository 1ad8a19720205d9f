"""Checkpoints `last` and `best`, metrics, and validation while a model trains.

A checkpoint holds the trainable tensors only, in a file that torch reads without running code.
"""

from __future__ import annotations

import ctypes
import gc
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypedDict

import lightning.pytorch as lightning
import numpy as np
import torch
from torch import Tensor
from torch.optim.optimizer import StateDict

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Meter, Progress
from tsfm_adapt.batches import collate
from tsfm_adapt.errors import DivergedError, EnvironmentProblem
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.schema import Train
from tsfm_adapt.signals.windows import Windows

_LOG_EVERY = 10  # steps between lines of metrics.jsonl


@dataclass(frozen=True)
class Fitted:
    """Progress of training, as a checkpoint stores it."""

    step: int  # optimiser steps done
    best_step: int
    best_loss: float  # validation loss of `best`; of step 0 where nothing was better
    validations_without_gain: int
    train_seconds: float  # steps only, without validation and checkpoints
    peak_memory_mb: float


class State(TypedDict):
    """The content of a checkpoint."""

    format: int
    fitted: Any  # the fields of `Fitted`, by name
    trainable: dict[str, Tensor]
    adapters: dict[str, dict[str, Tensor]]  # `AdaptedModel.states`
    optimizer: StateDict
    scheduler: StateDict
    precision: StateDict


def load_best(model: AdaptedModel, folder: Path) -> None:
    """Loads `checkpoints/best` into the model.

    Raises:
        EnvironmentProblem: there is none.
    """
    state = read(folder / "checkpoints" / "best.ckpt")
    if state is None:
        raise EnvironmentProblem(
            f"'{folder}' holds no checkpoints/best.ckpt: the run did not reach its first "
            "validation. Train it again."
        )
    model.load_trainable(state["trainable"])


def how_it_went(folder: Path) -> Fitted | None:
    """Progress of the run in `folder`; None before its first checkpoint."""
    state = read(folder / "checkpoints" / "last.ckpt")
    return Fitted(**state["fitted"]) if state else None


class Keeper(lightning.Callback):
    """Lightning callback: validates, saves `last` and `best`, writes metrics, stops early."""

    def __init__(
        self,
        model: AdaptedModel,
        val: Windows,
        settings: Train,
        seed: int,
        folder: Path,
        fitted: Fitted,
        progress: Progress,
        on_validation: Callable[[int, float], None] | None = None,
    ) -> None:
        self.fitted = fitted
        self.meter: Meter | None = None
        self.listen: Callable[[], None] = lambda: None  # takes the signals over from Lightning
        self.stopped = False  # set by a signal: finish the step, save, leave
        self._model = model
        self._val = val.evenly_spaced(settings.val_windows) if len(val) else None
        self._settings = settings
        self._seed = seed
        self._folder = folder
        self._progress = progress
        self._on_validation = on_validation
        self._validate_every = settings.validate_every or max(1, settings.steps // 10)
        self._step_start_s = 0.0
        self._metrics: _Metrics | None = None

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Opens the metrics and validates the untrained model, which is the first `best`."""
        self.listen()
        if trainer.is_global_zero:
            self._metrics = _Metrics(self._folder, self.fitted.step or None)
        if self.fitted.step == 0:
            self._validate(trainer, pl_module)
        self._step_start_s = time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        pl_module: Any,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,
    ) -> None:
        """Counts a step, then logs, validates, saves or stops where that is due."""
        if (batch_idx + 1) % self._settings.accumulate:
            return
        step = self.fitted.step + 1
        spent_s = time.perf_counter() - self._step_start_s
        self.fitted = replace(
            self.fitted,
            step=step,
            train_seconds=self.fitted.train_seconds + spent_s,
            peak_memory_mb=max(self.fitted.peak_memory_mb, _peak_memory_mb()),
        )
        ends = step == self._settings.steps
        if step % _LOG_EVERY == 0 or step == 1 or ends:
            self._check_finite(pl_module)
            loss, rate = float(pl_module.last_loss), pl_module.rate
            self._write(step, {"loss": loss, "lr": rate})
            note = f"loss {loss:.4f}, val {self.fitted.best_loss:.4f}"
        else:
            note = ""
        if step % self._validate_every == 0 or ends:
            self._check_finite(pl_module)
            self._validate(trainer, pl_module)
        patience = self._settings.patience
        if patience is not None and self.fitted.validations_without_gain >= patience:
            self._progress.say(f"stopped at step {step}: {patience} validations without a gain")
            trainer.should_stop = ends = True
        if self.stopped:
            trainer.should_stop = ends = True
        if step % self._settings.checkpoint_every == 0 or ends:
            self._check_finite(pl_module)
            self._save(trainer, "last")
        if self.meter is not None and trainer.is_global_zero:
            self.meter.advance(1, note)
        self._step_start_s = time.perf_counter()

    def _validate(self, trainer: Any, pl_module: Any) -> None:
        if self._val is None:
            if self.fitted.step:
                self.fitted = replace(self.fitted, best_step=self.fitted.step)
            self._save(trainer, "best")
            return
        loss = self._validation_loss(trainer, pl_module)
        self._write(self.fitted.step, {"val_loss": loss})
        if loss < self.fitted.best_loss:
            self.fitted = replace(
                self.fitted,
                best_step=self.fitted.step,
                best_loss=loss,
                validations_without_gain=0,
            )
            self._save(trainer, "best")
        else:
            more = self.fitted.validations_without_gain + 1
            self.fitted = replace(self.fitted, validations_without_gain=more)
        if self._on_validation is not None:
            self._on_validation(self.fitted.step, loss)

    def _validation_loss(self, trainer: Any, pl_module: Any) -> float:
        """Mean loss over the validation windows, computed by all processes together."""
        assert self._val is not None
        batches = self._val.batches(self._settings.batch_size)
        own = islice(batches, trainer.global_rank, None, trainer.world_size)
        total = torch.zeros(2, dtype=torch.float64, device=pl_module.device)
        training = self._model.training
        self._model.eval()
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            for indices in own:
                reseed(stream(self._seed, int(indices[0]), 0))
                batch = collate(self._val.gather(indices)).to(pl_module.device)
                total += torch.stack(
                    [self._model(batch).double() * batch.size, total.new_tensor(batch.size)]
                )
        self._model.train(training)
        if trainer.world_size > 1:
            total = trainer.strategy.reduce(total, reduce_op="sum")
        return float(total[0] / total[1])

    def _check_finite(self, pl_module: Any) -> None:
        if pl_module.finite is not None and not bool(pl_module.finite):
            raise DivergedError(
                f"training diverged: the loss is not finite by step {self.fitted.step}. The best "
                f"checkpoint (step {self.fitted.best_step}) is kept. Lower train.lr "
                f"(now {self._settings.lr:g}) or set train.clip."
            )

    def _state(self, trainer: Any) -> State:
        return {
            "format": 1,
            "fitted": asdict(self.fitted),
            "trainable": {n: p.detach() for n, p in self._model.trainable().items()},
            "adapters": self._model.states(),
            "optimizer": trainer.optimizers[0].state_dict(),
            "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "precision": trainer.precision_plugin.state_dict(),
        }

    def _save(self, trainer: Any, name: str) -> None:
        if trainer.is_global_zero:
            _write_state(self._folder / "checkpoints" / f"{name}.ckpt", self._state(trainer))

    def _write(self, step: int, values: dict[str, float]) -> None:
        if self._metrics is not None:
            self._metrics.write(step, values, self.fitted.train_seconds)


class _Metrics:
    """Writes `metrics.jsonl` and TensorBoard events; a resumed run repeats no line."""

    def __init__(self, folder: Path, step: int | None) -> None:
        """Keeps the lines up to `step`; None = none of them."""
        from torch.utils.tensorboard import SummaryWriter

        self._path = folder / "metrics.jsonl"
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if step is not None and _step_of(line) <= step]
            atomic.write_text(self._path, "".join(f"{line}\n" for line in kept))
        self._events = SummaryWriter(folder / "tensorboard", purge_step=step or 0)

    def write(self, step: int, values: dict[str, float], seconds: float) -> None:
        """One line; flushed, so that it can be followed."""
        record = {"step": step, **values, "seconds": round(seconds, 3)}
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise atomic.unwritable(self._path, error) from error
        for name, value in values.items():
            self._events.add_scalar(name, value, step)
        self._events.flush()


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # a torn last line


def stream(seed: int, index: int, rank: int) -> int:
    """A torch seed for one batch on one process."""
    return int(np.random.SeedSequence([seed, index, rank]).generate_state(1, np.uint64)[0] >> 1)


def reseed(seed: int) -> None:
    """`torch.manual_seed` for the devices in use.

    For all others that queues a call and writes down where it came from, which takes longer than
    a step of a small head.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)
    if torch.backends.mps.is_available():
        torch.mps.manual_seed(seed)


def _write_state(path: Path, state: State) -> None:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    atomic.write_bytes(path, buffer.getvalue())


def read(path: Path) -> State | None:
    """The state in a checkpoint; None where there is none yet.

    Raises:
        EnvironmentProblem: the file is broken.
    """
    if not path.exists():
        return None
    try:
        state: State = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise EnvironmentProblem(
            f"'{path}' is not a readable checkpoint ({type(error).__name__}). Remove it to start "
            "from the one before."
        ) from error
    return state


def forget_peak_memory() -> None:
    """Resets the peak of memory, so that a run does not report the peak of one before it.

    On Linux resident memory that is free goes back to the system first; elsewhere only the
    device's peak can be forgotten.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak_memory_mb() -> float:
    """Peak of the device that trains: GPU memory where there is one, else resident memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
