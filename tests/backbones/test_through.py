"""Token by token what hooks do, on an encoder whose tokens can be followed by eye."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from contracts.batch import random_batch
from contracts.through import Acting
from tsfm_adapt.backbones._through import Site
from tsfm_adapt.backbones.base import PLAIN, per_series

B, C, P, D = 2, 3, 4, 5
AFTER = 2  # tokens behind the data: a register and one patch of the future


class Block(nn.Module):
    """Adds one to every token and remembers what it received."""

    def forward(self, hidden, *, visible):
        self.received = hidden
        self.visible = visible
        return hidden + 1


class Encoder(nn.Module):
    def __init__(self, blocks=3):
        super().__init__()
        self.block = nn.ModuleList(Block() for _ in range(blocks))

    def forward(self, inputs_embeds, *, visible):
        for block in self.block:
            inputs_embeds = block(inputs_embeds, visible=visible)
        return SimpleNamespace(last_hidden_state=inputs_embeds)


def extend(arguments, prompts):
    ones = torch.ones(arguments["visible"].shape[0], prompts)
    return arguments | {"visible": torch.cat([ones, arguments["visible"]], dim=1)}


@pytest.fixture
def encoder():
    return Encoder()


@pytest.fixture
def site(encoder):
    return Site(encoder, encoder.block, extend)


@pytest.fixture
def embeddings():
    """Every token of every row is another number, so that none can take another's place."""
    rows = torch.arange(B * C * (P + AFTER), dtype=torch.float32).reshape(B * C, P + AFTER, 1)
    return 1000 + rows.expand(-1, -1, D)


BATCH = random_batch(windows=B, channels=C)


def run(site, encoder, embeddings, through, tokens=P):
    with site.run(through, BATCH, tokens):
        visible = torch.zeros(B * C, embeddings.shape[1])
        return encoder(inputs_embeds=embeddings, visible=visible).last_hidden_state


def prompts(*values):
    return torch.tensor(values, dtype=torch.float32)[:, None].expand(-1, D)


def test_prompts_enter_in_front_and_leave_at_the_end(site, encoder, embeddings):
    through = Acting(prompt=lambda batch, layer: prompts(-1, -2) if layer == 0 else None)
    result = run(site, encoder, embeddings, through)
    first = encoder.block[0].received
    assert first.shape == (B * C, 2 + P + AFTER, D)
    assert torch.equal(first[:, :2], prompts(-1, -2).expand(B * C, -1, -1))
    assert torch.equal(first[:, 2:], embeddings)
    assert torch.equal(encoder.block[0].visible[:, :2], torch.ones(B * C, 2))
    assert not encoder.block[0].visible[:, 2:].any()
    assert torch.equal(result, embeddings + 3)


def test_deep_prompts_overwrite_exactly_the_prompts(site, encoder, embeddings):
    deep = {0: prompts(-1, -2), 1: prompts(-10, -20)}
    result = run(site, encoder, embeddings, Acting(prompt=lambda batch, layer: deep.get(layer)))
    second, third = (block.received for block in encoder.block[1:])
    assert torch.equal(second[:, :2], prompts(-10, -20).expand(B * C, -1, -1))
    assert torch.equal(second[:, 2:], embeddings + 1)
    assert torch.equal(third[:, :2], prompts(-9, -19).expand(B * C, -1, -1))
    assert torch.equal(result, embeddings + 3)


def test_each_layer_is_asked_once_in_order(site, encoder, embeddings):
    through = Acting(prompt=lambda batch, layer: prompts(-1))
    run(site, encoder, embeddings, through)
    assert [layer for _, layer in through.asked] == [0, 1, 2]
    assert [layer for _, layer in through.given] == [0, 1, 2]
    assert all(batch is BATCH for batch, _ in through.asked)


def test_without_prompts_in_front_deeper_ones_are_not_asked_for(site, encoder, embeddings):
    through = Acting()
    result = run(site, encoder, embeddings, through)
    assert [layer for _, layer in through.asked] == [0]
    assert torch.equal(result, embeddings + 3)


def test_fewer_deep_prompts_leave_the_later_ones_as_they_became(site, encoder, embeddings):
    deep = {0: prompts(-1, -2), 1: prompts(-10)}
    result = run(site, encoder, embeddings, Acting(prompt=lambda batch, layer: deep.get(layer)))
    second, third = (block.received for block in encoder.block[1:])
    assert torch.equal(second[:, :2], prompts(-10, -1).expand(B * C, -1, -1))
    assert torch.equal(third[:, :2], prompts(-9, 0).expand(B * C, -1, -1))
    assert torch.equal(result, embeddings + 3)


