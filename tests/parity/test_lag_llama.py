"""Our Lag-Llama says what upstream's own class said with the same weights; float32, CPU.

Upstream does not run beside the other families, so what it returned is kept in files: beside them
is how they were made.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from contracts.batch import random_batch, roughened
from tsfm_adapt.backbones._nets.lag_llama import LAGS, LagLlamaNet
from tsfm_adapt.backbones._nets.lag_llama_inputs import robust_scale
from tsfm_adapt.backbones.lag_llama import Config, LagLlama

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "lag_llama"
needs_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the numbers of upstream's class are not beside this checkout"
)
CONTEXT, STEPS = 32, 8  # of the reference


def relative_error(actual, expected):
    """Largest difference over the largest magnitude."""
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.fixture(scope="module")
def golden():
    return load_file(REFERENCE / "golden.safetensors")


@pytest.fixture(scope="module")
def net():
    net = LagLlamaNet(json.loads((REFERENCE / "config.json").read_text()))
    net.load_state_dict(load_file(REFERENCE / "weights.safetensors"))
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def inputs(golden):
    """Scaled series, level, scale and time features, as upstream prepares them."""
    past = golden["in_past_target"]
    loc, scale = robust_scale(past, golden["in_past_observed_values"].bool())
    known = torch.cat([past, golden["in_future_target"][:, :-1]], dim=-1)
    past_time = golden["in_past_time_feat"][:, -CONTEXT:]
    time = torch.cat([past_time, golden["in_future_time_feat"][:, :-1]], dim=1)
    return (known - loc) / scale, loc, scale, time


@needs_reference
def test_the_scale_is_upstreams(golden, inputs):
    assert torch.equal(inputs[1], golden["norm_loc"])
    assert torch.equal(inputs[2], golden["norm_scale"])


@needs_reference
def test_the_lags_are_upstreams():
    assert json.loads((REFERENCE / "config.json").read_text())["lags_seq"] == list(LAGS)


@needs_reference
def test_distributions_and_states_are_upstreams(golden, net, inputs):
    predicted = net(*inputs)
    for name in ("df", "loc", "scale"):
        assert relative_error(getattr(predicted, name), golden[f"out_{name}"]) <= 1e-5, name
    states, _ = net.context(net.embed(*inputs))
    assert relative_error(states, golden["hidden"]) <= 1e-5


@needs_reference
@pytest.mark.parametrize("at_once", [1, 7])
def test_continued_from_its_context_the_states_are_upstreams_too(golden, net, inputs, at_once):
    tokens = net.embed(*inputs)
    _, context = net.context(tokens[:, :CONTEXT])
    memory, pieces = [None] * len(context), []
    for first in range(CONTEXT, tokens.shape[1], at_once):
        paths = tokens[:, None, first : first + at_once].expand(-1, 3, -1, -1)
        states, memory = net.extend(paths, context, memory)
        pieces.append(states)
    expected = golden["hidden"][:, None, CONTEXT:].expand(-1, 3, -1, -1)
    assert relative_error(torch.cat(pieces, dim=2), expected) <= 1e-5


@needs_reference
def test_the_reference_loads_as_a_folder(tmp_path, net):
    shutil.copy(REFERENCE / "config.json", tmp_path)
    shutil.copy(REFERENCE / "weights.safetensors", tmp_path / "model.safetensors")
    loaded = Config(checkpoint=str(tmp_path)).build()
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, net.state_dict()[name]), name


@needs_reference
def test_a_file_that_upstream_wrote_loads_with_the_weights_that_are_in_it():
    path = REFERENCE / "upstream_written.ckpt"
    loaded = Config(checkpoint=str(path)).build()
    names = [
        "gluonts.torch.modules.loss.NegativeLogLikelihood",
        "gluonts.torch.distributions.studentT.StudentTOutput",
    ]
    assert sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path)) == sorted(names)
    with torch.serialization.safe_globals([(type("Inert", (), {}), name) for name in names]):
        content = torch.load(path, weights_only=True)
    weights = {n.removeprefix("model."): w for n, w in content["state_dict"].items()}
    state = loaded.model.state_dict()
    assert state.keys() == weights.keys()
    assert all(torch.equal(state[name], weights[name]) for name in weights)
    assert loaded.model.lags == tuple(content["hyper_parameters"]["model_kwargs"]["lags_seq"])
    assert loaded.spec.max_context == CONTEXT + 1092


@needs_reference
def test_our_reader_of_last_resort_finds_the_same_in_it_as_torchs(monkeypatch):
    import pickle

    config = Config(checkpoint=str(REFERENCE / "upstream_written.ckpt"))
    expected = config.build()

    def refuse(*args, **kwargs):
        raise pickle.UnpicklingError

    monkeypatch.setattr(torch, "load", refuse)
    ours = config.build().model
    for name, weight in expected.model.state_dict().items():
        assert torch.equal(ours.state_dict()[name], weight), name
    assert ours.settings == expected.model.settings


# Gluonts' own way of indexing.
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence")
def test_inputs_are_assembled_as_gluonts_does_from_the_batch():
    """Lags, calendar, level and scale by gluonts' own functions, distribution and loss too."""
    import pandas as pd
    from gluonts.time_feature import time_features_from_frequency_str
    from gluonts.torch.distributions import StudentTOutput
    from gluonts.torch.util import lagged_sequence_values

    backbone = roughened(LagLlama.tiny(seed=3))
    batch = random_batch(windows=2, channels=3, samples=1092 + 24, horizon=9, missing=0.0)
    past, future = batch.values.flatten(0, 1), batch.target.flatten(0, 1)
    loc, scale = robust_scale(past, torch.ones_like(past, dtype=torch.bool))
    scaled = (torch.cat([past, future[:, :-1]], dim=-1) - loc) / scale
    lags = lagged_sequence_values(list(LAGS), scaled[:, :1092], scaled[:, 1092:], dim=-1)
    calendar = []
    for start in batch.start_s.tolist():
        minutes = pd.period_range(pd.Period(ordinal=int(start) // 60, freq="min"), periods=1124)
        features = [feature(minutes) for feature in time_features_from_frequency_str("s")]
        calendar.append(torch.from_numpy(np.stack(features, axis=-1)).float()[1092:])
    time = torch.stack(calendar).repeat_interleave(3, dim=0)
    static = torch.cat([loc.abs().log1p(), scale.log()], dim=-1)
    static = static[:, None].expand(-1, lags.shape[1], -1)
    embedded = backbone.model.transformer["wte"](torch.cat([lags, static, time], dim=-1))
    states, _ = backbone.model.context(embedded)
    raw = [each(states) for each in backbone.model.param_proj.proj]
    output = StudentTOutput()
    distribution = output.distribution(output.domain_map(*raw), loc=loc, scale=scale)
    nll = -distribution.log_prob(torch.cat([past, future], dim=-1)[:, 1093:])[:, -9:]
    expected = (nll - scale.log()).mean()  # in scaled space
    assert backbone.loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)
    tokens = backbone.encode(batch).tokens.flatten(0, 1)
    assert relative_error(tokens, states[:, :24]) <= 1e-5
