"""The linear head: the contract, where it starts, and its attention over tokens."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.batch import assert_near, roughened
from contracts.head import ClassHeadContract, classified, hidden, labelled_batch, logits, stepped
from tsfm_adapt.backbones.base import Encoded
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.heads import linear, probe
from tsfm_adapt.heads._nets.attention import AttentionPool
from tsfm_adapt.heads._nets.channels import merged
from tsfm_adapt.heads._pooling import flagged
from tsfm_adapt.heads.base import pooled


class TestLinear(ClassHeadContract):
    config = linear.Config(statistics=True)


class TestAttention(ClassHeadContract):
    config = linear.Config(pooling="attention", channels="mean", statistics=True)


def encoded(seed=0):
    """Tokens of two windows, three channels; the last channel of the second shows nothing."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, 3, 5, 8, generator=generator)
    seen = torch.rand(2, 3, 5, generator=generator) < 0.7
    seen[:, :, 0] = True
    seen[1, 2] = False
    return Encoded(tokens * seen[..., None], seen)


def backbone():
    return roughened(Chronos2.tiny())


@pytest.mark.parametrize("pooling", ["mean", "attention"])
@pytest.mark.parametrize("merge", ["concat", "mean"])
def test_started_from_the_probe_it_says_what_the_probe_says(pooling, merge):
    batch = hidden(labelled_batch(), [1])
    fitted = probe.Config(pooling="mean", channels=merge, statistics=True)
    started = linear.Config(pooling=pooling, channels=merge, statistics=True, start="probe")
    expected = logits(classified(fitted, backbone()), batch)
    model = classified(started, backbone())
    assert_near(logits(model, batch), expected, relative=1e-4)
    stepped(model, batch, steps=3)
    assert (logits(model, batch) - expected).abs().max() > 1e-2


def test_at_the_start_attention_is_the_mean_of_observed_tokens():
    found = encoded()
    pool = AttentionPool(8, "concat")
    assert_near(pool(flagged(found)), pooled(found, "mean").flatten(1))


def test_attention_moves_to_the_token_that_its_query_likes():
    found = encoded()
    pool = AttentionPool(8, "concat")
    token = found.tokens[0, 0, 0]
    with torch.no_grad():
        pool.query.copy_(1e3 * (token - token.mean()))
    assert_near(pool(flagged(found))[0, :8], token)


def test_attention_weighs_tokens_not_what_is_beside_them():
    """A channel's statistics are the same beside every token, and come out as they are."""
    found = encoded()
    tokens = flagged(found)
    beside = torch.randn(2, 3, 1, 4).expand(-1, -1, 5, -1) * found.token_observed[..., None]
    pool = AttentionPool(8, "concat")
    with torch.no_grad():
        pool.query.copy_(torch.randn(8))
    plain = pool(tokens).unflatten(1, (3, 8))
    wider = pool(torch.cat([tokens[..., :-1], beside, tokens[..., -1:]], dim=-1))
    wider = wider.unflatten(1, (3, 12))
    assert torch.equal(wider[..., :8], plain)
    assert_near(wider[..., 8:], beside[:, :, 0], relative=1e-6)


def test_channels_that_show_nothing_do_not_draw_the_mean_to_zero():
    parts = torch.tensor([[[2.0], [4.0], [0.0]], [[0.0], [0.0], [0.0]]])
    shown = torch.tensor([[True, True, False], [False, False, False]])
    assert merged(parts, shown, "mean").tolist() == [[3.0], [0.0]]
    assert merged(parts, shown, "concat").tolist() == [[2.0, 4.0, 0.0], [0.0, 0.0, 0.0]]


def test_classes_weigh_in_the_loss_as_they_are_told():
    batch = labelled_batch()
    model = classified(linear.Config(dropout=0), backbone())
    plan = model.head.plan
    said = logits(model, batch)
    losses = [model.head.loss(said[k : k + 1], batch.target[k : k + 1]) for k in range(4)]
    model.head.plan = replace(plan, class_weights=(1.0, 2.0, 5.0))
    expected = np.average([loss.item() for loss in losses], weights=[1.0, 2.0, 5.0, 1.0])
    assert model.head.loss(said, batch.target).item() == pytest.approx(expected, rel=1e-5)
