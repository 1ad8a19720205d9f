"""What the command line adds to the library's errors: the options to type."""

import pickle

import pytest

from tsfm_adapt.cli.options import with_options
from tsfm_adapt.errors import DataError, RecipeError


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (RecipeError("train.lr: missing."), "train.lr: missing."),
        (
            RecipeError("adapters.vera.rank: no entry 'vera'.", argument="sets"),
            "--set adapters.vera.rank: no entry 'vera'.",
        ),
        (
            RecipeError("backbones: there is no backbone 'x'.", argument="backbones"),
            "--backbones: there is no backbone 'x'.",
        ),
        (
            RecipeError("storage a://b: not there.", argument="storage"),
            "--storage a://b: not there.",
        ),
        (RecipeError("totally wrong.", argument="to"), "--to totally wrong."),
        (DataError("It is refused.", remedy="force"), "It is refused (--force)."),
        (
            RecipeError("onnx: no graph. Export the bundle.", argument="to", remedy="to=bundle"),
            "--to onnx: no graph. Export the bundle (--to bundle).",
        ),
        (
            DataError("Give its settings.", remedy="reader={name: csv, ...}"),
            "Give its settings (--reader '{name: csv, ...}').",
        ),
        (DataError("Too rare.", remedy="every_s=60"), "Too rare (--every-s 60)."),
    ],
)
def test_options_stand_where_the_library_names_arguments(error, shown):
    assert with_options(error) == shown


def test_an_error_of_another_process_has_its_argument_still():
    error = pickle.loads(pickle.dumps(RecipeError("wrong.", argument="to", remedy="to=bundle")))
    assert (str(error), error.argument, error.remedy) == ("wrong.", "to", "to=bundle")


def test_a_setting_that_leads_nowhere_is_shown_as_it_was_typed(cli, recipe, written, table):
    outcome = cli("train", written(recipe), "--set", "adapters.vera.rank=3")
    assert outcome.code == 2
    assert "error: --set adapters.vera.rank: no single entry 'vera' among [lora]" in outcome.err


def test_a_name_that_is_none_is_shown_with_its_option(cli, recipe, written, table):
    for option, kind in (("--adapters", "adapter"), ("--backbones", "backbone")):
        outcome = cli("compare", written(recipe), option, "nothing")
        assert outcome.code == 2
        assert f"error: {option}: there is no {kind} 'nothing'" in outcome.err


def test_two_formats_in_a_folder_ask_for_the_option(cli, tmp_path):
    outcome = cli("init", tmp_path / "nowhere", "--reader", "name: csv, [")
    assert outcome.code == 3
    (tmp_path / "table.txt").write_text("hello")
    outcome = cli("init", tmp_path / "table.txt")
    assert outcome.code == 3
    assert "(--reader '{name: csv, ...}')" in outcome.err


def test_a_study_in_a_database_asks_for_its_url(cli, tmp_path, recipe, written, table):
    recipe["search"] = {"space": {"train.lr": {"low": 0.001, "high": 0.01}}}
    from tsfm_adapt.recipe.files import load
    from tsfm_adapt.studies.folder import create

    study = create(load(written(recipe)), tmp_path, database=True, smoke=False)
    outcome = cli("tune", "--resume", study.folder)
    assert outcome.code == 4
    assert "Give the database's url (--storage URL)." in outcome.err
