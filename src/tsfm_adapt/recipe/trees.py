"""Recipes as trees of plain values: from YAML text, with dotted keys changed.

Nothing here knows what a recipe may hold; `schema.py` does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from pydantic import JsonValue

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.renamed import present, present_setting


def read_text(path: Path) -> str:
    """The text of a recipe's file.

    Raises:
        RecipeError: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe: cannot read '{path}': {error}. Give a YAML file.") from error


def parse_mapping(text: str, source: str) -> dict[str, JsonValue]:
    """Parses a YAML mapping of plain values.

    Raises:
        RecipeError: not YAML, not a mapping, a key twice, a tag that would build an object.
    """
    tree = _parse(text, source)
    if not isinstance(tree, dict):
        raise RecipeError(f"{source}: must be a mapping of keys to values, not {tree!r:.60}.")
    return tree


def parse_changes(sets: Sequence[str]) -> dict[str, JsonValue]:
    """The changes that entries of the form `a.b=value` make, by dotted key.

    Args:
        sets: the value of each in YAML.

    Raises:
        RecipeError: an entry has no `=`, or its value is not YAML.
    """
    changes: dict[str, JsonValue] = {}
    for entry in sets:
        key, equals, value = entry.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"{entry}: use the form a.b=value.")
        plain = value.startswith("%")  # YAML keeps % for itself; here it is a unit
        changes[key.strip()] = value if plain else _parse(value, key)
    return changes


def changed(tree: dict[str, JsonValue], changes: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Returns a copy of a recipe's tree with the values at dotted keys replaced.

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
            raise RecipeError(f"{dotted}: '{'.'.join(path)}' is {node!r}, not a section.")
    return result


def with_sets(tree: dict[str, JsonValue], sets: Sequence[str]) -> dict[str, JsonValue]:
    """A copy of a recipe's tree with entries `a.b=value` set.

    Raises:
        RecipeError: an entry is none, or leads through something that is no section.
    """
    try:
        return changed(tree, parse_changes(sets))
    except RecipeError as error:
        raise RecipeError(str(error), argument="sets") from error


def value_at(tree: Any, dotted: str) -> Any:
    """The value at a dotted key; entries of a list go by position or name.

    Raises:
        LookupError: there is none.
    """
    node = tree
    for key in dotted.split("."):
        if isinstance(node, list):
            named = [entry for entry in node if isinstance(entry, dict) and entry["name"] == key]
            node = node[int(key)] if key.isdigit() else named[0]
        elif isinstance(node, dict):
            node = node[key]
        else:
            raise LookupError(dotted)
    return node


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


def _step(node: Any, key: str, dotted: str, create: bool) -> Any:
    if isinstance(node, list):
        return node[_position(node, key, dotted)]
    if isinstance(node, dict):
        if create:
            node.setdefault(key, {})
        return node[key]
    raise RecipeError(f"{dotted}: '{key}' lies in {node!r}, which is no section.")


def _position(entries: list[Any], key: str, dotted: str) -> int:
    if key.isdigit() and int(key) < len(entries):
        return int(key)
    matches = [i for i, e in enumerate(entries) if isinstance(e, dict) and e.get("name") == key]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(str(e.get("name", i)) for i, e in enumerate(entries) if isinstance(e, dict))
    raise RecipeError(f"{dotted}: no single entry '{key}' among [{known}].")
