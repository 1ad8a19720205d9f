import re
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file

from contracts.adapter import AdapterContract, train
from contracts.batch import (
    LEVELS,
    assert_near,
    random_batch,
    roughened,
    select,
)
from contracts.checkpoint import LEFT_OUT, CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones.chronos_t5 import ChronosT5, Config
from tsfm_adapt.model import AdaptedModel

ATTENTION = ("attn.q", "attn.k", "attn.v", "attn.out")
EVERYWHERE = (*ATTENTION, "mlp.in", "mlp.out")


def rough(prediction="sampled", samples=20):
    backbone = roughened(ChronosT5.tiny())
    backbone.prediction, backbone.samples = prediction, samples
    return backbone


def drawn(backbone, batch, steps):
    torch.manual_seed(0)
    return backbone.forecast(batch, steps)


class TokenContract(ForecasterContract):
    """The laws of the contract that tokens obey, however the forecast is made."""

    backbone_class = ChronosT5
    beyond_one_pass = 50  # tiny predicts 24 steps a pass

    def test_outputs_follow_an_affine_change_of_units(self, backbone):
        """Of the factor only: a level is part of the mean absolute value that scales.

        Powers of two are exact; other factors may round a sample into the next bin.
        """
        batch = random_batch()
        expected = drawn(backbone, batch, 20).quantiles(LEVELS)
        for factor in (2.0**-20, 0.25, 1024.0):
            changed = select(batch)
            changed.values[:, 1] *= factor
            forecast = drawn(backbone, changed, 20).quantiles(LEVELS)
            assert torch.equal(forecast[:, 1], factor * expected[:, 1])
            assert torch.equal(backbone.encode(changed).tokens, backbone.encode(batch).tokens)

    def test_a_ripple_far_smaller_than_its_level_is_lost(self, backbone):
        """What the law above leaves out is a limit of the model: one bin is .03 of the mean."""
        flat, ripple = (random_batch(missing=0.0) for _ in range(2))
        flat.values[:] = 1000.0
        ripple.values[:] = 1000.0 + torch.sin(torch.arange(70.0))
        assert torch.equal(backbone.encode(ripple).tokens, backbone.encode(flat).tokens)

    def test_it_forecasts_under_autocast_to_bfloat16(self, backbone):
        batch = random_batch(windows=2, channels=2)
        with torch.autocast("cpu", torch.bfloat16):
            quantiles = backbone.forecast(batch, 30).quantiles(LEVELS)
        parameters = list(backbone.network.parameters())
        gradients = torch.autograd.grad(quantiles.sum(), parameters, allow_unused=True)
        assert quantiles.isfinite().all()
        assert quantiles.dtype == torch.float32
        assert all(g is not None and g.isfinite().all() for g in gradients)


