"""Recipes of version 0.1: the same meaning, and a warning with the new spelling."""

import warnings
from pathlib import Path

import pytest

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import dumps, load, loads
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.recipe.space import as_it_stands

V0_1 = Path(__file__).parents[1] / "data" / "v0_1"

TEXT = """
name: old
data:
  reader: {name: synthetic}
  channels: {HR: bpm, SpO2: "%"}
  rate_hz: 1/60
backbone: {name: chronos2}
task: {name: forecast, context_s: 3600, horizon_s: 900}
adapters:
  - {name: lora, rank: 2, layers: [0, 2]}
  - {name: channel_mixer, layers: [0, 3], width: 4}
  - {name: partial, blocks: 2}
"""
SEARCH = """
search:
  metric: score
  space:
    adapters.lora.layers: {choices: [[0, 2], [0, 3], null]}
    adapters.1.layers: {choices: [all, last, [0, 3]]}
    adapters.partial.blocks: {low: 1, high: 3}
    backbone:
      options:
        small: {value: {name: chronos2}, space: {adapters.lora.rank: {low: 1, high: 2}}}
        other: {value: {name: chronos_bolt}, space: {adapters.0.rank: {low: 2, high: 4}}}
"""


def blocks(recipe):
    tree = recipe.model_dump(mode="json")["adapters"]
    return [entry.get("blocks", entry.get("last_blocks")) for entry in tree]


def quietly(text, sets=()):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return loads(text, sets)


@pytest.fixture
def no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_each_setting_of_an_old_name_is_read_with_a_warning_that_says_what_to_write():
    with pytest.warns(FutureWarning) as caught:
        recipe = loads(TEXT)
    texts = [str(warning.message) for warning in caught]
    assert len(texts) == 3
    assert "adapters.lora.layers: [0, 2] is the old spelling of adapters.lora.blocks: " in texts[0]
    assert "{from: 0, to: 2}" in texts[0]
    assert "adapters.channel_mixer.blocks: [0, 3]" in texts[1]
    assert "adapters.partial.last_blocks: 2" in texts[2]
    assert blocks(recipe) == [{"from": 0, "to": 2}, [0, 3], 2]


def test_a_resolved_recipe_has_the_new_names_and_warns_of_nothing(no_warning):
    text = dumps(quietly(TEXT + SEARCH))
    assert "layers" not in text
    assert loads(text) == quietly(TEXT + SEARCH)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("adapters.lora.layers=[0, 1]", [{"from": 0, "to": 1}, [0, 3], 2]),
        ("adapters.0.layers=null", ["all", [0, 3], 2]),
        ("adapters.lora.blocks=[0, 1]", [[0, 1], [0, 3], 2]),
        ("adapters.channel_mixer.layers=last", [{"from": 0, "to": 2}, "last", 2]),
        ("adapters.partial.blocks=1", [{"from": 0, "to": 2}, [0, 3], 1]),
        ("adapters.partial.last_blocks=1", [{"from": 0, "to": 2}, [0, 3], 1]),
    ],
)
def test_an_override_by_either_name_wins_over_the_file(change, expected):
    assert blocks(quietly(TEXT, [change])) == expected
    key, value = change.split("=")
    plain = {"[0, 1]": [0, 1], "null": None, "last": "last", "1": 1}[value]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert blocks(quietly(TEXT).override({key: plain})) == expected


def test_an_override_by_the_old_name_warns():
    recipe = quietly(TEXT)
    with pytest.warns(FutureWarning, match=r"lora\.blocks: {from: 1, to: 2}"):
        recipe.override({"adapters.lora.layers": [1, 2]})


def test_an_override_of_something_else_warns_of_nothing(no_warning):
    recipe = quietly(TEXT)
    assert blocks(recipe.override({"adapters.lora.rank": 4})) == blocks(recipe)


def test_a_search_by_old_names_varies_the_new_ones():
    with pytest.warns(FutureWarning, match=r"search\.space\.adapters\.lora\.layers") as caught:
        search = loads(TEXT + SEARCH).search
    assert sum("search.space" in str(warning.message) for warning in caught) == 3
    assert list(search.space)[:3] == [
        "adapters.lora.blocks",
        "adapters.1.blocks",
        "adapters.partial.last_blocks",
    ]
    assert search.space["adapters.lora.blocks"].choices == (
        {"from": 0, "to": 2},
        {"from": 0, "to": 3},
        "all",
    )
    assert search.space["adapters.1.blocks"].choices == ("all", "last", [0, 3])


def test_a_recipe_is_among_the_points_of_its_own_search():
    text = TEXT + "search: {space: {adapters.lora.layers: {choices: [[0, 2], [0, 3]]}}}"
    recipe = quietly(text)
    assert as_it_stands(recipe.search, recipe) == {"adapters.lora.blocks": '{"from": 0, "to": 2}'}


def test_both_names_in_one_entry_are_refused():
    with pytest.raises(RecipeError, match=r"adapters\.lora\.layers: there is no such key"):
        loads(TEXT.replace("layers: [0, 2]", "layers: [0, 2], blocks: all"))


@pytest.mark.parametrize("junk", ["adapters: 3", "adapters: [3, {name: nothing}]", "search: [1]"])
def test_what_is_no_adapter_is_left_to_the_schema(junk):
    with pytest.raises(RecipeError, match=r"adapters|search"):
        quietly(TEXT.split("adapters:")[0] + junk)


@pytest.mark.parametrize(
    "path", sorted(V0_1.rglob("*.yaml")), ids=lambda p: p.parent.name + p.stem
)
def test_the_recipes_of_version_0_1_mean_what_they_meant(path):
    import yaml

    written = yaml.safe_load(path.read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        recipe = load(path)
    for before, now in zip(written["adapters"], recipe.adapters, strict=True):
        layers = before["layers"]
        known = range(1 + max(layers))
        meant = range(layers[0], layers[1] + 1) if before["name"] == "lora" else layers
        assert _numbers(now, known) == list(meant)
    assert Recipe.from_dict(recipe.model_dump(mode="json")) == recipe


def _numbers(adapter, known):
    from tsfm_adapt.adapters._blocks import chosen

    return list(chosen(adapter.blocks, known, adapter.name, "chronos2"))
