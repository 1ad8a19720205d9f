"""The probe: the contract, scikit-learn's numbers, and a penalty that knows who is who."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.batch import roughened
from contracts.head import (
    MULTILABEL,
    OUTPUTS,
    ClassHeadContract,
    classified,
    labelled_batch,
)
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads import label_queries, linear, probe
from tsfm_adapt.heads._probing import fit_probe


class TestLogistic(ClassHeadContract):
    config = probe.Config(statistics=True)
    trains = False


class TestRidge(ClassHeadContract):
    config = probe.Config(kind="ridge", channels="mean", pooling="max")
    trains = False


@pytest.mark.parametrize("outputs", [OUTPUTS, MULTILABEL], ids=["one class", "labels"])
def test_the_head_holds_the_fit_of_its_standardised_features(outputs):
    model = classified(probe.Config(), roughened(Chronos2.tiny()), outputs=outputs)
    train = labelled_batch(12, outputs.multilabel, seed=7)
    with torch.no_grad():
        features = model.head.module.scaled(model.features(train)).numpy()
    varies = np.isfinite(model.head.module.deviation.numpy())
    assert np.abs(features[:, varies].std(0) - 1).max() < 1e-4
    weight, bias, penalty = fit_probe(
        features,
        train.target.numpy() > 0,
        np.arange(12) // 3,
        kind="logistic",
        multilabel=outputs.multilabel,
    )
    assert model.head.penalty == penalty
    assert np.abs(model.head.module.weight.numpy() - weight).max() < 1e-4
    assert np.abs(model.head.module.bias.numpy() - bias).max() < 1e-4


def test_ridge_refuses_class_weights():
    weighted = replace(OUTPUTS, class_weights=(1.0, 2.0, 1.0))
    with pytest.raises(RecipeError, match=r"head\.kind: logistic"):
        classified(probe.Config(kind="ridge"), Chronos2.tiny(), outputs=weighted)


def test_the_reference_probe_reads_what_the_recipes_head_reads():
    linear_head = linear.Config(pooling="last", channels="mean", statistics=True, start="probe")
    assert probe.Config.like(linear_head) == probe.Config(
        pooling="last", channels="mean", statistics=True
    )
    assert probe.Config.like(linear.Config(pooling="attention")) == probe.Config()
    assert probe.Config.like(label_queries.Config()) == probe.Config.like(None) == probe.Config()
