"""Trains a model with Lightning; checkpoints hold the trainable tensors only.

All randomness is a function of (seed, batch, rank): batch k draws its windows from a generator of
(seed, k) and torch is reseeded before it. A checkpoint then needs the step, the trainable tensors,
the optimiser and the best value, and a resumed run repeats the uninterrupted one bit by bit.
"""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import cos, pi
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor

from tsfm_adapt._util.progress import Progress
from tsfm_adapt._util.quiet import log_level
from tsfm_adapt.adapters.base import Adapter
from tsfm_adapt.batches import Batch, collate
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.schema import Train
from tsfm_adapt.signals.windows import Windows, step_indices
from tsfm_adapt.training.checkpoints import Fitted, Keeper, State, read, reseed, stream


def fit(
    model: AdaptedModel,
    train: Windows,
    val: Windows,
    settings: Train,
    seed: int,
    folder: Path,
    progress: Progress,
    on_validation: Callable[[int, float], None] | None = None,
) -> Fitted:
    """Trains until `settings.steps`, from `checkpoints/last` in `folder` where there is one.

    Writes `checkpoints/last` and `checkpoints/best`, `metrics.jsonl` and TensorBoard events. The
    best checkpoint has the lowest validation loss, that of the untrained step 0 included; without
    validation windows it is the last one. The model is left at `last`, in eval mode.

    Args:
        model: to be trained, in place.
        train: windows to learn from.
        val: windows to select the best checkpoint by; may be none.
        settings: the recipe's `train`.
        seed: of the batches and of dropout.
        folder: the run's.
        progress: where progress is shown.
        on_validation: called with step and loss of each validation; what it raises ends training.

    Raises:
        DivergedError: a loss was not finite; `best` is kept.
        RecipeError: a trainable tensor gets no gradient, or the devices do not fit the batch.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after the step under way was saved to `last`.
    """
    if len(train) == 0:
        raise DataError("the train split has no windows: no recording is long enough.")
    state = read(folder / "checkpoints" / "last.ckpt")
    before = Fitted(**state["fitted"]) if state else Fitted(0, 0, float("inf"), 0, 0.0, 0.0)
    if state and _ended(before, settings):
        model.load_trainable(state["trainable"])
        return before
    module = _Module(model, settings, seed, state)
    keeper = Keeper(
        model=model,
        val=val,
        settings=settings,
        seed=seed,
        folder=folder,
        fitted=before,
        progress=progress,
        on_validation=on_validation,
    )
    with _quiet_lightning():
        trainer = _trainer(settings, before.step, keeper)
        model.train()  # Lightning leaves the mode as it is, and dropout would not act
        batches = _StepBatches(train, settings, seed, before.step, trainer)
        steps = progress.work("train", settings.steps, before.step)
        with steps as keeper.meter, _stopping_after_a_step(keeper):
            trainer.fit(module, train_dataloaders=batches)
    model.to("cpu").eval()
    if keeper.stopped:
        raise KeyboardInterrupt
    return keeper.fitted


def _ended(fitted: Fitted, settings: Train) -> bool:
    """True where a run that stood at `fitted` has nothing left to train."""
    patience = settings.patience
    given_up = patience is not None and fitted.validations_without_gain >= patience
    return given_up or fitted.step >= settings.steps


