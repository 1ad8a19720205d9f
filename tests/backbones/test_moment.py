import json
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.adapter import AdapterContract, train
from contracts.batch import assert_same, outputs, random_batch, roughened, with_garbage
from contracts.checkpoint import CheckpointContract, copied
from contracts.encoder import HARD, hard
from contracts.forecaster import ForecasterContract
from contracts.reconstructor import ReconstructorContract
from contracts.through import Acting
from tsfm_adapt.adapters import full, lora
from tsfm_adapt.backbones.moment import Config, Moment
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestMoment(ForecasterContract, ReconstructorContract):
    backbone_class = Moment
    beyond_one_pass = 300  # tiny predicts 128 steps a pass

    @pytest.mark.parametrize("samples", [1, 70, 1000])
    def test_mixers_receive_the_data_tokens_of_every_layer(self, backbone, samples):
        """Where context and horizon exceed the window, the oldest tokens make room."""
        batch = random_batch(samples=samples)  # horizon 20: three patches
        tokens = backbone.encode(batch).tokens.shape[2]
        for ahead, call in (
            (0, lambda through: backbone.encode(batch, through)),
            (3, lambda through: backbone.loss(batch, through)),
            (1, lambda through: backbone.forecast(batch, 2, through)),
        ):
            through = Acting()
            call(through)
            assert [layer for _, layer in through.given] == [0, 1]
            kept = min(tokens, 256 // 8 - ahead)
            assert {given.shape for given, _ in through.given} == {(3, 4, kept, 32)}

    def test_prompts_leave_every_pass_with_its_own_tokens(self, backbone):
        """Prompts shift the tokens, not their places in the window."""
        batch = random_batch(samples=256)
        prompts = torch.zeros(5, backbone.spec.width)
        plain, prompted = Acting(), Acting(lambda batch, layer: prompts if layer == 0 else None)
        backbone.forecast(batch, 300, plain)
        backbone.forecast(batch, 300, prompted)
        assert torch.equal(prompted.given[0][0], plain.given[0][0])
        assert [t.shape for t, _ in prompted.given] == [t.shape for t, _ in plain.given]
        assert [t.shape[2] for t, layer in plain.given if layer == 0] == [16, 16, 26]

    def test_what_was_forecast_is_the_context_of_the_next_pass(self, backbone):
        batch, through = random_batch(windows=2, channels=3, samples=140), Acting()
        forecast = backbone.forecast(batch, 300, through).values[:, :, 0]
        passes = [asked for asked, layer in through.asked if layer == 0]
        assert [asked.values.shape for asked in passes] == [(2, 3, 140), (2, 3, 256), (2, 3, 256)]
        assert torch.equal(passes[1].values[..., -128:], forecast[..., :128])
        assert passes[1].observed[..., -128:].all()
        assert torch.equal(passes[2].values, forecast[..., :256])
        dropped = 140 + 128 - 256
        assert passes[1].start_s.tolist() == [dropped * 60.0, 86400.0 + dropped * 60.0]

    def test_a_target_beyond_one_pass_is_cut_to_it(self, backbone):
        batch, cut = random_batch(horizon=160), random_batch(horizon=160)
        cut.target_observed[..., 128:] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(cut))

    def test_the_loss_is_the_squared_error_of_the_forecast_in_deviations(self, backbone):
        batch = random_batch(horizon=30)
        forecast = backbone.forecast(batch, 30).values[:, :, 0]
        known = batch.values.double().masked_fill(~batch.observed, float("nan"))
        deviation = (known - known.nanmean(-1, keepdim=True)).square().nanmean(-1, keepdim=True)
        error = (forecast - batch.target).double() / deviation.sqrt()
        expected = error[batch.target_observed].square().mean()
        assert backbone.loss(batch).item() == pytest.approx(expected.item(), rel=1e-4)

    def test_what_is_hidden_moves_no_statistic(self, backbone):
        batch = random_batch(samples=128, missing=0.0)
        hidden = torch.zeros_like(batch.observed)
        hidden[..., 32:64] = True
        expected = backbone.reconstruct(batch, hidden).values
        batch.values[..., 32:64] += 1e4
        assert torch.equal(backbone.reconstruct(batch, hidden).values, expected)

    def test_volts_are_forecast_as_microvolts_are(self, backbone):
        """Upstream's constant in the deviation would drown a signal of microvolts."""
        batch = random_batch(missing=0.0)
        volts = replace(batch, values=batch.values * 2.0**-20)
        expected = backbone.forecast(batch, 20).values * 2.0**-20
        assert torch.equal(backbone.forecast(volts, 20).values, expected)

    def test_hiding_the_end_of_the_window_forecasts_it(self, backbone):
        """What `forecast` does is what `reconstruct` does."""
        batch = random_batch(samples=64, missing=0.0)
        longer = random_batch(samples=80, missing=0.0)
        longer.values[..., :64] = batch.values
        hidden = torch.zeros_like(longer.observed)
        hidden[..., 64:] = True
        estimate = backbone.reconstruct(longer, hidden).values[..., 64:]
        assert torch.equal(backbone.forecast(batch, 16).values, estimate)

    def test_a_gap_inside_a_patch_is_the_last_measured_value(self, backbone):
        batch = random_batch(samples=32, missing=0.0)
        batch.observed[..., 10:13] = False
        filled, hidden = random_batch(samples=32, missing=0.0), torch.zeros_like(batch.observed)
        filled.values[..., 10:13] = filled.values[..., 9:10]
        seen = []
        hook = backbone.model.register_forward_pre_hook(lambda module, args: seen.append(args))
        backbone.reconstruct(batch, hidden)
        hook.remove()
        ((patches, visible),) = seen
        known = batch.values[..., [*range(10), *range(13, 32)]].flatten(0, 1)
        deviation = known.std(-1, correction=0, keepdim=True) + 1e-5
        expected = (filled.values.flatten(0, 1) - known.mean(-1, keepdim=True)) / deviation
        torch.testing.assert_close(patches.flatten(1), expected, rtol=1e-4, atol=1e-4)
        assert visible.all()


