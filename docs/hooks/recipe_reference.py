"""Writes reference/recipe.md: every setting of a recipe, from the schema that recipes keep to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from tsfm_adapt.components import PACKAGES, Kind, built_in, component
from tsfm_adapt.recipe.schema import Recipe

PAGE = "reference/recipe.md"

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "gt": ">", "maximum": "≤"}
_BOUNDS |= {"exclusiveMaximum": "<", "lt": "<"}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "null": "null"}
_TYPES |= {"boolean": "true or false", "array": "list", "object": "mapping"}

_KINDS: dict[Kind, tuple[str, str]] = {
    "reader": ("Readers", "`data.reader`: one of these."),
    "backbone": ("Backbones", "`backbone`: one of these."),
    "adapter": ("Adapters", "`adapters`: a list of these; `[]` scores the backbone as it is."),
    "head": ("Heads", "`head`: one of these, where the backbone's own does not do."),
    "task": ("Tasks", "`task`: one of these."),
}

_HEAD = """# Recipe

A recipe is one YAML file. Unknown keys are refused. Any value can be changed from the command
line, entries of a list by their name: `--set train.steps=50 --set adapters.lora.rank=4`. `rate_hz`
may be a fraction (`1/60`). `tsfm-adapt schema` prints the JSON schema that this page is made from;
an editor that knows it completes and checks recipes. `tsfm-adapt check RECIPE` shows a recipe with
every default written out.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    files.append(File.generated(config, PAGE, content=page(Recipe.model_json_schema())))
    return files


def page(schema: Mapping[str, Any]) -> str:
    """The page as Markdown: sections where they are first mentioned, then components by kind.

    Args:
        schema: the recipe's JSON schema, as pydantic writes it.
    """
    definitions = schema["$defs"]
    seen: set[str] = set()
    shown = [_HEAD, "## The whole\n", _table(schema), *_sections(schema, definitions, seen)]
    for kind, (title, sentence) in _KINDS.items():
        shown += [f"## {title}\n", f"{sentence}\n"]
        keys = {name: _key(kind, name) for name in built_in(kind)}
        for name, key in keys.items():
            found = component(kind, name)
            extra = f" Needs the extra `{found.extra}`." if found.extra else ""
            shown.append(f"### {name} {{ #{_anchor(key)} }}\n\n{found.summary}.{extra}\n")
            shown.append(_table(definitions[key]))
        for key in keys.values():
            shown += _sections(definitions[key], definitions, seen)
    return "\n".join(shown)


def _key(kind: Kind, name: str) -> str:
    package = PACKAGES[kind].replace("/", "__")
    return f"tsfm_adapt__{package}__{name}__Config"


def _sections(
    above: Mapping[str, Any], definitions: Mapping[str, Any], seen: set[str]
) -> Iterator[str]:
    """What a definition mentions that is no component, with what that mentions in turn."""
    for name in dict.fromkeys(re.findall(r'"#/\$defs/(\w+)"', json.dumps(above["properties"]))):
        if name.endswith("__Config") or name in seen:
            continue
        seen.add(name)
        own = definitions[name]
        yield f"### {name} {{ #{_anchor(name)} }}\n\n{own.get('description', '')}\n"
        yield _table(own)
        yield from _sections(own, definitions, seen)


def _table(definition: Mapping[str, Any]) -> str:
    """The settings of one section."""
    required = definition.get("required", ())
    rows = [
        f"| `{name}` | {_type(own)} | {_default(own, name in required)} "
        f"| {_cell(own.get('description', ''))} |"
        for name, own in definition["properties"].items()
        if "const" not in own or own["const"] != own.get("default")
    ]
    if not rows:
        return "No settings.\n"
    return "\n".join(["| setting | value | default | what |", "|---|---|---|---|", *rows, ""])


def _type(own: Mapping[str, Any]) -> str:
    """What a setting may be, for a person."""
    if "$ref" in own:
        name = own["$ref"].rpartition("/")[2]
        shown = name.removesuffix("__Config").rpartition("__")[2]
        return f"[{shown}](#{_anchor(name)})"
    if "discriminator" in own:
        keys = [ref.rpartition("/")[2] for ref in own["discriminator"]["mapping"].values()]
        ours = [key for key in keys if re.fullmatch(r"tsfm_adapt__\w+__Config", key)]
        if ours:
            package = _anchor(ours[0]).partition("-")[0]
            return f"one of the [{package}](#{package})"
    for several in ("anyOf", "oneOf"):
        if several in own:
            found = dict.fromkeys(_type(each) for each in own[several])
            return " or ".join(found) + _bounds(own)
    if "enum" in own or "const" in own:
        return " or ".join(f"`{_yaml(value)}`" for value in own.get("enum", [own.get("const")]))
    if "prefixItems" in own:
        return "[" + ", ".join(_type(each) for each in own["prefixItems"]) + "]"
    if own.get("items"):
        return f"list of {_type(own['items'])}"
    if isinstance(own.get("additionalProperties"), dict):
        return f"mapping of name: {_type(own['additionalProperties'])}"
    return _TYPES.get(own.get("type", ""), "anything") + _bounds(own)


def _bounds(own: Mapping[str, Any]) -> str:
    found = [f"{sign} {_yaml(own[key])}" for key, sign in _BOUNDS.items() if key in own]
    return f" {', '.join(found)}" if found else ""


def _default(own: Mapping[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    default = own.get("default")
    if "$ref" in own and isinstance(default, dict):
        return "its defaults"
    return "" if default is None else f"`{_cell(_yaml(default))}`"


def _yaml(value: Any) -> str:
    """A plain value as one writes it in a recipe."""
    if isinstance(value, str):
        return value or '""'
    return json.dumps(value, ensure_ascii=False)


def _cell(text: str) -> str:
    """Text that stays in one cell of a table and is no HTML."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _anchor(name: str) -> str:
    """`tsfm_adapt__adapters__lora__Config` as `adapters-lora`, `Split` as `split`."""
    parts = name.removeprefix("tsfm_adapt__").removesuffix("__Config").lower()
    return parts.replace("signals__", "").replace("__", "-")
