"""What every adapter guarantees, as tests to inherit.

A newcomer writes::

    class TestNewcomer(AdapterContract):
        config = newcomer.Config(rank=4)

and overrides an attribute or a test only where the method differs by design, with the reason.
"""

import copy
from typing import ClassVar

import pytest
import torch

from contracts.batch import LEVELS, assert_near, random_batch, roughened, with_garbage
from tsfm_adapt.adapters.base import AdapterConfig, Setting
from tsfm_adapt.backbones.base import Encoder
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.errors import CannotMerge
from tsfm_adapt.model import AdaptedModel

SETTING = Setting(channels=("c0", "c1", "c2"), subjects=("p0", "p1"))  # of the contract's batch


def train(model, batch, steps=6, learning_rate=0.02):
    """A few AdamW steps on one batch; the loss before each of them and after the last."""
    parameters = list(model.trainable().values())
    optimiser = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    losses = []
    for _ in range(steps):
        loss = model(batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    optimiser.zero_grad()
    with torch.no_grad():
        return [*losses, model(batch).item()]


def quantiles(model, batch, steps=20):
    torch.manual_seed(0)  # some models draw their futures
    with torch.no_grad():
        return model.forecast(batch, steps).quantiles(LEVELS)


def base_tensors(backbone):
    """The base weights by name, the tensors themselves: injection moves but never copies them."""
    return dict(backbone.network.named_parameters())


class AdapterContract:
    """Inherit, set `config`, receive every law."""

    config: ClassVar[AdapterConfig]
    backbone_class: ClassVar[type[Encoder]] = Chronos2
    trains_base: ClassVar[bool] = False
    merges: ClassVar[bool] = True

    @pytest.fixture
    def backbone(self):
        return roughened(self.backbone_class.tiny())

    def attached(self, backbone, seed=0):
        return self.model(backbone, [self.config.build()], seed)

    def trained_base(self, backbone):
        """Names of the base weights that the adapter trains; for some adapters a few of them."""
        return set(base_tensors(backbone)) if self.trains_base else set()

    def model(self, backbone, adapters, seed=0):
        """The model as a run builds it for the contract's batch."""
        torch.manual_seed(seed)
        return AdaptedModel(backbone, adapters, setting=SETTING)

    @pytest.fixture
    def batch(self):
        return random_batch(windows=2, channels=3, samples=40, horizon=16)

    def test_exactly_the_adapters_own_tensors_train(self, backbone):
        base, chosen = base_tensors(backbone), self.trained_base(backbone)
        model = self.attached(backbone)
        trainable = {id(p) for p in model.trainable().values()}
        own = {id(p) for p in model.parameters()} - {id(p) for p in base.values()}
        assert trainable == own | {id(base[name]) for name in chosen}
        assert trainable

    def test_every_trainable_tensor_gets_a_gradient_from_the_first_loss(self, backbone, batch):
        model = self.attached(backbone)
        model(batch).backward()
        for name, parameter in model.named_parameters():
            assert (parameter.grad is not None) == parameter.requires_grad, name
            assert parameter.grad is None or parameter.grad.isfinite().all(), name
        assert any(p.grad.any() for p in model.trainable().values())

    def test_after_one_step_every_trainable_tensor_is_alive(self, backbone, batch):
        """One factor of a product may start at zero and hold the other still; not for longer."""
        model = self.attached(backbone)
        train(model, batch, steps=1)
        model(batch).backward()
        assert [n for n, p in model.trainable().items() if not p.grad.any()] == []

    def test_untrained_it_changes_nothing(self, backbone, batch):
        bare = AdaptedModel(copy.deepcopy(backbone))
        model = self.attached(backbone)
        if not self.config.build().identity_at_start:
            assert (quantiles(model, batch) - quantiles(bare, batch)).abs().max() > 0
            return
        for steps in (20, 150):
            assert_near(quantiles(model, batch, steps), quantiles(bare, batch, steps))
        if not model.adapters[0].corrects_forecast:  # those learn from it, not from native losses
            assert_near(model(batch), bare(batch))

    def test_the_same_seed_builds_the_same_adapter(self, backbone):
        first, again = (self.attached(copy.deepcopy(backbone), seed=3) for _ in range(2))
        assert first.trainable().keys() == again.trainable().keys()
        for name, parameter in first.trainable().items():
            assert torch.equal(parameter, again.trainable()[name]), name

    def test_training_lowers_the_loss_and_leaves_the_base_weights_alone(self, backbone, batch):
        base, chosen = base_tensors(backbone), self.trained_base(backbone)
        before = {name: p.detach().clone() for name, p in base.items()}
        losses = train(self.attached(backbone), batch)
        assert losses[-1] < losses[0]
        assert {name for name, p in base.items() if not torch.equal(p, before[name])} == chosen

    def test_a_trained_state_loads_into_a_fresh_model(self, backbone, batch):
        fresh = self.attached(copy.deepcopy(backbone), seed=1)
        model = self.attached(backbone)
        untrained = quantiles(model, batch)
        train(model, batch)
        state = {name: p.detach().clone() for name, p in model.trainable().items()}
        fresh.load_trainable(state)
        expected = quantiles(model, batch)
        assert torch.equal(quantiles(fresh, batch), expected)
        assert (expected - untrained).abs().max() > 1e-3

    def test_merged_into_the_weights_it_says_the_same_as_before(self, backbone, batch):
        plain = copy.deepcopy(backbone).network
        adapter = self.config.build()
        model = self.model(backbone, [adapter])
        train(model, batch)
        expected = quantiles(model, batch)
        if not self.merges:
            with pytest.raises(CannotMerge, match=adapter.name):
                adapter.merge(backbone)
            assert torch.equal(quantiles(model, batch), expected)
            return
        adapter.merge(backbone)
        assert_near(quantiles(model, batch), expected, relative=1e-4)
        assert list(backbone.network.state_dict()) == list(plain.state_dict())
        assert [(n, type(m)) for n, m in backbone.network.named_modules()] == [
            (n, type(m)) for n, m in plain.named_modules()
        ]

    def test_a_flat_context_teaches_nothing(self, backbone, batch):
        model = self.attached(backbone)
        batch.values[:] = 36.6
        loss = model(batch)
        loss.backward()
        assert loss == 0
        assert not any(p.grad is not None and p.grad.any() for p in model.parameters())

    def test_bfloat16_autocast_gives_finite_loss_and_gradients(self, backbone, batch):
        model = self.attached(backbone)
        exact = model(batch).item()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(batch)
        loss.backward()
        assert loss.item() == pytest.approx(exact, rel=0.05)
        assert all(p.grad.isfinite().all() for p in model.trainable().values())

    def test_trained_it_still_ignores_values_that_are_not_observed(self, backbone, batch):
        model = self.attached(backbone)
        train(model, batch)
        garbage = with_garbage(batch)
        assert torch.equal(quantiles(model, garbage), quantiles(model, batch))
        assert torch.equal(model(garbage), model(batch))

    def test_its_size_can_be_counted_without_memory(self, backbone):
        def count(model):
            return sum(p.numel() for p in model.trainable().values())

        on_meta = self.backbone_class.tiny()
        on_meta.network.to("meta")
        model = self.attached(on_meta)
        assert {p.device.type for p in model.trainable().values()} == {"meta"}
        assert count(model) == count(self.attached(backbone))

    def test_a_copy_trains_apart_from_its_original(self, backbone, batch):
        model = self.attached(backbone)
        before = quantiles(model, batch)
        twin = copy.deepcopy(model)
        assert torch.equal(quantiles(twin, batch), before)
        train(twin, batch)
        assert torch.equal(quantiles(model, batch), before)
        assert not torch.equal(quantiles(twin, batch), before)
