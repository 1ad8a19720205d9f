"""Several adapters in one model: they train together, save into one bundle and come back."""

import copy

import pytest
import torch

from contracts.adapter import SETTING, quantiles, train
from contracts.batch import random_batch, roughened
from contracts.fitted import card, train_windows
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.components import config_class
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.runs import bundle

LISTS = {
    "weights, prompts and channels": [
        {"name": "lora", "rank": 2},
        {"name": "prompt", "tokens": 2, "lr": 0.05},
        {"name": "channel_mixer", "width": 8, "heads": 2},
    ],
    "what goes in, weights and what comes out": [
        {"name": "affine"},
        {"name": "channel_projector", "latents": 2},
        {"name": "norm", "lr": 1e-4},
    ],
    "every kind of prompt": [
        {"name": "generated_prompt", "tokens": 1, "width": 8, "heads": 2, "depth": "deep"},
        {"name": "prompt", "tokens": 2, "per": "channel"},
        {"name": "vera", "rank": 4},
    ],
}

each = pytest.mark.parametrize("entries", LISTS.values(), ids=LISTS)


def build(backbone, entries, seed=0):
    torch.manual_seed(seed)
    configs = [config_class("adapter", entry["name"])(**entry) for entry in entries]
    model = AdaptedModel(
        backbone,
        [config.build() for config in configs],
        setting=SETTING,
        rates=[config.lr for config in configs],
    )
    model.fit(train_windows())
    return model


@each
@pytest.mark.parametrize("backbone_class", [Chronos2, ChronosBolt, Moment])
def test_they_train_together_and_come_back_from_one_bundle(backbone_class, entries, tmp_path):
    backbone = roughened(backbone_class.tiny())
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16)
    base = copy.deepcopy(backbone)
    model = build(backbone, entries)
    losses = train(model, batch, steps=8)
    assert losses[-1] < losses[0]
    for adapter in model.adapters:
        own = [] if adapter.module is None else list(adapter.module.parameters())
        assert all(p.requires_grad for p in own), adapter.name
    expected = quantiles(model, batch)
    bundle.write(tmp_path, model, card(model), {})
    again = build(base, entries, seed=1)
    assert not torch.equal(quantiles(again, batch), expected)
    bundle.restore(tmp_path, again)
    assert torch.equal(quantiles(again, batch), expected)


@each
def test_each_adapter_trains_at_its_own_rate(entries):
    model = build(roughened(Chronos2.tiny()), entries)
    groups = {group["lr"]: group["params"] for group in model.groups(0.01)}
    assert set(groups) == {entry.get("lr", 0.01) for entry in entries}
    trained = sum(len(parameters) for parameters in groups.values())
    assert trained == len(model.trainable())
