import copy
import functools
import os
import pickle
import re
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from contracts.adapter import AdapterContract
from contracts.batch import LEVELS, assert_near, assert_same, outputs, random_batch, roughened
from contracts.checkpoint import CheckpointContract, copied
from contracts.forecaster import ForecasterContract
from contracts.through import Acting, difference
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones._nets import lag_llama_futures
from tsfm_adapt.backbones._nets.lag_llama import LAGS, LagLlamaNet, StudentT
from tsfm_adapt.backbones._nets.lag_llama_inputs import robust_scale, time_features
from tsfm_adapt.backbones.lag_llama import Config, LagLlama
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel

EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
TOKENS, SAMPLES = 24, 10  # of tiny
PUBLISHED = {"n_layer": 8, "n_head": 9, "n_embd_per_head": 16, "lags_seq": list(LAGS)}


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


# The network


def test_the_published_sizes_make_the_published_number_of_parameters():
    with torch.device("meta"):
        net = LagLlamaNet(PUBLISHED)
    assert sum(p.numel() for p in net.parameters()) == 2_449_299
    assert len(net.state_dict()) == 73
    assert net.transformer["h"][0].mlp.c_fc1.weight.shape == (512, 144)


def test_the_lags_are_those_of_gluonts_without_the_six_that_it_added_later():
    from gluonts.time_feature import get_lags_for_frequency

    lags = {
        lag - 1
        for frequency in ("QE", "ME", "W", "D", "h", "min", "s")
        for lag in get_lags_for_frequency(frequency)
    }
    assert len(LAGS) == 84
    assert sorted(lags - {1, 2, 3, 4, 5, 6}) == list(LAGS)


@pytest.mark.parametrize(
    "start_s", [0, -2_000_000_000, 951_782_399, 4_107_542_399, 29_247_222_685]
)
def test_time_features_are_those_of_gluonts(start_s):
    """Before the epoch, leap days of 2000 and none of 2100, and a de-identified 2896."""
    import pandas as pd
    from gluonts.time_feature import time_features_from_frequency_str

    step, count = 7_261, 3000  # every day of 252
    index = pd.PeriodIndex([pd.Period(ordinal=start_s + step * i, freq="s") for i in range(count)])
    expected = np.stack([f(index) for f in time_features_from_frequency_str("s")], axis=-1)
    start = torch.tensor([float(start_s)], dtype=torch.float64)
    actual = time_features(start, 0, count, 1 / step)[0].numpy()
    np.testing.assert_allclose(actual, expected, atol=1e-7)
    np.testing.assert_array_equal(time_features(start, 40, 5, 1 / step)[0], actual[40:45])


def test_minutes_stay_whole_at_a_rate_that_floats_cannot_hold():
    start = torch.tensor([0.0, 29_247_222_660.0], dtype=torch.float64)
    second = time_features(start, 0, 100_000, 1 / 60)[..., 0]
    assert second.unique().tolist() == [-0.5]


@pytest.mark.parametrize("samples", [1, 2, 3, 70, 71])
def test_the_scale_is_upstreams_median_and_interquartile_range(samples):
    values = torch.randn(50, samples, generator=torch.Generator().manual_seed(3)).cumsum(-1)
    observed = torch.rand(50, samples, generator=torch.Generator().manual_seed(4)) < 0.7
    observed[0] = False
    seen = values.masked_fill(~observed, torch.nan)
    loc, scale = robust_scale(values, observed)
    median = seen.nanmedian(-1, keepdim=True).values
    low, high = (seen.nanquantile(level, dim=-1, keepdim=True) for level in (0.25, 0.75))
    assert torch.equal(loc, median.nan_to_num(0.0))
    expected = (high - low).clamp(min=1e-10).nan_to_num(1.0)
    torch.testing.assert_close(scale, expected, rtol=1e-5, atol=1e-12)


def test_the_scale_of_repeated_values_is_their_deviation_and_of_constants_the_smallest():
    values = torch.tensor([[98.0] * 9 + [95.0], [36.6] * 10, [0.0] * 10])
    loc, scale = robust_scale(values, torch.ones_like(values, dtype=torch.bool))
    assert torch.equal(loc, values[:, :1])
    torch.testing.assert_close(scale[:, 0], torch.tensor([0.9**0.5, 1e-10, 1e-10]))


def test_densities_are_those_of_torchs_student_t():
    generator = torch.Generator().manual_seed(6)
    df, loc, value = 2 + 5 * torch.rand(200, generator=generator), *torch.randn(2, 200)
    scale = 0.1 + torch.rand(200, generator=generator)
    expected = torch.distributions.StudentT(df, loc, scale).log_prob(value)
    torch.testing.assert_close(StudentT(df, loc, scale).log_prob(value), expected)


