"""What a recipe may say: defaults, rules over several fields, overrides."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tsfm_adapt.components import PACKAGES, names
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import dumps, loads
from tsfm_adapt.recipe.schema import Recipe

MINIMAL = {
    "name": "minimal",
    "data": {
        "reader": {"name": "synthetic"},
        "channels": {"HR": "bpm", "SpO2": "%"},
        "rate_hz": "1/60",
    },
    "backbone": {"name": "chronos2"},
    "adapters": [{"name": "lora", "rank": 2}],
    "task": {"name": "forecast", "context_s": 7200, "horizon_s": 1800},
}


@pytest.fixture
def recipe():
    return Recipe.model_validate(MINIMAL)


def test_what_is_left_out_has_the_documented_defaults(recipe):
    assert recipe.seed == 17
    assert recipe.data.resample == "median"
    assert recipe.data.split.model_dump() == {
        **{"by": "subject", "order": "seed", "seed": None, "allow_duplicates": False},
        **{"train": 0.7, "val": 0.15, "test": 0.15},
    }
    assert recipe.data.cleaning.model_dump() == {
        **{"ranges": {}, "zero_is_missing": (), "flatline_s": {}, "max_gap_s": None},
    }
    assert recipe.backbone.checkpoint == "embedded"
    assert recipe.task.quantiles == (0.1, 0.5, 0.9)
    assert recipe.task.min_context == 1
    assert (recipe.train.steps, recipe.train.batch_size, recipe.train.lr) == (300, 32, 1e-3)
    assert recipe.evaluate.max_windows == 2000
    assert Recipe.model_validate({**MINIMAL, "adapters": []}).adapters == ()


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1/60", 1 / 60),
        ("1 / 60", 1 / 60),
        ("3/2", 1.5),
        (250, 250.0),
        ("0.5", 0.5),
        ("1e-1", 0.1),
    ],
)
def test_a_rate_may_be_a_fraction(written, number):
    data = MINIMAL["data"] | {"rate_hz": written}
    task = {"name": "forecast", "context_s": 7200, "horizon_s": 7200}
    assert Recipe.model_validate({**MINIMAL, "data": data, "task": task}).data.rate_hz == number


@pytest.mark.parametrize("field", ["name", "data", "backbone", "task"])
def test_these_sections_are_required(field):
    with pytest.raises(ValidationError, match=field):
        Recipe.model_validate({key: value for key, value in MINIMAL.items() if key != field})


def test_a_recipe_cannot_be_changed_in_place(recipe):
    for section, field in ((recipe, "seed"), (recipe.train, "steps"), (recipe.task, "context_s")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, field, 5)


@pytest.mark.parametrize("name", ["a", "vitals-forecast", "Run_2.1", "9", "x" * 80])
def test_names_of_runs_that_are_folder_names_everywhere(name):
    assert Recipe.model_validate({**MINIMAL, "name": name}).name == name


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "..",
        ".",
        "/etc",
        "a/b",
        "a\\b",
        "",
        " a",
        "a b",
        "-x",
        ".hidden",
        "a\n",
        "é",
        "x" * 81,
    ],
)
def test_names_that_would_leave_the_runs_folder_or_break_it_are_refused(name):
    with pytest.raises(ValidationError, match="name"):
        Recipe.model_validate({**MINIMAL, "name": name})


def test_an_override_gives_a_new_recipe_and_leaves_the_old_one(recipe):
    changed = recipe.override(
        {"adapters.lora.rank": 4, "train.steps": 7, "data.channels.RESP": "breaths/min"}
    )
    assert (changed.adapters[0].rank, changed.train.steps) == (4, 7)
    assert list(changed.data.channels) == ["HR", "SpO2", "RESP"]
    assert (recipe.adapters[0].rank, recipe.train.steps) == (2, 300)
    assert list(recipe.data.channels) == ["HR", "SpO2"]
    assert recipe.override({"adapters.0.rank": 4}).adapters == changed.adapters
    assert recipe.override({}) == recipe


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.steps": 0}, "train.steps"),
        ({"train.stepz": 5}, "Did you mean 'steps'"),
        ({"task.context_s": 7230}, "120.5 samples"),
        ({"data.rate_hz": 1 / 7200}, "task.horizon_s"),
        ({"adapters.vera.rank": 5}, "vera"),
        ({"seed.x": 5}, "valid integer, found"),
        ({"data.cleaning.zero_is_missing": ["RESP"]}, "RESP"),
    ],
    ids=str,
)
def test_an_override_is_validated_with_the_whole_recipe(recipe, changes, told):
    with pytest.raises(RecipeError, match=told):
        recipe.override(changes)


# PyYAML reads 1e-3 as text and writes floats its own way; names can look like YAML's booleans.
printable = st.characters(exclude_categories=["C", "Zl", "Zp"])
texts = st.text(printable, min_size=1, max_size=12)
words = st.sampled_from(["NO", "on", "1", "1e3", "~", "null", "a: b", "#x", "é", "'", "1:30"])


@settings(deadline=None, max_examples=50)
@given(
    lr=st.floats(1e-300, 1e300),
    clip=st.none() | st.floats(1e-9, 1e9),
    seed=st.integers(0, 2**32 - 1),
    channels=st.dictionaries(texts | words, texts | words, min_size=1, max_size=3),
)
def test_a_resolved_recipe_reads_back_as_the_same_recipe(lr, clip, seed, channels):
    recipe = Recipe.model_validate(
        {
            **MINIMAL,
            "seed": seed,
            "data": MINIMAL["data"] | {"channels": channels},
            "train": {"lr": lr, "clip": clip},
        }
    )
    again = loads(dumps(recipe))
    assert again == recipe
    assert list(again.data.channels) == list(recipe.data.channels)
    assert dumps(again) == dumps(recipe)


def test_the_json_schema_knows_every_component_and_forbids_unknown_keys():
    schema = Recipe.model_json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["required"] == ["name", "data", "backbone", "task"]
    sections = [schema, *schema["$defs"].values()]
    assert all(section["additionalProperties"] is False for section in sections)
    named = {s["properties"]["name"]["const"] for s in schema["$defs"].values() if _is_named(s)}
    assert named == {name for kind in PACKAGES for name in names(kind)}


def _is_named(section):
    return "const" in section["properties"].get("name", {})


def test_another_backbone_takes_its_own_defaults_not_those_of_the_last(recipe):
    other = recipe.override({"backbone.name": "chronos_bolt"})
    assert other.backbone.name == "chronos_bolt"
    assert not hasattr(other.backbone, "group_attention")


def test_a_unit_can_be_marked_as_a_guess_only_where_the_files_unit_is_given():
    def of(channel):
        data = MINIMAL["data"] | {"channels": {"HR": channel, "SpO2": "%"}}
        return Recipe.model_validate(MINIMAL | {"data": data})

    guessed = {"unit": "bpm", "from_unit": "bpm", "unit_assumed": True}
    assert of(guessed).data.assumed_units == ("HR",)
    assert of("bpm").data.assumed_units == ()
    with pytest.raises(ValidationError, match="unit_assumed is said of from_unit"):
        of({"unit": "bpm", "unit_assumed": True})
