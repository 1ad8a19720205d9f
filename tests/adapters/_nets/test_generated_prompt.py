"""The prompt generator's own arithmetic, against a formula by hand."""

import pytest
import torch

from contracts.batch import assert_near
from contracts.generators import D, K, generator, padded, tokens
from tsfm_adapt.adapters._nets.generated_prompt import PromptGenerator

AGGREGATORS = ("mlp", "rnn", "attention")


def by_hand(net, window, aggregator):
    """Prompts (C*K, D) of one window (C, P, D), all observed, channel by channel."""
    channels, places, _ = window.shape
    normal = (window - window.mean(-1, keepdim=True)) / (
        window.var(-1, unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    states = normal @ net.enter.weight.T + net.enter.bias

    def attended(attention, rows):
        query, key, value = (rows @ part.T for part in attention.qkv.weight.chunk(3))
        parts = []
        for q, k, v in zip(query.chunk(2, -1), key.chunk(2, -1), value.chunk(2, -1), strict=True):
            parts.append((q @ k.T / q.shape[-1] ** 0.5).softmax(-1) @ v)
        return torch.cat(parts, dim=-1) @ attention.out.weight.T + attention.out.bias

    mixed = torch.stack([s + attended(net.across, s) for s in states.unbind(1)], dim=1)
    prompts = []
    for channel in mixed:  # (P, W)
        if aggregator == "mlp":
            maps = net.aggregate.map.weight[:, -places:]
            each = maps @ channel + net.aggregate.map.bias[:, None]
        elif aggregator == "rnn":
            state = torch.zeros(8 * K)
            rnn = net.aggregate.rnn
            for token in channel:
                state = torch.tanh(
                    rnn.weight_ih_l0 @ token
                    + rnn.bias_ih_l0
                    + rnn.weight_hh_l0 @ state
                    + rnn.bias_hh_l0
                )
            each = state.reshape(K, 8)
        else:
            over_time = channel + attended(net.aggregate.over_time, channel)
            each = net.aggregate.map(over_time).max(0).values.reshape(K, 8)
        prompts.append(net.base + each @ net.leave.weight.T)
    assert len(prompts) == channels
    return torch.cat(prompts)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_prompts_are_those_of_the_formula(aggregator):
    net = generator(aggregator)
    data, _ = tokens()
    prompts = net(data, torch.ones(data.shape[:3], dtype=torch.bool))
    assert prompts.shape == (2, 4 * K, D)
    for window, expected in zip(data, prompts, strict=True):
        assert_near(by_hand(net, window, aggregator), expected, relative=1e-5)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_what_was_not_observed_reaches_no_prompt(aggregator):
    net = generator(aggregator)
    data, observed = tokens()
    expected = net(data, observed)
    for other in (9e9, float("nan"), float("inf")):
        assert torch.equal(net(data.where(observed[..., None], other), observed), expected)
    assert not torch.equal(net(data, torch.ones_like(observed)), expected)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_longer_padding_changes_no_prompt(aggregator):
    net = generator(aggregator, spans=10)
    data, observed = tokens()
    longer = padded(data.mT, 4, 5.0).mT
    assert_near(net(longer, padded(observed, 4, False)), net(data, observed), relative=1e-6)


@pytest.mark.parametrize("aggregator", ["rnn", "attention"])
def test_a_gap_of_all_channels_is_as_good_as_no_time_at_all(aggregator):
    """Aggregator mlp knows how long ago a token was; these know the order, or the set."""
    net = generator(aggregator)
    data, observed = tokens()
    observed[..., 2:4] = False
    kept = [0, 1, 4, 5]
    assert_near(net(data[:, :, kept], observed[:, :, kept]), net(data, observed), relative=1e-6)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_where_nothing_was_observed_prompts_are_the_trained_ones(aggregator):
    net = generator(aggregator)
    data, observed = tokens()
    observed[0] = False
    prompts = net(data, observed)
    nothing = prompts[0].unflatten(0, (4, K))
    if aggregator == "mlp":  # its map has an intercept
        constant = net.aggregate.map.bias[:, None].expand(-1, 8) @ net.leave.weight.T
    else:
        constant = 0.0
    assert_near(nothing, (net.base + constant).expand(4, -1, -1), relative=1e-6)
    gradients = torch.autograd.grad(prompts.sum(), list(net.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_channels_may_come_in_any_order_and_number(aggregator):
    net = generator(aggregator)
    data, observed = tokens(channels=5)
    order = [3, 0, 4, 1, 2]
    by_channel = net(data, observed).unflatten(1, (5, K))
    turned = net(data[:, order], observed[:, order]).unflatten(1, (5, K))
    assert_near(turned, by_channel[:, order], relative=1e-5)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_each_channel_knows_of_the_others_of_its_window_only(aggregator):
    net = generator(aggregator)
    data, observed = tokens(missing=0.0)
    before = net(data, observed).unflatten(1, (4, K))
    data[0, 1] += 1.5 * torch.randn(data.shape[2:])
    gap = (net(data, observed).unflatten(1, (4, K)) - before).abs().amax(dim=(2, 3))
    assert (gap[0] > 1e-3).all()
    assert (gap[1] < 1e-6).all()


def test_spans_are_means_of_equally_many_tokens_up_to_the_end():
    net = generator("mlp", spans=3)
    total, states = 0.0, torch.randn(2, 4, 7, 8)
    observed = torch.rand(2, 4, 7) >= 0.3
    observed[0, 0] = torch.tensor([True, False, False, False, True, False, True])
    spans = [[0], [1, 2, 3], [4, 5, 6]]  # behind two of padding
    for place, span in enumerate(spans):
        seen = observed[0, 0, span]
        mean = states[0, 0, span][seen].mean(0) if seen.any() else torch.zeros(8)
        total = total + net.aggregate.map.weight[:, place, None] * mean
    expected = total + net.aggregate.map.bias[:, None]
    assert_near(net.aggregate(states, observed)[0, 0], expected, relative=1e-6)


@pytest.mark.parametrize(
    ("aggregator", "its_size"),
    [
        ("mlp", 64 * 16 + 16),
        ("rnn", 1024 * (64 + 1024) + 2 * 1024),
        ("attention", 4 * 64 * 64 + 64 + 64 * 1024 + 1024),
    ],
)
def test_the_sizes_of_the_paper_can_be_had(aggregator, its_size):
    """MOMENT-large: width 1024, 64 patches; 4 heads at width 64, 16 prompts a channel."""
    with torch.device("meta"):
        net = PromptGenerator(
            inner=1024, width=64, heads=4, prompts=16, aggregator=aggregator, spans=64, std=0.1
        )
    across = 4 * 64 * 64 + 64
    rest = 1024 * 64 + 64 + across + 64 * 1024 + 16 * 1024
    assert sum(p.numel() for p in net.parameters()) == rest + its_size
