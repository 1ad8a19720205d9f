"""Recipes from YAML files, and errors that say where, what and how to mend."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml

from tsfm_adapt.components import Kind, component, names
from tsfm_adapt.errors import RecipeError, closest
from tsfm_adapt.recipe.renamed import present, present_setting

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic_core import ErrorDetails

    from tsfm_adapt.recipe.schema import Recipe


def load(path: Path, sets: Sequence[str] = (), *, to_tune: bool = True) -> Recipe:
    """Reads and validates a recipe.

    Args:
        path: a YAML file.
        sets: overrides of the form `a.b=value`, the value in YAML.
        to_tune: False leaves `search` out, whose space need not fit what was overridden.

    Raises:
        RecipeError: the file or an override breaks a rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe: cannot read '{path}': {error}. Give a YAML file.") from error
    return loads(text, sets, source=str(path), to_tune=to_tune)


def loads(
    text: str, sets: Sequence[str] = (), source: str = "recipe", *, to_tune: bool = True
) -> Recipe:
    """Reads and validates a recipe from text; see `load`."""
    tree = parse_mapping(text, source)
    changes: dict[str, Any] = {}
    for entry in sets:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {entry}: use the form a.b=value.")
        plain = value.startswith("%")  # YAML keeps % for itself; here it is a unit
        changes[key.strip()] = value if plain else _parse(value, f"--set {key}")
    tree = changed(tree, changes)
    if not to_tune:
        tree.pop("search", None)
    return validated(tree)


def parse_mapping(text: str, source: str) -> dict[str, Any]:
    """A YAML mapping of plain values.

    Raises:
        RecipeError: not YAML, not a mapping, a key twice, a tag that would build an object.
    """
    tree = _parse(text, source)
    if not isinstance(tree, dict):
        raise RecipeError(f"{source}: must be a mapping of keys to values, not {tree!r:.60}.")
    return tree


def dumps(recipe: Recipe) -> str:
    """The resolved recipe as YAML, every default written out."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    return text


def changed(tree: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe's tree with dotted keys replaced.

    Raises:
        RecipeError: a key leads through something that is no section.
    """
    result = deepcopy(present(tree))
    for dotted, given in changes.items():
        value = deepcopy(given)  # a later key may lie inside it
        *path, last = dotted.split(".")
        node: Any = result
        for depth, key in enumerate(path):
            node = _step(node, key, dotted, create=depth < len(path))
        if isinstance(node, list):
            node[_position(node, last, dotted)] = value
        elif isinstance(node, dict):
            last, value = present_setting(node, last, value)
            node[last] = value
        else:
            raise RecipeError(f"--set {dotted}: '{'.'.join(path)}' is {node!r}, not a section.")
    return result


def validated(tree: dict[str, Any]) -> Recipe:
    """The recipe of a tree.

    Raises:
        RecipeError: one line for each rule that is broken.
    """
    from pydantic import ValidationError

    from tsfm_adapt.recipe.schema import Recipe

    _check_names(tree)
    tree = present(tree)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as error:
        faults = _one_a_place(error.errors(), tree)
        lines = [_explain(details, tree, Recipe) for details in faults]
        raise RecipeError("\n".join(dict.fromkeys(lines))) from error


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML without duplicate keys and without nan and inf."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:  # before merges, which may be overridden
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str | int | float | bool) or key in seen:
            fault = "appears twice" if isinstance(key, str) else "is not a plain key"
            raise yaml.constructor.ConstructorError(
                None, None, f"key '{key}' {fault}", key_node.start_mark
            )
        seen.add(key)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


def _float(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    value: float = loader.construct_yaml_float(node)
    if not math.isfinite(value):
        raise yaml.constructor.ConstructorError(
            None, None, f"'{node.value}' is not a finite number", node.start_mark
        )
    return value


_StrictLoader.add_constructor("tag:yaml.org,2002:map", _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _float)


def _parse(text: str, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = error.problem or "not YAML"
        if "could not determine a constructor" in problem:
            problem += " (tags that build objects are refused: a recipe holds plain values only)"
        raise RecipeError(f"{source}{where}: {problem}. Correct the file.") from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"{source}: not readable as YAML: {reason}.") from error


def _check_names(tree: dict[str, Any]) -> None:
    """Component names first: their message knows the closest name."""
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
            component(kind, name)
        except RecipeError as error:
            raise RecipeError(f"{path}.name: {error}") from error


def _one_a_place(errors: Sequence[ErrorDetails], tree: Any) -> list[ErrorDetails]:
    """One error a place: of a union's branches the last, the one that knows the most."""
    by_path = {_path(details["loc"], tree): details for details in errors}
    return [
        details
        for path, details in by_path.items()
        if not any(other.startswith(f"{path}.") for other in by_path)
    ]


def _explain(details: ErrorDetails, tree: Any, model: type[BaseModel]) -> str:
    path = _path(details["loc"], tree)
    found = details.get("input")
    if details["type"] == "extra_forbidden":
        known = _known_keys(details["loc"], tree, model)
        key = str(details["loc"][-1])
        return f"{path}: there is no such key.{closest(key, known)} Known: {', '.join(known)}."
    if details["type"] == "missing":
        return f"{path}: missing. Add it; see `tsfm-adapt schema` for its rule."
    message = details["msg"].removeprefix("Value error, ")
    if isinstance(found, int) and abs(found) > 1e300:
        found = "a number of that size"
    if details["type"] in ("value_error", "assertion_error"):
        return f"{path or 'recipe'}: {message}."
    return f"{path}: {message}, found {reprlib.repr(found)}."


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
    from tsfm_adapt.components import config_class
    from tsfm_adapt.recipe.schema import Channel

    kinds: dict[str, Kind] = {
        "reader": "reader",
        "backbone": "backbone",
        "adapters": "adapter",
        "head": "head",
        "task": "task",
    }
    node: Any = tree
    current: Any = model
    for key in loc[:-1]:
        if isinstance(node, dict) and key not in node and key == node.get("name"):
            continue
        if isinstance(key, str) and key in kinds and not isinstance(node, list):
            node = node[key]
            if isinstance(node, dict):
                current = config_class(kinds[key], node["name"])
            continue
        if isinstance(node, list) and isinstance(key, int):
            node = node[key]
            current = config_class("adapter", node["name"])
            continue
        node = node.get(key) if isinstance(node, dict) else None
        if key == "Channel":
            current = Channel
            continue
        if get_origin(current) is dict:  # names of the user's own
            current = get_args(current)[1]
            continue
        field = getattr(current, "model_fields", {}).get(key)
        current = field.annotation if field is not None else current
    return list(getattr(current, "model_fields", {}))


def _step(node: Any, key: str, dotted: str, create: bool) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, dotted)]
    if isinstance(node, dict):
        if create:
            node.setdefault(key, {})
        return node[key]
    raise RecipeError(f"--set {dotted}: '{key}' lies in {node!r}, which is no section.")


def _position(entries: list[Any], key: str, dotted: str) -> int:
    if key.isdigit() and int(key) < len(entries):
        return int(key)
    matches = [i for i, e in enumerate(entries) if isinstance(e, dict) and e.get("name") == key]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(str(e.get("name", i)) for i, e in enumerate(entries) if isinstance(e, dict))
    raise RecipeError(f"--set {dotted}: no single entry '{key}' among [{known}].")
