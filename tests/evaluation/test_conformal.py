"""Calibrated bands cover what they say over new subjects, and nothing else of a forecast moves."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.evaluation.conformal import MIN_WINDOWS, Conformal, fit, pairs
from tsfm_adapt.evaluation.scores import CalibrationScores

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
NORMAL = np.array([-1.645, -1.2816, 0.0, 1.2816, 1.645])


def forecasts(generator, count, width=1.0, steps=1):
    """Quantiles (N, 1, 5, H) `width` times as wide as the noise has them, and what came."""
    level = generator.normal(80, 10, (count, steps))
    noise = generator.uniform(0.5, 8, (count, steps))
    quantiles = level[:, None] + width * noise[:, None] * NORMAL[:, None]
    target = level + noise * generator.normal(size=level.shape)
    return quantiles[:, None], target[:, None]


def names(count, each=1):
    return tuple(f"p{i // each}" for i in range(count))


def fitted(quantiles, target, subjects=None, scored=None):
    scored = np.ones(target.shape, dtype=bool) if scored is None else scored
    return fit(quantiles, LEVELS, target, scored, subjects or names(len(target)))


def covered(quantiles, target, low, high):
    return float(((target >= quantiles[:, :, low]) & (target <= quantiles[:, :, high])).mean())


@pytest.mark.parametrize("width", [0.4, 1.0, 2.5])
def test_coverage_of_exchangeable_subjects_is_nominal(width):
    """Of n calibration subjects on average between nominal and nominal + 1 / (n + 1)."""
    generator = np.random.default_rng(3)
    count, inner, outer = 60, [], []
    for _ in range(300):
        conformal = fitted(*forecasts(generator, count, width))
        quantiles, target = forecasts(generator, 200, width)
        calibrated = conformal(quantiles)
        inner.append(covered(calibrated, target, 1, 3))
        outer.append(covered(calibrated, target, 0, 4))
    for found, nominal in ((inner, 0.8), (outer, 0.9)):
        error = 3 * np.std(found) / np.sqrt(len(found))
        assert nominal - error <= np.mean(found) <= nominal + 1 / (count + 1) + error


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    inner=st.floats(0.0, 10.0),
    outer=st.one_of(st.floats(0.0, 10.0), st.just(float("nan"))),
)
def test_the_median_is_untouched_and_levels_never_cross(seed, inner, outer):
    generator = np.random.default_rng(seed)
    quantiles = np.sort(generator.normal(0, 5, (4, 2, 5, 3)), axis=2).astype(np.float32)
    factors = np.array([[outer, inner, 1.0, inner, outer]] * 2)
    found = Conformal(LEVELS, factors, (None, None))(quantiles)
    assert np.array_equal(found[:, :, 2], quantiles[:, :, 2])
    assert (np.diff(found, axis=2) >= 0).all()
    assert found.dtype == quantiles.dtype


def test_a_factor_of_one_changes_no_bit():
    quantiles, _ = forecasts(np.random.default_rng(0), 5, steps=4)
    assert np.array_equal(Conformal(LEVELS, np.ones((1, 5)), (None,))(quantiles), quantiles)


def test_units_do_not_matter():
    quantiles, target = forecasts(np.random.default_rng(1), 50, width=0.5, steps=3)
    plain, other = fitted(quantiles, target), fitted(quantiles * 7.5 - 3, target * 7.5 - 3)
    assert plain.factors == pytest.approx(other.factors, rel=1e-9)
    assert (plain.factors[0, [0, 1, 3, 4]] > 1.3).all()  # half as wide as they should be


def test_every_subject_counts_the_same_however_long_it_was_measured():
    """One long quiet stay among nine short restless ones; all windows alike it would decide."""
    generator = np.random.default_rng(2)
    quiet, restless = forecasts(generator, 5000, width=4.0), forecasts(generator, 270, width=0.5)
    quantiles, target = (np.concatenate(both) for both in zip(quiet, restless, strict=True))
    subjects = ("long",) * 5000 + names(270, each=30)
    weighted = fitted(quantiles, target, subjects).factors[0, 1]
    pooled = fitted(quantiles, target).factors[0, 1]
    assert pooled < 0.5
    # 0.8 of all the weight, 0.1 of it below: the 0.78 quantile of nine tenths, twice its width
    assert weighted == pytest.approx(2 * 0.95, rel=0.15)


def test_what_is_not_scored_cannot_matter():
    generator = np.random.default_rng(4)
    quantiles, target = forecasts(generator, 60, steps=6)
    scored = generator.random(target.shape) < 0.7
    hidden = np.where(scored, target, 1e9)
    plain = fitted(quantiles, target, scored=scored)
    assert np.array_equal(fitted(quantiles, hidden, scored=scored).factors, plain.factors)


def test_too_few_windows_or_bands_without_width_are_left_with_the_reason():
    generator = np.random.default_rng(5)
    few = fitted(*forecasts(generator, MIN_WINDOWS - 1))
    assert few.problems == ("it is measured in 19 effective validation windows, 20 are needed",)
    quantiles, target = forecasts(generator, 50)
    flat = fitted(np.repeat(quantiles[:, :, 2:3], 5, axis=2), target)
    assert "more than 10 times its width" in flat.problems[0]
    for conformal in (few, flat):
        assert conformal.fitted == ()
        assert np.array_equal(conformal(quantiles), quantiles)


def test_pairs_are_the_symmetric_levels():
    assert pairs((0.1, 0.25, 0.5, 0.9)) == [(0, 3, 0.8)]
    assert pairs((0.5,)) == []


# In a run and its bundle


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
    with pytest.raises(DataError, match="says that bands are calibrated"):
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


def test_filled_gaps_are_calibrated_and_visible_values_stay():
    """Bands of a predictor that fills: what is visible is its own at every level."""
    from tsfm_adapt.evaluation.base import Predictor

    quantiles, _ = forecasts(np.random.default_rng(8), 3, steps=6)
    quantiles[..., :2] = quantiles[:, :, 2:3, :2]  # visible
    plain = Predictor(lambda arrays, steps: quantiles, LEVELS, by_head=True)
    conformal = Conformal(LEVELS, np.array([[2.0, 2.0, 1.0, 2.0, 2.0]]), (None,))
    calibrated = plain.calibrated(conformal)
    found = calibrated.predict(None, 6)
    assert np.array_equal(found[..., :2], quantiles[..., :2])
    half = quantiles[:, :, 4] - quantiles[:, :, 2]
    assert found[:, :, 4] - found[:, :, 2] == pytest.approx(2 * half)
    assert calibrated.by_head
    assert plain.calibrated(None) is plain
