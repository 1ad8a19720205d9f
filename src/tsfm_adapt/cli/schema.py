"""`schema`: the rules of a recipe for editors."""

from __future__ import annotations

from tsfm_adapt.cli.options import print_json


def command() -> None:
    """Print the JSON Schema of recipes, with every component's settings."""
    from tsfm_adapt.recipe.schema import Recipe

    print_json(Recipe.model_json_schema())
