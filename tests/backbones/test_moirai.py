import json
import re
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

from contracts.adapter import AdapterContract, train
from contracts.batch import (
    LEVELS,
    assert_near,
    assert_same,
    outputs,
    random_batch,
    reversed_in_time,
    roughened,
    select,
)
from contracts.checkpoint import LEFT_OUT, CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.reconstructor import ReconstructorContract
from contracts.through import Acting, difference
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones._packing import Context, Scaling
from tsfm_adapt.backbones.moirai import LEVELS as KNOWN
from tsfm_adapt.backbones.moirai import Config, Moirai
from tsfm_adapt.errors import EnvironmentProblem, RecipeError
from tsfm_adapt.model import AdaptedModel

pytest.importorskip("uni2ts", reason="needs the extra moirai")


EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
NARROW = re.compile(r"model\.param_proj\.proj\.components\.1\.loc\.(weight|bias)")


class TestMoirai(ReconstructorContract, ForecasterContract):
    backbone_class = Moirai
    beyond_one_pass = 300  # one pass has no end; this is beyond the positions of pretraining

    def test_a_mixer_carries_one_channel_into_another(self, backbone):
        """Attention does so too, about as much: the mixer adds to it."""
        batch = random_batch(channels=2)
        turned = reversed_in_time(batch, channels=0)

        def influence(through):
            before, after = (outputs(backbone, each, 8, through) for each in (batch, turned))
            return [difference(after[p][:, 1], before[p][:, 1]) for p in ("tokens", "forecast")]

        mixer = Acting(mix=lambda tokens, layer: tokens + 2 * tokens.flip(1))
        for mixed, plain in zip(influence(mixer), influence(Acting()), strict=True):
            assert mixed > 1.2 * plain

    def test_gradients_reach_every_weight_from_loss_and_forecast(self, backbone):
        """From the loss to the component of fixed deviation 1e-3 only where it nearly hits."""
        batch = random_batch()
        names, parameters = zip(*backbone.network.named_parameters(), strict=True)
        forecast = backbone.forecast(batch, 20).quantiles(LEVELS)
        for scalar, spared in ((backbone.loss(batch), NARROW), (forecast.square().mean(), None)):
            gradients = torch.autograd.grad(scalar, parameters, allow_unused=True)
            dead = [n for n, g in zip(names, gradients, strict=True) if g is None or not g.any()]
            assert all(spared and spared.fullmatch(name) for name in dead)

    def test_it_trains_under_autocast_to_bfloat16(self, backbone):
        """Rounded, the component of deviation 1e-3 hits other targets than in float32."""
        names, parameters = zip(*backbone.network.named_parameters(), strict=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = backbone.loss(random_batch())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        assert loss.isfinite()
        for name, gradient in zip(names, gradients, strict=True):
            assert gradient.isfinite().all(), name
            assert gradient.any() or NARROW.fullmatch(name), name

    def test_what_is_fed_back_carries_no_gradient(self, backbone):
        """Nothing is fed back: one pass predicts every horizon."""
        batch, through = random_batch(windows=2, channels=2), Acting()
        backbone.forecast(batch, self.beyond_one_pass, through)
        assert [asked is batch for asked, layer in through.asked if layer == 0] == [True]

    def test_channels_in_another_order_give_the_same_in_that_order(self, backbone):
        """Rounding moves a quantile far where it falls between two components: 1e-4."""
        batch, order = random_batch(), [3, 1, 0, 2]
        permuted = select(batch, channels=order)
        straight, result = outputs(backbone, batch), outputs(backbone, permuted)
        assert_near(result["loss"], straight["loss"])
        assert_near(result["forecast"], straight["forecast"][:, order], relative=1e-4)
        seen = result["token_observed"]
        assert_near(result["tokens"][seen], straight["tokens"][:, order][seen])

    def test_patches_without_a_measured_sample_are_invisible(self, backbone):
        """A context says the same with a stretch of nothing in front of it."""
        short = random_batch(samples=64)
        longer = random_batch(samples=112)
        longer.values[..., 48:], longer.observed[..., 48:] = short.values, short.observed
        longer.observed[..., :48] = False
        near, far = backbone.encode(short), backbone.encode(longer)
        assert not far.token_observed[:, :, :3].any()
        assert not far.tokens[:, :, :3].any()
        seen = near.token_observed
        assert_near(far.tokens[:, :, 3:][seen], near.tokens[seen])

    def test_prompts_of_one_series_reach_the_others_through_its_tokens_only(self, backbone):
        """A channel without tokens to see its prompts keeps them to itself."""
        batch = random_batch(windows=1, channels=2, missing=0.0)
        batch.observed[:, 1] = False
        prompts = torch.randn(1, 2, 3, 64, generator=torch.Generator().manual_seed(5))
        changed = prompts.clone()
        changed[:, 1] *= 2
        first, second = (
            backbone.encode(batch, Acting(lambda batch, layer, p=p: p if layer == 0 else None))
            for p in (prompts, changed)
        )
        assert torch.equal(first.tokens, second.tokens)

    def test_a_gap_carries_the_last_measured_value_forward(self, backbone):
        batch = random_batch(windows=1, channels=1, samples=16, missing=0.0)
        batch.observed[..., :2] = False
        batch.observed[..., 5:9] = False
        scaled = Context.of(batch, batch.observed, backbone.spec).values.flatten()
        scaling = Scaling.of(batch.values, batch.observed)
        expected = ((batch.values - scaling.loc) / scaling.scale).float().flatten()
        assert torch.equal(scaled[5:9], expected[4].expand(4))
        assert torch.equal(scaled[:2], expected[2].expand(2))
        assert torch.equal(scaled[9:], expected[9:])

    def test_positions_beyond_pretraining_leave_no_trace(self, backbone):
        batch = random_batch()
        before = outputs(backbone, batch)
        names = list(backbone.network.state_dict())
        backbone.forecast(batch, 600)
        assert list(backbone.network.state_dict()) == names
        assert_same(outputs(backbone, batch), before)

    @pytest.mark.parametrize("samples", [64, 70])
    def test_an_estimate_does_not_look_at_its_own_patch(self, backbone, samples):
        batch = random_batch(windows=1, samples=samples, missing=0.0)
        nothing = torch.zeros_like(batch.observed)
        values = backbone.reconstruct(batch, nothing).values
        mirrored = select(batch)
        last = slice(samples - 16, samples)
        mirrored.values[..., last] = batch.values[..., last].flip(-1)  # the scaling stays
        moved = (backbone.reconstruct(mirrored, nothing).values - values).abs()
        size = values.abs().max()
        assert moved[..., last].max() <= 1e-5 * size
        assert moved[..., samples - 32 : samples - 16].max() > 1e-3

    def test_quantiles_do_not_cross(self, backbone):
        values = backbone.forecast(random_batch(), 40).values
        assert (values.diff(dim=2) >= 0).all()
        assert values.shape[2] == len(KNOWN) == 21


class TestLora(AdapterContract):
    config = lora.Config(rank=4)
    backbone_class = Moirai


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = Moirai


def test_lora_sits_on_every_linear_layer_of_the_encoder():
    model = AdaptedModel(Moirai.tiny(), [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0].split("layers.")[1] for name in model.trainable()}
    of_block = [f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")]
    of_block += [f"ffn.{n}" for n in ("fc1", "fc2", "fc_gate")]
    assert adapted == {f"{block}.{name}" for block in (0, 1) for name in of_block}


def test_upstreams_own_class_loads_the_adapter_through_peft(tmp_path):
    from peft import get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
    from uni2ts.model.moirai import MoiraiModule

    backbone, batch = roughened(Moirai.tiny()), random_batch()
    backbone.model.save_pretrained(tmp_path)
    model = AdaptedModel(backbone, [lora.Config(rank=4, sites=EVERYWHERE).build()])
    train(model, batch)
    tensors = get_peft_model_state_dict(model.network)

    upstream = MoiraiModule.from_pretrained(tmp_path)
    inject_adapter_in_model(model.network.peft_config["default"], upstream)
    named = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    assert not set_peft_model_state_dict(upstream, named).unexpected_keys
    theirs = Moirai(upstream, "copy").forecast(batch, 40)
    assert torch.equal(theirs.values, model.forecast(batch, 40).values)


def test_attention_dropout_is_off_in_eval_mode(tmp_path):
    """Upstream's is a constant argument that eval mode does not switch off."""
    Moirai.tiny().model.save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | {"attn_dropout_p": 0.5}))
    backbone, batch = Config(checkpoint=str(tmp_path)).build(), random_batch()
    assert torch.equal(backbone.encode(batch).tokens, backbone.encode(batch).tokens)


