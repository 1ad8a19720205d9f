"""The reconstruction network against torch's own attention, and what hidden tokens may change."""

import pytest
import torch
from torch import nn

from contracts.batch import assert_near
from tsfm_adapt.heads._nets.reconstruction import Reconstruction, positions


def network(channels=2, quantiles=3, patch=4):
    torch.manual_seed(5)
    module = Reconstruction(
        inputs=6,
        width=8,
        heads=2,
        channels=channels,
        patch=patch,
        quantiles=quantiles,
        dropout=0.0,
    )
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def tokens(windows=2, channels=2, places=5):
    torch.manual_seed(6)
    observed = torch.rand(windows, channels, places) < 0.6
    observed[:, 0, 0] = True
    return torch.randn(windows, channels, places, 6) * observed[..., None], observed


def by_torch(module, data, observed):
    """The same from torch's `MultiheadAttention`, (B, C, P, Q, L)."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    query, key, value = module.query, module.key, module.value
    with torch.no_grad():
        weights = torch.cat([query.weight, key.weight, value.weight])
        attention.in_proj_weight.copy_(weights)
        attention.in_proj_bias.copy_(torch.cat([torch.zeros(16), value.bias]))
        attention.out_proj.load_state_dict(module.out.state_dict())
    states = module.project(module.norm_of_tokens(data))
    states = states + positions(data.shape[2], 8, data.device) + module.channel[:, None]
    states = states.flatten(1, 2)
    normed = module.norm_of_attention(states)
    attended, _ = attention(normed, normed, normed, key_padding_mask=~observed.flatten(1))
    states = states + attended
    states = states + module.feed_forward(states)
    samples = module.samples(module.norm_of_samples(states))
    return samples.unflatten(1, data.shape[1:3]).unflatten(-1, (module.quantiles, -1))


def test_it_is_a_block_of_attention_over_observed_tokens():
    module, (data, observed) = network(), tokens()
    expected = by_torch(module, data, observed)
    found = module(data, observed)
    assert found.shape == (2, 2, 3, 5 * 4)
    for place in range(5):
        part = found[..., 4 * place : 4 * place + 4]
        assert_near(part, expected[:, :, place], relative=1e-4)


def test_a_hidden_token_changes_no_estimate_but_its_own():
    module, (data, observed) = network(), tokens()
    window, channel, place = (~observed).nonzero()[0].tolist()
    before = module(data, observed)
    data[window, channel, place] = 50 * torch.randn(6)
    after = module(data, observed)
    changed = (after != before).any(2)  # (B, C, P * L)
    changed[window, channel, 4 * place : 4 * place + 4] = False
    assert not changed.any()


def test_a_window_without_observed_tokens_has_finite_estimates_and_gradients():
    module, (data, observed) = network(), tokens()
    observed[1] = False
    found = module(data, observed)
    assert found.isfinite().all()
    gradients = torch.autograd.grad(found.sum(), [module.query.weight, module.channel])
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_untrained_a_token_asks_those_of_its_own_place_most():
    torch.manual_seed(0)
    module = Reconstruction(
        inputs=6, width=64, heads=1, channels=2, patch=4, quantiles=1, dropout=0.0
    )
    places = positions(6, 64, torch.device("cpu"))
    scores = module.query(places) @ module.key(places).mT
    assert scores.argmax(1).tolist() == list(range(6))


@pytest.mark.parametrize("width", [7, 8])
def test_positions_are_sines_and_cosines_of_slower_and_slower_waves(width):
    found = positions(5, width, torch.device("cpu"))
    assert found.shape == (5, width)
    for place in range(5):
        for number in range(width):
            angle = torch.tensor(place / 10_000.0 ** ((number - number % 2) / width))
            wave = angle.cos() if number % 2 else angle.sin()
            assert found[place, number].item() == pytest.approx(wave.item(), abs=1e-5)
