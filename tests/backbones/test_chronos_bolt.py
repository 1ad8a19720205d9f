import json
import re
from dataclasses import replace

import torch
from safetensors.torch import save_file

from contracts.adapter import AdapterContract, train
from contracts.batch import random_batch, roughened
from contracts.checkpoint import CheckpointContract
from contracts.forecaster import ForecasterContract
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt, Config
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")

# The decoder's self-attention sees one token: the softmax over it is 1 whatever these hold.
INERT = re.compile(
    r"model\.decoder\.block\.\d+\.layer\.0\.SelfAttention\."
    r"(q|k|relative_attention_bias)\.weight"
)


class TestChronosBolt(ForecasterContract):
    backbone_class = ChronosBolt
    beyond_one_pass = 150  # tiny predicts 64 steps a pass

    def test_gradients_reach_every_weight_from_loss_and_forecast(self, backbone):
        """All but those that one decoder token leaves without effect."""
        batch = random_batch()
        names, parameters = zip(*backbone.network.named_parameters(), strict=True)
        inert = [name for name in names if INERT.fullmatch(name)]
        assert len(inert) == 5  # q and k of two layers, and the bias that the layers share
        forecast = backbone.forecast(batch, 20).quantiles((0.1, 0.3, 0.5, 0.7, 0.9))
        for scalar in (backbone.loss(batch), forecast.square().mean()):
            gradients = torch.autograd.grad(scalar, parameters)
            size = {n: g.abs().max().item() for n, g in zip(names, gradients, strict=True)}
            assert all(size[name] > 0 for name in names if name not in inert)
            # Some builds of torch round to a little more than zero.
            assert max(size[name] for name in inert) <= 1e-6 * max(size.values())

    def test_nine_paths_of_each_window_pass_through_again(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        backbone.forecast(batch, 150, through)
        passes = [asked for asked, layer in through.asked if layer == 0]
        assert [asked.size for asked in passes] == [2, 18, 18]
        assert [asked.values.shape[-1] for asked in passes] == [70, 134, 198]
        assert passes[1].subjects == ("p0",) * 9 + ("p1",) * 9
        assert passes[2].start_s.tolist() == [0.0] * 9 + [86400.0] * 9

    def test_each_path_continues_with_its_own_quantile(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        forecast = backbone.forecast(batch, 65, through)
        second = through.asked[-1][0].values[..., 70:].unflatten(0, (2, 9))  # (B, paths, C, h)
        assert torch.equal(second, forecast.values[..., :64].transpose(1, 2))

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

    def test_a_target_shorter_than_a_pass_weighs_as_upstream_pads_it(self, backbone):
        batch = random_batch(horizon=16)
        batch.target_observed[..., 8:] = False
        short = replace(
            batch,
            target=batch.target[..., :8],
            target_observed=batch.target_observed[..., :8],
        )
        assert torch.equal(backbone.loss(batch), backbone.loss(short))

    def test_prompts_are_gone_before_the_decoder(self, backbone):
        """It attends to the 5 context tokens and the register, with prompts or without."""
        seen = []
        hook = backbone.model.decoder.register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(kwargs["encoder_hidden_states"].shape),
            with_kwargs=True,
        )
        prompts = torch.ones(3, backbone.spec.width)
        for prompt in (None, prompts):
            through = Acting(lambda batch, layer, p=prompt: p if layer == 0 else None)
            backbone.forecast(random_batch(), 8, through)
        hook.remove()
        assert seen == [(12, 6, 32)] * 2


class TestLora(AdapterContract):
    config = lora.Config(rank=4)
    backbone_class = ChronosBolt


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = ChronosBolt


def test_lora_sits_on_encoder_and_cross_attention_and_both_feed_forwards():
    backbone = ChronosBolt.tiny()
    model = AdaptedModel(backbone, [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0] for name in model.trainable()}
    for stack, layer, name in (
        ("encoder", 0, "SelfAttention.q"),
        ("decoder", 1, "EncDecAttention.k"),
        ("encoder", 1, "DenseReluDense.wi"),
        ("decoder", 2, "DenseReluDense.wo"),
    ):
        expected = [f"{stack}.block.{block}.layer.{layer}.{name}" for block in (0, 1)]
        assert all(any(each.endswith(path) for each in adapted) for path in expected), name
    assert len(adapted) == 2 * (4 + 2) * 2  # stacks, linear layers, blocks
    assert not any("decoder" in name and ".SelfAttention" in name for name in adapted)


def test_upstreams_own_class_loads_the_adapter_through_peft(tmp_path):
    """What we train is a peft adapter of upstream's model, with nothing of ours in it."""
    from chronos.chronos_bolt import ChronosBoltModelForForecasting
    from peft import PeftModel, get_peft_model_state_dict

    backbone, batch = roughened(ChronosBolt.tiny()), random_batch()
    backbone.model.save_pretrained(tmp_path / "base")
    model = AdaptedModel(backbone, [lora.Config(rank=4, sites=EVERYWHERE).build()])
    train(model, batch)

    (tmp_path / "adapter").mkdir()
    tensors = get_peft_model_state_dict(model.network)
    save_file(
        {f"base_model.{name}": tensor.contiguous() for name, tensor in tensors.items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    model.network.peft_config["default"].save_pretrained(tmp_path / "adapter")

    base = ChronosBoltModelForForecasting.from_pretrained(tmp_path / "base")
    base.get_input_embeddings = lambda: base.shared  # peft asks; upstream's class raises
    upstream = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = upstream(
            context=batch.values.masked_fill(~batch.observed, float("nan")).flatten(0, 1)
        ).quantile_preds
        ours = model.forecast(batch, 64).values
    assert torch.equal(theirs.unflatten(0, (3, 4)), ours)


class TestCheckpoint(CheckpointContract):
    backbone_class = ChronosBolt
    config = Config
    misfits = ({"num_layers": 3}, {"d_ff": 32}, {"d_model": "wide"}, {"chronos_config": 3})
    parts = ("input_patch_embedding", "output_patch_embedding", "encoder")
    foreign = "chronos2", "is not a chronos_bolt model.*Chronos2Model"

    def test_a_loaded_model_saves_again_as_upstreams_own(self, tmp_path, folder):
        from chronos import BaseChronosPipeline, ChronosBoltPipeline

        self.load(folder).save(tmp_path)
        assert type(BaseChronosPipeline.from_pretrained(tmp_path)) is ChronosBoltPipeline
        settings = json.loads((tmp_path / "config.json").read_text())
        assert settings["architectures"] == ["ChronosBoltModelForForecasting"]

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("chronos_bolt", 32, 2, 16)
        assert spec.max_context == 256
        assert not spec.joint_channels
        assert not spec.causal
        assert spec.native_tasks == {"forecast"}
