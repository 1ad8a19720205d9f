"""The synthetic corpus and the resumable pretraining of the embedded checkpoints."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.batch import assert_same, outputs, random_batch
from tsfm_adapt import components

sys.path.insert(
    0, str(Path(__file__).resolve().parents[2] / "experiments" / "embedded_checkpoints")
)
corpus = importlib.import_module("corpus")
observation = importlib.import_module("observation")
stochastic = importlib.import_module("stochastic")
train = importlib.import_module("train")

SMALL = corpus.Plan(contexts={48: 0.5, 128: 0.5}, patches={1: 0.5, 2: 0.5}, samples=900)
T5 = {"width": 16, "head_width": 8, "heads": 2, "feed_forward": 16}
SIZES = {
    "chronos2": T5 | {"layers": 1, "context": 128},
    "chronos_bolt": T5 | {"encoder_layers": 1, "decoder_layers": 1, "context": 128},
    "chronos_t5": T5 | {"layers": 1, "tokens": 64, "context": 128},
    "lag_llama": {"head_width": 8, "heads": 2, "layers": 1},
    "moirai": {"width": 64, "layers": 1, "patch": 8},
    "moirai2": {"width": 64, "feed_forward": 32, "layers": 1},
    "moment": T5 | {"layers": 1, "window": 128},
    "timesfm": {"width": 16, "heads": 2, "layers": 1, "context": 128},
    "timesfm3": {"width": 16, "feed_forward": 16, "heads": 2, "layers": 1},
}


@pytest.mark.parametrize("name", sorted(corpus.FAMILIES))
def test_a_family_gives_finite_moving_rows_and_repeats_itself(name):
    family = corpus.FAMILIES[name]
    first = family(np.random.default_rng(3), 40, 150)
    again = family(np.random.default_rng(3), 40, 150)
    other = family(np.random.default_rng(4), 40, 150)
    assert first.shape == (40, 150)
    assert np.isfinite(first).all()
    assert (first.std(axis=1) > 0).mean() > 0.9
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_family_has_a_share_in_the_plan():
    assert set(corpus.Plan().families) == set(corpus.FAMILIES)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), step=st.integers(0, 10**6))
def test_a_batch_depends_on_seed_and_step_alone(seed, step):
    batch, again = corpus.draw_batch(SMALL, seed, step), corpus.draw_batch(SMALL, seed, step)
    np.testing.assert_array_equal(batch.context, again.context)
    np.testing.assert_array_equal(batch.target, again.target)
    np.testing.assert_array_equal(batch.groups, again.groups)
    assert batch.context.dtype == batch.target.dtype == np.float32
    assert batch.context.shape[1] in (48, 128)
    assert batch.target.shape == (len(batch.context), 16 * batch.patches)
    assert not np.isinf(batch.context).any()
    assert not np.isinf(batch.target).any()
    assert (np.diff(batch.groups) >= 0).all()
    assert np.bincount(batch.groups).max() <= SMALL.largest_group


def test_other_steps_give_other_values():
    one_shape = corpus.Plan(contexts={48: 1.0}, patches={1: 1.0}, samples=800)
    first, second = (corpus.draw_batch(one_shape, 0, step).context for step in (1, 2))
    assert first.shape == second.shape
    assert not np.array_equal(first, second, equal_nan=True)


def test_mean_reverting_values_forget_and_integrated_ones_do_not():
    rng = np.random.default_rng(5)
    decay = np.full(400, np.exp(-1 / 20), np.float32)
    white = rng.standard_normal((400, 400)).astype(np.float32)
    forgetting = stochastic.first_order(white, decay)[:, 200:]
    lagged = np.mean(forgetting[:, 20:] * forgetting[:, :-20]) / np.mean(forgetting**2)
    assert lagged == pytest.approx(np.exp(-1), abs=0.05)  # one time constant later
    walk = stochastic.integrated(rng, 400, 300)
    assert np.median(np.abs(walk[:, -1])) > 4 * np.median(np.abs(walk[:, 10]))


def test_rows_whose_context_is_flat_and_target_moves_are_not_learnable():
    wave = np.sin(np.arange(64, dtype=np.float32))
    hidden = np.full(64, np.nan, np.float32)
    context = np.stack([wave, np.ones(64), 1 + 1e-3 * wave, np.ones(64), hidden, wave])
    target = np.stack([wave, wave, wave, np.ones(64), wave, hidden])
    assert observation.learnable(context, target).tolist() == [
        True,
        False,
        False,
        True,  # flat before and after: repeating it is right
        False,  # nothing to scale by
        True,  # no target: adds nothing
    ]


def test_targets_of_the_corpus_stay_near_their_context():
    for step in range(20):
        batch = corpus.draw_batch(SMALL, 1, step)
        taught = np.isfinite(batch.target).any(axis=1)
        assert taught.mean() > 0.7
        context, target = batch.context[taught], batch.target[taught]
        mean = np.nanmean(context, axis=1, keepdims=True)
        limit = 25.1 * np.nanstd(context, axis=1, keepdims=True) + 1e-5
        assert (np.isnan(target) | (np.abs(target - mean) <= limit)).all()


def test_a_coupled_channel_follows_its_leader():
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(200), 2)
    series = rng.standard_normal((400, 500 + observation.MAX_LAG)).astype(np.float32)
    mixed = observation.couple(rng, series, groups)
    pairs = stochastic.unit(mixed).reshape(200, 2, 500)
    spectrum = np.fft.rfft(pairs, axis=2)
    correlation = np.fft.irfft(spectrum[:, 0] * spectrum[:, 1].conj(), axis=1) / 500
    assert 0.3 < (np.abs(correlation).max(axis=1) > 0.3).mean() < 0.5  # independent: below 0.2
    single = observation.couple(rng, series, np.arange(400))
    np.testing.assert_array_equal(single, series[:, observation.MAX_LAG :])


def test_hiding_keeps_what_is_left_and_covers_every_kind_of_gap():
    values = np.ones((600, 160), np.float32)
    groups = np.repeat(np.arange(150), 4)
    seen = np.isfinite(observation.hide(np.random.default_rng(7), values, groups, 128))
    share = seen[:, :128].mean(axis=1)
    assert 0.2 < (share == 1).mean() < 0.6
    assert (share == 0).any()  # whole channel missing
    assert ((share > 0.05) & (share < 0.3)).any()  # one reading in several samples
    assert (~seen[:, :64]).all(axis=1).mean() > 0.05  # short contexts


@pytest.fixture(params=sorted(SIZES))
def name(request):
    if problem := components.component("backbone", request.param).problem:
        pytest.skip(f"backbone '{request.param}' {problem}")
    return request.param


@pytest.fixture
def net(name):
    return train.network(name)


@pytest.fixture
def tiny(name, net):
    """The network's sizes, far smaller."""
    return net.Size(**SIZES[name])


