"""onnxruntime says what the adapted model says, of any number of windows and with gaps."""

import json

import pytest
import torch

pytest.importorskip("onnxscript", reason="needs the extra export")
pytest.importorskip("onnxruntime", reason="needs the extra export")

from contracts.batch import random_batch, roughened
from tsfm_adapt.adapters import lora, prompt
from tsfm_adapt.components import built_in, component, config_class
from tsfm_adapt.errors import EnvironmentProblem, RecipeError
from tsfm_adapt.export import onnx as graph
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.runs.bundle import Card

GRAPHS = ("chronos2", "chronos_bolt", "moment", "timesfm")
SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in GRAPHS[1:]]  # 15 s of tracing each
CONTEXT, HORIZON, LEVELS = 64, 12, (0.1, 0.5, 0.9)
CARD = Card(
    channels=("a", "b", "c"),
    units=("bpm", "%", "mV"),
    rate_hz=1 / 60,
    context=CONTEXT,
    horizon=HORIZON,
    quantiles=LEVELS,
    backbone="",
    checkpoint="tiny",
    revision=None,
    base_sha256="",
    licence="apache-2.0",
    synthetic=True,
    versions={},
)


def adapted(name, *adapters):
    """The same random weights for the same arguments, with adapters that are no longer zero."""
    torch.manual_seed(0)
    backbone = config_class("backbone", name)(checkpoint="tiny").build()
    model = AdaptedModel(roughened(backbone), adapters)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def windows(number, seed):
    """With single and long gaps, and a channel that was never measured."""
    batch = random_batch(number, 3, CONTEXT, HORIZON, missing=0.3, seed=seed)
    batch.observed[0, 1] = False
    return batch


def relative_error(model, run, batch):
    with torch.no_grad():
        expected = model.forecast(batch, HORIZON).quantiles(LEVELS).movedim(2, 3)
    found = run(batch.values.masked_fill(~batch.observed, torch.nan))
    assert found.shape == (batch.size, 3, HORIZON, 3)
    scale = expected.abs().amax((2, 3), keepdim=True)
    return ((found - expected).abs() / scale.clamp(min=1e-12)).max().item()


@pytest.mark.parametrize("name", [*GRAPHS[:1], *SLOW])
def test_a_graph_forecasts_what_the_adapted_model_forecasts(tmp_path, capfd, name):
    model, traced = adapted(name, lora.Config().build()), adapted(name, lora.Config().build())
    for adapter in traced.adapters:
        adapter.merge(traced.backbone)
    assert graph.write(traced, CARD, tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    run = graph.Graph.open(tmp_path / "model.onnx", dynamic=True)
    for number, seed in ((1, 1), (3, 2), (5, 3)):
        assert relative_error(model, run, windows(number, seed)) <= 1e-5
    said = run.session.get_modelmeta().custom_metadata_map
    assert json.loads(said["channels"]) == ["a", "b", "c"]
    assert json.loads(said["quantiles"]) == [0.1, 0.5, 0.9]
    assert float(said["rate_hz"]) == 1 / 60


@pytest.mark.slow
def test_prompts_are_traced_with_the_rest(tmp_path):
    """They have no change of the base weights that is equivalent."""
    model, traced = (adapted("chronos_bolt", prompt.Config(tokens=4).build()) for _ in range(2))
    dynamic = graph.write(traced, CARD, tmp_path / "model.onnx")
    run = graph.Graph.open(tmp_path / "model.onnx", dynamic)
    assert relative_error(model, run, windows(3, 1)) <= 1e-5
    plain = adapted("chronos_bolt")
    assert relative_error(plain, run, windows(3, 1)) > 1e-3


@pytest.mark.parametrize("name", [name for name in built_in("backbone") if name not in GRAPHS])
def test_the_other_families_are_refused_with_the_reason(tmp_path, name):
    if component("backbone", name).problem:
        pytest.skip(component("backbone", name).problem)
    model = adapted(name)
    with pytest.raises(
        RecipeError, match=f"{name} cannot be a graph of fixed shapes: .* Export the merged"
    ):
        graph.write(model, CARD, tmp_path / "model.onnx")


def test_missing_packages_come_with_the_command(monkeypatch):
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name)
    )
    with pytest.raises(
        EnvironmentProblem, match=r"onnxruntime: pip install 'tsfm-adapt\[export\]'"
    ):
        graph.check_installed()


@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_running_extremes_are_torchs(dtype, dim):
    values = torch.randint(-50, 50, (7, 13), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(graph._running_max(values, dim)[0], values.cummax(dim).values)
    assert torch.equal(graph._running_min(values, dim)[0], values.cummin(dim).values)
