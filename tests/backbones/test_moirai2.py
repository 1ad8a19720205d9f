import pytest

pytest.importorskip("uni2ts", reason="needs the extra moirai")

import torch
from safetensors.torch import load_file

from contracts.adapter import AdapterContract, train
from contracts.batch import assert_near, assert_same, random_batch, roughened, select
from contracts.checkpoint import CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.moirai2 import Config, Moirai2
from tsfm_adapt.errors import EnvironmentProblem
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")


class TestMoirai2(ForecasterContract):
    backbone_class = Moirai2
    beyond_one_pass = 150  # tiny predicts 64 steps a pass

    def test_tokens_have_seen_no_later_ones_of_any_channel(self, backbone):
        """Only the scaling has: it stays where later values change places."""
        batch = random_batch(samples=64, missing=0.0)
        turned = select(batch)
        turned.values[:, 0, 48:] = batch.values[:, 0, 48:].flip(-1)
        before, after = backbone.encode(batch).tokens, backbone.encode(turned).tokens
        assert_near(after[:, :, :3], before[:, :, :3])
        moved = (after - before)[:, :, 3].detach().abs().amax(-1)  # (B, C)
        assert (moved > 1e-4).all()

    def test_prompts_do_not_carry_the_future_into_the_past(self, backbone):
        batch = random_batch(samples=64, missing=0.0)
        turned = select(batch)
        turned.values[..., 48:] = batch.values[..., 48:].flip(-1)
        prompts = torch.randn(3, 64, generator=torch.Generator().manual_seed(5))
        before, after = (
            backbone.encode(each, Acting(lambda batch, layer: prompts)).tokens
            for each in (batch, turned)
        )
        assert_near(after[:, :, :3], before[:, :, :3])

    def test_nine_paths_of_each_window_pass_through_again(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        backbone.forecast(batch, 150, through)
        passes = [asked for asked, layer in through.asked if layer == 0]
        assert [asked.size for asked in passes] == [2, 18, 18]
        assert [asked.values.shape[-1] for asked in passes] == [70, 134, 198]

    def test_each_path_continues_with_its_own_quantile_of_every_channel(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        forecast = backbone.forecast(batch, 65, through)
        second = through.asked[-1][0].values[..., 70:].unflatten(0, (2, 9))  # (B, paths, C, h)
        assert torch.equal(second, forecast.values[..., :64].transpose(1, 2))

    def test_a_target_beyond_one_pass_is_cut_to_it(self, backbone):
        batch, cut = random_batch(horizon=100), random_batch(horizon=100)
        cut.target_observed[..., 64:] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(cut))


class TestLora(AdapterContract):
    config = lora.Config(rank=4)
    backbone_class = Moirai2


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = Moirai2


def test_lora_sits_on_every_linear_layer_of_the_encoder():
    model = AdaptedModel(Moirai2.tiny(), [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0].split("layers.")[1] for name in model.trainable()}
    of_block = [f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")]
    of_block += [f"ffn.{n}" for n in ("fc1", "fc2", "fc_gate")]
    assert adapted == {f"{block}.{name}" for block in (0, 1) for name in of_block}


def test_upstreams_own_class_loads_the_adapter_through_peft(tmp_path):
    from peft import get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
    from uni2ts.model.moirai2 import Moirai2Module

    backbone, batch = roughened(Moirai2.tiny()), random_batch()
    backbone.model.save_pretrained(tmp_path)
    model = AdaptedModel(backbone, [lora.Config(rank=4, sites=EVERYWHERE).build()])
    train(model, batch)
    tensors = get_peft_model_state_dict(model.network)

    upstream = Moirai2Module.from_pretrained(tmp_path)
    inject_adapter_in_model(model.network.peft_config["default"], upstream)
    named = {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    assert not set_peft_model_state_dict(upstream, named).unexpected_keys
    theirs = Moirai2(upstream, "copy").forecast(batch, 40)
    assert torch.equal(theirs.values, model.forecast(batch, 40).values)


class TestCheckpoint(CheckpointContract):
    backbone_class = Moirai2
    config = Config
    misfits = ({"num_layers": 3}, {"d_ff": 64}, {"scaling": False})
    parts = ("in_proj", "out_proj", "encoder.layers.1")
    foreign = "moirai", "is not a moirai2 model: .* lacks d_ff, patch_size"

    def test_a_loaded_model_saves_again_as_upstreams_own(self, tmp_path, folder):
        from uni2ts.model.moirai2 import Moirai2Module

        self.load(folder).save(tmp_path)
        again = Moirai2Module.from_pretrained(tmp_path)
        assert_same(again.state_dict(), load_file(folder / "model.safetensors"))

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers) == ("moirai2", 64, 2)
        assert (spec.patch, spec.max_context) == (16, 256)
        assert spec.joint_channels
        assert spec.causal
        assert spec.native_tasks == {"forecast"}

    def test_attention_dropout_is_off_in_eval_mode(self, tmp_path, folder):
        backbone = self.load(copied(folder, tmp_path, {"attn_dropout_p": 0.5}))
        batch = random_batch()
        assert torch.equal(backbone.encode(batch).tokens, backbone.encode(batch).tokens)


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch):
    from tsfm_adapt import components

    monkeypatch.setattr(components.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'tsfm-adapt\[moirai\]'"):
        Config(checkpoint="nowhere").build()
