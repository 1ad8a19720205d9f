"""Our MOMENT says what `momentfm.MOMENTPipeline` says with the same weights; float32.

Whole patches only: upstream hides a patch with any gap. Values are large, so that the 1e-5 that
upstream adds to each deviation is too small to see; ours has no such constant.
"""

from dataclasses import replace

import pytest
import torch

from contracts.adapter import train
from contracts.batch import random_batch, roughened
from tsfm_adapt.adapters import lora
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones._nets import moment as nets
from tsfm_adapt.backbones.moment import Config, Moment
from tsfm_adapt.heads import linear, linear_forecast
from tsfm_adapt.heads.base import pooled
from tsfm_adapt.model import AdaptedModel, Outputs

pytestmark = [
    # Upstream's advice that its other heads must be trained.
    pytest.mark.filterwarnings("ignore:Only reconstruction head is pre-trained"),
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated"),
]

WINDOW = 256  # samples, of the tiny model

TASKS = {
    "reconstruction": {},
    "forecasting": {"forecast_horizon": 24},
    "classification": {"n_channels": 4, "num_class": 3},
    "embedding": {},
}


@pytest.fixture(scope="module")
def backbone():
    return roughened(Moment.tiny(seed=3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, backbone):
    folder = tmp_path_factory.mktemp("moment")
    backbone.model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def upstream(folder):
    """Upstream's class for a task, from the folder that ours saved."""
    from momentfm import MOMENTPipeline

    def build(task, **settings):
        model = MOMENTPipeline.from_pretrained(
            folder,
            model_kwargs={"task_name": task, **TASKS[task], **settings},
        )
        model.init()
        return model.eval()

    return build


def relative_error(actual, expected):
    """Largest difference over each series' largest magnitude."""
    scale = expected.abs().amax(dim=-1, keepdim=True)
    return ((actual - expected).abs() / scale.clamp(min=1e-12)).max().item()


def full_window(windows=3, seed=0):
    batch = random_batch(windows=windows, samples=WINDOW, missing=0.0, seed=seed)
    return replace(batch, values=1000 * batch.values)


def last(batch, samples):
    """The same windows with a shorter context; upstream's `input_mask` says it by window."""
    present = torch.zeros(batch.size, WINDOW)
    present[:, WINDOW - samples :] = 1
    short = replace(
        batch, values=batch.values[..., -samples:], observed=batch.observed[..., -samples:]
    )
    return short, present


def nothing(batch):
    return torch.zeros_like(batch.observed)


def test_states_load_strict_either_way(backbone, upstream, tmp_path):
    theirs = upstream("reconstruction")
    assert list(theirs.state_dict()) == list(backbone.model.state_dict())
    for name, tensor in backbone.model.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], tensor), name
    theirs.load_state_dict(backbone.model.state_dict(), strict=True)
    Moment.tiny().model.load_state_dict(theirs.state_dict(), strict=True)


def test_a_folder_that_upstream_saved_loads(upstream, tmp_path):
    theirs = upstream("reconstruction")
    theirs.save_pretrained(tmp_path)
    loaded = Config(checkpoint=str(tmp_path)).build()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], tensor), name


def test_the_table_of_positions_is_upstreams():
    from momentfm.models.layers.embed import PositionalEmbedding

    for width in (32, 512, 768, 1024):
        assert torch.equal(nets.positions(width), PositionalEmbedding(width).pe)


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_published_sizes_have_upstreams_tensors(size):
    from momentfm.models.moment import MOMENT

    with torch.device("meta"):
        ours = nets.MomentNet(
            {"seq_len": 512, "patch_len": 8, "transformer_backbone": f"google/flan-t5-{size}"}
        )
        theirs = MOMENT(ours.settings, model_kwargs={})
    assert {n: t.shape for n, t in ours.state_dict().items()} == {
        n: t.shape for n, t in theirs.state_dict().items()
    }


@pytest.mark.parametrize("padded", [0, 8, 64, WINDOW - 8])
def test_reconstructions_equal_upstreams_with_hidden_patches_and_padding(
    backbone, upstream, padded
):
    batch = full_window(windows=2, seed=padded)
    mask = torch.ones(2, WINDOW)
    mask[0, WINDOW - 8 :] = 0
    if padded < 64:
        mask[0, 72:88] = 0
        mask[1, 96:104] = 0
    short, present = last(batch, WINDOW - padded)
    hidden = (mask == 0)[:, None, padded:].expand(short.values.shape)
    with torch.no_grad():
        theirs = upstream("reconstruction")(
            x_enc=batch.values, input_mask=present, mask=mask
        ).reconstruction
        ours = backbone.reconstruct(short, hidden).values[:, :, 0]
    # Where the only patch is hidden nothing was measured, and upstream's statistics are NaN.
    measured = (mask * present).any(-1)
    assert relative_error(ours[measured], theirs[measured][..., padded:]) <= 1e-5


@pytest.mark.parametrize("gaps", ["fill", "hide"])
def test_missing_samples_equal_upstreams_where_whole_patches_are_missing(backbone, upstream, gaps):
    """One channel a call: upstream's masks are those of a window."""
    batch = full_window()
    for channel, first in enumerate((0, 16, 40, 112)):
        batch.observed[:, channel, first : first + 16] = False
    with torch.no_grad():
        ours = Moment(backbone.model, "tiny", gaps).reconstruct(batch, nothing(batch)).values
        for channel in range(4):
            theirs = upstream("reconstruction")(
                x_enc=batch.values[:, [channel]], mask=batch.observed[:, channel].float()
            ).reconstruction
            assert relative_error(ours[:, channel], theirs) <= 1e-5