class TestCheckpoint(CheckpointContract):
    backbone_class = Moirai
    config = Config
    misfits = ({"num_layers": 3}, {"d_model": 128}, {"scaling": False})
    parts = ("in_proj", "param_proj", "encoder.layers.1")
    foreign = "moirai2", "is not a moirai model: .* lacks distr_output"
    nonsense: ClassVar = {"patch_size": 12}

    def test_a_loaded_model_saves_again_as_upstreams_own(self, tmp_path, folder):
        from uni2ts.model.moirai import MoiraiModule

        self.load(folder).save(tmp_path)
        again = MoiraiModule.from_pretrained(tmp_path)
        assert_same(again.state_dict(), load_file(folder / "model.safetensors"))

    @pytest.mark.parametrize(("asked", "patch"), [("auto", 16), (8, 8), (16, 16)])
    def test_the_settings_come_from_the_checkpoint(self, folder, asked, patch):
        spec = Config(checkpoint=str(folder), patch_size=asked).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers) == ("moirai", 64, 2)
        assert (spec.patch, spec.max_context) == (patch, 16 * patch)
        assert spec.joint_channels
        assert not spec.causal
        assert spec.native_tasks == {"forecast", "impute"}

    def test_a_patch_size_that_the_checkpoint_lacks_is_refused(self, folder):
        with pytest.raises(RecipeError, match=r"patch_size: 64 is none of .* 8, 16"):
            Config(checkpoint=str(folder), patch_size=64).build(weights=False)

    @pytest.mark.parametrize("change", [{"d_ff": 32}, {"patch_sizes": LEFT_OUT}])
    def test_its_relatives_are_refused_by_name(self, folder, tmp_path, change):
        """d_ff is a setting of Moirai-MoE and of Moirai 2, which has one patch size."""
        assert "is not a moirai model" in self.refused(copied(folder, tmp_path, change))

    @pytest.mark.parametrize("target", ["os.system", "uni2ts.distribution.StudentTOutput"])
    def test_a_config_names_nothing_that_is_imported_but_the_mixture(
        self, folder, tmp_path, target
    ):
        self.refused(copied(folder, tmp_path, {"distr_output": {"_target_": target}}))


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    from tsfm_adapt import components

    monkeypatch.setattr(components.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'tsfm-adapt\[moirai\]'"):
        Config(checkpoint="nowhere").build()
