"""What every backbone guarantees, as tests to inherit.

A newcomer writes::

    class TestNewcomer(BackboneContract):
        backbone_class = Newcomer
        beyond_one_pass = 200

and overrides a test only where its model differs by design, with the reason.
"""

from dataclasses import replace
from typing import ClassVar, get_args

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from contracts.batch import (
    LEVELS,
    assert_near,
    assert_same,
    outputs,
    random_batch,
    reversed_in_time,
    roughened,
    select,
    with_garbage,
)
from contracts.through import Acting, ThroughContract, difference
from tsfm_adapt.backbones.base import PLAIN, Backbone, ReconstructingBackbone, Role

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


class BackboneContract(ThroughContract):
    """Inherit, set the two class attributes, receive every law."""

    backbone_class: ClassVar[type[Backbone]]
    beyond_one_pass: ClassVar[int]  # steps that take `tiny` at least three passes

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
        for name in ("loss", "forecast", "tokens"):
            gradients = torch.autograd.grad(
                result[name].sum(), parameters, retain_graph=True, allow_unused=True
            )
            assert all(g.isfinite().all() for g in gradients if g is not None), name

    def test_nothing_is_learnt_where_no_target_was_observed(self, backbone):
        loss = backbone.loss(hard("no observed target"))
        gradients = torch.autograd.grad(
            loss, list(backbone.network.parameters()), allow_unused=True
        )
        assert loss == 0
        assert all((g == 0).all() for g in gradients if g is not None)

    # Scale and time

    @PROPERTY
    @given(
        seed=st.integers(0, 2**31),
        factor=st.floats(0.01, 100),
        shift=st.floats(-10, 10),
    )
    def test_the_forecast_follows_an_affine_change_of_units(self, backbone, seed, factor, shift):
        batch = random_batch(seed=seed)
        deviation = batch.values[:, 1].std()
        changed = select(batch)
        changed.values[:, 1] = factor * (batch.values[:, 1] + shift * deviation)
        expected = backbone.forecast(batch, 20).quantiles(LEVELS)
        actual = backbone.forecast(changed, 20).quantiles(LEVELS)
        expected[:, 1] = factor * (expected[:, 1] + shift * deviation)
        assert_near(actual, expected, relative=1e-4)
        assert_near(backbone.encode(changed).tokens, backbone.encode(batch).tokens, relative=1e-3)

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

    # Forecasts

    def test_a_forecast_has_any_number_of_steps(self, backbone):
        batch = random_batch(windows=2, channels=2)
        for steps in (1, 7, backbone.spec.patch, backbone.spec.patch + 1, self.beyond_one_pass):
            forecast = backbone.forecast(batch, steps)
            assert forecast.steps == steps
            assert forecast.quantiles(LEVELS).shape == (2, 2, len(LEVELS), steps)

    def test_a_short_forecast_is_the_start_of_a_longer_one_in_one_patch(self, backbone):
        batch = random_batch()
        torch.manual_seed(0)
        longer = backbone.forecast(batch, backbone.spec.patch).quantiles(LEVELS)
        for steps in range(1, backbone.spec.patch, 4):
            torch.manual_seed(0)
            shorter = backbone.forecast(batch, steps).quantiles(LEVELS)
            assert torch.equal(shorter, longer[..., :steps])

    def test_a_forecast_does_not_look_at_the_target(self, backbone):
        batch = random_batch()
        blind = batch.without_target()
        wrong = replace(batch, target=batch.target * 3 + 1e4)
        torch.manual_seed(0)
        expected = backbone.forecast(batch, 20).quantiles(LEVELS)
        for other in (blind, wrong):
            torch.manual_seed(0)
            assert torch.equal(backbone.forecast(other, 20).quantiles(LEVELS), expected)

    def test_the_target_decides_the_loss_and_nothing_else(self, backbone):
        batch = random_batch()
        moved = replace(batch, target=batch.target + 100.0)
        before, after = outputs(backbone, batch), outputs(backbone, moved)
        assert difference(after.pop("loss"), before.pop("loss")) > 0.01
        assert_same(after, before)

    def test_gradients_reach_every_weight_from_loss_and_forecast(self, backbone):
        batch = random_batch()
        names, parameters = zip(*backbone.network.named_parameters(), strict=True)
        forecast = backbone.forecast(batch, 20).quantiles(LEVELS)
        for scalar in (backbone.loss(batch), forecast.square().mean()):
            gradients = torch.autograd.grad(scalar, parameters, allow_unused=True)
            dead = [n for n, g in zip(names, gradients, strict=True) if g is None or not g.any()]
            assert dead == []

    @pytest.mark.parametrize("trouble", HARD)
    def test_gradients_of_the_context_are_finite_where_there_are_any(self, backbone, trouble):
        batch = hard(trouble)
        values = batch.values.requires_grad_()
        forecast = backbone.forecast(batch.without_target(), 20).quantiles(LEVELS)
        assert forecast.requires_grad  # of the weights
        (gradient,) = torch.autograd.grad(forecast.square().sum(), values, allow_unused=True)
        if not backbone.spec.input_gradients:
            assert gradient is None
            return
        assert gradient.isfinite().all()
        assert not gradient[~batch.observed].any()
        if trouble == "gaps":
            assert gradient.abs().amax(-1).all()

    def test_it_trains_under_autocast_to_bfloat16(self, backbone):
        parameters = list(backbone.network.parameters())
        with torch.autocast("cpu", torch.bfloat16):
            loss = backbone.loss(random_batch())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        plain = torch.autograd.grad(backbone.loss(random_batch()), parameters, allow_unused=True)
        assert loss.isfinite()
        assert sum(g is not None and bool(g.any()) for g in gradients) == sum(
            g is not None and bool(g.any()) for g in plain
        )
        assert all(g.isfinite().all() for g in gradients if g is not None)

    def test_what_is_fed_back_carries_no_gradient(self, backbone):
        """Prompts of the first pass cannot be blamed for what later passes predict."""
        width, batch = backbone.spec.width, random_batch(windows=2, channels=2)
        first, later = (torch.randn(2, width, requires_grad=True) for _ in range(2))

        def prompt(passing, layer):
            if layer > 0:
                return None
            return first if passing.values.shape == batch.values.shape else later

        through = Acting(prompt=prompt)
        forecast = backbone.forecast(batch, self.beyond_one_pass, through).quantiles(LEVELS)
        of_end = torch.autograd.grad(
            forecast[..., -1].sum(), [first, later], allow_unused=True, retain_graph=True
        )
        of_start = torch.autograd.grad(forecast[..., 0].sum(), [first, later], allow_unused=True)
        assert of_end[0] is None or not of_end[0].any()
        assert of_end[1].abs().max() > 0
        assert of_start[0].abs().max() > 0
        assert of_start[1] is None or not of_start[1].any()

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
        assert difference(after["forecast"][0], before["forecast"][0]) > 0.01
        assert_near(after["forecast"][1:], before["forecast"][1:], relative=1e-6)
        seen = before["token_observed"][1:]
        assert_near(after["tokens"][1:][seen], before["tokens"][1:][seen], relative=1e-6)

    def test_channels_see_each_other_in_joint_models_only(self, backbone):
        batch = random_batch(missing=0.0)
        turned = reversed_in_time(batch, channels=0)
        before, after = outputs(backbone, batch), outputs(backbone, turned)
        if backbone.spec.joint_channels:
            moved = (after["forecast"] - before["forecast"]).abs().amax(dim=(2, 3))  # (B, C)
            assert (moved[:, 1:] > 1e-4 * batch.values.std(dim=2)[:, 1:]).all()
        else:
            for part in ("forecast", "tokens"):
                assert torch.equal(after[part][:, 1:], before[part][:, 1:])

    def test_channels_in_another_order_give_the_same_in_that_order(self, backbone):
        batch, order = random_batch(), [3, 1, 0, 2]
        permuted = select(batch, channels=order)
        straight, result = outputs(backbone, batch), outputs(backbone, permuted)
        assert_near(result["loss"], straight["loss"])
        assert_near(result["forecast"], straight["forecast"][:, order])
        seen = result["token_observed"]
        assert_near(result["tokens"][seen], straight["tokens"][:, order][seen])


