"""Killed, interrupted, out of disk: what goes on ends in the bits of what never stopped."""

import errno
import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from contracts.small_run import children, model, train, train_in_child
from tsfm_adapt.errors import EnvironmentProblem
from tsfm_adapt.training.checkpoints import how_it_went, load_best, read, stream

NOISY = {"dropout": 0.1, "accumulate": 2, "batch_size": 2}


def state(folder, name="last"):
    return read(folder / "checkpoints" / f"{name}.ckpt")


def lines(folder):
    """metrics.jsonl without the times."""
    text = (folder / "metrics.jsonl").read_text()
    return [
        {key: value for key, value in json.loads(line).items() if key != "seconds"}
        for line in text.splitlines()
    ]


def assert_same_bits(one, other, where="state"):
    """Nested states are equal, tensors bit by bit; costs in time and memory may differ."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one.keys() - {"train_seconds", "peak_memory_mb"}:
            assert_same_bits(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same_bits(a, b, f"{where}.{index}")
    else:
        assert one == other, where


def assert_same_run(folder, uninterrupted):
    for name in ("last", "best"):
        assert_same_bits(state(folder, name), state(uninterrupted, name), name)
    assert lines(folder) == lines(uninterrupted)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    train(folder, **NOISY)
    return folder


@pytest.mark.parametrize("stops", [(1,), (5,), (2, 5, 8), (1, 3, 5, 7, 9)], ids=str)
def test_an_interrupted_and_resumed_run_ends_in_the_same_bits(tmp_path, uninterrupted, stops):
    """The interruption comes after step k, so step k + 1 is finished and saved."""

    def interrupt(step):
        if step in stops:
            signal.raise_signal(signal.SIGINT)

    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, interrupt, **NOISY)
        assert how_it_went(tmp_path).step == stop + 1
    train(tmp_path, **NOISY)
    assert_same_run(tmp_path, uninterrupted)


class Crash(Exception):
    pass


@pytest.mark.parametrize("crashed_after", [1, 2, 3, 4, 8, 11])
def test_a_crashed_and_resumed_run_ends_in_the_same_bits(tmp_path, uninterrupted, crashed_after):
    """Nothing is saved at the crash: the run falls back to the last third step, or to none."""

    def crash(step):
        if step == crashed_after:
            raise Crash

    with pytest.raises(Crash):
        train(tmp_path, crash, **NOISY)
    saved = how_it_went(tmp_path)
    assert (saved.step if saved else 0) == crashed_after // 3 * 3
    train(tmp_path, **NOISY)
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(
    ("kills", "steps", "moments"), [(6, 36, 3), pytest.param(20, 60, 6, marks=pytest.mark.slow)]
)
def test_killed_at_random_moments_it_ends_in_the_same_bits(tmp_path, kills, steps, moments):
    """After at least `moments` different steps."""
    options = {"dropout": 0.1, "batch_size": 2, "steps": steps}
    train(tmp_path / "uninterrupted", **options)
    generator, context, died_at = random.Random(7), children(), []
    for _ in range(kills):
        done_steps, sender = context.Pipe(duplex=False)
        child = context.Process(target=train_in_child, args=(tmp_path / "run", sender, options))
        child.start()
        sender.close()
        for _ in range(generator.randint(1, 5)):
            done = done_steps.recv()
        time.sleep(generator.uniform(0, 0.03))  # anywhere in the next step, writing included
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        died_at.append(done)
    assert max(died_at) < steps
    assert len(set(died_at)) >= moments
    train(tmp_path / "run", **options)
    assert_same_run(tmp_path / "run", tmp_path / "uninterrupted")


def test_a_checkpoint_holds_trainable_tensors_and_nothing_that_runs_code(tmp_path):
    _, adapted = train(tmp_path, steps=3)
    for name in ("last", "best"):
        path = tmp_path / "checkpoints" / f"{name}.ckpt"
        held = torch.load(path, weights_only=True)
        assert held["trainable"].keys() == adapted.trainable().keys()
        moments = sum(t.numel() for s in held["optimizer"]["state"].values() for t in s.values())
        trainable = sum(tensor.numel() for tensor in held["trainable"].values())
        assert moments <= 2 * trainable + len(held["trainable"])
        base = sum(p.numel() for p in adapted.network.parameters()) - trainable
        assert path.stat().st_size < 4 * base


def test_metrics_say_each_step_once_in_order(uninterrupted):
    losses = [line["step"] for line in lines(uninterrupted) if "loss" in line]
    validations = [line["step"] for line in lines(uninterrupted) if "val_loss" in line]
    assert losses == [1, 10, 12]
    assert validations == [0, 4, 8, 12]


def test_a_torn_last_line_of_metrics_is_dropped_on_resuming(tmp_path, uninterrupted):
    train(tmp_path, steps=12, patience=None, **NOISY)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 12, "lo')
    longer = {**NOISY, "steps": 13}
    train(tmp_path, **longer)
    assert [line["step"] for line in lines(tmp_path)][-2:] == [13, 13]


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_the_previous_checkpoint_and_says_so(tmp_path, monkeypatch):
    def fill(step):
        if step == 4:
            monkeypatch.setattr(os, "fsync", full_disk)

    with pytest.raises(EnvironmentProblem, match=r"last\.ckpt.*disk is full.*previous version is"):
        train(tmp_path, fill, validate_every=12)
    monkeypatch.undo()
    assert how_it_went(tmp_path).step == 3
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    fitted, _ = train(tmp_path, validate_every=12)
    assert fitted.step == 12


def test_a_disk_that_is_full_for_the_metrics_is_told_without_a_traceback(tmp_path, monkeypatch):
    opened = Path.open

    def fails_for_metrics(path, *args, **kwargs):
        return full_disk() if path.name == "metrics.jsonl" else opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", fails_for_metrics)
    with pytest.raises(EnvironmentProblem, match="disk is full"):
        train(tmp_path, steps=2)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_checkpoint_is_named(tmp_path, uninterrupted, share):
    whole = (uninterrupted / "checkpoints" / "last.ckpt").read_bytes()
    broken = tmp_path / "checkpoints" / "last.ckpt"
    broken.parent.mkdir()
    broken.write_bytes(whole[: int(share * len(whole))])
    for use in (lambda: train(tmp_path), lambda: how_it_went(tmp_path)):
        with pytest.raises(EnvironmentProblem, match=r"last\.ckpt' is not a readable checkpoint"):
            use()


def test_a_checkpoint_that_would_run_code_is_refused_and_runs_nothing(tmp_path):
    class Hostile:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (tmp_path / "checkpoints").mkdir()
    torch.save({"trainable": Hostile()}, tmp_path / "checkpoints" / "last.ckpt")
    with pytest.raises(EnvironmentProblem, match="not a readable checkpoint"):
        train(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_best_checkpoint_goes_into_a_fresh_model(uninterrupted):
    adapted = model(dropout=0.1)
    load_best(adapted, uninterrupted)
    best = state(uninterrupted, "best")["trainable"]
    assert all(torch.equal(p, best[name]) for name, p in adapted.trainable().items())


def test_a_run_without_a_best_checkpoint_says_what_to_do(tmp_path):
    assert how_it_went(tmp_path) is None
    with pytest.raises(EnvironmentProblem, match=r"no checkpoints/best\.ckpt.*Train it again"):
        load_best(model(), tmp_path)


def test_how_it_went_is_what_fit_said(tmp_path):
    fitted, _ = train(tmp_path, steps=4)
    assert how_it_went(tmp_path) == fitted
    assert fitted.train_seconds > 0
    assert 100 < fitted.peak_memory_mb < 100_000
    assert replace(fitted, step=5) != fitted


def test_random_streams_differ_by_seed_batch_and_process():
    streams = [stream(s, k, r) for s in range(3) for k in range(50) for r in range(3)]
    assert len(set(streams)) == len(streams)
    assert all(0 <= value < 2**63 for value in streams)
    assert stream(1, 2, 3) == stream(1, 2, 3)
