import copy
import re
from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from contracts.adapter import AdapterContract
from contracts.batch import LEVELS, assert_near, outputs, random_batch
from contracts.checkpoint import CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting, difference
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones._nets import lag_llama_futures
from tsfm_adapt.backbones._nets.lag_llama import LAGS
from tsfm_adapt.backbones.lag_llama import Config, LagLlama
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
TOKENS, SAMPLES = 24, 10  # of tiny


@pytest.fixture
def common_noise(monkeypatch):
    """Every series draws the same numbers, so that two orders of series can be compared."""

    def uniforms(shape, like):
        return torch.rand((shape[0], 1, *shape[2:])).clamp(min=2**-25).expand(shape)

    monkeypatch.setattr(lag_llama_futures, "_uniforms", uniforms)


def forecast(backbone, batch, steps=20, seed=0, through=None):
    torch.manual_seed(seed)
    return backbone.forecast(batch, steps, *([through] if through else []))


class TestLagLlama(ForecasterContract):
    backbone_class = LagLlama
    beyond_one_pass = 50  # tiny predicts 24 steps a pass

    @pytest.mark.parametrize(("factor", "shift"), [(0.01, -7.0), (3.0, 0.5), (100.0, 10.0)])
    def test_outputs_follow_an_affine_change_of_units(self, backbone, factor, shift):
        """All but what level and scale say as inputs of their own does, draw by draw."""
        blind = copy.deepcopy(backbone)
        with torch.no_grad():
            blind.model.transformer["wte"].weight[:, len(LAGS) : len(LAGS) + 2] = 0.0
        batch = random_batch()
        deviation = batch.values[:, 1].std()
        values = batch.values.clone()
        values[:, 1] = factor * (values[:, 1] + shift * deviation)
        changed = replace(batch, values=values)
        expected = forecast(blind, batch).quantiles(LEVELS)
        actual = forecast(blind, changed).quantiles(LEVELS)
        expected[:, 1] = factor * (expected[:, 1] + shift * deviation)
        assert_near(actual, expected, relative=1e-4)
        assert_near(blind.encode(changed).tokens, blind.encode(batch).tokens, relative=1e-3)
        assert difference(backbone.encode(changed).tokens, backbone.encode(batch).tokens) > 0.01

    def test_tokens_say_which_of_them_were_measured(self, backbone):
        """One token a sample, of the last 24: those before them are seen through the lags only."""
        for samples in (1, TOKENS - 1, TOKENS, TOKENS + 1, 70, backbone.spec.max_context + 5):
            batch = random_batch(samples=samples, missing=0.8)
            encoded = backbone.encode(batch)
            assert torch.equal(encoded.token_observed, batch.observed[..., -TOKENS:])
            assert encoded.tokens.shape == (3, 4, min(samples, TOKENS), backbone.spec.width)
            assert encoded.tokens.requires_grad

    def test_windows_in_another_order_give_the_same_in_that_order(self, backbone, common_noise):
        """Given the same draws: each series has its own."""
        super().test_windows_in_another_order_give_the_same_in_that_order(backbone)

    def test_channels_in_another_order_give_the_same_in_that_order(self, backbone, common_noise):
        """Given the same draws: each series has its own."""
        super().test_channels_in_another_order_give_the_same_in_that_order(backbone)

    def test_every_path_passes_through_again_with_what_it_drew(self, backbone):
        batch, through = random_batch(windows=2, channels=3), Acting()
        drawn = forecast(backbone, batch, 50, through=through).values  # (S, B, C, H)
        passes = [asked for asked, layer in through.asked if layer == 0]
        assert [asked.size for asked in passes] == [2, 2 * SAMPLES, 2 * SAMPLES]
        assert [asked.values.shape[-1] for asked in passes] == [70, 94, 118]
        assert passes[1].subjects == ("p0",) * SAMPLES + ("p1",) * SAMPLES
        fed_back = passes[2].values[..., 70:].unflatten(0, (2, SAMPLES)).transpose(0, 1)
        assert torch.equal(fed_back, drawn[..., :48])

    def test_samples_differ_between_paths_series_and_seeds(self, backbone):
        batch = random_batch(windows=2, channels=2)
        batch.values[1] = batch.values[0]
        batch.observed[1] = batch.observed[0]
        batch.start_s[1] = batch.start_s[0]
        values = forecast(backbone, batch, 4).values
        assert values.shape == (SAMPLES, 2, 2, 4)
        assert difference(values[0], values[1]) > 0.01
        assert difference(values[:, 0], values[:, 1]) > 0.01
        assert torch.equal(forecast(backbone, batch, 4).values, values)
        assert difference(forecast(backbone, batch, 4, seed=1).values, values) > 0.01

    def test_values_are_the_same_with_and_without_gradients(self, backbone):
        batch = random_batch()
        graded = forecast(backbone, batch, 50).values
        with torch.inference_mode():
            plain = forecast(backbone, batch, 50).values
        assert graded.requires_grad
        assert torch.equal(graded.detach(), plain)

    def test_a_shorter_forecast_starts_as_a_longer_one(self, backbone):
        """Of one channel: others draw in between."""
        batch = random_batch(windows=1, channels=1)
        longer = forecast(backbone, batch, 30).values
        assert_near(forecast(backbone, batch, 7).values, longer[..., :7])

    def test_the_first_step_is_drawn_from_the_predicted_distribution(self, backbone):
        from scipy.stats import kstest

        many = LagLlama(backbone.model, "tiny", TOKENS, samples=4000)
        batch = random_batch(windows=1, channels=2)
        start = many._read(batch, Acting(), 1)
        with torch.no_grad():
            values = forecast(many, batch, 1).values[:, 0, :, 0]
        for row in range(2):
            df, loc, scale = (each[row, 0].item() for each in start.parameters)
            standard = (values[:, row] - start.loc[row]) / start.scale[row]
            result = kstest(standard.numpy(), "t", args=(df, loc, scale))
            assert result.pvalue > 0.01

    def test_later_steps_see_the_context_as_if_it_were_read_with_them(self, backbone):
        batch = random_batch(windows=2, channels=2)
        start = backbone._read(batch, Acting(), 9)
        future = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(2))
        stepwise = backbone._futures.teacher_forced(start, future)
        for path in range(3):
            series = torch.cat([start.series, future[:, path, :-1]], dim=-1)
            at_once = backbone.model(series, start.loc, start.scale, start.time)
            for actual, expected in zip(stepwise, at_once, strict=True):
                assert_near(actual[:, path], expected[:, -9:])

    def test_step_by_step_is_as_teacher_forced(self, backbone):
        start = backbone._read(random_batch(), Acting(), 16)
        with torch.no_grad():
            uniforms, drawn = backbone._futures.sample(start, 16, paths=3)
            again = backbone._futures.teacher_forced(start, drawn).draw(uniforms)
        assert_near(again, drawn)

    def test_samples_before_the_tokens_are_seen_through_the_lags_and_the_scale(self, backbone):
        batch = random_batch(samples=200, missing=0.0)
        farther = batch.values.clone()
        farther[..., 150] += 40.0  # no lag of the last token alone: the last 24 together see it
        assert (
            difference(
                backbone.encode(replace(batch, values=farther)).tokens,
                backbone.encode(batch).tokens,
            )
            > 1e-3
        )

    def test_a_target_beyond_one_pass_is_cut_to_it(self, backbone):
        batch = random_batch(horizon=30)
        cut = random_batch(horizon=30)
        cut.target_observed[..., TOKENS:] = False
        assert torch.equal(backbone.loss(batch), backbone.loss(cut))

    def test_an_unknown_time_is_the_middle_of_every_calendar(self, backbone):
        batch = random_batch()
        unknown = replace(batch, start_s=torch.full((3,), torch.nan, dtype=torch.float64))
        result = outputs(backbone, unknown)
        assert all(value.isfinite().all() for value in result.values())
        assert difference(result["tokens"], outputs(backbone, batch)["tokens"]) > 1e-3

    def test_whole_numbers_that_mostly_repeat_keep_a_sensible_scale(self, backbone):
        batch = random_batch(missing=0.0)
        batch.values[:] = 98.0
        batch.values[..., ::9] = 97.0
        drawn = forecast(backbone, batch, 8).quantiles(LEVELS)
        width = drawn[:, :, 2] - drawn[:, :, 0]
        assert (width > 0.01).all()
        assert (width < 10).all()


