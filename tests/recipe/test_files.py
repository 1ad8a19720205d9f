"""Recipes from YAML files: what is read, and what a setting changes."""

import subprocess
import sys

import pytest

from contracts.recipe_text import TEXT
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import load, loads


def test_a_recipe_is_read_with_fractions_and_short_exponents():
    recipe = loads(TEXT)
    assert recipe.data.rate_hz == 1 / 60
    assert recipe.train.lr == 1e-3  # plain PyYAML reads 1e-3 as text
    assert recipe.adapters[0].rank == 8
    assert loads(TEXT.replace("1e-3", "1.0e-3")) == recipe


@pytest.mark.parametrize("content", [b"\x00\x01\x02", b"\xff\xfe\x00name", b"PK\x03\x04" * 50])
def test_a_binary_file_is_refused_in_one_line_with_its_path(tmp_path, content):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as told:
        load(path)
    assert str(path) in str(told.value)
    assert len(str(told.value).splitlines()) == 1


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
