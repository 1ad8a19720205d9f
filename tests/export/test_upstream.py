"""A merged checkpoint says in upstream's own class what the adapted model says; float32."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts import by_upstream
from contracts.batch import LEVELS, assert_near, random_batch, roughened
from tsfm_adapt.adapters import lora
from tsfm_adapt.backbones._packing import Context
from tsfm_adapt.backbones.base import PLAIN
from tsfm_adapt.components import built_in, component, config_class
from tsfm_adapt.model import AdaptedModel

FAMILIES = [family.__name__ for family in by_upstream.FAMILIES]
NO_GAPS = ("moirai", "moirai2", "moment", "timesfm")  # upstream fills them otherwise, or not
STEPS = 20
EVERYWHERE = ("attn.q", "attn.k", "attn.v", "attn.out", "mlp.in", "mlp.out")
needs = {"moment": "momentfm", "moirai": "uni2ts", "moirai2": "uni2ts"}


def adapted(name):
    """Random weights, and LoRA in every linear layer that is no longer zero."""
    if component("backbone", name).problem:
        pytest.skip(component("backbone", name).problem)
    backbone = config_class("backbone", name)(checkpoint="tiny").build()
    model = AdaptedModel(roughened(backbone, noise=0.1), [lora.Config(sites=EVERYWHERE).build()])
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def asked(name, longest):
    """Whole windows around 0, so that upstream's float32 statistics cost no digits."""
    missing = 0.0 if name in NO_GAPS else 0.3
    samples = longest if name == "moment" else 64  # it pads to its window
    batch = random_batch(windows=2, channels=3, samples=samples, missing=missing)
    level = torch.tensor([80.0, 120.0, 36.6])[:, None]
    values = torch.where(batch.observed, 1000 * (batch.values - level), 0.0)
    return replace(batch, values=values)


def says(name, model, batch):
    """As `by_upstream` has it."""
    with torch.no_grad():
        if name == "moirai":
            backbone = model.backbone
            context = Context.of(batch, batch.observed, backbone.spec)
            _, states = backbone._states(batch, context, -(-STEPS // 16), None, PLAIN)
            mixture = backbone._mixture(states)
            return {"weights": mixture.weights.probs, "loc": mixture.components[0].loc}
        torch.manual_seed(7)
        forecast = model.forecast(batch, STEPS)
        if name == "chronos_t5":
            return {"paths": forecast.values}
        levels = [0.5] if name == "moment" else by_upstream.LEVELS
        return {"quantiles": forecast.quantiles(levels)}


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What we and upstream say of each family, by what it is called."""
    folder = tmp_path_factory.mktemp("exported")
    ours = {}
    for name in FAMILIES:
        if importlib.util.find_spec(needs.get(name, "torch")) is None:
            continue
        model = adapted(name)
        batch = asked(name, model.backbone.spec.max_context)
        ours[name] = says(name, model, batch)
        for adapter in model.adapters:
            adapter.merge(model.backbone)
        place = folder / name
        place.mkdir()
        loading = model.backbone.save(place).replace("FOLDER", str(place))
        (place / "loading.py").write_text(loading)
        values = batch.values.masked_fill(~batch.observed, torch.nan)
        np.savez(place / "asked.npz", values=values.numpy(), steps=STEPS)
    script = Path(by_upstream.__file__)
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: (mine, np.load(folder / name / "said.npz")) for name, mine in ours.items()}


@pytest.mark.parametrize("name", FAMILIES)
def test_upstreams_class_loads_the_merged_weights_and_forecasts_the_same(said, name):
    if name not in said:
        pytest.skip(f"needs {needs[name]}")
    ours, theirs = said[name]
    assert ours.keys() == set(theirs.files)
    for part, expected in ours.items():
        found = torch.from_numpy(theirs[part])
        if part == "paths":  # (S, B, C, H): series first
            found, expected = found.permute(1, 2, 0, 3), expected.permute(1, 2, 0, 3)
        assert expected.abs().max() > 0
        assert_near(found, expected)


def test_every_backbone_is_among_them_but_the_one_whose_class_is_in_no_package():
    assert {*built_in("backbone")} - {*FAMILIES} == {"lag_llama"}


def test_a_lag_llama_file_is_what_upstreams_lightning_module_is_loaded_from(tmp_path):
    """By Lightning's own loader, as upstream's estimator calls it; nothing else is in the file."""
    import lightning.pytorch as lightning

    from tsfm_adapt.backbones._nets.lag_llama import LagLlamaNet
    from tsfm_adapt.backbones.lag_llama import Config

    model = adapted("lag_llama")
    batch = random_batch(windows=2, channels=3, samples=300)
    with torch.no_grad():
        expected = model.encode(batch).tokens, model(batch)
    for adapter in model.adapters:
        adapter.merge(model.backbone)
    loading = model.backbone.save(tmp_path)
    compile(loading, "loading", "exec")
    assert "LagLlamaModel(**sizes" in loading
    file = tmp_path / "lag-llama.ckpt"
    assert not torch.serialization.get_unsafe_globals_in_checkpoint(file)

    class Module(lightning.LightningModule):
        def __init__(self, model_kwargs, context_length):
            super().__init__()
            self.model = LagLlamaNet(model_kwargs)

    saved = torch.load(file, weights_only=True)
    sizes = saved["hyper_parameters"]["model_kwargs"]
    assert "distr_output" not in sizes
    assert "architectures" not in sizes
    loaded = Module.load_from_checkpoint(
        file, map_location="cpu", strict=True, model_kwargs=sizes, context_length=32
    )
    for name, weight in model.backbone.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], weight), name

    # Draws of many steps magnify rounding; the tokens and the likelihood are what they come from.
    again = AdaptedModel(Config(checkpoint=str(tmp_path)).build())
    with torch.no_grad():
        assert_near(again.encode(batch).tokens, expected[0])
        assert_near(again(batch), expected[1])


def test_a_lag_llama_file_keeps_how_the_recipe_stretched_its_positions(tmp_path):
    from tsfm_adapt.backbones.lag_llama import Config

    Config(context=64, rope_factor=2.5).build().save(tmp_path)
    sizes = torch.load(tmp_path / "lag-llama.ckpt")["hyper_parameters"]["model_kwargs"]
    assert sizes["rope_scaling"] == {"type": "linear", "factor": 2.5}
    assert sizes["context_length"] == 64
    batch = random_batch(windows=1, channels=2, samples=200)
    once, again = (
        AdaptedModel(Config(context=64, **settings).build())
        for settings in ({"rope_factor": 2.5}, {"checkpoint": str(tmp_path)})
    )
    with torch.no_grad():
        assert torch.equal(once.encode(batch).tokens, again.encode(batch).tokens)
        torch.manual_seed(0)
        expected = once.forecast(batch, 5).quantiles(LEVELS)
        torch.manual_seed(0)
        assert torch.equal(again.forecast(batch, 5).quantiles(LEVELS), expected)
