"""Every adapter on every backbone: the laws that hold for all pairs, or the reason for a refusal.

A default run takes the pairs that `default_pairs` chooses, `-m slow` all others.
"""

import copy
import sys

import pytest
import torch

from contracts.adapter import SETTING, quantiles, train
from contracts.batch import assert_near, random_batch, roughened
from contracts.fitted import card, train_windows
from contracts.refused import REFUSED
from tsfm_adapt.components import built_in, component, config_class
from tsfm_adapt.errors import CannotMerge, RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.runs import bundle

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
SMALL = {  # settings where the defaults are made for larger models
    "lora": {"rank": 2, "sites": EVERYWHERE},
    "adalora": {"init_rank": 3, "target_rank": 2, "sites": EVERYWHERE},
    "vera": {"rank": 8, "sites": EVERYWHERE},
    "fourierft": {"frequencies": 20, "sites": EVERYWHERE},
    "prompt": {"tokens": 2},
    "generated_prompt": {"tokens": 1, "spans": 4, "width": 8, "heads": 2},
    "channel_mixer": {"width": 8, "heads": 2},
}

TRAINS_BASE = ("bitfit", "full", "norm", "partial")


def backbones():
    return tuple(name for name in built_in("backbone"))


def default_pairs():
    """A third of the grid: every adapter on three backbones, and every pair that is refused.

    Which three moves on by one with each adapter, so that every backbone is met as often.
    """
    families = backbones()
    third = {
        (families[(row + step * len(families) // 3) % len(families)], adapter)
        for row, adapter in enumerate(built_in("adapter"))
        for step in range(3)
    }
    return third | set(REFUSED)


def pairs():
    """(backbone, adapter) of the whole grid; those that a default run leaves out are slow."""
    chosen = default_pairs()
    return [
        pytest.param(name, adapter, marks=() if (name, adapter) in chosen else pytest.mark.slow)
        for name in backbones()
        for adapter in built_in("adapter")
    ]


def tiny(name):
    """The backbone's random model, roughened; drawing models follow their expectation."""
    if problem := component("backbone", name).problem:
        pytest.skip(f"backbone '{name}' {problem}")
    config = config_class("backbone", name)
    module = sys.modules[config.__module__]
    backbone_class = next(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and hasattr(value, "tiny")
    )
    backbone = roughened(backbone_class.tiny())
    if hasattr(backbone, "prediction"):  # Chronos-T5: rounding can flip a drawn token
        backbone.prediction = "expected"
    return backbone


def build(backbone, adapter, seed=0):
    """A model as a run builds it, what is fitted included."""
    torch.manual_seed(seed)
    config = config_class("adapter", adapter)(**SMALL.get(adapter, {}))
    model = AdaptedModel(backbone, [config.build()], setting=SETTING)
    model.fit(train_windows())
    return model


def test_a_default_run_meets_every_adapter_every_backbone_and_every_refusal():
    chosen = default_pairs()
    assert {name for name, _ in chosen} == set(backbones())
    assert {adapter for _, adapter in chosen} == set(built_in("adapter"))
    assert chosen >= set(REFUSED)


@pytest.mark.parametrize(("name", "adapter"), pairs())
def test_a_pair_keeps_the_laws_or_is_refused(name, adapter, tmp_path):
    backbone = tiny(name)
    bare = AdaptedModel(copy.deepcopy(backbone))
    if (name, adapter) in REFUSED:
        with pytest.raises(RecipeError, match=REFUSED[name, adapter]):
            build(backbone, adapter)
        return
    batch = random_batch(windows=2, channels=3, samples=40, horizon=16)
    fresh_base = copy.deepcopy(backbone)
    model = build(backbone, adapter)
    trainable = model.trainable()
    base = {n: p for n, p in backbone.network.named_parameters() if not p.requires_grad}
    before = {n: p.detach().clone() for n, p in base.items()}
    untrained = quantiles(model, batch)
    if model.adapters[0].identity_at_start:
        assert_near(untrained, quantiles(bare, batch))
    model(batch).backward()
    assert [n for n, p in trainable.items() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in trainable.values())
    start = {n: p.detach().clone() for n, p in trainable.items()}
    train(model, batch, steps=3)
    still = {n for n, p in trainable.items() if torch.equal(p, start[n])}
    if adapter in TRAINS_BASE and still:  # weights that this model's loss does not use
        model(batch).backward()
        still -= {n for n in still if not trainable[n].grad.any()}
        model.zero_grad()
    assert still == set()
    assert all(torch.equal(p, before[n]) for n, p in base.items())
    adapted = quantiles(model, batch)
    assert (adapted - untrained).abs().max() > 1e-5

    bundle.write(tmp_path, model, card(model), {})
    again = build(fresh_base, adapter, seed=1)
    bundle.restore(tmp_path, again)
    assert torch.equal(quantiles(again, batch), adapted)

    try:
        model.adapters[0].merge(backbone)
    except CannotMerge:
        assert torch.equal(quantiles(model, batch), adapted)
    else:
        assert_near(quantiles(model, batch), adapted, relative=1e-4)
