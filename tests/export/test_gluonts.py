"""GluonTS's own evaluation takes an adapted model, which says there what `predict` says."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("gluonts")

from gluonts.dataset.split import split
from gluonts.ev.metrics import MASE, MeanWeightedSumQuantileLoss
from gluonts.model.evaluation import evaluate_model

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.export.gluonts import AdaptedPredictor
from tsfm_adapt.runs.run import predict

BUNDLE = Path(__file__).parents[2] / "adapters" / "vitals-forecast-lora"
CHANNELS = ("HR", "SpO2", "RESP", "MAP")
LEVEL = np.array([80.0, 96.0, 16.0, 85.0])


@pytest.fixture(scope="module")
def predictor():
    return AdaptedPredictor(BUNDLE, channel="MAP")


def values(samples=300, missing=0.1, seed=0):
    generator = np.random.default_rng(seed)
    found = LEVEL[:, None] + generator.normal(0, 0.5, (4, samples)).cumsum(axis=1)
    found[generator.random(found.shape) < missing] = np.nan
    return found


def entry(target, name="a", **more):
    start = pd.Period("2020-01-01 00:00", freq="min")
    return {"start": start, "target": target, "item_id": name, **more}


def array(forecasts):
    return [forecast.forecast_array for forecast in forecasts]


def test_gluonts_evaluates_it_on_one_channel_and_on_all(predictor):
    whole = [entry(values(seed=n), str(n)) for n in range(2)]
    alone = [entry(values(seed=n)[3], str(n)) for n in range(2)]
    metrics = [MASE(), MeanWeightedSumQuantileLoss(quantile_levels=[0.1, 0.5, 0.9])]
    for dataset in (whole, alone):
        _, template = split(dataset, offset=-60)
        test = template.generate_instances(30, windows=2)
        table = evaluate_model(predictor, test_data=test, metrics=metrics)
        assert 0 < table["MASE[0.5]"].item() < 20
        assert 0 < table["mean_weighted_sum_quantile_loss"].item() < 1


def test_it_says_what_predict_says(predictor, tmp_path):
    known = values(samples=240)
    rows = [
        ",".join([str(60 * i), *("" if np.isnan(v) else repr(float(v)) for v in column)])
        for i, column in enumerate(known.T)
    ]
    text = "\n".join(["time," + ",".join(CHANNELS), *rows])
    (tmp_path / "bed.csv").write_text(text, encoding="utf-8")
    units = dict(zip(CHANNELS, ("bpm", "%", "breaths/min", "mmHg"), strict=True))
    reader = {"name": "csv", "layout": "wide", "time_format": "seconds", "units": units}
    table = predict(BUNDLE, str(tmp_path / "bed.csv"), reader, None).to_pandas()
    (found,) = array(predictor.predict([entry(known)]))  # (Q, H, C)
    assert found.shape == (3, 30, 4)
    for c, channel in enumerate(CHANNELS):
        expected = table[table.channel == channel][["q0.1", "q0.5", "q0.9"]].to_numpy()
        np.testing.assert_allclose(found[:, :, c].T, expected, rtol=1e-5)


def test_one_channel_is_forecast_as_if_the_others_were_missing(predictor):
    known = values()
    others = np.full_like(known, np.nan)
    others[3] = known[3]
    alone, named, whole = array(
        predictor.predict([entry(known[3]), entry(known[0], channel="HR"), entry(others)])
    )
    assert alone.shape == (3, 30)
    assert alone == pytest.approx(whole[:, :, 3], rel=1e-5)
    assert np.isnan(whole[:, :, :3]).all()  # nothing is known of them
    assert abs(named[1].mean() - np.nanmean(known[0, -30:])) < 15


def test_what_is_before_the_context_cannot_matter_and_short_entries_are_forecast(predictor):
    known = values()
    changed = known.copy()
    changed[:, :60] = 1e3
    short = np.concatenate([np.full((4, 200), np.nan), known[:, 200:]], axis=1)
    full, same, cut, padded = array(
        predictor.predict([entry(known), entry(changed), entry(known[:, 200:]), entry(short)])
    )
    assert np.array_equal(full, same)
    assert np.isfinite(cut).all()
    assert cut == pytest.approx(padded, rel=1e-5)


def test_forecasts_begin_where_the_target_ends(predictor):
    (found,) = predictor.predict([entry(values(samples=90), name="bed 3")])
    assert found.start_date == pd.Period("2020-01-01 01:30", freq="min")
    assert found.item_id == "bed 3"
    assert found.forecast_keys == ["0.1", "0.5", "0.9"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (entry(values()[:2]), "its target has 2 channels; the model has 4"),
        ({**entry(values()), "start": pd.Period("2020-01-01", freq="h")}, "one every 60 s"),
        ({**entry(values()), "start": pd.Period("2020-01", freq="M")}, "one every 60 s"),
    ],
)
def test_entries_that_are_not_the_models_are_refused(predictor, wrong, told):
    with pytest.raises(DataError, match=told):
        list(predictor.predict([wrong]))


def test_a_channel_must_be_named_and_be_the_models(predictor):
    with pytest.raises(RecipeError, match="Did you mean 'MAP'"):
        list(predictor.predict([entry(values()[0], channel="MPA")]))
    nameless = AdaptedPredictor(BUNDLE)
    with pytest.raises(DataError, match="Say which: a field 'channel'"):
        list(nameless.predict([entry(values()[0])]))


def test_only_forecasters_are_taken():
    with pytest.raises(RecipeError, match="trained for task impute"):
        AdaptedPredictor(BUNDLE.with_name("vitals-imputation-lora"))
