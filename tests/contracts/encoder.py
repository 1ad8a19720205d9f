"""What every backbone guarantees, as tests to inherit.

A newcomer that only encodes writes::

    class TestNewcomer(EncoderContract):
        backbone_class = Newcomer

and overrides a test only where its model differs by design, with the reason. Laws of outputs hold
for all outputs that it has: a forecaster, which inherits these laws with its own, is asked for its
loss and forecast too.
"""

import sys
from dataclasses import replace
from typing import ClassVar, get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from contracts.batch import (
    assert_near,
    assert_same,
    differentiable,
    outputs,
    random_batch,
    reversed_in_time,
    roughened,
    select,
    with_garbage,
)
from contracts.through import ThroughContract, difference
from tsfm_adapt.backbones.base import Encoder, Forecaster, Reconstructor, Role

# Class fixtures are read, never written; several backbones inherit one property.
PROPERTY = settings(
    deadline=None, max_examples=15, suppress_health_check=[HealthCheck.differing_executors]
)


def hard(name):
    """A batch of 3 windows, 4 channels with one kind of trouble in it."""
    batch = random_batch(samples={"one sample": 1, "less than a patch": 5}.get(name, 70))
    values, observed = batch.values, batch.observed
    if name == "an all-missing channel":
        observed[:, 1] = False
    elif name == "an all-missing window":
        observed[1] = False
    elif name == "an all-missing batch":
        observed[:] = False
    elif name == "one measured sample":
        observed[0, 0] = False
        observed[0, 0, 40] = True
    elif name == "a constant channel":
        values[:, 2] = 36.6
    elif name == "a channel of zeros":
        values[:, 3] = 0.0
    elif name == "a channel of huge level":
        values[:, 0] += 1e6
    elif name == "no observed target":
        batch.target_observed[:] = False
    return batch


HARD = (
    "gaps",
    "one sample",
    "less than a patch",
    "an all-missing channel",
    "an all-missing window",
    "an all-missing batch",
    "one measured sample",
    "a constant channel",
    "a channel of zeros",
    "a channel of huge level",
    "no observed target",
)


