from dataclasses import replace

import pytest
import torch

from contracts.adapter import AdapterContract
from contracts.batch import LEVELS, assert_near, assert_same, outputs, random_batch
from contracts.checkpoint import CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.timesfm import Config, TimesFM
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestTimesFM(ForecasterContract):
    backbone_class = TimesFM
    beyond_one_pass = 150  # tiny predicts 64 steps a pass

    def test_what_is_fed_back_carries_no_gradient(self, backbone):
        """The law holds for the median, which is what is fed back.

        The distance of the other quantiles from it is what the first pass predicts for the whole
        horizon, so the first pass answers for it everywhere.
        """
        batch = random_batch(windows=2, channels=2)
        first, later = (torch.randn(2, backbone.spec.width, requires_grad=True) for _ in range(2))

        def prompt(passing, layer):
            if layer > 0:
                return None
            return first if passing.values.shape == batch.values.shape else later

        def blamed(forecast):
            """How much each pass answers for it."""
            gradients = torch.autograd.grad(
                forecast.sum(), [first, later], allow_unused=True, retain_graph=True
            )
            return [0.0 if g is None else g.abs().max().item() for g in gradients]

        forecast = backbone.forecast(batch, self.beyond_one_pass, Acting(prompt=prompt))
        low, median, high = forecast.quantiles((0.1, 0.5, 0.9)).unbind(dim=2)
        assert blamed(median[..., 0])[0] > 0
        assert blamed(median[..., 0])[1] == 0
        assert blamed(median[..., -1])[0] == 0
        assert blamed(median[..., -1])[1] > 0
        width = (high - low)[..., -1]
        assert blamed(width)[0] > 0
        assert blamed(width)[1] <= 1e-5 * blamed(width)[0]  # the median cancels, but for rounding

    def test_the_median_of_each_window_passes_through_again(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        forecast = backbone.forecast(batch, 150, through)
        passes = [asked for asked, layer in through.asked if layer == 0]
        assert [asked.size for asked in passes] == [2, 2, 2]
        assert [asked.values.shape[-1] for asked in passes] == [70, 134, 198]
        median = forecast.quantiles((0.5,))[:, :, 0]
        assert_near(passes[2].values[..., 70:], median[..., :128], relative=1e-6)
        assert passes[2].observed[..., 70:].all()
        assert torch.equal(passes[2].observed[..., :70], batch.observed)

    def test_a_context_that_slides_starts_later(self, backbone):
        batch, through = random_batch(windows=1, channels=2, samples=500), Acting()
        backbone.forecast(batch, 100, through)
        later = through.asked[-1][0]
        assert later.values.shape[-1] == backbone.spec.max_context == 512
        assert later.start_s.tolist() == [(500 + 64 - 512) * 60.0]

    def test_beyond_the_quantile_head_the_last_distances_hold(self, backbone):
        quantiles = backbone.forecast(random_batch(), 140).quantiles(LEVELS)
        distance = quantiles - quantiles[:, :, 1:2]
        assert_near(distance[..., 128:], distance[..., 127:128].expand(-1, -1, -1, 12), 1e-4)

    @pytest.mark.parametrize("horizon", [20, 100])
    def test_both_heads_are_trained_on_what_they_cover(self, backbone, horizon):
        """One pass is 64 samples, the quantile head 128."""
        batch = random_batch(horizon=horizon)
        heads = [
            backbone.model.output_projection_point,
            backbone.model.output_projection_quantiles,
        ]
        weights = [head.output_layer.weight for head in heads]
        for head, gradient in zip(
            (64, 128), torch.autograd.grad(backbone.loss(batch), weights), strict=True
        ):
            trained = gradient.unflatten(0, (head, 10)).abs().amax(dim=2) > 0
            assert trained[: min(head, horizon)].all()
            assert not trained[min(head, horizon) :].any()

    def test_a_target_beyond_the_quantile_head_is_cut_to_it(self, backbone):
        batch, cut = random_batch(horizon=140), random_batch(horizon=140)
        cut.target_observed[..., 128:] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(cut))

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
        batch.target[:, 1] = 40.0
        without = random_batch()
        without.values[:, 1] = 36.6
        without.target_observed[:, 1] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(without))

    def test_a_flat_context_continues_flat(self, backbone):
        batch = random_batch()
        batch.values[:, 1] = 36.6
        forecast = backbone.forecast(batch, 150).quantiles(LEVELS)[:, 1]
        assert torch.equal(forecast, torch.full_like(forecast, 36.6))

    @pytest.mark.parametrize("prompted", [False, True])
    def test_padding_to_the_left_changes_nothing(self, backbone, prompted):
        """Prompts stand between the padding and the first measured patch."""
        batch, empty = random_batch(missing=0.0), torch.zeros(3, 4, 96)
        longer = replace(
            batch,
            values=torch.cat([empty, batch.values], dim=-1),
            observed=torch.cat([empty.bool(), batch.observed], dim=-1),
        )
        prompts = torch.randn(3, 32, generator=torch.Generator().manual_seed(5))
        through = Acting(lambda batch, layer: prompts if prompted and layer == 0 else None)
        short, long = (outputs(backbone, each, 100, through) for each in (batch, longer))
        assert_near(long["tokens"][:, :, 3:], short["tokens"])
        assert_near(long["forecast"], short["forecast"])
        assert_near(long["loss"], short["loss"])

    def test_gaps_are_filled_on_a_line_from_measured_samples(self, backbone):
        """Bit-equal to measuring what lies on that line, but for what counts as observed."""
        gap, straight = random_batch(missing=0.0), random_batch(missing=0.0)
        values = straight.values
        share = torch.linspace(0, 1, 9)[1:-1]
        values[..., 41:48] = values[..., 40:41] * (1 - share) + values[..., 48:49] * share
        values[..., 60:] = values[..., 59:60]
        gap.observed[..., 41:48] = False
        gap.observed[..., 60:] = False
        expected, actual = (outputs(backbone, each, 100) for each in (straight, gap))
        assert_near(actual["forecast"], expected["forecast"], relative=1e-4)
        assert_near(actual["tokens"], expected["tokens"], relative=1e-3)

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
    backbone_class = TimesFM


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = TimesFM


