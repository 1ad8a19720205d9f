"""What every head's cache key must tell apart."""

import pytest

from tsfm_adapt.components import built_in, config_class
from tsfm_adapt.heads import label_queries, linear, linear_forecast, probe, reconstruction

# Settings that change what `features` gives, and settings that come behind it.
CHANGES_FEATURES = [
    (linear.Config(), {"pooling": "max"}),
    (linear.Config(), {"pooling": "attention"}),
    (linear.Config(), {"channels": "mean"}),
    (linear.Config(), {"statistics": True}),
    (linear.Config(pooling="attention"), {"statistics": True}),
    (probe.Config(), {"pooling": "last"}),
    (probe.Config(), {"channels": "mean"}),
    (probe.Config(), {"statistics": True}),
]
COMES_LATER = [
    (linear.Config(), {"dropout": 0.5}),
    (linear.Config(), {"start": "probe"}),
    (probe.Config(), {"kind": "ridge"}),
    (label_queries.Config(), {"probes": 7}),
    (linear_forecast.Config(), {"lr": 0.5}),
    (reconstruction.Config(), {"lr": 0.5}),
]


@pytest.mark.parametrize(("config", "change"), CHANGES_FEATURES, ids=str)
def test_what_features_depend_on_changes_the_cache_key(config, change):
    other = config.model_copy(update=change)
    assert other.build().cache_key != config.build().cache_key


@pytest.mark.parametrize(("config", "change"), COMES_LATER, ids=str)
def test_what_comes_behind_the_features_leaves_the_cache_key(config, change):
    other = config.model_copy(update=change)
    assert other.build().cache_key == config.build().cache_key


def test_a_head_without_a_key_of_its_own_has_all_its_settings_in_it():
    for config in (linear_forecast.Config(), reconstruction.Config()):
        keys = {config.build().cache_key}
        for field, value in {"quantiles": (0.5,), "dropout": 0.4}.items():
            keys.add(config.model_copy(update={field: value}).build().cache_key)
        assert len(keys) == 3


def test_heads_that_read_different_things_have_different_keys():
    different = [linear_forecast.Config(), reconstruction.Config(), linear.Config()]
    different += [label_queries.Config()]
    assert {type(config) for config in different} | {probe.Config} == {
        config_class("head", name) for name in built_in("head")
    }
    assert len({config.build().cache_key for config in different}) == len(different)