class TestSampled(TokenContract):
    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls):
        return rough(samples=3)

    def test_windows_in_another_order_give_the_same_in_that_order(self, backbone):
        """Chance is dealt out row by row: see `TestExpected` for the forecast."""
        batch, order = random_batch(), [2, 0, 1]
        permuted = select(batch, order)
        assert_near(backbone.loss(permuted), backbone.loss(batch))
        straight, other = backbone.encode(batch), backbone.encode(permuted)
        assert torch.equal(other.token_observed, straight.token_observed[order])
        assert_near(other.tokens, straight.tokens[order])

    def test_channels_in_another_order_give_the_same_in_that_order(self, backbone):
        """Chance is dealt out row by row: see `TestExpected` for the forecast."""
        batch, order = random_batch(), [3, 1, 0, 2]
        permuted = select(batch, channels=order)
        assert_near(backbone.loss(permuted), backbone.loss(batch))
        straight, other = backbone.encode(batch), backbone.encode(permuted)
        assert torch.equal(other.token_observed, straight.token_observed[:, order])
        assert_near(other.tokens, straight.tokens[:, order])

    def test_another_seed_draws_other_paths(self, backbone):
        batch = random_batch()
        first = drawn(backbone, batch, 20).values
        assert torch.equal(drawn(backbone, batch, 20).values, first)
        assert not torch.equal(backbone.forecast(batch, 20).values, first)

    def test_asking_for_gradients_changes_no_value(self, backbone):
        batch = random_batch()
        with_gradient = drawn(backbone, batch, 60).values
        with torch.no_grad():
            assert torch.equal(drawn(backbone, batch, 60).values, with_gradient)
        assert with_gradient.requires_grad

    def test_one_context_is_encoded_once_for_all_paths(self, backbone):
        seen = []
        hook = backbone.model.encoder.register_forward_hook(
            lambda module, args, output: seen.append(tuple(output.last_hidden_state.shape))
        )
        forecast = backbone.forecast(random_batch(windows=2, channels=3), 60)
        hook.remove()
        assert forecast.values.shape == (3, 2, 3, 60)
        # two passes of 24 were fed back; every context ends in EOS
        assert seen == [(6, 71, 32), (6, 95, 32), (6, 119, 32)]

    def test_the_median_path_joins_the_context(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        forecast = backbone.forecast(batch, 25, through)
        second = through.asked[-1][0]
        assert second.subjects == ("p0", "p1")
        median = forecast.values[..., :24].median(dim=0).values
        assert torch.equal(second.values[..., 70:], median)
        assert torch.equal(second.values[..., :70], batch.values)
        assert second.observed[..., 70:].all()
        assert not second.values.requires_grad

    def test_an_untrained_adapter_draws_the_same_paths(self):
        bare, batch = rough(samples=3), random_batch()
        model = AdaptedModel(rough(samples=3), [lora.Config(rank=2, sites=EVERYWHERE).build()])
        with torch.no_grad():
            expected = drawn(bare, batch, 30).values
            assert torch.equal(drawn(model, batch, 30).values, expected)


class TestExpected(TokenContract):
    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls):
        return rough("expected")

    def test_no_chance_is_involved(self, backbone):
        batch, before = random_batch(), torch.random.get_rng_state()
        first = backbone.forecast(batch, 60).quantiles(LEVELS)
        assert torch.equal(torch.random.get_rng_state(), before)
        torch.manual_seed(99)
        assert torch.equal(backbone.forecast(batch, 60).quantiles(LEVELS), first)

    def test_quantiles_never_cross(self, backbone):
        quantiles = backbone.forecast(random_batch(), 60).values
        assert (quantiles.diff(dim=2) >= 0).all()

    def test_the_expected_path_joins_the_context(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        forecast = backbone.forecast(batch, 25, through)
        second = through.asked[-1][0]
        joined = second.values[..., 70:]
        assert joined.shape == (2, 3, 24)
        assert (joined > forecast.values[:, :, 0, :24]).all()
        assert (joined < forecast.values[:, :, -1, :24]).all()

    def test_the_first_step_has_the_quantiles_of_very_many_samples(self, backbone):
        """Where nothing was fed back yet, both ways predict the same distribution."""
        batch = random_batch(windows=1, channels=2)
        exact = backbone.forecast(batch, 1).quantiles(LEVELS)
        settings = backbone.model.config.chronos_config | {"top_k": 0}
        sampling = rough(samples=4_000)
        sampling.model.config.chronos_config = settings
        sampling = ChronosT5(sampling.model, "tiny", samples=4_000)
        with torch.no_grad():
            sampled = drawn(sampling, batch, 1).quantiles(LEVELS)
        spread = (exact[:, :, 2] - exact[:, :, 0])[:, :, None]
        assert ((sampled - exact).abs() / spread).max() < 0.05


class TestLora(AdapterContract):
    """Along the expected path: rounding may flip a draw, and with it a whole path."""

    config = lora.Config(rank=4)
    backbone_class = ChronosT5

    @pytest.fixture
    def backbone(self):
        return rough("expected")


class TestLoraEverywhere(TestLora):
    config = lora.Config(rank=2, sites=EVERYWHERE)


def test_lora_sits_on_all_attention_and_feed_forwards_and_never_on_the_tied_head():
    backbone = ChronosT5.tiny()
    model = AdaptedModel(backbone, [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0] for name in model.trainable()}
    assert len(adapted) == 2 * (4 + 2) + 2 * (4 + 4 + 2)  # encoder and decoder blocks
    assert all(".block." in name for name in adapted)
    for pattern in backbone.sites().values():
        assert not any(re.fullmatch(pattern, name) for name in ("model.lm_head", "lm_head"))


def test_merging_leaves_the_tied_embeddings_tied_and_bit_identical():
    backbone, batch = rough(), random_batch()
    before = backbone.model.shared.weight.detach().clone()
    adapter = lora.Config(rank=2, sites=EVERYWHERE).build()
    model = AdaptedModel(backbone, [adapter])
    train(model, batch, steps=2)
    adapter.merge(backbone)
    upstream = backbone.model
    assert torch.equal(upstream.shared.weight, before)
    for tied in (upstream.lm_head, upstream.encoder.embed_tokens, upstream.decoder.embed_tokens):
        assert tied.weight is upstream.shared.weight


@pytest.mark.parametrize(
    ("width", "feed_forward", "layers", "heads", "millions", "trainable"),
    [(256, 1024, 4, 4, 8.39, 49_152), (768, 3072, 12, 12, 201.4, 442_368)],
    ids=["tiny", "base"],
)
def test_published_sizes_have_their_parameters_and_those_of_lora(
    width, feed_forward, layers, heads, millions, trainable
):
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=4096,
        d_model=width,
        d_kv=64,
        d_ff=feed_forward,
        num_layers=layers,
        num_heads=heads,
        decoder_start_token_id=0,
    )
    config.chronos_config = ChronosT5.tiny().model.config.chronos_config | {"n_tokens": 4096}
    with torch.device("meta"):
        upstream = T5ForConditionalGeneration(config)
    backbone = ChronosT5(upstream, "published")
    total = sum(p.numel() for p in backbone.network.parameters())
    assert total / 1e6 == pytest.approx(millions, rel=1e-3)
    model = AdaptedModel(backbone, [lora.Config(rank=2, sites=ATTENTION).build()])
    assert sum(p.numel() for p in model.trainable().values()) == trainable


