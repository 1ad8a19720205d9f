"""What every head that names classes guarantees, as tests to inherit.

A newcomer writes::

    class TestNewcomer(ClassHeadContract):
        config = newcomer.Config(width=8)

and overrides an attribute or a test only where the head differs by design, with the reason.
"""

import copy
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from contracts.batch import assert_near, random_batch, roughened, select, with_garbage
from contracts.fitted import card
from tsfm_adapt.adapters import lora
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.base import Encoder
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.batches import Batch
from tsfm_adapt.components import built_in, component, config_class
from tsfm_adapt.heads.base import HeadConfig, Labelled
from tsfm_adapt.model import AdaptedModel, Outputs
from tsfm_adapt.runs import bundle
from tsfm_adapt.training.building import share

SETTING = Setting(channels=("c0", "c1", "c2"))
OUTPUTS = Outputs(context=64, rate_hz=1 / 60, classes=("a", "b", "c"))
MULTILABEL = replace(OUTPUTS, multilabel=True)


def labelled_batch(windows=4, multilabel=False, seed=0):
    """The contract's windows and channels, with classes as the target: each adds its wave."""
    plain = random_batch(windows=windows, channels=3, samples=64, horizon=1, seed=seed)
    target = torch.eye(3)[torch.arange(windows) % 3]
    if multilabel:
        target = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
        target = target[torch.arange(windows) % 3]
    waves = (torch.arange(64) * torch.tensor([[0.2], [0.8], [2.4]])).sin()  # (K, T)
    return replace(
        plain,
        values=plain.values + 30 * (target @ waves)[:, None],
        target=target,
        target_observed=torch.ones_like(target, dtype=torch.bool),
    )


def hidden(batch, windows):
    """The same batch, nothing of these windows measured."""
    observed = batch.observed.clone()
    observed[windows] = False
    return replace(batch, observed=observed)


