"""`list`: the components that a recipe can use, and recipes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

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


@dataclass(frozen=True)
class Entry:
    """A component or recipe in a list; the fields are those of `--json`."""

    name: str
    ready: bool
    reason: str | None  # why it is not ready
    summary: str
    package: str | None  # that it comes from; None = it is a recipe


@dataclass(frozen=True)
class BackboneEntry(Entry):
    """A backbone, with what is known of its embedded weights; None = there are none."""

    parameters: int | None
    size_mb: float | None
    max_context: int | None  # samples
    licence: str | None
    published: dict[str, str]  # the known ids on the Hub: the licence of each


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
    known = backbones() if what is What.backbones else []
    entries: Sequence[Entry] = known
    if what is What.recipes:
        entries = _recipes()
    elif what is not What.backbones:
        entries = _components(_KINDS[what.value])
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    if what is What.recipes and not entries:
        print(
            f"there are no recipes in {Path('recipes').absolute()}: those of the project are in "
            "its repository. `tsfm-adapt init FOLDER` writes one for your recordings."
        )
        return
    notes = [_note(entry) for entry in entries]
    if what is What.backbones:
        rows = [[*facts(e), note] for e, note in zip(known, notes, strict=True)]
        show([*FACTS, "what it is"], rows, NUMBERS)
    else:
        rows = [[e.name, note] for e, note in zip(entries, notes, strict=True)]
        show(["name", "what it is"], rows)


def backbones() -> list[BackboneEntry]:
    """Every backbone: whether it is ready, and what is known of its weights."""
    entries = []
    for entry in _components("backbone"):
        own = embedded(entry.name)
        entries.append(
            BackboneEntry(
                name=entry.name,
                ready=entry.ready,
                reason=entry.reason,
                summary=entry.summary,
                package=entry.package,
                parameters=None if own is None else own.parameters,
                size_mb=None if own is None else own.size_mb,
                max_context=None if own is None else own.max_context,
                licence=None if own is None else own.licence,
                published=published(entry.name),
            )
        )
    return entries


def facts(backbone: BackboneEntry) -> list[str]:
    """An entry of `backbones` as cells under `FACTS`."""
    own = [
        "-" if backbone.parameters is None else f"{backbone.parameters:,}",
        "-" if backbone.size_mb is None else f"{backbone.size_mb:.1f}",
        "-" if backbone.max_context is None else f"{backbone.max_context}",
        "-" if backbone.licence is None else backbone.licence,
    ]
    return [backbone.name, *own, in_short(backbone.published)]


def _components(kind: Kind) -> list[Entry]:
    listed = [component(kind, name) for name in names(kind)]
    return [
        Entry(
            name=entry.name,
            ready=entry.problem is None,
            reason=entry.problem,
            summary=entry.summary,
            package=entry.package,
        )
        for entry in listed
    ]


def _note(entry: Entry) -> str:
    """The summary of an entry, or why it is not ready; the package, if it is another one."""
    note = entry.summary if entry.ready else f"NOT READY: {entry.reason}"
    return note if entry.package in (OURS, None) else f"{note} (package {entry.package})"


def _recipes() -> list[Entry]:
    """The recipes of the working directory; the first comment line says what each does."""
    entries = []
    for path in sorted(Path("recipes").glob("*.yaml")):
        first = path.read_text(encoding="utf-8").partition("\n")[0]
        summary = first.removeprefix("#").strip()
        entries.append(
            Entry(name=str(path), ready=True, reason=None, summary=summary, package=None)
        )
    return entries
