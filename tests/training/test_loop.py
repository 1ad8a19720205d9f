"""The loop: what it learns, what it leaves alone, and how it stops."""

import json
import os
import signal
import socket
import subprocess
import sys
from math import cos, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from contracts.process_state import process_state
from contracts.small_run import SEED, model, settings, train, windows
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.adapters import full, lora
from tsfm_adapt.adapters.base import Adapter
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import DataError, DivergedError, RecipeError
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.runs.lifecycle import train as run
from tsfm_adapt.runs.run import Run
from tsfm_adapt.training.checkpoints import how_it_went, load_best, read
from tsfm_adapt.training.loop import fit

RECIPE = """
name: small
data:
  reader: {{name: synthetic, subjects: 6, hours: 2}}
  channels: {{HR: bpm, SpO2: "%"}}
  rate_hz: 1/60
  split: {{train: 3, val: 1, test: 2}}
backbone: {{name: chronos2, checkpoint: {checkpoint}}}
adapters: [{{name: lora, rank: 2}}]
task: {{name: forecast, context_s: 1920, horizon_s: 720}}
train: {{steps: 4, batch_size: 8, lr: 0.01, validate_every: 2, accelerator: cpu}}
"""


def trained(folder, name="last"):
    """The trained tensors of a checkpoint by name."""
    return read(folder / "checkpoints" / f"{name}.ckpt")["trainable"]


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_validation_loss_falls_and_the_best_step_has_the_lowest(tmp_path):
    fitted, adapted = train(tmp_path, steps=20)
    losses = {line["step"]: line["val_loss"] for line in lines(tmp_path) if "val_loss" in line}
    assert list(losses) == [0, 4, 8, 12, 16, 20]
    assert fitted.best_loss == min(losses.values()) == losses[fitted.best_step]
    assert fitted.best_loss < 0.95 * losses[0]
    assert fitted.step == 20
    assert how_it_went(tmp_path) == fitted
    assert not adapted.training


def test_training_leaves_loggers_warnings_and_signals_as_they_were(tmp_path):
    """Lightning's hints are turned down while it trains, and only then."""
    before, during = process_state(), []
    train(tmp_path, on_step=lambda step: during.append(process_state()), steps=2)
    assert during
    assert before not in during
    assert process_state() == before


def test_base_weights_stay_bit_identical_and_lora_weights_move(tmp_path):
    adapted = model()
    before = {name: p.detach().clone() for name, p in adapted.named_parameters()}
    train(tmp_path, adapted=adapted, steps=4)
    for name, parameter in adapted.named_parameters():
        assert torch.equal(parameter, before[name]) != parameter.requires_grad, name


def test_the_model_is_left_as_the_last_checkpoint_says(tmp_path):
    _, adapted = train(tmp_path, steps=5)
    left = {name: p.detach() for name, p in adapted.trainable().items()}
    assert same(left, trained(tmp_path))


def test_best_is_what_validated_best_even_if_training_gets_worse_later(tmp_path):
    adapted = model()
    for parameter in adapted.trainable().values():
        parameter.register_hook(torch.neg)  # uphill
    fitted, _ = train(tmp_path, adapted=adapted)
    assert (fitted.step, fitted.best_step, fitted.validations_without_gain) == (12, 0, 3)
    load_best(adapted, tmp_path)
    fresh = {name: p.detach() for name, p in model().trainable().items()}
    assert same({n: p.detach() for n, p in adapted.trainable().items()}, fresh)


def test_the_same_seed_gives_the_same_bits_and_another_one_does_not(tmp_path):
    for before, (name, seed) in enumerate((("a", SEED), ("b", SEED), ("c", SEED + 1))):
        torch.manual_seed(before)  # what ran before must not matter
        train(tmp_path / name, adapted=model(dropout=0.1), seed=seed, steps=4)
    assert same(trained(tmp_path / "a"), trained(tmp_path / "b"))
    assert not same(trained(tmp_path / "a"), trained(tmp_path / "c"))


def test_dropout_acts_in_training_and_not_in_validation(tmp_path):
    adapted, modes = model(dropout=0.5), []
    adapted.register_forward_pre_hook(
        lambda module, _: modes.append((torch.is_grad_enabled(), module.training))
    )
    train(tmp_path / "half", adapted=adapted, steps=4)
    assert set(modes) == {(True, True), (False, False)}
    train(tmp_path / "none", adapted=model(dropout=0.0), steps=4)
    assert not same(trained(tmp_path / "half"), trained(tmp_path / "none"))