class TestLora(AdapterContract):
    config = lora.Config(rank=4)
    backbone_class = Moment


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = Moment


def test_lora_everywhere_sits_on_both_factors_of_the_gated_feed_forward():
    model = AdaptedModel(Moment.tiny(), [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0] for name in model.trainable()}
    assert len(adapted) == 2 * (4 + 3)
    assert sum(name.endswith(("wi_0", "wi_1")) for name in adapted) == 4


def test_all_weights_train_together_and_nothing_is_frozen():
    """The vocabulary of the text model is no parameter: it would never get a gradient."""
    backbone = roughened(Moment.tiny())
    model = AdaptedModel(backbone, [full.Config().build()])
    losses = train(model, random_batch())
    assert losses[-1] < losses[0]
    assert sum(p.numel() for p in model.trainable().values()) == 21_320
    assert not backbone.model.encoder.gradient_checkpointing
    assert "encoder.embed_tokens.weight" in backbone.model.state_dict()


class TestHiddenPartialPatches:
    """With `partial_patches: hide`, a patch with any gap is a mask token."""

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls):
        tiny = roughened(Moment.tiny())
        return Moment(tiny.model, checkpoint="tiny", partial_patches="hide")

    def test_one_gap_hides_the_patch_but_not_from_the_statistics(self, backbone):
        """The rest of the patch still counts in mean and deviation, so its order does not."""
        batch = random_batch(samples=64, missing=0.0)
        batch.observed[..., 20] = False
        turned = replace(batch, values=batch.values.clone())
        turned.values[..., 16:20] = batch.values[..., 16:20].flip(-1)
        nothing = torch.zeros_like(batch.observed)
        before, after = (backbone.reconstruct(each, nothing).values for each in (batch, turned))
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-4)
        filling = Moment(backbone.model, checkpoint="tiny")
        before, after = (filling.reconstruct(each, nothing).values for each in (batch, turned))
        assert (after - before).abs().max() > 1e-3

    def test_without_gaps_it_is_the_same_as_filling(self, backbone):
        batch = random_batch(samples=64, missing=0.0)
        filling = Moment(backbone.model, checkpoint="tiny")
        assert_same(outputs(backbone, batch), outputs(filling, batch))

    def test_values_that_are_not_observed_cannot_change_any_output(self, backbone):
        for samples in (1, 5, 70, 300):
            batch = random_batch(samples=samples)
            assert_same(outputs(backbone, with_garbage(batch)), outputs(backbone, batch))

    @pytest.mark.parametrize("trouble", HARD)
    def test_outputs_and_gradients_are_finite_with(self, backbone, trouble):
        result = outputs(backbone, hard(trouble), steps=150)
        total = result["loss"] + result["forecast"].sum() + result["tokens"].sum()
        gradients = torch.autograd.grad(
            total, list(backbone.network.parameters()), allow_unused=True
        )
        assert total.isfinite()
        assert all(g.isfinite().all() for g in gradients if g is not None)