class TestLora(AdapterContract):
    config = lora.Config(rank=4)
    backbone_class = LagLlama


class TestLoraEverywhere(AdapterContract):
    config = lora.Config(rank=2, sites=EVERYWHERE)
    backbone_class = LagLlama


def test_lora_sits_on_every_linear_layer_of_the_blocks_once():
    model = AdaptedModel(LagLlama.tiny(), [lora.Config(rank=1, sites=EVERYWHERE).build()])
    adapted = {name.split(".lora_")[0] for name in model.trainable()}
    for layer in ("attn.q_proj", "attn.kv_proj", "attn.c_proj", "mlp.c_fc1", "mlp.c_fc2"):
        assert sum(name.endswith(layer) for name in adapted) == 2, layer
    assert len(adapted) == 2 * 6


# Folders


class TestCheckpoint(CheckpointContract):
    backbone_class = LagLlama
    config = Config
    fields: ClassVar = {"context": TOKENS, "samples": SAMPLES}
    misfits = ({"n_layer": 3}, {"n_layer": 1})  # more, and what is said of them, below
    parts = ("param_proj.proj.0.bias", "transformer.wte", "transformer.h.1")
    foreign = "chronos_bolt", "is not a lag_llama model: it lacks n_layer"
    nonsense: ClassVar = {"samples": 0, "rope_factor": 0.5}

    @staticmethod
    def write(backbone, folder):
        backbone.model.save_pretrained(folder)  # `save` writes upstream's own file

    def test_the_settings_come_from_the_checkpoint_and_the_recipe(self, folder):
        spec = Config(checkpoint=str(folder)).build(weights=False).spec
        assert (spec.name, spec.width, spec.layers, spec.patch) == ("lag_llama", 32, 2, 1)
        assert spec.max_context == 32 + 1092
        assert not spec.joint_channels
        assert spec.causal
        assert spec.native_tasks == {"forecast"}
        assert small(folder).build(weights=False).spec.max_context == TOKENS + 1092
        drawn = Config(checkpoint=str(folder), samples=3).build().forecast(random_batch(), 2)
        assert drawn.values.shape == (3, 3, 4, 2)

    def test_positions_are_stretched_by_the_recipe_or_else_by_the_checkpoint(
        self, tmp_path, folder
    ):
        copied(folder, tmp_path, {"rope_scaling": {"type": "linear", "factor": 2.0}})
        batch = random_batch()
        plain = small(folder).build().encode(batch).tokens
        by_file, by_recipe = small(tmp_path).build(), small(folder, rope_factor=2.0).build()
        assert torch.equal(by_file.encode(batch).tokens, by_recipe.encode(batch).tokens)
        assert difference(by_file.encode(batch).tokens, plain) > 1e-4
        assert torch.equal(small(tmp_path, rope_factor=1.0).build().encode(batch).tokens, plain)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"n_layer": 3}, "lacks 8 of the model's weights"),
            ({"n_layer": 1}, "weights too many, first transformer.h.1"),
            ({"n_embd_per_head": 8}, "lacks .* first"),
            ({"lags_seq": [0, 1, 2]}, "first transformer.wte.weight"),
            ({"time_feat": False}, "first transformer.wte.weight"),
            ({"scaling": "std"}, "scaling 'std'; only 'robust'"),
            ({"input_size": 2}, "input_size 2"),
            ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "only the type 'linear'"),
            ({"rope_scaling": {"type": "linear"}}, "with a factor"),
            ({"rope_scaling": 2.0}, "with a factor"),
            ({"n_head": "two"}, "not whole numbers"),
            ({"lags_seq": None}, "not whole numbers"),
            ({"lags_seq": []}, "not whole numbers"),
            ({"lags_seq": [0, -1]}, "negative lag"),
            ({"n_layer": 0}, "size below 1"),
        ],
    )
    def test_settings_that_do_not_fit_the_weights_or_the_network_are_refused(
        self, tmp_path, folder, change, said
    ):
        assert re.search(said, self.refused(copied(folder, tmp_path, change)))


def small(checkpoint, **fields):
    """As `tiny`, from a checkpoint."""
    return Config(checkpoint=str(checkpoint), context=TOKENS, samples=SAMPLES, **fields)


def test_a_file_that_does_not_exist_is_not_taken_for_a_hub_id():
    with pytest.raises(RecipeError, match=r"there is no file 'runs/lag-llama\.ckpt'"):
        Config(checkpoint="runs/lag-llama.ckpt").build()
