"""Sections of a recipe: fixed, without unknown keys, with finite numbers."""

import pytest
from pydantic import ValidationError

from tsfm_adapt._util.frozen import Frozen


class Section(Frozen):
    rate: float = 1.0


class Recipe(Frozen):
    section: Section = Section()


@pytest.mark.parametrize(
    "tree", [{"rates": 1.0}, {"rate": float("nan")}, {"rate": float("inf")}, {"rate": "-inf"}]
)
def test_unknown_keys_and_numbers_that_are_not_finite_are_refused_at_any_depth(tree):
    with pytest.raises(ValidationError):
        Section.model_validate(tree)
    with pytest.raises(ValidationError, match="section"):
        Recipe.model_validate({"section": tree})


def test_what_was_made_stays_as_it_is_and_can_be_compared():
    recipe = Recipe.model_validate({"section": {"rate": 2}})
    with pytest.raises(ValidationError, match="frozen"):
        recipe.section.rate = 3.0
    assert recipe == Recipe(section=Section(rate=2.0))
    assert hash(recipe) == hash(Recipe(section=Section(rate=2.0)))