def test_hidden_partial_patches_equal_upstreams(backbone, upstream):
    """With `hide`, single missing samples too; upstream's statistics skip them alone."""
    batch = full_window()
    batch.observed[:, 1, [3, 50, 51, 99]] = False
    with torch.no_grad():
        ours = Moment(backbone.model, "tiny", "hide").reconstruct(batch, nothing(batch)).values
        theirs = upstream("reconstruction")(
            x_enc=batch.values[:, [1]], mask=batch.observed[:, 1].float()
        ).reconstruction
    assert relative_error(ours[:, 1], theirs) <= 1e-5


@pytest.mark.parametrize("steps", [1, 8, 20, 64])
@pytest.mark.parametrize("samples", [32, WINDOW])
def test_zero_shot_forecasts_equal_short_forecast(backbone, upstream, samples, steps):
    batch = full_window()
    short, present = last(batch, samples)
    with torch.no_grad():
        theirs = (
            upstream("reconstruction")
            .short_forecast(x_enc=batch.values, input_mask=present, forecast_horizon=steps)
            .forecast
        )
        ours = backbone.forecast(short, steps).values[:, :, 0]
    assert relative_error(ours, theirs) <= 1e-5


def test_embeddings_equal_upstreams(backbone, upstream):
    batch = full_window()
    with torch.no_grad():
        encoded = backbone.encode(batch)
        theirs = upstream("embedding")
        each = theirs(x_enc=batch.values, reduction="none").embeddings
        mean = theirs(x_enc=batch.values, reduction="mean").embeddings
    assert relative_error(encoded.tokens, each) <= 1e-5
    assert relative_error(pooled(encoded, "mean").mean(1), mean) <= 1e-5


@pytest.mark.parametrize("padded", [16, 96])
def test_embeddings_of_short_windows_equal_upstreams(backbone, upstream, padded):
    batch = full_window()
    short, present = last(batch, WINDOW - padded)
    with torch.no_grad():
        theirs = upstream("embedding")(x_enc=batch.values, input_mask=present).embeddings
        encoded = backbone.encode(short)
    assert relative_error(pooled(encoded, "mean").mean(1), theirs) <= 1e-5


def test_the_linear_forecast_equals_upstreams(backbone, upstream):
    batch = full_window()
    theirs = upstream("forecasting")
    outputs = Outputs(context=WINDOW, rate_hz=1.0, horizon=24)
    head = linear_forecast.Config(quantiles=(0.5,)).build()
    setting = Setting(channels=batch.channels)
    model = AdaptedModel(backbone, setting=setting, head=head, outputs=outputs)
    head.module.linear.load_state_dict(theirs.head.linear.state_dict(), strict=True)
    with torch.no_grad():
        ours = model.forecast(batch, 24).values[:, :, 0]
        expected = theirs(x_enc=batch.values).forecast
    assert relative_error(ours, expected) <= 1e-5


def test_upstreams_own_class_takes_a_trained_adapter(upstream):
    """What we train is a peft adapter of upstream's network, with nothing of ours in it."""
    from peft import (
        get_peft_model_state_dict,
        inject_adapter_in_model,
        set_peft_model_state_dict,
    )

    backbone, batch = roughened(Moment.tiny(seed=3)), full_window()
    roles = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
    model = AdaptedModel(backbone, [lora.Config(rank=4, sites=roles).build()])
    train(model, random_batch())
    tensors = get_peft_model_state_dict(model.network)
    theirs = inject_adapter_in_model(
        model.network.peft_config["default"], upstream("reconstruction")
    )
    loaded = set_peft_model_state_dict(
        theirs, {name.removeprefix("model."): tensor for name, tensor in tensors.items()}
    )
    assert not loaded.unexpected_keys
    with torch.no_grad():
        expected = theirs(x_enc=batch.values).reconstruction
        ours = backbone.reconstruct(batch, nothing(batch)).values[:, :, 0]
    assert relative_error(ours, expected) <= 1e-5


@pytest.mark.parametrize("reduction", ["concat", "mean"])
def test_the_linear_classifier_equals_upstreams(backbone, upstream, reduction):
    batch = full_window()
    theirs = upstream("classification", reduction=reduction)
    head = linear.Config(channels=reduction).build()
    outputs = Outputs(context=WINDOW, rate_hz=1.0, classes=("a", "b", "c"))
    setting = Setting(channels=batch.channels)
    model = AdaptedModel(backbone, setting=setting, head=head, outputs=outputs)
    state = theirs.head.linear.state_dict()
    if reduction == "concat":  # upstream's features are D, then C; ours C, then D
        state["weight"] = state["weight"].unflatten(1, (32, 4)).transpose(1, 2).flatten(1)
    head.module.linear.load_state_dict(state, strict=True)
    with torch.no_grad():
        ours = model.logits(batch)
        expected = theirs(x_enc=batch.values, reduction=reduction).logits
    assert relative_error(ours, expected) <= 1e-5


def test_the_reconstruction_head_is_the_pretrained_one(backbone, upstream):
    head = nets.ReconstructionHead(32, 8)
    head.load_state_dict(upstream("reconstruction").head.state_dict(), strict=True)
    assert torch.equal(head.linear.weight, backbone.model.head.linear.weight)