class EncoderContract(ThroughContract):
    """Inherit, set the class attribute, receive every law."""

    backbone_class: ClassVar[type[Encoder]]
    beyond_one_pass: ClassVar[int] = 1  # steps of a forecast, where there is one

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls):
        return roughened(cls.backbone_class.tiny(seed=0))

    # What it is

    def test_tiny_is_tiny_seeded_float32_and_in_eval_mode(self):
        first, again, other = (self.backbone_class.tiny(seed=seed) for seed in (0, 0, 1))
        weights = first.network.state_dict()
        assert sum(p.numel() for p in first.network.parameters()) <= 200_000
        assert {p.dtype for p in first.network.parameters()} == {torch.float32}
        assert not any(module.training for module in first.network.modules())
        assert_same(again.network.state_dict(), weights)
        assert not all(torch.equal(w, weights[n]) for n, w in other.network.state_dict().items())

    def test_building_tiny_leaves_the_random_state_alone(self):
        before = torch.random.get_rng_state()
        self.backbone_class.tiny()
        assert torch.equal(torch.random.get_rng_state(), before)

    def test_its_native_tasks_are_those_of_its_class_and_of_its_file(self, backbone):
        """The file's literals are what lists and error texts read without importing it."""
        kinds = {"forecast": Forecaster, "impute": Reconstructor}
        of_class = {task for task, kind in kinds.items() if isinstance(backbone, kind)}
        file = sys.modules[self.backbone_class.__module__]
        assert backbone.spec.native_tasks == of_class
        assert set(getattr(file, "NATIVE_TASKS", ())) == of_class
        assert getattr(file, "NO_GRAPH", "") == backbone.no_graph

    def test_it_says_whether_it_has_attention_between_channels(self, backbone):
        file = sys.modules[self.backbone_class.__module__]
        weights = backbone.channel_attention(random_batch(windows=2))
        assert (weights is not None) == getattr(file, "CHANNEL_ATTENTION", False)
        if weights is not None:
            assert weights.shape[1::2] == (2, 4)
            assert_near(weights.sum(-1), torch.ones(weights.shape[:-1]), relative=1e-4)

    def test_every_site_is_a_linear_layer_of_one_known_role_or_of_fused_ones(self, backbone):
        import re

        found = {}
        for role, pattern in backbone.sites().items():
            assert role in get_args(Role)
            matches = [
                (name, module)
                for name, module in backbone.network.named_modules()
                if re.fullmatch(pattern, name)
            ]
            assert matches, f"{role}: {pattern} matches nothing"
            for name, module in matches:
                assert isinstance(module, nn.Linear), name
                assert found.setdefault(name, pattern) == pattern, name

    # Missing values and hard inputs

    @PROPERTY
    @given(
        seed=st.integers(0, 2**31),
        samples=st.integers(1, 90),
        missing=st.floats(0.05, 0.95),
    )
    def test_values_that_are_not_observed_cannot_change_any_output(
        self, backbone, seed, samples, missing
    ):
        batch = random_batch(samples=samples, missing=missing, seed=seed)
        assert_same(
            outputs(backbone, with_garbage(batch, seed)),
            outputs(backbone, batch),
        )

    @pytest.mark.parametrize("trouble", HARD)
    def test_outputs_and_gradients_are_finite_with(self, backbone, trouble):
        batch = hard(trouble)
        result = outputs(backbone, batch, steps=self.beyond_one_pass)
        for name, value in result.items():
            assert value.isfinite().all(), name
        parameters = list(backbone.network.parameters())
        for name in differentiable(result):
            gradients = torch.autograd.grad(
                result[name].sum(), parameters, retain_graph=True, allow_unused=True
            )
            assert all(g.isfinite().all() for g in gradients if g is not None), name

    # Scale and time

    @PROPERTY
    @given(
        seed=st.integers(0, 2**31),
        factor=st.floats(0.01, 100),
        shift=st.floats(-10, 10),
    )
    def test_outputs_follow_an_affine_change_of_units(self, backbone, seed, factor, shift):
        batch = random_batch(seed=seed)
        deviation = batch.values[:, 1].std()
        changed = select(batch)
        changed.values[:, 1] = factor * (batch.values[:, 1] + shift * deviation)
        before, after = outputs(backbone, batch), outputs(backbone, changed)
        if "forecast" in before:
            expected = before["forecast"]
            expected[:, 1] = factor * (expected[:, 1] + shift * deviation)
            assert_near(after["forecast"], expected, relative=1e-4)
        assert_near(after["tokens"], before["tokens"], relative=1e-3)

    def test_context_beyond_the_maximum_is_cut_to_its_end(self, backbone):
        longest = backbone.spec.max_context
        long = random_batch(samples=longest + 37)
        cut = replace(
            long,
            values=long.values[..., 37:],
            observed=long.observed[..., 37:],
            start_s=long.start_s + 37 / long.rate_hz,
        )
        assert_same(
            outputs(backbone, long, steps=self.beyond_one_pass),
            outputs(backbone, cut, steps=self.beyond_one_pass),
        )

    # Tokens

    def test_tokens_say_which_of_them_were_measured(self, backbone):
        patch, longest = backbone.spec.patch, backbone.spec.max_context
        for samples in (1, max(1, patch - 1), patch, patch + 1, 70, longest + 5):
            batch = random_batch(samples=samples, missing=0.8)
            encoded = backbone.encode(batch)
            kept = batch.observed[..., -longest:]
            padding = -kept.shape[-1] % patch  # to the left: the end of the context is aligned
            by_patch = nn.functional.pad(kept, (padding, 0)).unflatten(-1, (-1, patch)).any(-1)
            assert torch.equal(encoded.token_observed, by_patch)
            assert encoded.tokens.shape == (*by_patch.shape, backbone.spec.width)
            assert encoded.tokens.requires_grad

    # One call and the next, one window and the next, one channel and the next

    def test_the_same_input_and_seed_give_the_same_output_whatever_came_between(self, backbone):
        batch = random_batch()
        before = outputs(backbone, batch, steps=self.beyond_one_pass)
        outputs(backbone, random_batch(windows=2, channels=3, samples=33, seed=9), steps=5)
        assert_same(outputs(backbone, batch, steps=self.beyond_one_pass), before)

    def test_neither_the_batch_nor_the_weights_are_written_to(self, backbone):
        batch, untouched = random_batch(), random_batch()
        weights = {n: w.clone() for n, w in backbone.network.state_dict().items()}
        outputs(backbone, batch, steps=self.beyond_one_pass)
        for name in ("values", "observed", "target", "target_observed", "start_s"):
            assert torch.equal(getattr(batch, name), getattr(untouched, name)), name
        assert_same(backbone.network.state_dict(), weights)

    def test_windows_in_another_order_give_the_same_in_that_order(self, backbone):
        batch, order = random_batch(), [2, 0, 1]
        straight, permuted = outputs(backbone, batch), outputs(backbone, select(batch, order))
        if "loss" in straight:
            assert_near(permuted["loss"], straight["loss"])
            assert_near(permuted["forecast"], straight["forecast"][order])
        seen = permuted["token_observed"]
        assert torch.equal(seen, straight["token_observed"][order])
        assert_near(permuted["tokens"][seen], straight["tokens"][order][seen])

    def test_one_window_cannot_change_another(self, backbone):
        """Not even where the other has a gap in all channels at once."""
        batch = random_batch()
        batch.observed[1, :, 16:40] = False
        turned = reversed_in_time(batch, windows=0)
        turned.observed[0, 2] = False
        before, after = outputs(backbone, batch), outputs(backbone, turned)
        assert difference(after["tokens"][0], before["tokens"][0]) > 0.01
        if "forecast" in before:
            assert difference(after["forecast"][0], before["forecast"][0]) > 0.01
            assert_near(after["forecast"][1:], before["forecast"][1:], relative=1e-6)
        seen = before["token_observed"][1:]
        assert_near(after["tokens"][1:][seen], before["tokens"][1:][seen], relative=1e-6)

    def test_channels_see_each_other_in_joint_models_only(self, backbone):
        batch = random_batch(missing=0.0)
        turned = reversed_in_time(batch, channels=0)
        before, after = outputs(backbone, batch), outputs(backbone, turned)
        for part in {"forecast", "tokens"} & before.keys():
            moved = (after[part] - before[part]).abs().amax(dim=(2, 3))[:, 1:]  # (B, C - 1)
            unit = batch.values.std(dim=2)[:, 1:] if part == "forecast" else 1.0
            assert (moved > 1e-4 * unit).all() if backbone.spec.joint_channels else not moved.any()

    def test_channels_in_another_order_give_the_same_in_that_order(self, backbone):
        batch, order = random_batch(), [3, 1, 0, 2]
        permuted = select(batch, channels=order)
        straight, result = outputs(backbone, batch), outputs(backbone, permuted)
        if "loss" in straight:
            assert_near(result["loss"], straight["loss"])
            assert_near(result["forecast"], straight["forecast"][:, order])
        seen = result["token_observed"]
        assert_near(result["tokens"][seen], straight["tokens"][:, order][seen])
