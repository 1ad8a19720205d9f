"""Finds components by file name: `name: lora` in a recipe is the `Config` of `adapters/lora.py`.

The folder is the registry. A component file holds a docstring whose first line says what it is, a
`Config` (pydantic, frozen) and the class that it builds. Component files import torch inside
functions only, so that a recipe is validated without it.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from tsfm_adapt.errors import EnvironmentProblem, RecipeError, closest

Kind = Literal["backbone", "adapter", "head", "task", "reader"]

PACKAGES: dict[Kind, str] = {
    "backbone": "backbones",
    "adapter": "adapters",
    "head": "heads",
    "task": "tasks",
    "reader": "signals/readers",
}


@dataclass(frozen=True)
class Component:
    """A component: name, summary and optional packages, read without importing its file."""

    kind: Kind
    name: str
    summary: str
    requires: tuple[str, ...]  # import names of optional packages
    extra: str | None  # the extra that installs them

    @property
    def missing(self) -> tuple[str, ...]:
        """The optional packages that this component needs and that are not installed."""
        return tuple(name for name in self.requires if importlib.util.find_spec(name) is None)

    @property
    def problem(self) -> str | None:
        """Why the component cannot be used here, with the install command; None = ready."""
        if not self.missing:
            return None
        return f"needs {', '.join(self.missing)}: pip install 'tsfm-adapt[{self.extra}]'"


def names(kind: Kind) -> tuple[str, ...]:
    """The component names of a kind, sorted."""
    return tuple(sorted(path.stem for path in _files(kind)))


@cache
def component(kind: Kind, name: str) -> Component:
    """Looks a component up by name.

    Raises:
        RecipeError: no component of that kind has this name.
    """
    known = names(kind)
    if name not in known:
        raise RecipeError(
            f"there is no {kind} named '{name}'.{closest(name, known)} Known: {', '.join(known)}."
        )
    own = constants(kind, name, "REQUIRES", "EXTRA")
    summary = (ast.get_docstring(_tree(kind, name)) or "").splitlines()
    return Component(
        kind=kind,
        name=name,
        summary=summary[0].rstrip(".") if summary else "",
        requires=tuple(own.get("REQUIRES", ())),
        extra=own.get("EXTRA"),
    )


def constants(kind: Kind, name: str, *wanted: str) -> dict[str, Any]:
    """Constants that a component's file assigns, read without importing it.

    They are literals: numbers, texts, tuples and mappings of them.
    """
    assigned: dict[str, ast.expr] = {}
    for statement in _tree(kind, name).body:
        if isinstance(statement, ast.Assign):
            targets: list[ast.expr] = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Name) and statement.value is not None:
                assigned[target.id] = statement.value
    return {key: ast.literal_eval(assigned[key]) for key in wanted if key in assigned}


def config_class(kind: Kind, name: str) -> Any:  # a pydantic model class, one per component file
    """The `Config` class of a component; importing it needs none of the component's extras."""
    component(kind, name)
    package = PACKAGES[kind].replace("/", ".")
    return importlib.import_module(f"tsfm_adapt.{package}.{name}").Config


def require(kind: Kind, name: str) -> None:
    """Stops unless the component's optional packages are installed.

    Raises:
        EnvironmentProblem: with the command that installs what is missing.
    """
    problem = component(kind, name).problem
    if problem is not None:
        raise EnvironmentProblem(f"{kind} '{name}' {problem}")


def _folder(kind: Kind) -> Path:
    return Path(__file__).parent / PACKAGES[kind]


@cache
def _tree(kind: Kind, name: str) -> ast.Module:
    return ast.parse((_folder(kind) / f"{name}.py").read_text(encoding="utf-8"))


def _files(kind: Kind) -> Iterator[Path]:
    for path in _folder(kind).glob("*.py"):
        if not path.stem.startswith("_") and path.stem != "base":
            yield path
