"""Recipes from YAML: what is read, what is refused, and what the message says."""

import copy
import subprocess
import sys

import pytest
import yaml

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import changed, load, loads, parse_mapping

TEXT = """\
name: vitals
seed: 3
data:
  reader: {name: synthetic, subjects: 9}
  channels: {HR: bpm, SpO2: "%"}
  rate_hz: 1/60
  cleaning: {ranges: {HR: [10, 300]}}
  split: {by: subject, train: 0.7, val: 0.15, test: 0.15}
backbone: {name: chronos2}
adapters:
  - {name: lora, rank: 8, sites: [attn.q]}
task: {name: forecast, context_s: 7200, horizon_s: 1800, horizons_s: [900]}
train: {steps: 30, lr: 1e-3}
evaluate: {max_windows: 50}
"""


def with_value(path, value):
    """The recipe's text with one value replaced or added; without it for `...`."""
    tree = yaml.safe_load(TEXT)
    node, keys = tree, [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    if value is ...:
        del node[keys[-1]]
    else:
        node[keys[-1]] = value
    return yaml.safe_dump(tree, sort_keys=False)


def faults(text, *sets):
    """The lines of the refusal."""
    with pytest.raises(RecipeError) as told:
        loads(text, sets, source="my.yaml")
    assert told.value.exit_code == 2
    return str(told.value).splitlines()


def test_a_recipe_is_read_with_fractions_and_short_exponents():
    recipe = loads(TEXT)
    assert recipe.data.rate_hz == 1 / 60
    assert recipe.train.lr == 1e-3  # plain PyYAML reads 1e-3 as text
    assert recipe.adapters[0].rank == 8
    assert loads(TEXT.replace("1e-3", "1.0e-3")) == recipe


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("train.stepz", "steps"),
        ("sead", "seed"),
        ("data.ratehz", "rate_hz"),
        ("data.reader.subjectz", "subjects"),
        ("data.cleaning.rangez", "ranges"),
        ("data.split.trian", "train"),
        ("backbone.chekpoint", "checkpoint"),
        ("adapters.0.rnk", "rank"),
        ("task.strid_s", "stride_s"),
        ("evaluate.max_window", "max_windows"),
    ],
)
def test_an_unknown_key_is_named_with_the_closest_one(path, suggestion):
    (line,) = faults(with_value(path, 3))
    shown = path.replace("adapters.0", "adapters.lora")
    assert line.startswith(f"{shown}: there is no such key. Did you mean '{suggestion}'? Known: ")


def test_an_unknown_key_of_a_channel_is_named():
    lines = faults(with_value("data.channels.HR", {"unit": "bpm", "sorce": "pulse"}))
    assert [line for line in lines if line.startswith("data.channels.HR.sorce: there is no")]


@pytest.mark.parametrize(
    ("path", "name", "suggestion"),
    [
        ("data.reader.name", "synthetik", "synthetic"),
        ("backbone.name", "chronos-2", "chronos2"),
        ("adapters.0.name", "LORA", "lora"),
        ("task.name", "forecasts", "forecast"),
    ],
)
def test_an_unknown_component_is_named_with_the_closest_one(path, name, suggestion):
    (line,) = faults(with_value(path, name))
    assert line.startswith(f"{path}: there is no ")
    assert f"'{name}'. Did you mean '{suggestion}'? Known: " in line


@pytest.mark.parametrize(
    ("path", "kind"),
    [("data.reader.name", "csv"), ("backbone.name", "chronos2"), ("adapters.0.name", "full")],
)
def test_a_section_without_a_name_says_which_there_are(path, kind):
    (line,) = faults(with_value(path, ...))
    assert line.startswith(f"{path}: missing. Known: ")
    assert kind in line