def still():
    """A model without the dropout of its backbone."""
    adapted = model()
    for module in adapted.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):  # attention
            module.dropout = 0.0
    return adapted


def test_accumulated_batches_equal_one_batch_of_them_all(tmp_path):
    """Batches k and k+1 are one epoch's consecutive draws, so two of 4 are one of 8."""
    options = {"steps": 4, "clip": None}
    once, _ = train(tmp_path / "once", adapted=still(), batch_size=8, **options)
    twice, _ = train(tmp_path / "twice", adapted=still(), batch_size=4, accumulate=2, **options)
    assert twice.step == once.step == 4
    expected = trained(tmp_path / "once")
    for name, tensor in trained(tmp_path / "twice").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)


def test_the_rate_warms_up_linearly_and_falls_as_a_cosine(tmp_path):
    rates = []
    handle = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(optimizer.param_groups[0]["lr"])
    )
    try:
        train(tmp_path, steps=20, lr=0.01, warmup=0.2)
    finally:
        handle.remove()
    rising = [0.01 * (step + 1) / 5 for step in range(4)]
    falling = [0.005 * (1 + cos(pi * step / 16)) for step in range(16)]
    np.testing.assert_allclose(rates, rising + falling, rtol=1e-12)
    written = {line["step"]: line["lr"] for line in lines(tmp_path) if "lr" in line}
    assert written == {step: rates[step - 1] for step in (1, 10, 20)}


def test_gradients_are_clipped_to_the_norm_that_is_asked_for(tmp_path):
    norms = []

    def note(optimizer, *_):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norms.append(torch.nn.utils.get_total_norm(gradients).item())

    handle = register_optimizer_step_post_hook(note)
    try:
        train(tmp_path / "clipped", steps=3, clip=1e-3)
        train(tmp_path / "free", steps=3, clip=None)
    finally:
        handle.remove()
    assert norms[:3] == pytest.approx([1e-3] * 3, rel=1e-3)
    assert min(norms[3:]) > 1e-2


def test_it_stops_after_the_validations_that_patience_allows(tmp_path):
    """At a rate of 1e-30 no weight changes, so no validation is better than the first."""
    fitted, _ = train(tmp_path, steps=40, lr=1e-30, validate_every=2, patience=3)
    assert (fitted.step, fitted.best_step, fitted.validations_without_gain) == (6, 0, 3)
    assert how_it_went(tmp_path).step == 6


def test_a_run_that_patience_stopped_is_finished(tmp_path):
    first, _ = train(tmp_path, steps=40, lr=1e-30, validate_every=2, patience=3)
    before = trained(tmp_path)
    again, _ = train(tmp_path, steps=40, lr=1e-30, validate_every=2, patience=3)
    assert again == first
    assert same(trained(tmp_path), before)


def test_a_finished_run_is_not_trained_again(tmp_path):
    first, _ = train(tmp_path, steps=4)
    file = tmp_path / "checkpoints" / "last.ckpt"
    written = file.stat().st_mtime_ns
    again, adapted = train(tmp_path, steps=4)
    assert again == first
    assert file.stat().st_mtime_ns == written
    assert same({n: p.detach() for n, p in adapted.trainable().items()}, trained(tmp_path))


def test_without_validation_windows_the_last_checkpoint_is_the_best(tmp_path):
    adapted, none = model(), windows().take([])
    fitted = fit(adapted, windows(), none, settings(steps=5), SEED, tmp_path, Progress(quiet=True))
    assert fitted.best_step == fitted.step == 5
    assert same(trained(tmp_path, "best"), trained(tmp_path, "last"))


def test_without_training_windows_nothing_starts(tmp_path):
    with pytest.raises(DataError, match="train split has no windows"):
        fit(model(), windows().take([]), windows(), settings(), SEED, tmp_path, Progress())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["within step 5", "after step 5"])
