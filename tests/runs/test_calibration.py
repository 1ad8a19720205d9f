"""Calibrated intervals in a run and its bundle."""

import json
from dataclasses import replace

import pytest

from tsfm_adapt.evaluation.scores import CalibrationScores


@pytest.fixture(scope="module")
def tree():
    return {
        "name": "banded",
        "data": {
            "reader": {"name": "synthetic", "cohort": "icu_vitals", "subjects": 20, "hours": 5},
            "channels": {"HR": "bpm", "MAP": "mmHg"},
            "rate_hz": "1/60",
            "split": {"by": "subject", "train": 0.5, "val": 0.3, "test": 0.2},
        },
        "backbone": {"name": "chronos_bolt", "checkpoint": "embedded"},
        "adapters": [{"name": "lora", "rank": 2}],
        "task": {"name": "forecast", "context_s": 3600, "horizon_s": 900},
        "train": {"steps": 2, "batch_size": 4, "accelerator": "cpu"},
    }


@pytest.fixture(scope="module")
def trained(tree, tmp_path_factory):
    """Trains the tree, changed, with its test windows as they are or others; a Run."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.recipe.parts import prepare
    from tsfm_adapt.recipe.schema import Recipe
    from tsfm_adapt.runs import lifecycle

    def train(other_test=None, **evaluate):
        recipe = Recipe.model_validate({**tree, "evaluate": evaluate})
        prepared = prepare(recipe)
        if other_test is not None:
            changed = [
                replace(r, values=other_test(r.values)) for r in prepared.recordings["test"]
            ]
            windows = recipe.task.build().windows(changed, recipe.data.rate_hz, "test")
            prepared = replace(prepared, windows={**prepared.windows, "test": windows})
        folder = tmp_path_factory.mktemp("runs")
        return lifecycle.train(
            recipe, folder, Progress(quiet=True), without_baselines=True, prepared=prepared
        )

    return train


@pytest.fixture(scope="module")
def run(trained):
    return trained()


def test_scores_have_both_coverages_and_the_bundle_keeps_the_factors(run):
    from tsfm_adapt.runs.bundle import read_card
    from tsfm_adapt.runs.run import calibration

    found = run.scores.calibration.model_dump(exclude_unset=True)
    assert (found["split"], found["subjects"]) == ("val", 6)
    assert found["not_calibrated"] == {}
    for bands in (found["overall"], *found["channels"].values()):
        assert 0 <= bands["coverage80"] <= 1
    assert found["channels"]["HR"]["width80"] == pytest.approx(
        run.scores.models["adapted"].channels["HR"]["width80"] * found["factors"]["HR"]["80"]
    )
    assert read_card(run.folder / "bundle").calibrated == (0.8,)
    kept = calibration(run.folder)
    assert kept.factors[:, 0].tolist() == [found["factors"][c]["80"] for c in ("HR", "MAP")]
    assert "calibrated" in (run.folder / "bundle" / "README.md").read_text(encoding="utf-8")


def test_test_windows_cannot_change_the_calibration_and_it_cannot_change_their_scores(
    run, trained
):
    changed = trained(other_test=lambda values: values[:, ::-1] * 1.5)
    assert changed.scores.calibration.factors == run.scores.calibration.factors
    without = trained(conformal=False)
    assert without.scores.calibration is None
    assert without.scores.models == run.scores.models
    assert changed.scores.models != run.scores.models


def test_predict_gives_calibrated_bands_unless_asked_for_raw_ones(run, tmp_path):
    from tsfm_adapt.runs.run import calibration, predict

    rows = ["time_s,HR,MAP"] + [f"{60 * i},{80 + i % 7},{70 + i % 11}" for i in range(80)]
    (tmp_path / "bed.csv").write_text("\n".join(rows), encoding="utf-8")
    reader = {
        **{"name": "csv", "layout": "wide", "units": {"HR": "bpm", "MAP": "mmHg"}},
        **{"time": "time_s", "time_format": "seconds"},
    }
    raw, plain = (
        predict(run.folder, str(tmp_path / "bed.csv"), reader, None, raw=raw).to_pandas()
        for raw in (True, False)
    )
    assert (plain["q0.5"] == raw["q0.5"]).all()
    for channel, factors in zip(("HR", "MAP"), calibration(run.folder).factors, strict=True):
        own, calibrated = raw[raw.channel == channel], plain[plain.channel == channel]
        width = (own["q0.9"] - own["q0.5"]).to_numpy()
        found = (calibrated["q0.9"] - calibrated["q0.5"]).to_numpy()
        assert found == pytest.approx(width * factors[0], rel=1e-3)


def test_too_few_validation_subjects_leave_the_bands_with_the_reason(trained, tree):
    from tsfm_adapt.runs.run import calibration

    split = {"by": "subject", "train": 0.7, "val": 0.1, "test": 0.2}
    tree["data"]["split"], before = split, tree["data"]["split"]
    try:
        run = trained()
    finally:
        tree["data"]["split"] = before
    assert run.scores.calibration.reason == (
        "the validation split has windows of 2 subjects, 5 are needed"
    )
    assert calibration(run.folder) is None


def test_a_bundle_from_before_calibration_has_none_and_a_broken_one_is_refused(run, tmp_path):
    import shutil

    from tsfm_adapt.errors import DataError
    from tsfm_adapt.runs.run import calibration

    shutil.copytree(run.folder / "bundle", tmp_path / "old")
    path = tmp_path / "old" / "bundle.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(content | {"channels": ["HR"]}), encoding="utf-8")
    with pytest.raises(DataError, match="names calibrated intervals"):
        calibration(tmp_path / "old")
    del content["calibrated"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert calibration(tmp_path / "old") is None


def test_the_outcome_says_what_bands_cover_before_and_after(run, capsys, monkeypatch):
    from tsfm_adapt.cli.outcome import show

    show(run, as_json=False)
    now = run.scores.calibration.overall["coverage80"]
    raw = run.scores.models["adapted"].overall["coverage80"]
    printed = capsys.readouterr().out
    assert (
        f"coverage of the 80 % prediction interval: {raw:.2f}, calibrated {now:.2f}\n" in printed
    )
    nothing = CalibrationScores(windows=0, subjects=0, reason="the val split is empty")
    other = run.scores.model_copy(update={"calibration": nothing})
    monkeypatch.setattr(type(run), "scores", property(lambda _: other))
    show(run, as_json=False)
    printed = capsys.readouterr().out
    assert "prediction intervals not calibrated: the val split is empty\n" in printed
