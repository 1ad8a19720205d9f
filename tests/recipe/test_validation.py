"""Trees that break a rule of the recipe: one line a fault, with path, rule and value."""

import pytest

from contracts.recipe_text import TEXT, faults, with_value
from tsfm_adapt.recipe.files import loads


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


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("train.steps", "train.steps: use the form a.b=value"),
        ("=3", "use the form a.b=value"),
        ("train.stepz=3", "train.stepz: there is no such key. Did you mean 'steps'?"),
        ("trian.steps=3", "trian: there is no such key. Did you mean 'train'?"),
        ("a.b.c=3", "a: there is no such key"),
        ("seed.x=3", "seed.x: 'seed' is 3, not a section"),
        ("seed.x.y=3", "seed.x.y:"),
        ("adapters.vera.rank=3", "adapters.vera.rank: no single entry 'vera' among [lora]"),
        ("adapters.1.rank=3", "no single entry '1' among [lora]"),
        ("adapters.-1.rank=3", "no single entry '-1' among [lora]"),
        ("adapters.lora=null", "adapters.0: "),
        ("train.steps=[", "train.steps, line 1, column 2"),
        ("train.steps=0", "train.steps: "),
        ("task.horizon_s=600", "horizons_s lie within horizon_s = 600"),
        ("name=../x", "name: "),
        ("seed=1=2", "seed: "),
    ],
)
def test_a_setting_that_breaks_a_rule_is_one_line(entry, told):
    (line,) = faults(TEXT, entry)
    assert told in line
    assert "--" not in line