@pytest.mark.parametrize("df", [2.0, 3.0, 30.0])
def test_draws_follow_the_student_t_also_in_their_gradient(df):
    from scipy.stats import kstest, t

    uniforms = torch.rand(2, 100_000, generator=torch.Generator().manual_seed(7)).clamp(2**-25)
    parameter = torch.full((100_000,), df, requires_grad=True)
    drawn = StudentT(parameter, torch.zeros(()), torch.ones(())).draw(uniforms)
    assert kstest(drawn.detach().numpy(), "t", args=(df,)).pvalue > 0.01
    bounded = drawn.abs().clamp(max=4.0)
    (gradient,) = torch.autograd.grad(bounded.sum(), parameter)
    less, more = (t(d).expect(lambda x: min(abs(x), 4.0)) for d in (df - 0.1, df + 0.1))
    assert gradient.mean().item() == pytest.approx((more - less) / 0.2, rel=0.1)


def test_extreme_draws_are_finite_with_finite_gradients():
    edges = torch.tensor([2**-25, 0.5, 1 - 2**-24])
    uniforms = torch.cartesian_prod(edges, edges).T
    parameters = [torch.full((9,), value, requires_grad=True) for value in (2.0, 0.0, 1.0)]
    drawn = StudentT(*parameters).draw(uniforms)
    gradients = torch.autograd.grad(drawn.sum(), parameters)
    assert drawn.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


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


# Upstream's own file


def lightning_content(**more):
    """What upstream's Lightning module saves of a tiny network."""
    net = roughened(LagLlama.tiny()).model
    return {
        "state_dict": {f"model.{name}": tensor for name, tensor in net.state_dict().items()},
        "hyper_parameters": {
            "model_kwargs": {**net.settings, "num_parallel_samples": 100, "dropout": 0.0},
            "context_length": 32,
        },
        **more,
    }


@pytest.fixture
def published(tmp_path):
    path = tmp_path / "lag-llama.ckpt"
    torch.save(lightning_content(), path)
    return path


def assert_as_tiny(backbone):
    batch = random_batch()
    assert_same(outputs(backbone, batch), outputs(roughened(LagLlama.tiny()), batch))


def test_the_published_file_loads_by_itself_in_its_folder_and_from_the_hub(
    tmp_path, published, monkeypatch
):
    import huggingface_hub

    asked = []

    def download(repository, name, revision):
        asked.append((repository, name, revision))
        return str(published)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    hub = "time-series-foundation-models/Lag-Llama"
    for checkpoint in (published, tmp_path, hub):
        assert_as_tiny(small(checkpoint, revision="main").build())
    assert asked == [(hub, "lag-llama.ckpt", "main")]
    assert small(hub).build(weights=False).spec.licence == "apache-2.0"


def test_a_file_that_does_not_exist_is_not_taken_for_a_hub_id():
    with pytest.raises(RecipeError, match=r"there is no file 'runs/lag-llama\.ckpt'"):
        Config(checkpoint="runs/lag-llama.ckpt").build()


def test_objects_of_a_later_gluonts_load_as_inert_stand_ins(tmp_path):
    """Those name functools.partial, getattr and more, which torch's reader refuses."""
    from gluonts.torch.distributions import StudentTOutput

    content = lightning_content(loss=functools.partial(getattr, StudentTOutput(), "distr_cls"))
    content["hyper_parameters"]["model_kwargs"]["distr_output"] = StudentTOutput()
    torch.save(content, tmp_path / "later.ckpt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "later.ckpt", weights_only=True)
    assert_as_tiny(small(tmp_path / "later.ckpt").build())


class Attack:
    """Runs a command where it is unpickled with Python's own reader."""

    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


def attacks(marker):
    code = f"__import__('pathlib').Path({str(marker)!r}).touch()"
    return [Attack(os.system, f"touch '{marker}'"), Attack(eval, code), Attack(exec, code)]


@pytest.mark.parametrize("which", range(3))
def test_nothing_in_a_file_is_ever_run(tmp_path, which):
    marker, path = tmp_path / "it ran", tmp_path / "bad.ckpt"
    attack = attacks(marker)[which]
    pickle.loads(pickle.dumps(attack))
    assert marker.exists()  # it would
    marker.unlink()

    torch.save(lightning_content(callbacks=attack), path)
    assert_as_tiny(small(path).build())  # the rest of the file is a Lag-Llama
    torch.save(attack, path)
    with pytest.raises(RecipeError, match=re.escape(str(path))):
        Config(checkpoint=str(path)).build()
    path.write_bytes(pickle.dumps(attack))  # not in a zip file, as before torch 1.6
    with pytest.raises(RecipeError, match=re.escape(str(path))):
        Config(checkpoint=str(path)).build()
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [{}, [], {"state_dict": {}}, {"state_dict": 1, "hyper_parameters": {"model_kwargs": {}}}],
)
def test_a_checkpoint_of_something_else_is_refused_by_name(tmp_path, content):
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(RecipeError, match=re.escape(str(tmp_path))):
        Config(checkpoint=str(tmp_path / "other.ckpt")).build()


@pytest.mark.parametrize("kept", [0, 10, 3000, -300])
def test_a_checkpoint_that_was_cut_short_is_refused_by_name(tmp_path, published, kept):
    (tmp_path / "cut.ckpt").write_bytes(published.read_bytes()[:kept])
    with pytest.raises(RecipeError, match=r"cut\.ckpt"):
        Config(checkpoint=str(tmp_path / "cut.ckpt")).build()