def test_a_signal_lets_the_step_end_saves_it_and_interrupts(tmp_path, number, moment):
    adapted, passes = model(), []
    handler = signal.getsignal(number)

    def during(_module, _inputs):
        passes.append(torch.is_grad_enabled())  # a pass of training, not of validation
        if moment == "within step 5" and passes[-1] and sum(passes) == 5:
            signal.raise_signal(number)

    def after(step):
        if moment == "after step 5" and step == 5:
            signal.raise_signal(number)

    adapted.register_forward_pre_hook(during)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, after, adapted)
    assert how_it_went(tmp_path).step in (5, 6)
    assert signal.getsignal(number) is handler


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}], ids=str)
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_best(tmp_path, options):
    with pytest.raises(DivergedError, match=r"by step \d.*best checkpoint \(step 0\).*lr") as told:
        train(tmp_path, lr=1e25, clip=None, warmup=0.0, **options)
    assert told.value.exit_code == 5
    assert all(tensor.isfinite().all() for tensor in trained(tmp_path, "best").values())
    last = read(tmp_path / "checkpoints" / "last.ckpt")
    assert last is None or all(t.isfinite().all() for t in last["trainable"].values())


def test_one_loss_that_is_not_finite_is_not_forgotten_by_later_finite_ones(tmp_path, monkeypatch):
    adapted = model()
    forward, passes = adapted.forward, []

    def once_nan(batch):
        passes.append(torch.is_grad_enabled())
        return forward(batch) * (float("nan") if passes[-1] and sum(passes) == 2 else 1.0)

    monkeypatch.setattr(adapted, "forward", once_nan)
    with pytest.raises(DivergedError, match="not finite by step 3"):
        train(tmp_path, adapted=adapted)


class Idle(Adapter):
    """Has a tensor that the loss never sees."""

    name = "idle"

    def attach(self, backbone, setting):
        self.module = nn.Linear(2, 2)


def test_a_trainable_tensor_outside_the_loss_is_refused_by_name(tmp_path):
    adapted = model(adapters=[lora.Config(rank=2).build(), Idle()])
    with pytest.raises(RecipeError, match=r"2 trainable tensors take no part in the loss, first"):
        train(tmp_path, adapted=adapted)


class Told(Adapter):
    """Notes which step it is told of, and whether the gradients are those of that step."""

    name = "told"
    module = None

    def __init__(self):
        self.heard = []

    def attach(self, backbone, setting):
        self.network = backbone.network

    def stepped(self, step, steps):
        gradients = [p.grad for p in self.network.parameters() if p.requires_grad]
        self.heard.append((step, steps, all(g is not None and g.any() for g in gradients)))

    def state(self):
        return {"heard": torch.tensor([step for step, *_ in self.heard])}

    def load_state(self, state):
        self.heard = [(step, None, None) for step in state["heard"].tolist()]


def test_adapters_are_told_of_each_step_once_with_its_gradients(tmp_path):
    told = Told()
    adapted = model(adapters=[lora.Config(rank=2).build(), told])
    train(tmp_path, adapted=adapted, steps=4, accumulate=2)
    assert told.heard[0][:2] == (1, 4)
    assert told.heard[1:] == [(2, 4, True), (3, 4, True), (4, 4, True)]


def test_what_adapters_gather_comes_back_to_a_resumed_run(tmp_path):
    def interrupt(step):
        if step == 4:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, interrupt, model(adapters=[lora.Config(rank=2).build(), Told()]), steps=8)
    told = Told()
    adapted = model(adapters=[lora.Config(rank=2).build(), told])
    train(tmp_path, adapted=adapted, steps=8)
    assert [step for step, *_ in told.heard] == list(range(1, 9))
    assert told.heard[4] == (5, None, None)
    assert told.heard[5][1:] == (8, True)


def test_a_checkpoint_of_before_adapters_had_a_state_goes_on(tmp_path):
    train(tmp_path, steps=3, checkpoint_every=3)
    path = tmp_path / "checkpoints" / "last.ckpt"
    held = read(path)
    assert held.pop("adapters") == {}
    torch.save(held, path)
    fitted, _ = train(tmp_path, steps=4, checkpoint_every=3)
    assert fitted.step == 4


def test_a_batch_that_does_not_divide_over_the_processes_is_refused(tmp_path):
    with pytest.raises(RecipeError, match=r"train.batch_size: 3 .* 2 processes. Use a multiple"):
        train(tmp_path, batch_size=3, devices=2, strategy="ddp")


