import json
import re
from dataclasses import replace

import pytest
import torch

from contracts.backbone import BackboneContract
from contracts.batch import assert_same, outputs, random_batch, roughened
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.chronos2 import Chronos2, Config
from tsfm_adapt.errors import EnvironmentProblem, RecipeError
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestChronos2(BackboneContract):
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


class TestBlockwise(BackboneContract):
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint folder in upstream's own layout."""
    folder = tmp_path_factory.mktemp("chronos2")
    roughened(Chronos2.tiny()).model.save_pretrained(folder)
    return folder


def test_a_folder_that_upstream_saved_loads_with_equal_outputs(folder):
    loaded = Config(checkpoint=str(folder)).build()
    expected = roughened(Chronos2.tiny())
    batch = random_batch()
    assert_same(outputs(loaded, batch, 150), outputs(expected, batch, 150))
    assert loaded.spec.checkpoint == str(folder)
    assert loaded.spec.licence == "unknown"
    assert not loaded.model.training


def test_a_checkpoint_saved_in_half_precision_computes_in_float32(tmp_path):
    Chronos2.tiny().model.to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = Config(checkpoint=str(tmp_path)).build()
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}


def test_without_weights_the_shapes_are_the_same_and_nothing_is_allocated(folder):
    config = Config(checkpoint=str(folder))
    real, bare = (config.build(weights=weights).network for weights in (True, False))
    assert {p.device.type for p in bare.parameters()} == {"meta"}
    assert {n: p.shape for n, p in bare.named_parameters()} == {
        n: p.shape for n, p in real.named_parameters()
    }


def test_the_settings_come_from_the_checkpoint(folder):
    spec = Config(checkpoint=str(folder)).build(weights=False).spec
    assert (spec.name, spec.width, spec.layers, spec.patch) == ("chronos2", 32, 2, 16)
    assert spec.max_context == 256
    assert spec.joint_channels
    assert not spec.causal
    assert spec.native_tasks == {"forecast"}


@pytest.mark.parametrize("checkpoint", ["/no/such/folder", "./missing", "missing", "a/b/c"])
def test_a_checkpoint_that_is_nowhere_is_refused_by_name(checkpoint):
    with pytest.raises(RecipeError, match=f"'{checkpoint}' is neither 'embedded'"):
        Config(checkpoint=checkpoint).build()


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_a_file_is_refused_with_what_it_holds(tmp_path, missing):
    Chronos2.tiny().model.save_pretrained(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(RecipeError, match=f"lacks {missing}") as refused:
        Config(checkpoint=str(tmp_path)).build()
    other = {"config.json", "model.safetensors"} - {missing}
    assert str(tmp_path) in str(refused.value)
    assert f"found: {other.pop()}" in str(refused.value)


def test_an_empty_folder_lacks_both_files(tmp_path):
    with pytest.raises(
        RecipeError, match=r"lacks config.json and model.safetensors \(found: noth"
    ):
        Config(checkpoint=str(tmp_path)).build()


def test_a_model_of_another_family_is_refused_by_name(tmp_path, folder):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 8}))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(RecipeError, match="is not a chronos2 model") as refused:
        Config(checkpoint=str(tmp_path)).build()
    assert str(tmp_path) in str(refused.value)


def test_a_chronos_bolt_model_is_refused_by_name(tmp_path):
    """It has a chronos_config too, of other settings."""
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from transformers import T5Config

    config = T5Config(
        d_model=16,
        d_kv=4,
        d_ff=16,
        num_layers=1,
        num_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    config.chronos_config = {
        "context_length": 64,
        "prediction_length": 16,
        "input_patch_size": 16,
        "input_patch_stride": 16,
        "quantiles": [0.1, 0.5, 0.9],
        "use_reg_token": True,
    }
    config.architectures = ["ChronosBoltModelForForecasting"]
    ChronosBoltModelForForecasting(config).save_pretrained(tmp_path)
    with pytest.raises(RecipeError, match="is not a chronos2 model"):
        Config(checkpoint=str(tmp_path)).build()


def test_a_weights_file_that_was_cut_short_is_refused_by_name(tmp_path, folder):
    weights = (folder / "model.safetensors").read_bytes()
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes(weights[:5000])
    with pytest.raises((RecipeError, EnvironmentProblem), match=re.escape(str(tmp_path))):
        Config(checkpoint=str(tmp_path)).build()


def test_a_config_that_is_not_json_is_refused_by_name(tmp_path, folder):
    (tmp_path / "config.json").write_text("{")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises((RecipeError, EnvironmentProblem), match=re.escape(str(tmp_path))):
        Config(checkpoint=str(tmp_path)).build()


@pytest.mark.parametrize("edited", [{"num_layers": 3}, {"d_ff": 32}])
def test_weights_that_do_not_fit_the_config_are_refused(tmp_path, folder, edited):
    """Upstream fills a layer that the file lacks with random numbers and only logs it."""
    settings = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | edited))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises((RecipeError, EnvironmentProblem), match=re.escape(str(tmp_path))):
        Config(checkpoint=str(tmp_path)).build()


def test_a_hub_model_that_cannot_be_fetched_says_what_to_do():
    with pytest.raises(EnvironmentProblem, match="'amazon/no-such-model' could not be loaded"):
        Config(checkpoint="amazon/no-such-model").build()


@pytest.mark.parametrize("field", [{"checkpont": "x"}, {"name": "chronos3"}])
def test_a_misspelt_setting_is_refused(field):
    with pytest.raises(ValueError, match=next(iter(field))):
        Config.model_validate(field)
