"""What every backbone does with a folder of weights, as tests to inherit.

A newcomer writes::

    class TestNewcomersCheckpoint(CheckpointContract):
        backbone_class = Newcomer
        config = newcomer.Config
        misfits = ({"num_layers": 3},)
        parts = ("encoder.block.1", "head")
        foreign = "chronos2", "is not a newcomer model"
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file

from contracts.batch import assert_same, outputs, random_batch, roughened
from tsfm_adapt.backbones.base import BackboneConfig, Encoder
from tsfm_adapt.components import config_class
from tsfm_adapt.errors import EnvironmentProblem, RecipeError

FILES = ("config.json", "model.safetensors")
LEFT_OUT = object()  # of a change: the setting is not there


def copied(
    folder: Path,
    to: Path,
    changes: Mapping[str, Any] | None = None,
    keep: Callable[[str], bool] | None = None,
) -> str:
    """A checkpoint with other settings or fewer weights; its path.

    Args:
        folder: of the checkpoint.
        to: exists.
        changes: {path in config.json, dotted: value or LEFT_OUT}.
        keep: names of tensors; None = all.
    """
    settings = json.loads((folder / "config.json").read_text())
    for path, value in (changes or {}).items():
        *inner, last = path.split(".")
        place = settings
        for name in inner:
            place = place[name]
        place[last] = value
        if value is LEFT_OUT:
            del place[last]
    (to / "config.json").write_text(json.dumps(settings))
    if keep is None:
        (to / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    else:
        weights = load_file(folder / "model.safetensors")
        kept = {name: tensor for name, tensor in weights.items() if keep(name)}
        assert len(kept) < len(weights)
        save_file(kept, to / "model.safetensors", metadata={"format": "pt"})
    return str(to)


class CheckpointContract:
    """Inherit, set the class attributes, receive every law."""

    backbone_class: ClassVar[type[Encoder]]
    config: ClassVar[type[BackboneConfig]]
    fields: ClassVar[dict[str, Any]] = {}  # of the recipe: what `tiny` was given
    misfits: ClassVar[tuple[dict[str, Any], ...]]  # settings that the weights do not fit
    parts: ClassVar[tuple[str, ...]]  # prefixes of weights without which no model is built
    foreign: ClassVar[tuple[str, str]]  # another backbone, and what is said of its checkpoint
    nonsense: ClassVar[dict[str, Any]] = {}  # fields of the recipe, each wrong

    @staticmethod
    def write(backbone, folder):
        """Saves as a folder with config.json and model.safetensors."""
        backbone.save(folder)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One test for each of a family's own cases."""
        for name, cases in (("misfit", "misfits"), ("part", "parts")):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, getattr(self, cases), ids=str)

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory):
        folder = tmp_path_factory.mktemp(cls.__name__)
        cls.write(roughened(cls.backbone_class.tiny()), folder)
        return folder

    def load(self, folder, weights=True):
        return self.config(checkpoint=str(folder), **self.fields).build(weights=weights)

    def refused(self, folder, weights=True):
        """Why a folder is not loaded, which names it."""
        with pytest.raises(RecipeError) as refused:
            self.load(folder, weights)
        assert str(folder) in str(refused.value)
        return str(refused.value)

    # What it gives

    def test_a_saved_folder_loads_with_equal_outputs_and_nothing_else_happens(
        self, folder, capsys
    ):
        before = torch.random.get_rng_state()
        capsys.readouterr()
        loaded = self.load(folder)
        assert capsys.readouterr().out == "", "some upstreams print"
        assert torch.equal(torch.random.get_rng_state(), before)
        batch = random_batch()
        expected = roughened(self.backbone_class.tiny())
        assert_same(loaded.network.state_dict(), expected.network.state_dict())
        assert_same(outputs(loaded, batch, 60), outputs(expected, batch, 60))
        assert (loaded.spec.checkpoint, loaded.spec.licence) == (str(folder), "unknown")
        assert not any(module.training for module in loaded.network.modules())
        assert all(parameter.requires_grad for parameter in loaded.network.parameters())
        assert {parameter.device.type for parameter in loaded.network.parameters()} == {"cpu"}

    def test_a_loaded_model_saves_again_as_it_was(self, folder, tmp_path):
        self.write(self.load(folder), tmp_path)
        saved, original = (load_file(path / "model.safetensors") for path in (tmp_path, folder))
        assert_same(saved, original)
        settings = [json.loads((path / "config.json").read_text()) for path in (tmp_path, folder)]
        assert settings[0] == settings[1]

    def test_saving_into_the_folder_it_was_loaded_from_changes_no_loaded_weight(self, tmp_path):
        self.write(self.backbone_class.tiny(), tmp_path)
        loaded = self.load(tmp_path)
        before = {name: t.clone() for name, t in loaded.network.state_dict().items()}
        self.write(self.backbone_class.tiny(seed=1), tmp_path)
        assert_same(loaded.network.state_dict(), before)

    def test_a_checkpoint_saved_in_half_precision_computes_in_float32(self, tmp_path):
        backbone = self.backbone_class.tiny()
        backbone.network.to(torch.bfloat16)
        self.write(backbone, tmp_path)
        file = tmp_path / "model.safetensors"
        half = {name: t.to(torch.bfloat16) for name, t in load_file(file).items()}
        save_file(half, file, metadata={"format": "pt"})  # some write float32 whatever they hold
        network = self.load(tmp_path).network
        tensors = [*network.parameters(), *network.buffers()]
        assert {t.dtype for t in tensors if t.is_floating_point()} == {torch.float32}

    def test_without_weights_the_shapes_are_the_same_and_nothing_is_allocated(self, folder):
        real, bare = (self.load(folder, weights).network for weights in (True, False))
        assert {p.device.type for p in bare.parameters()} == {"meta"}
        assert {n: p.shape for n, p in bare.named_parameters()} == {
            n: p.shape for n, p in real.named_parameters()
        }

    # What it refuses

    @pytest.mark.parametrize("missing", FILES)
    def test_a_folder_that_lacks_a_file_is_refused_with_what_it_holds(
        self, folder, tmp_path, missing
    ):
        copied(folder, tmp_path)
        (tmp_path / missing).unlink()
        (other,) = {*FILES} - {missing}
        assert re.search(rf"lacks {missing} \(found: {other}", self.refused(tmp_path))

    def test_an_empty_folder_lacks_both_files(self, tmp_path):
        said = "lacks config.json and model.safetensors (found: noth"
        assert said in self.refused(tmp_path)

    def test_a_weights_file_that_was_cut_short_is_refused_by_name(self, folder, tmp_path):
        copied(folder, tmp_path)
        whole = (folder / "model.safetensors").read_bytes()
        for size in (0, 5, 5000, len(whole) - 1):
            (tmp_path / "model.safetensors").write_bytes(whole[:size])
            self.refused(tmp_path)

    @pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b'"a"', b"\xff"], ids=repr)
    def test_a_config_that_is_none_is_refused_by_name(self, folder, tmp_path, text):
        copied(folder, tmp_path)
        (tmp_path / "config.json").write_bytes(text)
        self.refused(tmp_path)

    def test_weights_that_do_not_fit_the_config_are_refused(self, folder, tmp_path, misfit):
        """Some upstreams fill a layer that the file lacks with random numbers and only log it."""
        self.refused(copied(folder, tmp_path, misfit))

    def test_weights_that_the_file_lacks_are_never_made_up(self, folder, tmp_path, part):
        copied(folder, tmp_path, keep=lambda name: not name.startswith(part))
        lost = sum(n.startswith(part) for n in load_file(folder / "model.safetensors"))
        assert f"lacks {lost} of the model's weights, first {part}" in self.refused(tmp_path)

    @pytest.mark.parametrize("weights", [True, False])
    def test_a_model_of_another_family_is_refused_by_name(self, tmp_path, weights):
        name, said = self.foreign
        config_class("backbone", name)(checkpoint="tiny").build().save(tmp_path)
        assert re.search(said, self.refused(tmp_path, weights))

    @pytest.mark.parametrize("checkpoint", ["/no/such/folder", "./missing", "missing", "a/b/c"])
    def test_a_checkpoint_that_is_nowhere_is_refused_by_name(self, checkpoint):
        with pytest.raises(RecipeError, match=f"'{checkpoint}' is neither 'embedded'"):
            self.load(checkpoint)

    def test_a_hub_model_that_cannot_be_fetched_says_what_to_do(self):
        with pytest.raises(EnvironmentProblem, match="'nobody/no-such-model' could not be loaded"):
            self.load("nobody/no-such-model")

    def test_a_misspelt_or_impossible_setting_is_refused(self):
        for field, value in ({"checkpont": "x", "name": "x"} | self.nonsense).items():
            with pytest.raises(ValueError, match=field):
                self.config.model_validate({field: value})