def test_more_deep_prompts_than_were_inserted_are_refused(site, encoder, embeddings):
    """Otherwise the sequence would change its length in the middle of the encoder."""
    deep = {0: prompts(-1, -2), 1: prompts(-10, -20, -30)}
    with pytest.raises(ValueError, match="there were 2 prompts, but 3 before block 1"):
        run(site, encoder, embeddings, Acting(prompt=lambda batch, layer: deep.get(layer)))


@pytest.mark.parametrize("n_prompts", [0, 2])
def test_mixers_see_the_data_tokens_of_each_series_and_nothing_else(
    site, encoder, embeddings, n_prompts
):
    in_front = prompts(*range(-n_prompts, 0)) if n_prompts else None
    through = Acting(prompt=lambda batch, layer: in_front)
    run(site, encoder, embeddings, through)
    for tokens, layer in through.given:
        assert torch.equal(tokens, (embeddings[:, :P] + layer).reshape(B, C, P, D))


def test_what_a_mixer_returns_takes_the_place_of_the_data_tokens_only(site, encoder, embeddings):
    through = Acting(
        prompt=lambda batch, layer: prompts(-1, -2) if layer == 0 else None,
        mix=lambda tokens, layer: tokens * 0 + tokens[:, :1] if layer == 1 else tokens,
    )
    result = run(site, encoder, embeddings, through)
    second = encoder.block[1].received
    of_first_channel = embeddings.reshape(B, C, -1, D)[:, :1, :P].expand(-1, C, -1, -1) + 1
    assert torch.equal(second[:, 2 : 2 + P], of_first_channel.reshape(B * C, P, D))
    assert torch.equal(second[:, 2 + P :], embeddings[:, P:] + 1)
    assert torch.equal(second[:, :2], (prompts(-1, -2) + 1).expand(B * C, -1, -1))
    assert result.shape == embeddings.shape


def test_outside_a_pass_the_hooks_do_nothing(site, encoder, embeddings):
    visible = torch.zeros(B * C, P + AFTER)
    result = encoder(inputs_embeds=embeddings, visible=visible)
    assert torch.equal(result.last_hidden_state, embeddings + 3)
    assert encoder.block[0].received is embeddings
    assert site.active() is None


def test_a_plain_pass_hands_on_the_very_same_tokens(site, encoder, embeddings):
    run(site, encoder, embeddings, PLAIN)
    assert encoder.block[0].received is embeddings


def test_a_pass_through_one_encoder_leaves_another_alone(site, encoder, embeddings):
    other = Encoder()
    Site(other, other.block, extend)
    with site.run(Acting(prompt=lambda batch, layer: prompts(-1)), BATCH, P):
        visible = torch.zeros(B * C, P + AFTER)
        assert torch.equal(
            other(inputs_embeds=embeddings, visible=visible).last_hidden_state, embeddings + 3
        )
    assert other.block[0].received.shape[1] == P + AFTER


def test_passes_nest_and_end_in_the_order_they_began(site):
    outer, inner = Acting(), Acting()
    with site.run(outer, BATCH, P):
        with site.run(inner, BATCH, P):
            assert site.active().through is inner
        assert site.active().through is outer
    assert site.active() is None


def test_an_error_inside_ends_the_pass(site, encoder, embeddings):
    def fail(tokens, layer):
        raise ArithmeticError("from inside")

    with pytest.raises(ArithmeticError, match="from inside"):
        run(site, encoder, embeddings, Acting(mix=fail))
    assert site.active() is None


def test_two_forwards_in_one_pass_insert_the_prompts_once_each(site, encoder, embeddings):
    through = Acting(prompt=lambda batch, layer: prompts(-1, -2))
    with site.run(through, BATCH, P):
        visible = torch.zeros(B * C, P + AFTER)
        for _ in range(2):
            result = encoder(inputs_embeds=embeddings, visible=visible).last_hidden_state
            assert result.shape == embeddings.shape
            assert torch.equal(result, embeddings + 3)


def test_prompts_take_the_precision_of_the_tokens(site, encoder, embeddings):
    through = Acting(prompt=lambda batch, layer: prompts(-1))
    result = run(site, encoder, embeddings.double(), through)
    assert encoder.block[0].received.dtype == torch.float64
    assert encoder.block[1].received.dtype == torch.float64
    assert result.dtype == torch.float64


def test_prompts_are_spread_over_windows_and_channels():
    each = torch.randn(2, D)
    assert torch.equal(per_series(each, BATCH), each.expand(B, C, 2, D))
    by_window = torch.randn(B, 2, D)
    spread = per_series(by_window, BATCH)
    assert spread.shape == (B, C, 2, D)
    assert all(torch.equal(spread[:, c], by_window) for c in range(C))
    by_series = torch.randn(B, C, 2, D)
    assert per_series(by_series, BATCH) is by_series
