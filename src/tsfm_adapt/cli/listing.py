"""`list`: what there is to put into a recipe."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from tsfm_adapt.backbones.embedded import embedded, in_short, published
from tsfm_adapt.cli.options import Json, print_json
from tsfm_adapt.cli.tables import show
from tsfm_adapt.components import OURS, Kind, component, names

_KINDS: dict[str, Kind] = {
    "backbones": "backbone",
    "adapters": "adapter",
    "heads": "head",
    "tasks": "task",
    "readers": "reader",
}


# The columns of what is known of a backbone's weights; see `facts`.
FACTS = ("name", "parameters", "MB", "context", "licence", "published: ids, licence")
NUMBERS = ("parameters", "MB", "context")


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
    if what is What.recipes:
        entries = _recipes()
    else:
        entries = backbones() if what is What.backbones else _components(_KINDS[what.value])
    if as_json:
        print_json(entries)
        return
    if what is What.recipes and not entries:
        print(
            f"there are no recipes in {Path('recipes').absolute()}: those of the project are in "
            "its repository. `tsfm-adapt init FOLDER` writes one for your recordings."
        )
        return
    notes = [_note(entry) for entry in entries]
    if what is What.backbones:
        rows = [[*facts(e), note] for e, note in zip(entries, notes, strict=True)]
        show([*FACTS, "what it is"], rows, NUMBERS)
    else:
        rows = [[e["name"], note] for e, note in zip(entries, notes, strict=True)]
        show(["name", "what it is"], rows)


def backbones() -> list[dict[str, Any]]:
    """Every backbone: whether it is ready, and what is known of its weights.

    `parameters`, `size_mb`, `max_context` (samples) and `licence` are of the embedded weights,
    null where there are none; `published` maps the known ids on the Hub to their licences.
    """
    entries = []
    for entry in _components("backbone"):
        own = embedded(entry["name"])
        known = dict.fromkeys(("parameters", "size_mb", "max_context", "licence"))
        known |= asdict(own) if own is not None else {}
        entries.append({**entry, **known, "published": published(entry["name"])})
    return entries


def facts(backbone: dict[str, Any]) -> list[str]:
    """An entry of `backbones` as cells under `FACTS`."""
    if backbone["parameters"] is None:
        own = ["-"] * 4
    else:
        own = [
            f"{backbone['parameters']:,}",
            f"{backbone['size_mb']:.1f}",
            f"{backbone['max_context']}",
            backbone["licence"],
        ]
    return [backbone["name"], *own, in_short(backbone["published"])]


def _components(kind: Kind) -> list[dict[str, Any]]:
    listed = [component(kind, name) for name in names(kind)]
    return [
        {
            "name": entry.name,
            "ready": entry.problem is None,
            "reason": entry.problem,
            "summary": entry.summary,
            "package": entry.package,
        }
        for entry in listed
    ]


def _note(entry: dict[str, Any]) -> str:
    """What an entry is, or what it still needs; of another package, which."""
    note = entry["summary"] if entry["ready"] else f"NOT READY: {entry['reason']}"
    return note if entry["package"] in (OURS, None) else f"{note} (package {entry['package']})"


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
                "package": None,
            }
        )
    return entries
