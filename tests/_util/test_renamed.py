"""The warning of an old spelling, and plain values on one line."""

import warnings

import pytest
import yaml

from tsfm_adapt._util import renamed
from tsfm_adapt._util.renamed import warn_renamed, written


def warned(*pairs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for old, new in pairs:
            warn_renamed(old, new)
    return [str(each.message) for each in caught]


def test_a_warning_names_both_spellings_and_is_of_the_future(monkeypatch):
    monkeypatch.setattr(renamed, "_SHOWN", {})
    with pytest.warns(FutureWarning, match=r"a\.layers: 3 is the old spelling of a\.blocks: 3"):
        warn_renamed("a.layers: 3", "a.blocks: 3")


def test_each_text_is_shown_once_a_process(monkeypatch):
    monkeypatch.setattr(renamed, "_SHOWN", {})
    first, second = ("a: 1", "b: 1"), ("a: 2", "b: 2")
    assert len(warned(first, second, first)) == 2


@pytest.mark.parametrize(
    "value",
    [None, 3, 0.5, "last", [], [0, 2], {"from": 0, "to": [1, None]}, [{"name": "lora"}, "x"]],
)
def test_a_value_is_written_as_a_recipe_reads_it(value):
    assert yaml.safe_load(written(value)) == value
    assert "\n" not in written(value)
