"""A toy network that only encodes: it has the laws of encoders, and takes adapters and heads."""

import copy

import pytest
import torch
from torch import nn

from contracts.batch import assert_near, random_batch, roughened
from contracts.encoder import EncoderContract
from contracts.head import SETTING, classified, labelled_batch, stepped
from tsfm_adapt.adapters import channel_mixer, lora, prompt
from tsfm_adapt.backbones.base import (
    PLAIN,
    TINY,
    BackboneSpec,
    Encoded,
    Encoder,
    exportable_as_graph,
    overwritten,
    per_series,
    pretrained_for,
    weights_sha256,
    with_channel_attention,
)
from tsfm_adapt.components import built_in, config_class
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.heads import label_queries, linear, linear_forecast, reconstruction
from tsfm_adapt.model import AdaptedModel, Outputs

WIDTH, PATCH, LONGEST = 16, 8, 128


class Block(nn.Module):
    """Attention over the tokens of a row, then a perceptron."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.q, self.k, self.v, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))

    def forward(self, tokens, visible):
        """Tokens (R, L, D), of which `visible` (R, L) are attended to."""
        normed = self.norm(tokens)
        scores = self.q(normed) @ self.k(normed).mT / WIDTH**0.5
        scores = scores.masked_fill(~visible[:, None], -1e9)
        tokens = tokens + self.out(scores.softmax(-1) @ self.v(normed))
        return tokens + self.mlp(tokens)


class Toy(Encoder):
    """Two blocks over patches; every channel is a series of its own."""

    def __init__(self, model, checkpoint=TINY):
        self.model = model
        self.network = nn.ModuleDict({"model": model}).eval()
        self.spec = BackboneSpec(
            name="toy",
            checkpoint=checkpoint,
            licence="apache-2.0",
            width=WIDTH,
            layers=2,
            patch=PATCH,
            max_context=LONGEST,
            joint_channels=False,
            causal=False,
        )

    @classmethod
    def tiny(cls, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = {"embed": nn.Linear(2 * PATCH, WIDTH)}
            return cls(nn.ModuleDict({**parts, "blocks": nn.ModuleList([Block(), Block()])}))

    def sites(self):
        block = r"(?:model\.)?blocks\.\d+\."
        return {
            **{f"attn.{role}": block + role for role in ("q", "k", "v", "out")},
            "mlp.in": block + r"mlp\.0",
            "mlp.out": block + r"mlp\.2",
        }

    def encode(self, batch, through=PLAIN):
        shape = batch.values.shape[:2]
        patches, shown = self._patches(batch)
        observed = shown.any(-1)
        tokens = self.model["embed"](torch.cat([patches, shown.float()], dim=-1))
        prompts = through.prefix(batch, 0, tokens)
        prompts = None if prompts is None else per_series(prompts, batch)
        for layer, block in enumerate(self.model["blocks"]):
            if (
                layer
                and prompts is not None
                and (deep := through.prefix(batch, layer, tokens)) is not None
            ):
                prompts = overwritten(prompts, per_series(deep, batch), layer)
            tokens = through.tokens(tokens, layer)
            before = 0 if prompts is None else prompts.shape[2]
            joined = tokens if prompts is None else torch.cat([prompts, tokens], dim=2)
            visible = nn.functional.pad(observed, (before, 0), value=True)
            joined = block(joined.flatten(0, 1), visible.flatten(0, 1)).unflatten(0, shape)
            prompts, tokens = joined[:, :, :before] if before else None, joined[:, :, before:]
        return Encoded(tokens.masked_fill(~observed[..., None], 0.0), observed)

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.model.state_dict(), folder / "model.pt")
        return 'import torch\nmodel = torch.load("FOLDER/model.pt", weights_only=True)'

    def _patches(self, batch):
        """Scaled values and what was observed (B, C, P, patch), padded on the left."""
        observed = batch.observed[..., -LONGEST:]
        values = torch.where(observed, batch.values[..., -LONGEST:], 0.0)
        count = observed.sum(-1, keepdim=True).clamp(min=1)
        centred = torch.where(observed, values - values.sum(-1, keepdim=True) / count, 0.0)
        scale = (centred.square().sum(-1, keepdim=True) / count).sqrt().detach()
        scaled = centred / scale.where(scale > 1e-5 * values.abs().amax(-1, keepdim=True), 1e30)
        padding = (-values.shape[-1] % PATCH, 0)
        return (
            nn.functional.pad(scaled, padding).unflatten(-1, (-1, PATCH)),
            nn.functional.pad(observed, padding, value=False).unflatten(-1, (-1, PATCH)),
        )


class TestToy(EncoderContract):
    backbone_class = Toy


@pytest.fixture
def backbone():
    return roughened(Toy.tiny())


# Adapters and heads


@pytest.mark.parametrize("head", [linear.Config(), label_queries.Config(heads=4)])
def test_it_learns_classes_with_a_head_and_lora(backbone, head):
    before = {name: w.clone() for name, w in backbone.network.state_dict().items()}
    adapter = lora.Config(rank=2).build()
    model = classified(head, backbone, [adapter])
    trained = {name for name in model.trainable() if "lora_" in name}
    assert trained
    losses = stepped(model, labelled_batch(12), steps=30)
    assert losses[-1] < 0.5 * losses[0]
    kept = {name.replace(".base_layer", ""): w for name, w in model.network.state_dict().items()}
    assert all(torch.equal(kept[name], w) for name, w in before.items())


@pytest.mark.parametrize("adapter", [prompt.Config(), channel_mixer.Config(form="attention")])
def test_adapters_of_tokens_learn_behind_a_head(backbone, adapter):
    model = classified(linear.Config(), backbone, [adapter.build()])
    before = {name: p.detach().clone() for name, p in model.trainable().items()}
    stepped(model, labelled_batch(12), steps=2)
    assert all(not torch.equal(p, before[name]) for name, p in model.trainable().items())


@pytest.mark.parametrize("context", [72, 200])
def test_a_head_forecasts_for_it(backbone, context):
    batch = random_batch(channels=3, samples=context, horizon=12)
    outputs = Outputs(context, batch.rate_hz, horizon=12)
    head = linear_forecast.Config().build()
    model = AdaptedModel(backbone, setting=SETTING, head=head, outputs=outputs)
    assert model.forecast(batch, 12).quantiles((0.5,)).shape == (3, 3, 1, 12)
    losses = stepped(model, batch, steps=20)
    assert losses[-1] < losses[0]


def test_a_head_fills_for_it(backbone):
    batch = random_batch(channels=3, samples=72)
    head = reconstruction.Config().build()
    outputs = Outputs(72, batch.rate_hz)
    model = AdaptedModel(backbone, setting=SETTING, head=head, outputs=outputs)
    assert model.reconstruct(batch).quantiles((0.5,)).shape == (3, 3, 1, 72)


# What it cannot do


@pytest.mark.parametrize(
    ("call", "purpose", "task", "known"),
    [
        (lambda model, batch: model.forecast(batch, 4), "a forecast", "forecast", "chronos2"),
        (lambda model, batch: model(batch), "a training loss", "forecast", "chronos2"),
        (lambda model, batch: model.reconstruct(batch), "a reconstruction", "impute", "moment"),
    ],
)
def test_what_needs_a_native_head_says_so_and_what_to_do(backbone, call, purpose, task, known):
    model = AdaptedModel(backbone, [lora.Config(rank=2).build()])
    with pytest.raises(RecipeError) as refused:
        call(model, random_batch())
    text = str(refused.value)
    assert text.startswith(f"backbone: {purpose} without a head needs a backbone pretrained for")
    assert f"for task {task}; toy is pretrained for no task, it only encodes." in text
    assert f"Add a head for the task, or use one of {', '.join(pretrained_for(task))}." in text
    assert known in pretrained_for(task)


def test_it_is_encoded_without_a_head_all_the_same(backbone):
    batch, bare = random_batch(), copy.deepcopy(backbone)
    assert_near(AdaptedModel(backbone).encode(batch).tokens, bare.encode(batch).tokens, 1e-6)


# What files say of their classes


def test_lists_by_capability_are_parts_of_the_list_of_all():
    everything = set(built_in("backbone"))
    assert set(pretrained_for("impute")) < everything
    assert set(exportable_as_graph()) < set(pretrained_for("forecast")) <= everything
    assert set(with_channel_attention()) < everything


@pytest.mark.parametrize("name", built_in("backbone"))
def test_lists_by_capability_agree_with_the_classes(name):
    pytest.importorskip("uni2ts" if name.startswith("moirai") else "torch")
    built = config_class("backbone", name)(checkpoint=TINY).build()
    assert ("forecast" in built.spec.native_tasks) == (name in pretrained_for("forecast"))
    assert ("impute" in built.spec.native_tasks) == (name in pretrained_for("impute"))
    assert (not built.no_graph) == (name in exportable_as_graph())


# Weights


@pytest.mark.parametrize("change", ["value", "name", "shape", "precision"])
def test_any_other_weights_have_another_hash(change):
    layer = nn.Linear(4, 4).half()
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    before = weights_sha256(layer)
    assert weights_sha256(copy.deepcopy(layer)) == before
    if change == "value":
        with torch.no_grad():
            layer.weight[3, 3] = 6e-8  # the least number of half precision
    elif change == "name":
        layer = nn.Sequential(layer)
    elif change == "shape":
        layer.weight = nn.Parameter(layer.weight.detach().reshape(2, 8))
    else:
        layer = layer.bfloat16()  # zeros of the same bytes
    assert weights_sha256(layer) != before