def test_a_stopped_and_continued_training_equals_an_uninterrupted_one(net, tiny, tmp_path):
    schedule = train.Schedule(steps=6, seed=2, warm_up=2)
    whole = train.train(net, SMALL, tiny, schedule, tmp_path / "whole.pt")
    train.train(net, SMALL, tiny, schedule, tmp_path / "parts.pt", stop_at=2)
    parts = train.train(net, SMALL, tiny, schedule, tmp_path / "parts.pt")
    assert whole.losses == parts.losses
    assert len(whole.losses) == 6
    for name, weight in whole.backbone.network.state_dict().items():
        assert torch.equal(weight, parts.backbone.network.state_dict()[name]), name


def test_every_network_is_tested():
    files = Path(train.__file__).parent.joinpath("networks").glob("[!_]*.py")
    assert sorted(path.stem for path in files) == sorted(SIZES)


def test_a_state_of_another_corpus_is_refused(net, tiny, tmp_path):
    train.train(net, SMALL, tiny, train.Schedule(steps=1, seed=2), tmp_path / "state.pt")
    with pytest.raises(ValueError, match="corpus, size and seed it began with"):
        train.train(net, SMALL, tiny, train.Schedule(steps=2, seed=3), tmp_path / "state.pt")


def test_a_saved_network_is_the_one_that_the_package_loads(name, net, tiny, tmp_path):
    built = net.build(tiny, seed=1)
    net.save(built, tmp_path)
    loaded = components.config_class("backbone", name)(checkpoint=str(tmp_path)).build()
    assert_same(loaded.network.state_dict(), built.network.state_dict())
    batch = random_batch(windows=2, channels=2)
    assert_same(outputs(loaded, batch), outputs(built, batch))


def test_the_learning_rate_rises_then_falls_twice():
    schedule = train.Schedule(steps=100, warm_up=10, level=20, restart=60, second_rate=1e-3)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] == pytest.approx(4e-4)
    assert rates[9:21] == [4e-3] * 12
    assert rates[20:60] == sorted(rates[20:60], reverse=True)
    assert rates[59] < 1e-4
    assert rates[60] == 1e-3
    assert rates[60:] == sorted(rates[60:], reverse=True)
    assert rates[99] < 2e-5


def test_a_later_end_leaves_the_rates_before_the_restart_alone():
    short, long = train.Schedule(steps=5000), train.Schedule(steps=9000)
    assert [short.rate(step) for step in range(5000)] == [long.rate(step) for step in range(5000)]
