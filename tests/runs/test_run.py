"""A run by its folder: what it holds, and what its model says of other recordings."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.small_recipe import prepared, recipe
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.runs.run import Run, calibration, load, predict, predict_recordings

V0_1 = Path(__file__).parents[1] / "data" / "v0_1" / "forecast"


@pytest.fixture
def plain(tmp_path):
    """A run that adapts nothing, and so needs no training."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.yaml").write_text(dumps(recipe(adapters=[])), encoding="utf-8")
    return folder


def test_a_folder_without_a_recipe_is_no_run(tmp_path):
    with pytest.raises(DataError, match="is no run"):
        _ = Run(tmp_path).recipe


def test_a_run_has_the_recipe_that_was_written_and_no_scores_before_it_is_scored(plain):
    assert Run(plain).recipe == recipe(adapters=[])
    with pytest.raises(DataError, match="is not scored yet"):
        _ = Run(plain).scores


@pytest.mark.parametrize(
    ("noted", "smoke", "without"),
    [
        (None, False, False),
        ({"smoke": True}, True, False),
        ({"without_baselines": True}, False, True),
        ({"alone": True}, False, True),  # version 0.1
    ],
)
def test_what_a_run_notes_of_itself_is_read_back(plain, noted, smoke, without):
    if noted is not None:
        (plain / "env.json").write_text(json.dumps(noted))
    assert (Run(plain).smoke, Run(plain).without_baselines) == (smoke, without)


def test_adapters_without_trained_weights_cannot_be_loaded(plain):
    (plain / "recipe.yaml").write_text(dumps(recipe()), encoding="utf-8")
    with pytest.raises(DataError, match="tsfm-adapt resume"):
        load(plain)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_run_and_its_bundle_are_the_same_model(tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(V0_1, folder)
    inner = folder / "bundle"
    of_run, of_bundle = load(folder)[0], load(inner)[0]
    tensors = of_bundle.trainable()
    assert tensors
    assert all((tensor == tensors[name]).all() for name, tensor in of_run.trainable().items())
    ours, theirs = calibration(folder), calibration(inner)
    np.testing.assert_array_equal(ours.factors, theirs.factors)


def test_a_run_that_adapts_nothing_has_no_calibration_and_predicts(plain):
    assert calibration(plain) is None
    own = prepared().recordings["test"][0]
    table = predict_recordings(plain, [own], None).table.to_pandas()
    assert table["channel"].tolist() == ["HR"] * 16 + ["MAP"] * 16
    assert (table["origin_s"] == own.duration_s).all()
    again = Run(plain).predict([own], every_s=None)
    np.testing.assert_array_equal(again["q0.5"], table["q0.5"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": ("MAP", "HR")}, r"has MAP \(bpm\), HR \(mmHg\)"),
        ({"units": ("1", "mmHg")}, r"has HR \(1\)"),
        ({"rate_hz": 1 / 30}, r"at 0\.0333333 Hz"),
    ],
)
def test_recordings_of_other_channels_units_or_rate_are_refused(plain, changes, message):
    other = replace(prepared().recordings["test"][0], **changes)
    with pytest.raises(DataError, match=message):
        predict_recordings(plain, [other], None)


def test_recordings_shorter_than_the_context_are_refused_with_the_longest(plain):
    short = prepared().recordings["test"][0].between(0, 63, "short")
    with pytest.raises(DataError, match="the longest of 1 recordings has 63"):
        predict_recordings(plain, [short], None)


def test_a_reader_without_files_asks_how_the_input_is_read(plain):
    with pytest.raises(RecipeError, match="reader 'synthetic', which reads no files"):
        predict(plain, "ward.csv", None, None)