def classified(config, backbone, adapters=(), outputs=OUTPUTS, seed=0, fitted=True):
    """A model as a run builds it: its head fitted on twelve windows of four subjects."""
    torch.manual_seed(seed)
    model = AdaptedModel(backbone, adapters, setting=SETTING, head=config.build(), outputs=outputs)
    if fitted:
        train = labelled_batch(12, outputs.multilabel, seed=7)

        def given():
            with torch.inference_mode():
                features = model.features(train).numpy()
            return Labelled(features, train.target.numpy() > 0, np.arange(12) // 3)

        share(model.head)
        model.head.fit(given)
    return model


def logits(model, batch):
    with torch.no_grad():
        return model.logits(batch)


def stepped(model, batch, steps=1, learning_rate=0.02):
    """A few AdamW steps on one batch; the losses before each."""
    optimiser = torch.optim.AdamW(model.trainable().values(), lr=learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss = model(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    optimiser.zero_grad()
    return losses


def tiny(name) -> Encoder:
    """The random model of a family, roughened."""
    if problem := component("backbone", name).problem:
        pytest.skip(f"backbone '{name}' {problem}")
    module = __import__(config_class("backbone", name).__module__, fromlist=["_"])
    own = (v for v in vars(module).values() if isinstance(v, type))
    family = next(v for v in own if v.__module__ == module.__name__ and hasattr(v, "tiny"))
    return roughened(family.tiny())


class ClassHeadContract:
    """Inherit, set `config`, receive every law."""

    config: ClassVar[HeadConfig]
    trains: ClassVar[bool] = True  # False = it is fitted, and nothing of it trains
    # Tensors that add one number to all logits: a softmax cannot tell, so that what reaches them
    # from its loss is rounding, on some processors exactly 0.
    added_to_all: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def backbone(self):
        return roughened(Chronos2.tiny())

    @pytest.fixture
    def batch(self) -> Batch:
        return labelled_batch()

    def trained(self, backbone, adapters=(), outputs=OUTPUTS, seed=0):
        """Fitted, and stepped where something trains."""
        model = classified(self.config, backbone, adapters, outputs, seed)
        if model.trainable():
            stepped(model, labelled_batch(multilabel=outputs.multilabel), steps=3)
        return model

    @pytest.mark.parametrize("outputs", [OUTPUTS, MULTILABEL], ids=["one class", "labels"])
    def test_what_it_says_is_finite_of_windows_that_show_nothing_too(self, backbone, outputs):
        batch = hidden(labelled_batch(multilabel=outputs.multilabel), [0, 2])
        batch.observed[1, 1] = False
        untrained = classified(self.config, copy.deepcopy(backbone), (), outputs, fitted=False)
        for model in (untrained, self.trained(backbone, outputs=outputs)):
            said = logits(model, batch)
            assert said.shape == (4, 3)
            assert said.isfinite().all()
            chances = model.head.probabilities(said)
            assert ((chances >= 0) & (chances <= 1)).all()
            if not outputs.multilabel:
                assert_near(chances.sum(1), torch.ones(4))
            loss = model(batch)
            assert loss.isfinite()
            if self.trains:
                loss.backward()
                assert all(p.grad.isfinite().all() for p in model.trainable().values())

    def test_trained_it_tells_windows_apart(self, backbone, batch):
        said = logits(self.trained(backbone), batch)
        assert (said - said[:1]).abs().max() > 1e-4

    @pytest.mark.parametrize("outputs", [OUTPUTS, MULTILABEL], ids=["one class", "labels"])
    def test_values_that_are_not_observed_cannot_change_it(self, backbone, outputs):
        model = self.trained(backbone, outputs=outputs)
        batch = hidden(labelled_batch(multilabel=outputs.multilabel), [3])
        garbage = replace(with_garbage(batch), target=batch.target)
        assert not torch.equal(garbage.values, batch.values)
        assert torch.equal(logits(model, garbage), logits(model, batch))

    @pytest.mark.parametrize("outputs", [OUTPUTS, MULTILABEL], ids=["one class", "labels"])
    def test_every_trainable_tensor_gets_a_gradient_from_the_first_loss(self, backbone, outputs):
        batch = labelled_batch(multilabel=outputs.multilabel)
        model = classified(self.config, backbone, (), outputs)
        assert bool(model.trainable()) == self.trains
        if not self.trains:
            return
        model(batch).backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
        stepped(model, batch)
        model(batch).backward()
        largest = {n: p.grad.abs().max() for n, p in model.trainable().items()}
        unmoved = frozenset() if outputs.multilabel else self.added_to_all
        assert [n for n, size in largest.items() if size == 0 and n not in unmoved] == []
        assert all(largest[name] < 1e-6 for name in unmoved)

    def test_training_lowers_the_loss_and_leaves_the_features_as_they_are(self, backbone, batch):
        model = classified(self.config, backbone)
        assert model.frozen_before_head
        if not self.trains:
            return
        with torch.no_grad():
            before = model.features(batch)
        losses = stepped(model, batch, steps=8)
        assert losses[-1] < losses[0]
        with torch.no_grad():
            assert torch.equal(model.features(batch), before)
        kept = replace(batch, features=before)
        assert torch.equal(logits(model, kept), logits(model, batch))

    def test_other_windows_of_the_batch_change_nothing(self, backbone):
        model = self.trained(backbone)
        batch = labelled_batch(5)
        together = logits(model, batch)
        for k in range(5):
            alone = logits(model, select_windows(batch, [k]))
            assert_near(alone, together[k : k + 1], relative=1e-5)
        order = [3, 0, 4, 1, 2]
        assert_near(logits(model, select_windows(batch, order)), together[order], relative=1e-5)

    @pytest.mark.parametrize("outputs", [OUTPUTS, MULTILABEL], ids=["one class", "labels"])
    def test_it_comes_back_from_a_bundle(self, backbone, outputs, tmp_path):
        base, batch = copy.deepcopy(backbone), labelled_batch(seed=3)
        model = self.trained(backbone, outputs=outputs)
        expected = logits(model, batch)
        bundle.write(tmp_path, model, card(model), {})
        again = classified(self.config, base, (), outputs, seed=1, fitted=False)
        assert not torch.equal(logits(again, batch), expected)
        bundle.restore(tmp_path, again)
        assert torch.equal(logits(again, batch), expected)

    @pytest.mark.parametrize("name", built_in("backbone"))
    def test_lora_of_every_encoder_learns_in_front_of_it(self, name, batch):
        adapter = lora.Config(rank=2, sites=("attn.q", "mlp.in")).build()
        backbone = tiny(name)
        model = classified(self.config, backbone, [adapter])
        assert not model.frozen_before_head
        stepped(model, batch)  # one factor starts at zero and holds the other still
        model(batch).backward()
        learning = [n for n, p in model.trainable().items() if "lora" in n and p.grad.any()]
        assert learning
        # What of LoRA the tokens do not depend on, as in a decoder, is frozen.
        assert learning == [n for n in model.trainable() if "lora" in n]


def select_windows(batch, windows):
    return replace(
        select(batch, windows),
        target=batch.target[windows],
        target_observed=batch.target_observed[windows],
    )