# Checkpoints


class TestCheckpoint(CheckpointContract):
    backbone_class = Moment
    config = Config
    misfits = (
        {"t5_config.num_layers": 3},
        {"t5_config.num_layers": 1},
        {"t5_config.d_ff": 32},
    )
    parts = ("patch_embedding.value_embedding", "head", "encoder.block.1")
    foreign = "chronos2", "is not a moment model"
    nonsense: ClassVar = {"partial_patches": "drop"}

    def test_partial_patches_reach_the_backbone(self, folder):
        batch = random_batch()
        filled, hidden = (
            Config(checkpoint=str(folder), partial_patches=each).build().forecast(batch, 8).values
            for each in ("fill", "hide")
        )
        assert not torch.equal(filled, hidden)

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("moment", 32, 2, 8)
        assert spec.max_context == 256
        assert not spec.joint_channels
        assert not spec.causal
        assert spec.native_tasks == {"forecast", "impute"}

    def test_weights_for_a_trained_task_head_are_not_dropped_in_silence(self, tmp_path, folder):
        weights = load_file(folder / "model.safetensors")
        copied(folder, tmp_path)
        save_file(weights | {"extra.weight": torch.ones(2)}, tmp_path / "model.safetensors")
        assert "first extra.weight" in self.refused(tmp_path)

    def test_constants_and_the_unused_vocabulary_may_be_left_out_of_the_file(
        self, tmp_path, folder
    ):
        constants = Moment.tiny().model.constants()
        copied(folder, tmp_path, keep=lambda name: name not in constants)
        loaded, whole = (self.load(each) for each in (tmp_path, folder))
        batch = random_batch()
        assert_same(outputs(loaded, batch), outputs(whole, batch))

    @pytest.mark.parametrize(
        ("settings", "named"),
        [
            ({"transformer_type": "encoder_decoder"}, "transformer_type encoder_decoder"),
            ({"patch_stride_len": 4}, "patch_stride_len 4"),
            ({"revin_affine": True}, "revin_affine True"),
            ({"d_model": 64}, "d_model 64"),
            ({"seq_len": 100}, "seq_len 100"),
            ({"seq_len": 8}, "seq_len 8"),
            ({"t5_config": {"d_model": "wide"}}, "wide"),
            ({"d_model": -8, "t5_config": {"d_model": -8}}, "negative dimension"),
            ({"t5_config": None, "transformer_backbone": "t5"}, "transformer_backbone is t5"),
        ],
    )
    def test_what_was_never_published_is_refused_by_name(self, tmp_path, folder, settings, named):
        said = self.refused(copied(folder, tmp_path, settings))
        assert "is not a moment model" in said
        assert named in said


@pytest.mark.parametrize(
    ("size", "width", "layers", "encoder"),
    [
        ("small", 512, 8, 18_883_264),
        ("base", 768, 12, 84_954_240),
        ("large", 1024, 24, 308_332_032),
    ],
)
def test_published_sizes_are_built_from_the_name_of_their_text_model(
    tmp_path, size, width, layers, encoder
):
    """The layout of the published config.json without its `t5_config`, which older ones lack."""
    config = {
        "task_name": "reconstruction",
        "model_name": "MOMENT",
        "transformer_type": "encoder_only",
        "d_model": None,
        "seq_len": 512,
        "patch_len": 8,
        "patch_stride_len": 8,
        "device": "cpu",
        "transformer_backbone": f"google/flan-t5-{size}",
        "model_kwargs": {},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"none": torch.zeros(1)}, tmp_path / "model.safetensors")
    backbone = Config(checkpoint=str(tmp_path)).build(weights=False)
    assert (backbone.spec.width, backbone.spec.layers) == (width, layers)
    assert backbone.spec.max_context == 512

    def count(module):
        return sum(p.numel() for p in module.parameters())

    assert count(backbone.model.encoder) == encoder
    assert count(backbone.network) - encoder == 8 * width + width + (width * 8 + 8)
