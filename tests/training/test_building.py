"""The model of a recipe, put together from its seed alone."""

import numpy as np
import pytest
import torch

from contracts.small_recipe import prepared, recipe
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.training.building import assembled, build, unadapted

QUIET = Progress(quiet=True)


class Said(Progress):
    """Keeps what is said."""

    def __init__(self):
        super().__init__(quiet=True)
        self.lines = []

    def say(self, text):
        self.lines.append(text)


def test_weights_depend_on_the_seed_of_the_recipe_and_on_nothing_else():
    torch.manual_seed(1)
    first = build(recipe(), prepared(), QUIET).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = build(recipe(), prepared(), QUIET).state_dict()
    assert torch.equal(torch.get_rng_state(), state), "others' random numbers stay as they were"
    other = build(recipe(seed=5), prepared(), QUIET).state_dict()
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    assert any(not torch.equal(other[name], tensor) for name, tensor in first.items())


def test_a_model_knows_its_channels_rates_and_the_deviation_of_train():
    entries = [{"name": "lora", "lr": 0.5}, {"name": "affine"}]
    model = build(recipe(adapters=entries), prepared(), QUIET)
    assert model.setting.channels == ("HR", "MAP")
    assert model.setting.subjects == prepared().shared_subjects
    assert [adapter.name for adapter in model.adapters] == ["lora", "affine"]
    np.testing.assert_allclose(model.deviation, prepared().deviation, rtol=1e-6)
    fitted = model.adapters[1].module
    values = np.concatenate([r.values for r in prepared().recordings["train"]], axis=1)
    np.testing.assert_allclose(fitted.mean, np.nanmean(values, axis=1), rtol=1e-4)


def test_random_base_weights_are_said_to_be_random():
    said = Said()
    build(recipe(), prepared(), said)
    assert said.lines == [RANDOM]


def test_without_adapters_and_head_it_is_the_backbone():
    plain = unadapted(recipe(head=None))
    assert (plain.adapters, plain.head, plain.backbone) == ((), None, recipe().backbone)
    assert not assembled(plain, None, ()).trainable()


def test_a_backbone_that_was_built_is_taken_and_the_task_must_fit_it():
    backbone = Moment.tiny()
    model = assembled(recipe(adapters=[]), None, (), backbone=backbone)
    assert model.backbone is backbone
    with pytest.raises(RecipeError, match="context_s"):
        assembled(recipe(**{"task.context_s": 60 * 100_000}), None, (), backbone=backbone)