def test_a_target_beyond_one_pass_is_cut_to_it():
    backbone, batch = rough(), random_batch(horizon=40)
    cut = replace(
        batch, target=batch.target[..., :24], target_observed=batch.target_observed[..., :24]
    )
    assert torch.equal(backbone.loss(batch), backbone.loss(cut))


def test_a_step_that_was_not_observed_weighs_nothing():
    backbone, batch = rough(), random_batch(horizon=16)
    batch.target_observed[..., 8:] = False
    short = replace(
        batch, target=batch.target[..., :8], target_observed=batch.target_observed[..., :8]
    )
    assert_near(backbone.loss(short), backbone.loss(batch), relative=1e-6)


def test_a_whole_pass_teaches_where_it_ends_and_a_shorter_target_does_not():
    backbone = rough()
    end = []
    hook = backbone.model.lm_head.register_forward_hook(
        lambda module, args, logits: end.append(logits.shape[1])
    )
    for horizon in (23, 24, 30):
        backbone.loss(random_batch(horizon=horizon))
    hook.remove()
    assert end == [23, 25, 25]


def test_a_series_without_an_observed_target_does_not_even_teach_where_it_ends():
    backbone, batch = rough(), random_batch(horizon=24)
    batch.target_observed[1] = False
    assert_near(backbone.loss(batch), backbone.loss(select(batch, [0, 2])), relative=1e-6)
    batch.target_observed[:] = False
    assert backbone.loss(batch) == 0


def test_prompts_are_gone_before_the_decoder():
    """It attends to the 70 context tokens and EOS, with prompts or without."""
    backbone, seen = rough(samples=2), []
    hook = (
        backbone.model.decoder.block[0]
        .layer[1]
        .register_forward_pre_hook(
            lambda module, args, kwargs: seen.append(tuple(kwargs["key_value_states"].shape)),
            with_kwargs=True,
        )
    )
    prompts = torch.ones(3, backbone.spec.width)
    for prompt in (None, prompts):
        through = Acting(lambda batch, layer, p=prompt: p if layer == 0 else None)
        with torch.no_grad():
            backbone.forecast(random_batch(), 1, through)
        backbone.loss(random_batch(), through)
    hook.remove()
    assert seen == [(12, 71, 32)] * 4


