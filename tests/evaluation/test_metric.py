"""The table of metrics: names, directions, units."""

import pytest

from tsfm_adapt.evaluation.metric import METRICS, OF_CLASSES, OF_QUANTILES, Metric, metric


@pytest.mark.parametrize(
    ("name", "order"),
    [("mase", [0.5, 1.0, 2.0, None]), ("auroc", [0.9, 0.6, 0.2, None]), ("ece", [0.1, 0.3, None])],
)
def test_values_sort_from_best_to_worst_and_undefined_ones_last(name, order):
    shuffled = [order[-1], *order[:-1][::-1]]
    assert sorted(shuffled, key=metric(name).key) == order


def test_a_metric_goes_by_its_key_and_no_key_twice():
    assert all(own.name == name for name, own in METRICS.items())
    assert len({own.label for own in METRICS.values()}) == len(METRICS)


def test_a_name_that_is_not_in_the_table_is_lower_is_better():
    unknown = metric("own_score")
    assert (unknown.label, unknown.better, unknown.sign) == ("own_score", "lower", 1)


def test_a_difference_is_put_into_words_by_its_unit():
    assert metric("mase").of_difference == "percent lower MASE"
    assert metric("auroc").of_difference == "points of AUROC"
    assert Metric("x", "X", "higher").of_difference == "percent higher X"


def test_errors_in_the_unit_of_a_channel_are_those_that_scale_with_it():
    in_units = {own.name for own in METRICS.values() if own.in_data_units}
    assert in_units == {"crps", "width80", "mae", "rmse", "mape", "dtw"}


def test_tables_show_metrics_of_their_kind_the_ranked_one_first():
    assert OF_QUANTILES[0].name == "mase"
    assert OF_CLASSES[0].name == "auroc"
    assert all(own.better == "higher" for own in OF_CLASSES if own.name not in ("ece", "brier"))
