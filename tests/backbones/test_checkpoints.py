"""Where a checkpoint is, and whether its file fits the network."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tsfm_adapt.backbones._checkpoints import complete, fetch, fits, locate, unavailable
from tsfm_adapt.errors import EnvironmentProblem, RecipeError


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    save_file(
        {"weight": torch.zeros(2, 3), "bias": torch.zeros(2)}, tmp_path / "model.safetensors"
    )
    return tmp_path


def test_a_folder_is_made_absolute_and_a_hub_id_stays(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert locate("any", folder.name) == str(folder)
    assert locate("any", "organisation/name") == "organisation/name"
    monkeypatch.setenv("HOME", str(folder.parent))
    assert locate("any", f"~/{folder.name}") == str(folder)


def test_embedded_weights_are_those_of_the_backbone_or_refused_with_those_there_are():
    assert (Path(locate("chronos_bolt", "embedded")) / "config.json").is_file()
    with pytest.raises(RecipeError, match=r"no weights of nothing come.*chronos_bolt"):
        locate("nothing", "embedded")


@pytest.mark.parametrize("checkpoint", ["nowhere", "./a/b", "/a/b", "~/nowhere", "a/b/c"])
def test_what_is_neither_folder_nor_hub_id_is_refused(checkpoint):
    with pytest.raises(RecipeError, match="neither 'embedded' nor 'tiny'"):
        locate("any", checkpoint)


@pytest.mark.parametrize(
    ("gone", "message"),
    [
        (["config.json"], r"lacks config\.json \(found: model\.safetensors\)"),
        (["model.safetensors"], r"lacks model\.safetensors \(found: config\.json\)"),
        (["config.json", "model.safetensors"], "lacks config.json and model.safetensors"),
    ],
)
def test_a_folder_that_lacks_a_file_is_refused_with_what_it_holds(folder, gone, message):
    for name in gone:
        (folder / name).unlink()
    with pytest.raises(RecipeError, match=message):
        locate("any", str(folder))


def test_weights_in_several_files_are_weights(folder):
    (folder / "model.safetensors").rename(folder / "model.safetensors.index.json")
    assert locate("any", str(folder)) == str(folder)


def test_a_file_of_a_folder_is_taken_from_it(folder):
    assert fetch(str(folder), "config.json", None) == folder / "config.json"


def test_a_file_that_fits_is_let_through_and_no_weight_is_touched(folder):
    network = nn.Linear(3, 2)
    before = network.weight.detach().clone()
    fits("here", folder / "model.safetensors", network)
    assert torch.equal(network.weight, before)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Linear(3, 2, bias=False), "has 1 weights that its config.json leaves no place for"),
        (nn.Linear(4, 2), "lacks 1 of the model's weights, first weight"),
        (nn.Sequential(nn.Linear(3, 2)), r"lacks 2 of the model's weights, first 0\.weight"),
    ],
)
def test_missing_unknown_and_misshapen_weights_are_refused_by_name(folder, network, message):
    with pytest.raises(RecipeError, match=message):
        fits("here", folder / "model.safetensors", network)


def test_weights_that_upstream_would_make_up_are_refused():
    complete("here", {"missing_keys": [], "mismatched_keys": [], "unexpected_keys": ["x"]})
    for report in (
        {"missing_keys": ["head.weight"], "mismatched_keys": []},
        {"missing_keys": [], "mismatched_keys": [("head.weight", (1,), (2,))]},
    ):
        with pytest.raises(RecipeError, match=r"lacks 1 of the model's weights, first .*head"):
            complete("here", report)


def test_a_folder_is_a_fault_of_the_recipe_and_a_hub_id_one_of_the_environment(folder):
    error = OSError("first line\nsecond line")
    ours = unavailable("moment", str(folder), error)
    assert isinstance(ours, RecipeError)
    theirs = unavailable("moment", "organisation/name", error)
    assert isinstance(theirs, EnvironmentProblem)
    for text in (str(ours), str(theirs)):
        assert "could not be loaded as moment: first line" in text
        assert "second" not in text
    assert "ValueError" in str(unavailable("moment", "a/b", ValueError()))
