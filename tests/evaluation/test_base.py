"""What all scorings share: which pairs count, and how predictors are asked."""

import numpy as np

from contracts.small_run import windows
from contracts.task import RATE_HZ
from tsfm_adapt.evaluation.base import Predictor, counted
from tsfm_adapt.tasks.forecast import Config


def test_a_pair_counts_where_its_context_and_its_target_are_measured():
    arrays = windows(stride=7).gather(range(6))
    arrays.observed[:] = True
    arrays.target_observed[:] = True
    arrays.observed[0, 0, 3:] = False  # three values left
    arrays.observed[1, 1] = False
    arrays.target_observed[2, 0] = False
    arrays.target_observed[3, 1, 1:] = False
    expected = np.ones((6, 2), dtype=bool)
    expected[1, 1] = expected[2, 0] = False
    np.testing.assert_array_equal(counted(arrays, 1), expected)
    np.testing.assert_array_equal(counted(arrays, 3), expected)
    expected[0, 0] = False
    np.testing.assert_array_equal(counted(arrays, 4), expected)


def test_a_predictor_is_asked_batch_by_batch_and_every_window_is_counted_once():
    some = windows(stride=7)
    asked, ticks = [], []

    def predict(arrays, steps):
        asked.append((len(arrays.values), steps))
        return np.zeros((len(arrays.values), 2, 1, steps))

    scoring = Config(context_s=1920, horizon_s=720).build().scoring(RATE_HZ)
    batches = list(scoring.predicted(Predictor(predict, (0.5,)), some, 5, ticks.append))
    assert sum(ticks) == len(some)
    assert [count for count, _ in asked] == ticks
    assert {steps for _, steps in asked} == {12}
    assert max(ticks) == 5
    together = np.concatenate([batch.arrays.values for batch in batches])
    np.testing.assert_array_equal(together, some.gather(range(len(some))).values)


def test_a_calibrated_predictor_changes_its_quantiles_and_nothing_else():
    plain = Predictor(lambda arrays, steps: np.ones((1, 1, 3, steps)), (0.1, 0.5, 0.9))
    doubled = plain.calibrated(lambda quantiles: 2 * quantiles)
    assert (doubled.predict(None, 4) == 2).all()
    assert (doubled.levels, doubled.by_head) == (plain.levels, plain.by_head)
    assert plain.calibrated(None) is plain
