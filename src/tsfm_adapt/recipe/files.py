"""Recipes from YAML files, and as YAML again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.recipe.trees import parse_mapping, read_text, with_sets


def load(path: Path, sets: Sequence[str] = (), *, to_tune: bool = True) -> Recipe:
    """Reads and validates a recipe.

    Args:
        path: a YAML file.
        sets: overrides of the form `a.b=value`, the value in YAML.
        to_tune: False leaves `search` out, whose space need not fit what was overridden.

    Raises:
        RecipeError: the file or an override breaks a rule.
    """
    return loads(read_text(path), sets, source=str(path), to_tune=to_tune)


def loads(
    text: str, sets: Sequence[str] = (), source: str = "recipe", *, to_tune: bool = True
) -> Recipe:
    """Reads and validates a recipe from text; see `load`."""
    tree = with_sets(parse_mapping(text, source), sets)
    if not to_tune:
        tree.pop("search", None)
    return Recipe.from_dict(tree)


def dumps(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text