def test_lora_on_fused_attention_is_one_adapter_a_layer():
    names = AdaptedModel(
        TimesFM.tiny(), [lora.Config(rank=1, sites=("attn.q", "attn.v")).build()]
    ).trainable()
    assert len(names) == 2 * 2  # layers, A and B
    assert all("attn.qkv_proj" in name for name in names)


class TestCheckpoint(CheckpointContract):
    backbone_class = TimesFM
    config = Config
    misfits = (
        {"tsfm_adapt.layers": 3},
        {"tsfm_adapt.layers": 1},
        {"tsfm_adapt.width": 64},
        {"tsfm_adapt.heads": 2},
    )
    parts = ("tokenizer", "stacked_xf.1", "output_projection_quantiles")
    foreign = "chronos2", r"lacks \d+ of the model's weights"

    def test_sizes_that_the_weights_do_not_fit_are_refused_before_any_is_read(
        self, folder, tmp_path, misfit
    ):
        self.refused(copied(folder, tmp_path, misfit), weights=False)

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("timesfm", 32, 2, 32)
        assert spec.max_context == 512
        assert not spec.joint_channels
        assert spec.causal
        assert spec.native_tasks == {"forecast"}

    @pytest.mark.parametrize(
        "settings",
        [
            '{"tsfm_adapt": {"widht": 32}}',
            '{"tsfm_adapt": {"width": 0}}',
            '{"tsfm_adapt": {"width": 33}}',  # no multiple of the heads
            '{"tsfm_adapt": [32]}',
        ],
    )
    def test_settings_that_are_no_sizes_are_refused(self, tmp_path, folder, settings):
        copied(folder, tmp_path)
        (tmp_path / "config.json").write_text(settings)
        self.refused(tmp_path)