@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("train.steps", "many", "'many'"),
        ("train.steps", 1.5, "1.5"),
        ("train", 3, "3"),
        ("train", None, "None"),
        ("data", 3, "3"),
        ("seed", -1, "-1"),
        ("seed", None, "None"),
        ("data.rate_hz", "1/0", "'1/0'"),
        ("data.rate_hz", "fast", "'fast'"),
        ("data.rate_hz", 0, "0"),
        ("data.rate_hz", "-1/60", "-0.01666"),
        ("data.channels", ["HR"], "['HR']"),
        ("data.channels.HR", 3, "3"),
        ("data.channels.HR", None, "None"),
        ("data.split.train", "most", "'most'"),
        ("data.split.by", "patient", "'patient'"),
        ("data.cleaning.ranges.HR", 3, "3"),
        ("backbone", "chronos2", "'chronos2'"),
        ("adapters", {"name": "lora"}, "{'name': 'lora'}"),
        ("adapters", None, "None"),
        ("adapters.0", "lora", "'lora'"),
        ("adapters.0.rank", 0, "0"),
        ("adapters.0.sites.0", "attn.x", "'attn.x'"),
        ("task.quantiles", 0.5, "0.5"),
        ("task.context_s", -60, "-60"),
    ],
)
def test_a_wrong_value_is_one_line_with_path_rule_and_value(path, value, shown):
    (line,) = faults(with_value(path, value))
    assert line.startswith(path.replace("adapters.0.", "adapters.lora.") + ": ")
    assert shown in line


@pytest.mark.parametrize("path", ["name", "data", "data.channels", "task.context_s", "backbone"])
def test_what_is_missing_is_named(path):
    (line,) = faults(with_value(path, ...))
    assert line.startswith(f"{path}: missing. Add it")


def test_every_fault_has_its_own_line():
    text = (
        with_value("train.stepz", 3).replace("rank: 8", "rank: -1").replace("seed: 3", "seed: x")
    )
    assert [line.partition(":")[0] for line in faults(text)] == [
        *("seed", "adapters.lora.rank", "train.stepz"),
    ]


@pytest.mark.parametrize("value", ["inf", "-inf", "nan", ".inf", ".nan", "1e400"])
@pytest.mark.parametrize(
    "path",
    [
        *("data.rate_hz", "data.reader.hours", "data.cleaning.max_gap_s"),
        *("task.context_s", "task.horizon_s", "task.stride_s", "task.quantiles.1"),
        *("adapters.0.alpha", "train.lr", "train.clip", "evaluate.season_s"),
    ],
)
def test_numbers_are_finite_everywhere(path, value):
    key = path.split(".")[-1] if not path.endswith("1") else "quantiles"
    text = with_value("task.quantiles", [0.1, 0.5, 0.9])
    (line,) = faults(text, f"{path}={value}")
    assert key in line


@pytest.mark.parametrize("value", [".nan", ".inf", "-.inf", ".NaN"])
def test_numbers_that_yaml_itself_calls_infinite_are_refused_with_their_line(value):
    (line,) = faults(TEXT.replace("steps: 30", f"steps: {value}"))
    assert line.startswith("my.yaml, line 13, column 16: ")
    assert f"'{value}' is not a finite number" in line


@pytest.mark.parametrize("value", ["9" * 400 + "/1", "1/" + "9" * 400, "0x" + "f" * 5000])
def test_absurd_numbers_are_refused(value):
    (line,) = faults(TEXT.replace("rate_hz: 1/60", f"rate_hz: {value}"))
    assert "rate_hz" in line or "my.yaml" in line


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("data.cleaning.ranges", {"PULSE": [1, 2]}, "cleaning.ranges names PULSE"),
        ("data.cleaning.zero_is_missing", ["PULSE"], "cleaning.zero_is_missing names PULSE"),
        ("data.cleaning.flatline_s", {"PULSE": 60}, "cleaning.flatline_s names PULSE"),
        ("data.cleaning.ranges.HR", [300, 10], "cleaning.ranges.HR: 300 is not below 10"),
        ("task.context_s", 7230, "task.context_s: 7230 s at data.rate_hz 0.0166667 is 120.5"),
        ("task.horizon_s", 1810, "task.horizon_s: 1810 s"),
        ("task.stride_s", 90, "task.stride_s: 90 s at data.rate_hz 0.0166667 is 1.5 samples"),
        ("task.horizons_s", [910], "task.horizons_s: 910 s"),
        ("task.horizons_s", [900, 3600], "horizons_s lie within horizon_s = 1800"),
        ("task.quantiles", [0.1, 0.9], "include 0.5"),
        ("task.quantiles", [0.5, 0.1], "increase"),
        ("task.quantiles", [0.5, 1.0], "between 0 and 1"),
    ],
)
def test_values_that_do_not_fit_together_are_one_line(path, value, told):
    (line,) = faults(with_value(path, value))
    assert told in line
    assert line.startswith(path.split(".")[0])


