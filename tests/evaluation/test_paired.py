"""What is kept of a model's errors says as much to a comparison as the errors themselves."""

import numpy as np
import pytest

from tsfm_adapt.components import config_class
from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.class_errors import class_errors
from tsfm_adapt.evaluation.class_scoring import compare_classes
from tsfm_adapt.evaluation.forecast_errors import forecast_errors
from tsfm_adapt.evaluation.forecast_scoring import compare_forecasts
from tsfm_adapt.evaluation.intervals import Mean, compared
from tsfm_adapt.evaluation.paired import Paired, read, write

SUBJECTS = [f"p{i // 3}" for i in range(30)]
SCALE = np.array([1.0, 2.0])


def forecasts(seed):
    rng = np.random.default_rng(seed)
    observed = np.random.default_rng(0).random((30, 2, 4)) < 0.8
    error = rng.gamma(2.0, size=(30, 2, 4))
    zeros = np.zeros(error.shape)
    return forecast_errors(error[:, :, None], (0.5,), zeros, observed, observed.any(-1), SUBJECTS)


def classes(seed):
    target = np.eye(3)[np.random.default_rng(0).integers(0, 3, 30)]
    probability = np.random.default_rng(seed).dirichlet(np.ones(3), 30) + 0.3 * target
    return class_errors(probability, target > 0, SUBJECTS, False, np.full(3, np.nan))


def task(name, **settings):
    return config_class("task", name)(**settings).build().scoring(1.0)


FORECAST = task("forecast", context_s=8, horizon_s=4)
CLASSIFY = task(
    "classify",
    context_s=8,
    metric="macro_f1",
    labels={"of": "recording", "label": "x", "classes": {"a": "a", "b": "b", "c": "c"}},
)


def kept(tmp_path, task, **models):
    path = tmp_path / "paired.npz"
    write(path, Paired(SCALE, 2, {name: task.kept(errors) for name, errors in models.items()}))
    return read(path)


def test_forecasts_compare_as_their_errors_do(tmp_path):
    found = kept(tmp_path, FORECAST, adapted=forecasts(1), zero_shot=forecasts(2))
    pair = FORECAST.pair(found.models["adapted"], found.models["zero_shot"], found.mase)
    expected = compare_forecasts(forecasts(1), forecasts(2), SCALE, block=2, seed=3)
    assert compared(pair, found.block, 3) == expected
    assert expected.difference != 0


def test_classes_compare_as_their_errors_do(tmp_path):
    found = kept(tmp_path, CLASSIFY, adapted=classes(1), frozen_probe=classes(2))
    pair = CLASSIFY.pair(found.models["adapted"], found.models["frozen_probe"], found.mase)
    expected = compare_classes(classes(1), classes(2), "macro_f1", block=2, seed=3)
    assert compared(pair, found.block, 3) == expected
    assert expected.difference != 0


def test_the_mean_of_seeds_is_the_mean_of_their_differences():
    reference = FORECAST.kept(forecasts(9))
    pairs = [FORECAST.pair(FORECAST.kept(forecasts(s)), reference, SCALE) for s in range(3)]
    each = [compared(pair, 1, 0) for pair in pairs]
    mean = compared(Mean(pairs[0].subject, pairs), 1, 0)
    assert mean.difference == pytest.approx(np.mean([one.difference for one in each]))
    assert min(one.low for one in each) < mean.low < mean.high < max(one.high for one in each)
    same = compared(Mean(pairs[0].subject, pairs[:1] * 3), 1, 0)
    assert same.low == pytest.approx(each[0].low)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half a file"])
def test_a_missing_or_broken_file_says_how_to_score_again(tmp_path, content):
    path = tmp_path / "paired.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="tsfm-adapt evaluate"):
        read(path)
