"""`list`: what there is to put into a recipe."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tsfm_adapt.cli.options import Json, print_json
from tsfm_adapt.components import Kind, component, names

_KINDS: dict[str, Kind] = {
    "backbones": "backbone",
    "adapters": "adapter",
    "heads": "head",
    "tasks": "task",
    "readers": "reader",
}


class What(StrEnum):
    """What `list` can list."""

    backbones = "backbones"
    adapters = "adapters"
    heads = "heads"
    tasks = "tasks"
    readers = "readers"
    recipes = "recipes"


def command(
    what: Annotated[What, typer.Argument(help="Which components to list.")],
    as_json: Json = False,
) -> None:
    """List backbones, adapters, heads, tasks, readers or recipes, and what each still needs."""
    entries = _recipes() if what is What.recipes else _components(_KINDS[what.value])
    if as_json:
        print_json(entries)
        return
    width = max((len(entry["name"]) for entry in entries), default=0)
    for entry in entries:
        note = entry["summary"] if entry["ready"] else f"NOT READY: {entry['reason']}"
        print(f"{entry['name']:<{width}}  {note}")


def _components(kind: Kind) -> list[dict[str, Any]]:
    listed = [component(kind, name) for name in names(kind)]
    return [
        {
            "name": entry.name,
            "ready": entry.problem is None,
            "reason": entry.problem,
            "summary": entry.summary,
        }
        for entry in listed
    ]


def _recipes() -> list[dict[str, Any]]:
    """The recipes of the working directory; the first comment line says what each does."""
    entries = []
    for path in sorted(Path("recipes").glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        entries.append(
            {
                "name": str(path),
                "ready": True,
                "reason": None,
                "summary": first.removeprefix("#").strip(),
            }
        )
    return entries
