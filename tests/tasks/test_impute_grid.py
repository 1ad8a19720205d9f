"""Imputation on every backbone, and with every adapter by both routes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from adapters.test_grid import REFUSED, SMALL, backbones, tiny
from contracts.adapter import train
from contracts.batch import GARBAGE
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.batches import collate
from tsfm_adapt.components import built_in, config_class
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.tasks import impute

TASK = impute.Config(
    context_s=2400,
    missingness=[{"pattern": "subsequence", "rate": 0.2, "lengths_s": [240]}],
    stride_s=600,
).build()


def windows(part="test"):
    rng = np.random.default_rng(5)
    found = []
    for subject in ("p0", "p1"):
        values = 80 + rng.normal(size=(3, 90)).cumsum(axis=1)
        values[rng.random(values.shape) < 0.05] = np.nan
        channels, units = ("c0", "c1", "c2"), ("bpm",) * 3
        found.append(Recording(subject, subject, values, channels, units, 1 / 60))
    return TASK.windows(found, 1 / 60, part)


def predicted(model, arrays):
    torch.manual_seed(0)  # some models draw their futures
    return TASK.predictor(model).predict(arrays, 40)


@pytest.mark.parametrize("name", backbones())
def test_every_backbone_fills_gaps_untrained_and_cannot_see_what_is_hidden(name):
    model = AdaptedModel(tiny(name))
    TASK.check(model.backbone.spec, 1 / 60)
    arrays = windows().gather([0, 5])
    assert (arrays.target_observed.sum(-1) > 0).all()
    expected = predicted(model, arrays)
    assert np.isfinite(expected).all()
    for garbage in GARBAGE:
        secret = replace(
            arrays, values=np.where(arrays.observed, arrays.values, np.float32(garbage))
        )
        np.testing.assert_array_equal(predicted(model, secret), expected)
    visible = np.broadcast_to(arrays.observed[:, :, None], expected.shape)
    assert np.ptp(expected[~visible]) > 0


@pytest.mark.parametrize("adapter", built_in("adapter"))
@pytest.mark.parametrize("name", ["chronos2", "moment"])
def test_every_adapter_takes_part_by_both_routes(name, adapter):
    assert (name, adapter) not in REFUSED
    torch.manual_seed(0)
    adapters = [config_class("adapter", adapter)(**SMALL.get(adapter, {})).build()]
    setting = Setting(channels=("c0", "c1", "c2"), subjects=("p0", "p1"))
    model = AdaptedModel(tiny(name), adapters, setting=setting, estimate=TASK.estimate())
    some = windows("train")
    model.fit(some)
    batch = collate(some.gather([3, 70]))
    arrays = windows().gather([0, 5])
    untrained = predicted(model, arrays)
    if model.adapters[0].identity_at_start:
        bare = predicted(AdaptedModel(tiny(name)), arrays)
        np.testing.assert_allclose(untrained, bare, rtol=1e-4, atol=1e-3)
    gradients = torch.autograd.grad(
        model(batch), list(model.trainable().values()), allow_unused=True
    )
    assert all(g is not None and g.isfinite().all() for g in gradients)
    losses = train(model, batch, steps=8)
    assert min(losses[1:]) < losses[0]
    model.eval()
    assert np.abs(predicted(model, arrays) - untrained).max() > 1e-3