def test_upstreams_own_class_loads_the_adapter_through_peft(tmp_path):
    """What we train is a peft adapter of upstream's model, with nothing of ours in it."""
    from peft import PeftModel, get_peft_model_state_dict
    from transformers import T5ForConditionalGeneration

    backbone, batch = rough(), random_batch()
    backbone.model.save_pretrained(tmp_path / "base")
    model = AdaptedModel(backbone, [lora.Config(rank=4, sites=EVERYWHERE).build()])
    train(model, batch, steps=2)

    (tmp_path / "adapter").mkdir()
    tensors = get_peft_model_state_dict(model.network)
    save_file(
        {f"base_model.{name}": tensor.contiguous() for name, tensor in tensors.items()},
        tmp_path / "adapter" / "adapter_model.safetensors",
    )
    model.network.peft_config["default"].save_pretrained(tmp_path / "adapter")

    base = T5ForConditionalGeneration.from_pretrained(tmp_path / "base")
    upstream = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    with torch.no_grad():
        theirs = ChronosT5(upstream.base_model.model, "tiny").loss(batch)
        assert torch.equal(theirs, model.backbone.loss(batch))


class TestCheckpoint(CheckpointContract):
    backbone_class = ChronosT5
    config = Config
    misfits = ({"num_layers": 3}, {"d_ff": 32}, {"d_model": "wide"}, {"chronos_config": 3})
    parts = ("encoder.final_layer_norm", "decoder.block.1")
    foreign = "chronos_bolt", "is not a chronos_t5 model.*ChronosBoltModelForForecasting"
    nonsense: ClassVar = {"samples": 0, "prediction": "mean"}

    def test_the_recipe_chooses_how_forecasts_are_made(self, folder):
        expected = Config(checkpoint=str(folder), prediction="expected").build()
        assert torch.equal(
            expected.forecast(random_batch(), 8).quantiles(LEVELS),
            rough("expected").forecast(random_batch(), 8).quantiles(LEVELS),
        )
        assert Config(checkpoint=str(folder)).samples == 20

    def test_a_loaded_model_saves_again_as_upstreams_own(self, tmp_path, folder):
        from chronos import BaseChronosPipeline, ChronosPipeline

        self.load(folder).save(tmp_path)
        assert type(BaseChronosPipeline.from_pretrained(tmp_path)) is ChronosPipeline

    def test_the_tied_embeddings_stay_tied_and_are_not_made_up(self, folder, tmp_path):
        model = self.load(folder).model
        assert model.lm_head.weight is model.shared.weight
        copied(folder, tmp_path, keep=lambda name: name != "shared.weight")
        assert "of the model's weights" in self.refused(tmp_path)

    def test_the_settings_come_from_the_checkpoint(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("chronos_t5", 32, 2, 1)
        assert spec.max_context == 256
        assert not spec.joint_channels
        assert not spec.causal
        assert spec.native_tasks == {"forecast"}

    @pytest.mark.parametrize(
        ("setting", "value", "found"),
        [
            ("chronos_config", LEFT_OUT, "a T5 of text"),
            ("chronos_config.top_k", LEFT_OUT, "'top_k'"),
            ("chronos_config.surprise", 1, "'surprise'"),
            ("chronos_config.model_type", "causal", "causal"),
            ("chronos_config.tokenizer_class", "Other", "tokenizer_class Other"),
            ("chronos_config.n_tokens", 4096, "n_tokens 4096"),
        ],
        ids=["text", "lacking", "unknown", "causal", "tokenizer", "vocabulary"],
    )
    @pytest.mark.parametrize("weights", [True, False])
    def test_a_t5_of_another_kind_is_refused_by_name(
        self, folder, tmp_path, setting, value, found, weights
    ):
        said = self.refused(copied(folder, tmp_path, {setting: value}), weights)
        assert "is not a chronos_t5 model" in said
        assert found in said