def _trainer(settings: Train, steps_done: int, keeper: Keeper) -> lightning.Trainer:
    """Lightning's trainer for the steps that are left.

    Raises:
        RecipeError: the batch does not divide over the processes.
    """
    trainer = lightning.Trainer(
        accelerator=settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=settings.strategy,
        precision=settings.precision,
        max_epochs=-1,
        max_steps=settings.steps - steps_done,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip,
        use_distributed_sampler=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=False,
        callbacks=[keeper],
    )
    if settings.batch_size % trainer.world_size:
        raise RecipeError(
            f"train.batch_size: {settings.batch_size} does not divide over "
            f"{trainer.world_size} processes. Use a multiple of it."
        )
    return trainer


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without Lightning's hints on loggers, workers and devices while the block runs."""
    with (
        log_level(logging.ERROR, "lightning.pytorch", "lightning.fabric"),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield


@contextmanager
def _stopping_after_a_step(keeper: Keeper) -> Iterator[None]:
    """Ctrl-C and SIGTERM finish the step and save it; a second one stops at once."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set handlers
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: Any) -> None:
        signal.signal(number, previous[signal.Signals(number)])
        keeper.stopped = True

    def listen() -> None:
        for number in previous:
            signal.signal(number, stop)

    keeper.listen = listen  # again once Lightning has set its own
    listen()
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _StepBatches:
    """This process's share of batch k, a pure function of (seed, k)."""

    def __init__(
        self,
        windows: Windows,
        settings: Train,
        seed: int,
        first_step: int,
        trainer: lightning.Trainer,
    ) -> None:
        self._windows = windows
        self._settings = settings
        self._seed = seed
        self._first = first_step * settings.accumulate
        self._last = settings.steps * settings.accumulate
        self._trainer = trainer

    def __len__(self) -> int:
        return self._last - self._first

    def __iter__(self) -> Iterator[Batch]:
        size = self._settings.batch_size
        rank, world = self._trainer.global_rank, self._trainer.world_size
        for k in range(self._first, self._last):
            indices = step_indices(len(self._windows), size, self._seed, k)
            yield collate(self._windows.gather(indices[rank::world]))


class _Module(lightning.LightningModule):
    """The model as a LightningModule."""

    def __init__(
        self, model: AdaptedModel, settings: Train, seed: int, state: State | None
    ) -> None:
        super().__init__()
        self.model = model
        self._settings = settings
        self._seed = seed
        self._state = state
        self._steps_before = state["fitted"]["step"] if state else 0
        self._first = self._steps_before * settings.accumulate
        self._step_listeners = [
            a for a in model.adapters if type(a).stepped is not Adapter.stepped
        ]
        self.last_loss: Tensor | None = None
        self.finite: Tensor | None = None
        self.rate = settings.lr  # of the step under way

    def setup(self, stage: str) -> None:  # noqa: ARG002
        if self._state:
            self.model.load_trainable(self._state["trainable"])
            self.model.load_states(self._state.get("adapters", {}))
            self.trainer.precision_plugin.load_state_dict(self._state["precision"])

    def transfer_batch_to_device(
        self,
        batch: Batch,
        device: torch.device,
        dataloader_idx: int,  # noqa: ARG002
    ) -> Batch:
        return batch.to(device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:  # noqa: ARG002
        k = self._first + batch_idx
        reseed(stream(self._seed, k, self.global_rank))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:  # noqa: ARG002
        loss: Tensor = self.model(batch)
        self.last_loss = loss.detach()
        finite = torch.isfinite(self.last_loss)
        self.finite = finite if self.finite is None else self.finite & finite
        return loss

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.rate = optimizer.param_groups[0]["lr"]
        if self.trainer.global_step > 0 or self._state:
            return
        dead = [name for name, p in self.model.trainable().items() if p.grad is None]
        if dead:
            raise RecipeError(
                f"adapters: {len(dead)} trainable tensors take no part in the loss, first "
                f"{dead[0]}. Choose sites that the task uses."
            )

    def optimizer_step(self, *args: Any) -> None:
        """Lightning's own step, then that of the adapters which follow the schedule."""
        step = self._steps_before + self.trainer.global_step + 1
        super().optimizer_step(*args)
        for adapter in self._step_listeners:
            adapter.stepped(step, self._settings.steps)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        settings = self._settings
        optimizer = torch.optim.AdamW(
            self.model.groups(settings.lr), lr=settings.lr, weight_decay=settings.weight_decay
        )
        warmup = round(settings.warmup * settings.steps)

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / (warmup + 1)
            return 0.5 * (1 + cos(pi * (step - warmup) / max(1, settings.steps - warmup)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        if self._state:
            optimizer.load_state_dict(self._state["optimizer"])
            scheduler.load_state_dict(self._state["scheduler"])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }
