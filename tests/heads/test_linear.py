"""The linear head: the contract, where it starts, and its attention over tokens."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.batch import assert_near, roughened
from contracts.head import ClassHeadContract, classified, hidden, labelled_batch, logits, stepped
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.heads import linear, probe


class TestLinear(ClassHeadContract):
    config = linear.Config(statistics=True)


class TestAttention(ClassHeadContract):
    config = linear.Config(pooling="attention", channels="mean", statistics=True)


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


def test_classes_weigh_in_the_loss_as_they_are_told():
    batch = labelled_batch()
    model = classified(linear.Config(dropout=0), backbone())
    plan = model.head.plan
    said = logits(model, batch)
    losses = [model.head.loss(said[k : k + 1], batch.target[k : k + 1]) for k in range(4)]
    model.head.plan = replace(plan, class_weights=(1.0, 2.0, 5.0))
    expected = np.average([loss.item() for loss in losses], weights=[1.0, 2.0, 5.0, 1.0])
    assert model.head.loss(said, batch.target).item() == pytest.approx(expected, rel=1e-5)
