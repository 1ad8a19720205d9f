"""Validates a recipe's tree; an error has a line for each broken rule: path, value, remedy."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationError

from tsfm_adapt.components import Kind, config_class, names
from tsfm_adapt.errors import EnvironmentProblem, RecipeError, closest
from tsfm_adapt.recipe.renamed import present

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Model = TypeVar("Model", bound=BaseModel)

# The sections of a recipe that take the `Config` of a component; `adapters` holds a list of them.
_SECTIONS: dict[str, Kind] = {
    "reader": "reader",
    "backbone": "backbone",
    "adapters": "adapter",
    "head": "head",
    "task": "task",
}


def validated(tree: Mapping[str, JsonValue], model: type[Model]) -> Model:
    """Validates a tree and returns the recipe.

    Args:
        tree: plain values, laid out as in a file.
        model: the class of recipes.

    Raises:
        RecipeError: one line for each rule that is broken.
    """
    _check_names(tree)
    tree = present(tree)
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        faults = _one_a_place(error.errors(), tree)
        lines = [_explain(details, tree, model) for details in faults]
        raise RecipeError("\n".join(dict.fromkeys(lines))) from error


def _check_names(tree: Mapping[str, JsonValue]) -> None:
    """Checks component names first, since that message suggests the closest one."""
    data = tree.get("data")
    reader = data.get("reader") if isinstance(data, dict) else None
    adapters = tree.get("adapters")
    sections: list[tuple[Kind, Any, str]] = [
        ("reader", reader, "data.reader"),
        ("backbone", tree.get("backbone"), "backbone"),
        ("task", tree.get("task"), "task"),
        ("head", tree.get("head"), "head"),
    ]
    for index, entry in enumerate(adapters if isinstance(adapters, list) else []):
        sections.append(("adapter", entry, f"adapters.{index}"))
    for kind, section, path in sections:
        if not isinstance(section, dict):
            continue
        name = section.get("name")
        if not isinstance(name, str):
            raise RecipeError(f"{path}.name: missing. Known: {', '.join(names(kind))}.")
        try:
            config_class(kind, name)
        except (RecipeError, EnvironmentProblem) as error:
            raise type(error)(f"{path}.name: {error}") from error


def _one_a_place(errors: Sequence[ErrorDetails], tree: Any) -> list[ErrorDetails]:
    """Keeps one error for each path: of the branches of a union the deepest."""
    by_path = {_path(details["loc"], tree): details for details in errors}
    return [
        details
        for path, details in by_path.items()
        if not any(other.startswith(f"{path}.") for other in by_path)
    ]


def _explain(details: ErrorDetails, tree: Any, model: type[BaseModel]) -> str:
    path = _path(details["loc"], tree)
    value = details.get("input")
    if details["type"] == "extra_forbidden":
        known = _known_keys(details["loc"], tree, model)
        key = str(details["loc"][-1])
        return f"{path}: there is no such key.{closest(key, known)} Known: {', '.join(known)}."
    if details["type"] == "missing":
        return f"{path}: missing. Add it; see `tsfm-adapt schema` for its rule."
    message = details["msg"].removeprefix("Value error, ")
    if isinstance(value, int) and abs(value) > 1e300:
        value = "a number of that size"
    if details["type"] in ("value_error", "assertion_error"):
        return f"{path or 'recipe'}: {message}."
    return f"{path}: {message}, found {reprlib.repr(value)}."


def _path(loc: Sequence[int | str], tree: Any) -> str:
    """A pydantic location as the recipe's own dotted path; an adapter goes by its name."""
    parts: list[str] = []
    node = tree
    for key in loc:
        if isinstance(node, dict) and key not in node and key == node.get("name"):
            continue  # the tag of a union
        if isinstance(node, list) and isinstance(key, int) and key < len(node):
            node = node[key]
            name = node.get("name") if isinstance(node, dict) else None
            parts.append(str(name or key))
            continue
        if key in ("int", "float", "str", "Channel") or str(key).startswith(("tuple[", "dict[")):
            continue  # the branch of a union of plain values
        parts.append(str(key))
        node = node.get(key) if isinstance(node, dict) else None
    return ".".join(parts)


def _known_keys(loc: Sequence[int | str], tree: Any, model: type[BaseModel]) -> list[str]:
    """The keys that the section at `loc` accepts."""
    node: Any = tree
    current: Any = model
    for key in loc[:-1]:
        if isinstance(node, dict) and key not in node and key == node.get("name"):
            continue  # the tag of a union
        if isinstance(key, str) and key in _SECTIONS and not isinstance(node, list):
            node = node[key]
            if isinstance(node, dict):
                current = config_class(_SECTIONS[key], node["name"])
            continue
        if isinstance(node, list) and isinstance(key, int):
            node = node[key]
            current = config_class("adapter", node["name"])
            continue
        branch = next((c for c in get_args(current) if getattr(c, "__name__", None) == key), None)
        node = node.get(key) if isinstance(node, dict) else None
        if branch is not None and hasattr(branch, "model_fields"):
            current = branch
        elif get_origin(current) is dict:  # names of the user's own
            current = get_args(current)[1]
        else:
            field = getattr(current, "model_fields", {}).get(key)
            current = field.annotation if field is not None else current
    return list(getattr(current, "model_fields", {}))
