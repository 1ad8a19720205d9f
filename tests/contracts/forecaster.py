"""What every backbone guarantees that forecasts by itself, as tests to inherit.

A newcomer writes::

    class TestNewcomer(ForecasterContract):
        backbone_class = Newcomer
        beyond_one_pass = 200

and receives the laws of `EncoderContract` with these.
"""

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from contracts.batch import LEVELS, assert_same, outputs, random_batch
from contracts.encoder import HARD, EncoderContract, hard
from contracts.through import Acting, difference
from tsfm_adapt.backbones.base import Forecaster


class ForecasterContract(EncoderContract):
    """Inherit, set the two class attributes, receive every law."""

    backbone_class: ClassVar[type[Forecaster]]
    beyond_one_pass: ClassVar[int]  # steps that take `tiny` at least three passes

    def test_nothing_is_learnt_where_no_target_was_observed(self, backbone):
        loss = backbone.loss(hard("no observed target"))
        gradients = torch.autograd.grad(
            loss, list(backbone.network.parameters()), allow_unused=True
        )
        assert loss == 0
        assert all((g == 0).all() for g in gradients if g is not None)

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

    def test_prompts_follow_the_model_beyond_one_pass(self, backbone):
        """The batch handed to `prefix` is the one that is passing through, whatever its size."""
        batch, steps = random_batch(windows=2, channels=2), self.beyond_one_pass
        width = backbone.spec.width
        direction = torch.linspace(-1, 1, width)

        def prompt(batch, layer):
            recent = batch.values[..., -4:].mean(-1, keepdim=True) / 100  # (B, C, 1)
            return (recent * direction)[:, :, None] if layer == 0 else None

        through = Acting(prompt=prompt)
        quantiles = backbone.forecast(batch, steps, through).quantiles(LEVELS)
        assert quantiles.shape == (2, 2, len(LEVELS), steps)
        assert quantiles.isfinite().all()
        assert difference(quantiles, backbone.forecast(batch, steps).quantiles(LEVELS)) > 1e-5
        rows = [asked.values.shape[:2] for asked, layer in through.asked if layer == 0]
        given = [tokens.shape[:2] for tokens, layer in through.given if layer == 0]
        assert rows == given
        for asked, _ in through.asked:
            assert len(asked.subjects) == len(asked.start_s) == asked.size
