"""Lag-Llama's futures: step by step, along known paths, and the whole series at once."""

import pytest
import torch

from contracts.batch import assert_near, roughened
from tsfm_adapt.backbones._nets.lag_llama_futures import Futures, Start
from tsfm_adapt.backbones.lag_llama import LagLlama

ROWS, TOKENS, STEPS, PATHS = 2, 6, 5, 3


@pytest.fixture
def net():
    return roughened(LagLlama.tiny()).model.eval()


def begun(net):
    """Contexts of noise, encoded as a backbone encodes them."""
    torch.manual_seed(4)
    series = torch.randn(ROWS, net.reach + TOKENS)
    loc, scale = torch.randn(ROWS, 1), torch.rand(ROWS, 1) + 0.5
    time = torch.rand(ROWS, TOKENS + STEPS - 1, 6) - 0.5
    with torch.no_grad():
        states, memory = net.context(net.embed(series, loc, scale, time[:, :TOKENS]))
        parameters = net.param_proj(states[:, -1:])
    return Start(series, loc, scale, time, TOKENS, states, memory, parameters)


def test_along_known_paths_it_is_the_network_over_context_and_path(net):
    start = begun(net)
    known = torch.randn(ROWS, PATHS, STEPS)
    with torch.no_grad():
        found = Futures(net).teacher_forced(start, known)
        for path in range(PATHS):
            series = torch.cat([start.series, known[:, path, :-1]], dim=-1)
            whole = net(series, start.loc, start.scale, start.time)
            for actual, expected in zip(found, whole, strict=True):
                assert_near(actual[:, path], expected[:, -STEPS:], relative=1e-4)


@pytest.mark.parametrize("steps", [1, STEPS])
def test_paths_are_drawn_from_the_distribution_of_each_step(net, steps):
    start, futures = begun(net), Futures(net)
    with torch.no_grad():
        uniforms, paths = futures.sample(start, steps, PATHS)
        assert uniforms.shape == (2, ROWS, PATHS, steps)
        again = futures.teacher_forced(start, paths).draw(uniforms)
    assert_near(again, paths, relative=1e-4)


def test_paths_differ_and_the_same_seed_draws_the_same(net):
    start, futures, drawn = begun(net), Futures(net), []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        with torch.no_grad():
            drawn.append(futures.sample(start, STEPS, PATHS)[1])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert (drawn[0][:, 0] != drawn[0][:, 1]).all()
