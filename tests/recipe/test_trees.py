"""YAML that is refused before a rule of the recipe is asked, and dotted keys."""

import copy

import pytest
import yaml

from contracts.recipe_text import TEXT, faults
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.trees import changed, parse_mapping


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", ".NaN"])
def test_numbers_that_yaml_itself_calls_infinite_are_refused_with_their_line(value):
    (line,) = faults(TEXT.replace("steps: 30", f"steps: {value}"))
    assert line.startswith("my.yaml, line 13, column 16: ")
    assert f"'{value}' is not a finite number" in line


def test_a_key_that_appears_twice_is_refused_with_its_line():
    (line,) = faults(TEXT + "seed: 4\n")
    assert line.startswith("my.yaml, line 15, column 1: key 'seed' appears twice")
    (line,) = faults(TEXT.replace("steps: 30", "steps: 30, steps: 30"))
    assert line.startswith("my.yaml, line 13, column 20: key 'steps' appears twice")


@pytest.mark.parametrize(
    "tag", ["object/apply:os.system", "name:os.system", "object/new:subprocess.Popen", "module:os"]
)
def test_a_tag_that_would_run_code_is_refused_and_runs_nothing(tmp_path, tag):
    hostile = f"name: !!python/{tag} ['touch {tmp_path}/ran']"
    for lines in (
        faults(TEXT.replace("name: vitals", hostile)),
        faults(TEXT, f"name=!!python/{tag} ['touch {tmp_path}/ran']"),
    ):
        assert len(lines) == 1
        assert "tags that build objects are refused" in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    ["", "just text", "- 1\n- 2\n", "3", "null", "a: [", "\tname: x", "a: b: c", "--- a\n--- b\n"],
    ids=repr,
)
def test_text_that_is_no_mapping_is_one_line_with_the_file(text):
    (line,) = faults(text)
    assert line.startswith("my.yaml")


@pytest.mark.parametrize("nested", ["{a: " * 3000 + "1" + "}" * 3000, "[" * 2000 + "]" * 2000])
@pytest.mark.parametrize("depth", [1.0, 0.05])
def test_huge_nesting_is_refused(nested, depth):
    half = len(nested) // 2
    cut = int(half * depth)
    (line,) = faults(f"{TEXT}extra: {nested[half - cut : half + cut + 1]}\n")
    assert line.startswith(("my.yaml", "extra: there is no such key"))


def test_a_name_that_two_adapters_share_asks_for_the_position():
    text = TEXT.replace("adapters:\n", "adapters:\n  - {name: lora, rank: 2}\n")
    (line,) = faults(text, "adapters.lora.rank=4")
    assert "no single entry 'lora' among [lora, lora]" in line
    assert [a.rank for a in loads(text, ["adapters.1.rank=4"]).adapters] == [2, 4]


def test_changing_a_tree_leaves_the_original_alone():
    tree = yaml.safe_load(TEXT)
    before = copy.deepcopy(tree)
    assert changed(tree, {"train.steps": 9, "adapters.lora.rank": 1}) != before
    assert tree == before


def test_a_mapping_given_on_the_command_line_is_plain_yaml():
    assert parse_mapping("{name: csv, units: {HR: bpm}}", "--reader") == {
        **{"name": "csv", "units": {"HR": "bpm"}},
    }
    with pytest.raises(RecipeError, match="--reader: must be a mapping"):
        parse_mapping("csv", "--reader")