def test_seconds_within_a_thousandth_of_a_sample_are_whole():
    recipe = loads(TEXT, ["data.rate_hz=0.016666667"])
    assert recipe.task.build().window(recipe.data.rate_hz, "test").context == 120


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


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\xff\xfe\x00name", b"PK\x03\x04" * 50])
def test_a_binary_file_is_refused_in_one_line_with_its_path(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as told:
        load(path)
    assert str(path) in str(told.value)
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("nested", ["{a: " * 3000 + "1" + "}" * 3000, "[" * 2000 + "]" * 2000])
@pytest.mark.parametrize("depth", [1.0, 0.05])
def test_huge_nesting_is_refused(nested, depth):
    half = len(nested) // 2
    cut = int(half * depth)
    (line,) = faults(f"{TEXT}extra: {nested[half - cut : half + cut + 1]}\n")
    assert line.startswith(("my.yaml", "extra: there is no such key"))


@pytest.mark.parametrize("path", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path, path):
    with pytest.raises(RecipeError, match=r"cannot read '.*Give a YAML file"):
        load(tmp_path / path)


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("adapters.lora.rank=4", lambda r: r.adapters[0].rank == 4),
        ("adapters.0.rank=4", lambda r: r.adapters[0].rank == 4),
        ("adapters.lora={name: full}", lambda r: r.adapters[0].name == "full"),
        ("adapters=[]", lambda r: r.adapters == ()),
        ("data.channels.HR=bpm", lambda r: r.data.channels["HR"] == "bpm"),
        ("data.channels.SpO2=%", lambda r: r.data.channels["SpO2"] == "%"),
        ("data.channels.MAP={unit: mmHg, source: ABP}", lambda r: len(r.data.channels) == 3),
        ("data.rate_hz=1/300", lambda r: r.data.rate_hz == 1 / 300),
        ("train.lr=1e-4", lambda r: r.train.lr == 1e-4),
        ("train.clip=null", lambda r: r.train.clip is None),
        ("train.clip=", lambda r: r.train.clip is None),
        ("evaluate.season_s=86400", lambda r: r.evaluate.season_s == 86400),
        (" train.steps =5", lambda r: r.train.steps == 5),
        ("backbone.checkpoint=a=b", lambda r: r.backbone.checkpoint == "a=b"),
        ("task.quantiles=[0.05, 0.5]", lambda r: r.task.quantiles == (0.05, 0.5)),
    ],
)
def test_set_changes_one_value(entry, value):
    recipe = loads(TEXT, [entry])
    assert value(recipe)
    assert recipe != loads(TEXT) or entry.startswith("data.channels.")


def test_set_adds_a_section_that_the_file_leaves_out():
    recipe = loads(TEXT.replace("train: {steps: 30, lr: 1e-3}\n", ""), ["train.steps=7"])
    assert (recipe.train.steps, recipe.train.lr) == (7, 1e-3)


def test_the_last_of_two_settings_holds():
    assert loads(TEXT, ["train.steps=5", "train.steps=6"]).train.steps == 6


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("train.steps", "--set train.steps: use the form a.b=value"),
        ("=3", "use the form a.b=value"),
        ("train.stepz=3", "train.stepz: there is no such key. Did you mean 'steps'?"),
        ("trian.steps=3", "trian: there is no such key. Did you mean 'train'?"),
        ("a.b.c=3", "a: there is no such key"),
        ("seed.x=3", "--set seed.x: 'seed' is 3, not a section"),
        ("seed.x.y=3", "--set seed.x.y:"),
        ("adapters.vera.rank=3", "--set adapters.vera.rank: no single entry 'vera' among [lora]"),
        ("adapters.1.rank=3", "no single entry '1' among [lora]"),
        ("adapters.-1.rank=3", "no single entry '-1' among [lora]"),
        ("adapters.lora=null", "adapters.0: "),
        ("train.steps=[", "--set train.steps, line 1, column 2"),
        ("train.steps=0", "train.steps: "),
        ("task.horizon_s=600", "horizons_s lie within horizon_s = 600"),
        ("name=../x", "name: "),
        ("seed=1=2", "seed: "),
    ],
)
def test_a_setting_that_breaks_a_rule_is_one_line(entry, told):
    (line,) = faults(TEXT, entry)
    assert told in line


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


def test_reading_a_recipe_imports_no_torch(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(TEXT)
    program = (
        "import sys, pathlib; from tsfm_adapt.recipe.files import load; "
        f"load(pathlib.Path({str(path)!r})); "
        "print({'torch', 'pandas', 'scipy', 'chronos', 'peft'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