def test_full_fine_tuning_moves_every_weight_that_the_loss_reaches(tmp_path):
    adapted = model(adapters=[full.Config().build()])
    before = {name: p.detach().clone() for name, p in adapted.trainable().items()}
    fitted, _ = train(tmp_path, adapted=adapted, steps=8, lr=1e-3)
    still = [name for name, p in adapted.trainable().items() if torch.equal(p, before[name])]
    assert still == []
    assert fitted.best_step == 8


@pytest.fixture
def recipe_text(tmp_path):
    base = Chronos2.tiny().model
    base.config.dropout_rate = 0.0
    base.save_pretrained(tmp_path / "base")
    return RECIPE.format(checkpoint=tmp_path / "base")


def test_without_adapters_nothing_is_trained(tmp_path, recipe_text):
    recipe = loads(recipe_text, ["adapters=[]"])
    finished = run(recipe, tmp_path / "runs", Progress(quiet=True))
    assert sorted(path.name for path in finished.folder.iterdir()) == [
        *("env.json", "plots", "predictions", "recipe.yaml", "scores.json"),
    ]
    assert "adapted" not in finished.scores.models
    assert finished.scores.models["zero_shot"].overall["mase"] > 0
    assert finished.scores.verdict is None
    assert finished.scores.costs.trainable_parameters == 0


def test_two_processes_train_the_weights_that_one_trains(tmp_path, recipe_text):
    """Each process takes every other window; gradients are averaged, so only rounding differs."""
    alone = run(loads(recipe_text), tmp_path / "alone", Progress(quiet=True))
    (tmp_path / "recipe.yaml").write_text(recipe_text)
    command = [Path(sys.executable).with_name("tsfm-adapt"), "train", tmp_path / "recipe.yaml"]
    command += ["--runs", tmp_path / "two", "--set=train.devices=2", "--set=train.strategy=ddp"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, env={**os.environ, "CI": "1"}
    )
    assert done.returncode == 0, done.stderr
    two = Run(Path(done.stdout.splitlines()[-1].removeprefix("run: ")))
    assert list((tmp_path / "two").glob("*/*")) == [two.folder]
    assert [line["step"] for line in lines(two.folder)] == [0, 1, 2, 4, 4]
    expected = trained(alone.folder)
    for name, tensor in trained(two.folder).items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5)
    for one, other in zip(lines(two.folder), lines(alone.folder), strict=True):
        if "val_loss" in one:
            assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-5)
    mase = [r.scores.models["adapted"].overall["mase"] for r in (alone, two)]
    assert mase[0] == pytest.approx(mase[1], rel=1e-4)


def launched_by_torchrun(command):
    arguments = ["--nproc-per-node=2", "--standalone", "-m", "tsfm_adapt", *command]
    return [subprocess.Popen([sys.executable, "-m", "torch.distributed.run", *arguments])]


def launched_by_srun(command):
    """As SLURM starts the tasks of a job, as far as a process can tell."""
    common = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2"}
    common |= {"SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    common |= {"SLURM_NODELIST": "localhost", "MASTER_ADDR": "127.0.0.1"}
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        common["MASTER_PORT"] = str(probe.getsockname()[1])
    return [
        subprocess.Popen(
            [sys.executable, "-m", "tsfm_adapt", *command],
            env={**os.environ, **common, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
        )
        for rank in ("0", "1")
    ]


@pytest.mark.parametrize(
    "launched", [pytest.param(launched_by_torchrun, marks=pytest.mark.slow), launched_by_srun]
)
def test_whoever_starts_the_processes_one_run_is_written(tmp_path, recipe_text, launched):
    (tmp_path / "recipe.yaml").write_text(recipe_text)
    command = ["train", tmp_path / "recipe.yaml", "--runs", tmp_path / "runs", "--quiet"]
    command += ["--set=train.devices=2", "--set=train.strategy=ddp"]
    started = launched([str(word) for word in command])
    try:
        assert [process.wait(300) for process in started] == [0] * len(started)
    finally:
        for process in started:
            process.kill()
    (folder,) = (tmp_path / "runs").glob("*/*")
    assert [line["step"] for line in lines(folder)] == [0, 1, 2, 4, 4]
    assert Run(folder).scores.models["adapted"].overall["mase"] > 0
