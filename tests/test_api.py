import subprocess
import sys

import numpy as np
import pytest

import tsfm_adapt
from tsfm_adapt import Recipe, Recording, Run, compare, load_backbone, prepare, train, zero_shot
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import DataError, RecipeError

TREE = {
    "name": "small",
    "data": {
        "reader": {"name": "synthetic", "subjects": 9, "hours": 4},
        "channels": {"HR": "bpm", "MAP": "mmHg"},
        "rate_hz": 1 / 60,
    },
    "backbone": {"name": "chronos_bolt", "checkpoint": "tiny"},
    "adapters": [{"name": "lora"}],
    "task": {"name": "forecast", "context_s": 3840, "horizon_s": 960},
    "train": {"steps": 2, "batch_size": 4},
    "evaluate": {"max_windows": 20},
}
QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def recipe():
    return Recipe.from_dict(TREE)


@pytest.fixture(scope="module")
def run(recipe, tmp_path_factory):
    return train(recipe, tmp_path_factory.mktemp("runs"), QUIET)


def test_the_package_is_imported_at_once_and_without_torch():
    code = (
        "import sys, time; start = time.perf_counter(); import tsfm_adapt;"
        "spent = time.perf_counter() - start;"
        "heavy = {'torch', 'pandas', 'numpy', 'pydantic', 'matplotlib'} & sys.modules.keys();"
        "assert not heavy, heavy; assert spent < 0.3, spent"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists_and_no_other():
    for name in tsfm_adapt.__all__:
        assert getattr(tsfm_adapt, name) is not None
        assert name in dir(tsfm_adapt)
    with pytest.raises(AttributeError, match="has no attribute 'load_backbones'"):
        _ = tsfm_adapt.load_backbones


def test_a_recipe_is_the_same_from_a_file_and_from_a_mapping(tmp_path, recipe):
    import yaml

    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(TREE))
    assert Recipe.load(path) == recipe
    assert Recipe.load(str(path), ["train.steps=5"]).train.steps == 5
    with pytest.raises(
        RecipeError, match=r"backbone\.name: there is no backbone named 'chronos3'"
    ):
        Recipe.from_dict(TREE | {"backbone": {"name": "chronos3"}})


def test_a_run_predicts_recordings_as_it_predicts_their_file(run, recipe, tmp_path):
    recordings = prepare(recipe).recordings["test"]
    found = run.predict(recordings, every_s=960)
    assert set(found["recording"]) == {recording.id for recording in recordings}
    assert found["origin_s"].max() == recordings[0].duration_s
    one = recordings[0]
    columns = {"time_s": np.arange(one.samples) * 60.0, "subject": one.subject}
    columns |= dict(zip(one.channels, one.values, strict=True))
    import pandas

    path = tmp_path / "one.csv"
    pandas.DataFrame(columns).to_csv(path, index=False)
    units = {"HR": "bpm", "MAP": "mmHg"}
    reader = {"name": "csv", "layout": "wide", "units": units, "subject": "subject"}
    from_file = run.predict(path, reader=reader | {"time": "time_s"})
    in_memory = run.predict([one])
    np.testing.assert_allclose(from_file["q0.5"], in_memory["q0.5"], rtol=1e-6)


def test_a_run_refuses_recordings_of_another_kind(run, recipe):
    own = prepare(recipe).recordings["test"][0]
    turned = Recording(
        "turned", "p", own.values[::-1], own.channels[::-1], own.units[::-1], own.rate_hz
    )
    with pytest.raises(DataError, match=r"has MAP \(mmHg\), HR \(bpm\) at 0.0166667 Hz; the"):
        run.predict([turned])
    with pytest.raises(DataError, match="needs 64 samples of context"):
        run.predict([own.between(0, 30, "short")])
    with pytest.raises(DataError, match="the longest of 0 recordings"):
        run.predict([])


def test_zero_shot_is_the_backbone_in_a_run_that_adapts_nothing(recipe, tmp_path):
    own = prepare(recipe).recordings["test"]
    plain = train(recipe.override({"adapters": []}), tmp_path, QUIET, smoke=True)
    backbone = load_backbone("chronos_bolt", "tiny")
    found = zero_shot(backbone, own, context_s=3840, horizon_s=960)
    ours = [f"q{level:g}" for level in recipe.task.build().levels]
    theirs = Run(plain.folder).predict(own)
    common = [name for name in ours if name in found]
    assert common
    np.testing.assert_allclose(found[common], theirs[common], rtol=1e-6)


def test_zero_shot_says_what_does_not_fit(recipe):
    own, backbone = prepare(recipe).recordings["test"], load_backbone("chronos_bolt", "tiny")
    with pytest.raises(DataError, match="context_s=36000 s is longer than every recording"):
        zero_shot(backbone, own, context_s=36000, horizon_s=960)
    with pytest.raises(RecipeError, match="context_s: 90 s"):
        zero_shot(backbone, own, context_s=90, horizon_s=960)
    with pytest.raises(RecipeError, match="quantiles"):
        zero_shot(backbone, own, context_s=3840, horizon_s=960, quantiles=(2.0,))
    with pytest.raises(RecipeError, match="no backbone named 'chronos3'"):
        load_backbone("chronos3")


def test_a_comparison_is_a_table_whose_runs_can_be_opened(recipe, tmp_path):
    table = compare(recipe, adapters=["none", "lora"], folder=tmp_path, progress=QUIET)
    metric = table.columns[0]
    assert metric == "mase"
    assert list(table[metric]) == sorted(table[metric])
    adapted = table[table["trained_parameters"] > 0]
    assert len(adapted) == 1
    assert adapted["gain"].notna().all()
    folder = adapted["run"].iloc[0]
    assert Run(folder).model().trainable()
    baselines = table[table["run"].isna()]
    assert "ridge" in set(baselines.index)
    again = compare(recipe, adapters=["none", "lora"], folder=tmp_path, progress=QUIET)
    assert list(again["run"].dropna()) == list(table["run"].dropna())
