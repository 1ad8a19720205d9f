"""The recipes on real recordings: windows, scales and baselines as published beside the data.

`protocols.json` states neither the penalty of its ridge nor the windows that it was fitted on.
Ours agrees within 1 % in MASE; channels differ by up to 8 % (SpO2 of one patient), both ways.
"""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tsfm_adapt.baselines.forecasters import default_baselines
from tsfm_adapt.evaluation.base import counted
from tsfm_adapt.evaluation.forecast_errors import (
    concatenate,
    forecast_errors,
    mase_scale,
    summarise,
)
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.signals.windows import Windows

ROOT = Path(__file__).parents[2]
DATA = ROOT / ".." / "shared" / "data"
pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the development recordings are not beside this checkout"
)

# The protocol fits on one stretch where the recipe keeps the end of it for validation.
ONE_STRETCH = ("data.split.train=0.6", "data.split.val=0")
SETS = {"icu_minute": ONE_STRETCH, "glucose": (), "icu_hourly": ()}
RIDGE_CHANNEL = {"icu_minute": 0.08, "glucose": 0.01, "icu_hourly": 0.04}


@pytest.fixture(params=list(SETS))
def protocol(request, monkeypatch):
    """What is published of one protocol, and what the recipe's parts give."""
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(DATA))
    if request.param == "icu_minute":
        pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")
    return SimpleNamespace(
        name=request.param, published=published(request.param), **vars(measured(request.param))
    )


def published(name):
    return json.loads((DATA / "protocols.json").read_text())[name]


@cache
def measured(name, sets=None):
    recipe = load(ROOT / "recipes" / f"{name}_forecast.yaml", SETS[name] if sets is None else sets)
    parts, task = prepare(recipe), recipe.task.build()
    test = parts.windows["test"]
    fitted = default_baselines(Windows(parts.fit, task.window(recipe.data.rate_hz, "train")))
    pieces = {baseline: [] for baseline in fitted}
    for index in np.array_split(np.arange(len(test)), 5):
        arrays = test.gather(index)
        for baseline, model in fitted.items():
            point = model.predict(arrays.values, arrays.observed, test.spec.horizon)
            pieces[baseline].append(
                forecast_errors(
                    point[:, :, None],
                    (0.5,),
                    arrays.target,
                    arrays.target_observed,
                    counted(arrays, 1),
                    arrays.subjects,
                )
            )
    return SimpleNamespace(
        windows=test,
        scale=mase_scale(parts.fit),
        channels=tuple(recipe.data.channels),
        errors={baseline: concatenate(p) for baseline, p in pieces.items()},
    )


def scores(protocol, baseline, steps):
    units = [""] * len(protocol.channels)
    return summarise(
        protocol.errors[baseline], protocol.channels, units, protocol.scale, int(steps)
    )


def test_windows_are_exactly_those_of_the_protocol(protocol):
    assert len(protocol.windows) == protocol.published["windows"]
    spec = protocol.windows.spec
    assert (spec.context, spec.horizon) == (
        protocol.published["context"],
        protocol.published["horizon"],
    )
    assert protocol.channels == tuple(protocol.published["channels"])


def test_scales_are_those_of_the_fit_part(protocol):
    expected = list(protocol.published["mase_scale"].values())
    assert protocol.scale == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("baseline", ["last_value", "mean_of_context", "mean_of_last_15"])
def test_simple_baselines_score_as_published(protocol, baseline):
    for steps, by_baseline in protocol.published["scores_by_horizon_steps"].items():
        found, expected = scores(protocol, baseline, steps), by_baseline[baseline]
        assert found.overall["mase"] == pytest.approx(expected["mase"], rel=1e-4)
        for channel, mae in expected["mae"].items():
            assert found.channels[channel]["mae"] == pytest.approx(mae, rel=2e-4), channel


def test_the_ridge_scores_as_published_within_one_percent(protocol):
    for steps, by_baseline in protocol.published["scores_by_horizon_steps"].items():
        found, expected = scores(protocol, "ridge", steps), by_baseline["ridge"]
        assert found.overall["mase"] == pytest.approx(expected["mase"], rel=0.01)
        for channel, mae in expected["mae"].items():
            assert found.channels[channel]["mae"] == pytest.approx(
                mae, rel=RIDGE_CHANNEL[protocol.name]
            ), channel


def test_the_recipe_of_one_patient_keeps_the_protocol_with_a_validation_stretch(monkeypatch):
    monkeypatch.setenv("TSFM_ADAPT_DATA", str(DATA))
    pytest.importorskip("wfdb", reason="the extra 'wfdb' is not installed")
    whole, recipe = measured("icu_minute"), measured("icu_minute", ())
    assert recipe.windows.origins_sha256() == whole.windows.origins_sha256()
    # The pair over the border of train and validation is not seen.
    assert recipe.scale == pytest.approx(whole.scale, rel=1e-3)
    for steps, by_baseline in published("icu_minute")["scores_by_horizon_steps"].items():
        for baseline, expected in by_baseline.items():
            found = scores(recipe, baseline, steps).overall["mase"]
            assert found == pytest.approx(expected["mase"], rel=0.01), baseline