class ReconstructContract:
    """Beside `BackboneContract`, for backbones pretrained to fill in what was hidden."""

    @pytest.fixture
    def hidden(self):
        """A tenth of the samples one by one, and a block of each window's second channel."""
        batch = random_batch()
        chance = torch.rand(batch.values.shape, generator=torch.Generator().manual_seed(8))
        hidden = chance < 0.1
        hidden[:, 1, 20:45] = True
        return hidden

    def reconstructed(self, backbone, batch, hidden, through=PLAIN):
        torch.manual_seed(0)
        return backbone.reconstruct(batch, hidden, through).quantiles(LEVELS)

    def test_it_says_that_it_can(self, backbone):
        assert "impute" in backbone.spec.native_tasks
        assert isinstance(backbone, ReconstructingBackbone)

    @pytest.mark.parametrize("samples", [1, 5, 70, "longest"])
    def test_every_context_sample_is_estimated(self, backbone, samples):
        samples = backbone.spec.max_context if samples == "longest" else samples
        batch = random_batch(windows=2, samples=samples)
        hidden = torch.zeros_like(batch.observed)
        estimate = self.reconstructed(backbone, batch, hidden)
        assert estimate.shape == (2, 4, len(LEVELS), samples)
        assert estimate.isfinite().all()

    def test_what_is_hidden_or_not_measured_cannot_change_the_estimate(self, backbone, hidden):
        batch = random_batch()
        expected = self.reconstructed(backbone, batch, hidden)
        secret = replace(batch, values=batch.values.where(~hidden, 9999.0))
        unmeasured = replace(batch, observed=batch.observed & ~hidden)
        nothing = torch.zeros_like(hidden)
        for other, hiding in (
            (secret, hidden),
            (with_garbage(batch), hidden),
            (unmeasured, nothing),
        ):
            assert torch.equal(self.reconstructed(backbone, other, hiding), expected)
        turned = reversed_in_time(batch)
        assert difference(self.reconstructed(backbone, turned, hidden), expected) > 1e-3

    @pytest.mark.parametrize("trouble", HARD)
    def test_estimates_and_gradients_are_finite_with(self, backbone, trouble):
        batch = hard(trouble)
        hidden = torch.zeros_like(batch.observed)
        hidden[..., ::3] = True
        estimate = self.reconstructed(backbone, batch, hidden)
        parameters = list(backbone.network.parameters())
        gradients = torch.autograd.grad(estimate.sum(), parameters, allow_unused=True)
        assert estimate.isfinite().all()
        assert all(g.isfinite().all() for g in gradients if g is not None)

    def test_the_estimate_follows_an_affine_change_of_units(self, backbone, hidden):
        batch = random_batch()
        changed = select(batch)
        changed.values[:, 1] = 3 * batch.values[:, 1] + 5
        expected = self.reconstructed(backbone, batch, hidden)
        expected[:, 1] = 3 * expected[:, 1] + 5
        assert_near(self.reconstructed(backbone, changed, hidden), expected, relative=1e-4)

    def test_prompts_made_from_the_batch_cannot_tell_what_is_hidden(self, backbone, hidden):
        batch = random_batch()
        direction = torch.linspace(-1, 1, backbone.spec.width)

        def prompt(batch, layer):
            level = batch.values.where(batch.observed, 0.0).mean(-1, keepdim=True)
            return (level / 100 * direction)[:, :, None] if layer == 0 else None

        secret = replace(batch, values=batch.values.where(~hidden, 9999.0))
        expected, told = (
            self.reconstructed(backbone, each, hidden, Acting(prompt)) for each in (batch, secret)
        )
        assert torch.equal(told, expected)

    def test_prompts_reach_the_estimate(self, backbone, hidden):
        batch = random_batch()
        prompts = torch.randn(3, backbone.spec.width, generator=torch.Generator().manual_seed(5))
        through = Acting(lambda batch, layer: prompts if layer == 0 else None)
        plain = self.reconstructed(backbone, batch, hidden)
        prompted = self.reconstructed(backbone, batch, hidden, through)
        assert prompted.shape == plain.shape
        assert difference(prompted, plain) > 1e-5
