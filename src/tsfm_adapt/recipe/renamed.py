"""Recipes of earlier versions: settings of adapters under their present names, with a warning."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from tsfm_adapt._util.renamed import warn_renamed
from tsfm_adapt.components import configs

if TYPE_CHECKING:
    from tsfm_adapt.adapters.base import AdapterConfig


def present(tree: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A recipe's tree with the settings of its adapters, and of its search, as they are now.

    What is no adapter or no space is left to the schema, which says what is wrong with it.
    """
    result = dict(tree)
    adapters = tree.get("adapters")
    if isinstance(adapters, list):
        result["adapters"] = [_entry(entry) for entry in adapters]
    search = tree.get("search")
    space = search.get("space") if isinstance(search, dict) else None
    if isinstance(search, dict) and isinstance(space, dict):
        result["search"] = search | {"space": _space(space, adapters)}
    return result


def present_setting(section: Any, key: str, value: Any) -> tuple[str, Any]:
    """A setting that is to be put into a section of a recipe's tree, as it is now."""
    config = _config(section)
    if config is None:
        return key, value
    ((name, own),) = config.present({key: value}).items()
    return name, own


def _entry(entry: Any) -> Any:
    config = _config(entry)
    return entry if config is None else config.present(entry)


def _config(section: Any) -> type[AdapterConfig] | None:
    """The schema of an adapter's section; None = it is none."""
    name = section.get("name") if isinstance(section, dict) else None
    found: type[AdapterConfig] | None = configs("adapter").get(str(name))
    return found


def _space(space: Mapping[str, JsonValue], adapters: Any) -> dict[str, JsonValue]:
    """A search space, its paths and values as they are now."""
    result: dict[str, JsonValue] = {}
    for path, variable in space.items():
        config, key = _at(path, adapters)
        name = key if config is None else config.renamed(key, None)[0]
        own = _variable(variable, config if name != key else None, key, adapters)
        if name != key:
            new = f"{path.removesuffix(key)}{name}"
            warn_renamed(f"search.space.{path}", f"search.space.{new}")
            path = new
        result[path] = own
    return result


def _at(path: Any, adapters: Any) -> tuple[type[AdapterConfig] | None, str]:
    """The schema that a path of the space leads into, and the last key; None = no adapter's."""
    section, _, rest = str(path).partition(".")
    entry, _, key = rest.partition(".")
    if section != "adapters" or not key or "." in key:
        return None, ""
    if entry.isdecimal():
        listed = adapters if isinstance(adapters, list) else []
        return (_config(listed[int(entry)]) if int(entry) < len(listed) else None), key
    return _config({"name": entry}), key


def _variable(variable: Any, config: type[AdapterConfig] | None, key: str, adapters: Any) -> Any:
    """A variable of the space, its choices and the spaces of its options as they are now."""
    if not isinstance(variable, dict):
        return variable
    own = dict(variable)

    def as_now(value: Any) -> Any:
        return value if config is None else config.renamed(key, value)[1]

    if isinstance(own.get("choices"), list | tuple):
        own["choices"] = [as_now(value) for value in own["choices"]]
    if isinstance(own.get("options"), dict):
        own["options"] = {
            name: _option(option, as_now, adapters) for name, option in own["options"].items()
        }
    return own


def _option(option: Any, as_now: Callable[[Any], Any], adapters: Any) -> Any:
    if not isinstance(option, dict):
        return option
    own = dict(option)
    if "value" in own:
        own["value"] = as_now(own["value"])
    if isinstance(own.get("space"), dict):
        listed = own.get("value") if isinstance(own.get("value"), list) else adapters
        own["space"] = _space(own["space"], listed)
    return own
