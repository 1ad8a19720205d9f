from dataclasses import replace

import pytest
import torch

from contracts.adapter import AdapterContract
from contracts.batch import LEVELS, assert_near, assert_same, outputs, random_batch
from contracts.checkpoint import CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.timesfm3 import Config, TimesFM3
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestTimesFM3(ForecasterContract):
    backbone_class = TimesFM3
    beyond_one_pass = 150  # all in one pass; later patches are scaled by earlier predictions

    def test_what_is_fed_back_carries_no_gradient(self, backbone):
        """One pass predicts all; what it predicts comes back as a scale only, detached.

        So a quantile beyond the first patch does not move with the head's median, from which
        that scale is computed.
        """
        batch, through = random_batch(windows=2, channels=2), Acting()
        forecast = backbone.forecast(batch, self.beyond_one_pass, through)
        assert [layer for _, layer in through.asked] == [0]
        (gradient,) = torch.autograd.grad(
            forecast.values[:, :, 0, -1].sum(), [backbone.model.output_head.bias]
        )
        by_level = gradient.unflatten(0, (64, 9)).abs().amax(dim=0)
        assert by_level[0] > 0
        assert not by_level[1:].any()

    def test_prompts_reach_every_step_of_the_horizon(self, backbone):
        batch = random_batch(windows=1, channels=2)
        prompts = torch.zeros(2, backbone.spec.width, requires_grad=True)
        through = Acting(lambda batch, layer: prompts if layer == 0 else None)
        median = backbone.forecast(batch, 150, through).quantiles((0.5,))
        for step in (0, 40, 149):
            (gradient,) = torch.autograd.grad(
                median[..., step].sum(), [prompts], retain_graph=True
            )
            assert gradient.abs().amax(dim=1).all()

    def test_a_forecast_of_two_patches_needs_no_patch_ahead(self, backbone):
        """What later patches hold cannot change what earlier ones predict."""
        seen = []
        hook = backbone.model.transformer_stack.layers[0].register_forward_pre_hook(
            lambda module, args: seen.append(args[0].shape[2])
        )
        for steps in (1, 64, 65, 96, 97):
            backbone.forecast(random_batch(), steps)
        hook.remove()
        assert seen == [3, 3, 4, 4, 5]  # 70 samples are 3 patches

    def test_the_whole_target_is_learnt_from(self, backbone):
        batch = random_batch(horizon=200)
        for part in (slice(0, 60), slice(90, 110), slice(190, 200)):
            moved = replace(batch, target=batch.target.clone())
            moved.target[..., part] += 100.0
            assert not torch.equal(backbone.loss(moved), backbone.loss(batch))

    @pytest.mark.parametrize("exponent", [-40, 40])
    def test_microvolts_in_volts_are_no_flat_line(self, backbone, exponent):
        """Upstream's tolerance is a number; here the magnitude of a series is its own."""
        batch, other = random_batch(), random_batch()
        for part in (other.values, other.target):
            part *= 2.0**exponent
        before, after = outputs(backbone, batch, 150), outputs(backbone, other, 150)
        after["forecast"] = after["forecast"] * 2.0**-exponent
        assert_same(after, before)

    def test_a_flat_context_is_no_part_of_the_loss(self, backbone):
        batch = random_batch()
        batch.values[:, 1] = 36.6
        without = replace(batch, target_observed=batch.target_observed.clone())
        without.target_observed[:, 1] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(without))

    def test_a_flat_context_continues_flat(self, backbone):
        batch = random_batch()
        batch.values[:, 1] = 36.6
        forecast = backbone.forecast(batch, 150).quantiles(LEVELS)[:, 1]
        assert torch.equal(forecast, torch.full_like(forecast, 36.6))

    def test_a_straight_line_is_continued(self, backbone):
        """Its trend is taken out and put back; what rounding leaves of it is no signal."""
        batch = random_batch()
        batch.values[:, 2] = 100 - 0.25 * torch.arange(70)
        forecast = backbone.forecast(batch, 100).quantiles(LEVELS)[:, 2]
        line = 100 - 0.25 * torch.arange(70, 170)
        assert_near(forecast, line.expand_as(forecast), relative=1e-5)
        gradients = torch.autograd.grad(
            backbone.loss(batch), list(backbone.network.parameters()), allow_unused=True
        )
        assert all(g.isfinite().all() for g in gradients if g is not None)

    def test_a_trend_is_part_of_the_forecast_only_where_it_is_most_of_the_series(self, backbone):
        batch = random_batch(missing=0.0)
        time = torch.arange(70) / 70
        batch.values[:, 0] = batch.values[:, 0] + 50 * batch.values[:, 0].std() * time
        batch.values[:, 1] = torch.sin(40 * time)
        series = backbone._series(batch)
        assert (series.slope[:, 0] != 0).all()
        assert (series.slope[:, 1] == 0).all()

    def test_values_may_carry_gradients_where_series_are_flat_or_missing(self, backbone):
        """Statistics are detached: an adapter before the backbone gets finite gradients."""
        batch = random_batch()
        batch.values[:, 1] = 36.6
        batch.observed[:, 2] = False
        batch.values.requires_grad_()
        for result in (backbone.loss(batch), backbone.forecast(batch, 150).values.sum()):
            (gradient,) = torch.autograd.grad(result, [batch.values])
            assert gradient.isfinite().all()
            assert gradient[:, 0].any()


class TestLora(AdapterContract):
    config = lora.Config(rank=4)
    backbone_class = TimesFM3


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = TimesFM3


def test_lora_sits_on_both_attentions_and_the_feed_forward():
    model = AdaptedModel(TimesFM3.tiny(), [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0] for name in model.trainable()}
    assert len(adapted) == 2 * (4 + 4 + 2)
    for name in ("seq_attn.query_proj", "var_attn.out_proj", "ff0", "ff1"):
        assert sum(each.endswith(name) for each in adapted) == 2


class TestCheckpoint(CheckpointContract):
    backbone_class = TimesFM3
    config = Config
    misfits = ({"transformer_config.num_layers": 3}, {"transformer_config.num_layers": 1})
    parts = ("output_head", "transformer_stack.layers.1")
    foreign = "chronos2", r"lacks \d+ of the model's weights"

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("timesfm3", 32, 2, 32)
        assert spec.max_context == 15360
        assert spec.joint_channels
        assert spec.causal
        assert spec.native_tasks == {"forecast"}

    @pytest.mark.parametrize(
        "settings",
        [
            '{"output_patch_len": 50}',
            '{"transformer_config": {"num_layers": 2}}',
            '{"residual_block_config": {"width": 3}}',
        ],
    )
    def test_settings_that_are_not_the_models_are_refused(self, tmp_path, folder, settings):
        copied(folder, tmp_path)
        (tmp_path / "config.json").write_text(settings)
        self.refused(tmp_path)
