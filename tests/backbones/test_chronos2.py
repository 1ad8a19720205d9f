from dataclasses import replace

import pytest
import torch

from contracts.batch import outputs, random_batch, roughened
from contracts.checkpoint import CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.chronos2 import Chronos2, Config
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestChronos2(ForecasterContract):
    backbone_class = Chronos2
    beyond_one_pass = 150  # tiny predicts 64 steps a pass

    def test_nine_paths_of_each_window_pass_through_again(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        backbone.forecast(batch, 150, through)
        passes = [asked for asked, layer in through.asked if layer == 0]
        assert [asked.size for asked in passes] == [2, 18, 18]
        assert [asked.values.shape[-1] for asked in passes] == [70, 134, 198]
        assert passes[1].subjects == ("p0",) * 9 + ("p1",) * 9
        assert passes[2].start_s.tolist() == [0.0] * 9 + [86400.0] * 9

    def test_a_context_that_slides_starts_later(self, backbone):
        """The oldest samples make room, so calendar features must move with the window."""
        batch, through = random_batch(windows=1, channels=2, samples=250), Acting()
        backbone.forecast(batch, 100, through)
        later = through.asked[-1][0]
        assert later.values.shape[-1] == backbone.spec.max_context == 256
        dropped = 250 + 64 - 256
        assert later.start_s.tolist() == [dropped * 60.0] * 9
        assert torch.equal(
            later.values[..., : 250 - dropped], batch.values[..., dropped:].expand(9, -1, -1)
        )
        assert later.observed[..., 250 - dropped :].all()

    def test_a_target_beyond_one_pass_is_cut_to_it(self, backbone):
        batch = random_batch(horizon=100)
        cut = random_batch(horizon=100)
        cut.target_observed[..., 64:] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(cut))

    def test_a_target_of_part_of_a_patch_weighs_as_upstream_pads_it(self, backbone):
        """Upstream averages over whole patches: the padding counts as zero loss."""
        batch = random_batch(horizon=16)
        batch.target_observed[..., 8:] = False
        short = replace(
            batch,
            target=batch.target[..., :8],
            target_observed=batch.target_observed[..., :8],
        )
        assert torch.equal(backbone.loss(batch), backbone.loss(short))


def chronos2(group_attention):
    """The same roughened weights with either form of group attention."""
    return Chronos2(roughened(Chronos2.tiny()).model, "tiny", group_attention)


class TestBlockwise(ForecasterContract):
    """Every law holds for group attention computed window by window."""

    backbone_class = Chronos2
    beyond_one_pass = 150

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls):
        return chronos2("blockwise")


def troubled(channels, windows=6):
    """Gaps, a channel and a window without any value, a drop-out of all channels at once."""
    batch = random_batch(windows=windows, channels=channels)
    batch.observed[0, 0] = False
    batch.observed[1] = False
    batch.observed[2, :, 16:40] = False
    return batch


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_blockwise_group_attention_is_exact(channels):
    batch = troubled(channels)
    dense, blockwise = (outputs(chronos2(form), batch, 150) for form in ("dense", "blockwise"))
    for name, value in dense.items():
        scale = value.detach().float().abs().max()
        assert (blockwise[name].float() - value.float()).abs().max() <= 4e-6 * scale, name


def test_gradients_of_lora_are_those_of_dense_group_attention():
    batch, gradients = troubled(4), {}
    for form in ("dense", "blockwise"):
        model = AdaptedModel(chronos2(form), [lora.Config(rank=4, sites=EVERYWHERE).build()])
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.trainable().values():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        loss = model(batch)
        gradients[form] = torch.autograd.grad(loss, list(model.trainable().values()))
    largest = max(g.abs().max() for g in gradients["dense"])
    for dense, blockwise in zip(gradients["dense"], gradients["blockwise"], strict=True):
        assert (dense - blockwise).abs().max() <= 1e-6 * largest


@pytest.mark.parametrize(
    ("form", "windows", "rows"), [("auto", 24, 96), ("auto", 25, 4), ("blockwise", 2, 4)]
)
def test_auto_is_blockwise_from_a_hundred_series_on(form, windows, rows):
    """What tells: the number of series that one query of a group attention sees."""
    seen = []
    backbone = chronos2(form)
    attention = backbone.model.encoder.block[0].layer[1].self_attention
    attention.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(args[0].shape[1]), with_kwargs=True
    )
    backbone.loss(random_batch(windows=windows, channels=4))
    assert seen == [rows]


def test_only_what_a_forecast_reads_passes_the_last_feed_forward():
    backbone, seen = chronos2("dense"), []
    for block in backbone.model.encoder.block:
        block.layer[2].register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))
    batch = random_batch(horizon=20)  # 5 tokens, the register, 2 output tokens
    backbone.loss(batch)
    backbone.forecast(batch, 40)
    backbone.encode(batch)
    assert [shape[1] for shape in seen] == [8, 2, 9, 3, 7, 7]


def test_upstreams_pipeline_runs_on_a_blockwise_model_as_on_its_own():
    from chronos.chronos2 import Chronos2Pipeline

    context = [random_batch(missing=0.0).values[0]]
    plain, blockwise = (
        Chronos2Pipeline(model).predict(context, prediction_length=20)[0]
        for model in (roughened(Chronos2.tiny()).model, chronos2("blockwise").model)
    )
    assert torch.equal(plain, blockwise)


class TestCheckpoint(CheckpointContract):
    backbone_class = Chronos2
    config = Config
    misfits = ({"num_layers": 3}, {"d_ff": 32}, {"d_model": "wide"}, {"chronos_config": 3})
    parts = ("input_patch_embedding", "output_patch_embedding", "encoder")
    foreign = "chronos_bolt", "is not a chronos2 model"  # it has a chronos_config too

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("chronos2", 32, 2, 16)
        assert spec.max_context == 256
        assert spec.joint_channels
        assert not spec.causal
        assert spec.native_tasks == {"forecast"}

    def test_a_model_of_text_is_refused_by_name(self, folder, tmp_path):
        copied(folder, tmp_path)
        (tmp_path / "config.json").write_text('{"model_type": "t5", "d_model": 8}')
        assert "is not a chronos2 model" in self.refused(tmp_path)
