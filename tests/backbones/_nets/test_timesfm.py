"""TimesFM in other sizes: what a folder states of them."""

import json
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from tsfm_adapt.backbones._nets.timesfm import Sizes, network, sizes_of, untrained, write
from tsfm_adapt.backbones.timesfm import Config
from tsfm_adapt.errors import RecipeError


def test_without_sizes_it_is_the_published_model(monkeypatch, tmp_path):
    """Upstream's own config.json holds the arguments of its constructor only."""
    from timesfm.timesfm_2p5.timesfm_2p5_torch import TimesFM_2p5_200M_torch_module

    from tsfm_adapt.backbones import timesfm

    (tmp_path / "config.json").write_text('{"torch_compile": true}')
    monkeypatch.setattr(timesfm, "fetch", lambda source, name, revision: tmp_path / name)
    published = Config(checkpoint="google/timesfm-2.5-200m-pytorch").build(weights=False)
    spec = published.spec
    assert (spec.width, spec.layers, spec.max_context) == (1280, 20, 16384)
    assert spec.licence == "apache-2.0"
    with torch.device("meta"):
        upstream = TimesFM_2p5_200M_torch_module()
    assert {n: t.shape for n, t in published.model.state_dict().items()} == {
        n: t.shape for n, t in upstream.state_dict().items()
    }
    assert asdict(published.model.config) == asdict(upstream.config)


SMALL = Sizes(width=16, layers=1, heads=2, output_patch=32, quantile_steps=64, max_context=128)


def test_a_folder_that_is_written_states_its_sizes_and_holds_its_weights(tmp_path):
    model = network(SMALL)
    assert write(model, tmp_path) == SMALL
    settings = json.loads((tmp_path / "config.json").read_text())
    assert sizes_of("here", settings) == SMALL
    saved = load_file(tmp_path / "model.safetensors")
    assert saved.keys() == model.state_dict().keys()
    again = network(sizes_of("here", settings))
    again.load_state_dict(saved)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in saved.items())


def test_a_fresh_network_has_open_norms():
    scales = [p for n, p in untrained(SMALL).named_parameters() if n.endswith("ln.scale")]
    assert scales
    assert all((scale == 1).all() for scale in scales)


def test_where_nothing_is_stated_sizes_are_those_that_were_published():
    assert sizes_of("here", {}) == sizes_of("here", {"torch_compile": True}) == Sizes()
    for settings in ({"tsfm_adapt": {"layers": 0}}, {"tsfm_adapt": {"depth": 2}}, [1]):
        with pytest.raises(RecipeError, match="'here' is not a timesfm model: tsfm_adapt"):
            sizes_of("here", settings)
