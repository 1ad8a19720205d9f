import torch

from contracts.adapter import AdapterContract, train
from contracts.batch import random_batch
from tsfm_adapt.adapters import full
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.model import AdaptedModel


class TestFull(AdapterContract):
    config = full.Config()
    trains_base = True  # the adapted weights are the base weights


def test_every_weight_of_the_backbone_trains():
    backbone = Chronos2.tiny()
    model = AdaptedModel(backbone, [full.Config().build()])
    total = sum(p.numel() for p in backbone.network.parameters())
    assert sum(p.numel() for p in model.trainable().values()) == total == 47_872


def test_merging_leaves_the_trained_weights_as_they_are():
    backbone, adapter = Chronos2.tiny(), full.Config().build()
    model = AdaptedModel(backbone, [adapter])
    train(model, random_batch(), steps=1)
    before = {n: w.clone() for n, w in backbone.network.state_dict().items()}
    adapter.merge(backbone)
    after = backbone.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
