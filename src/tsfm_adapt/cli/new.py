"""`new`: the files of a component, to be filled in, in a checkout of this project."""

from __future__ import annotations

import keyword
import re
import subprocess
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from tsfm_adapt.components import PACKAGES, Kind, names
from tsfm_adapt.errors import EnvironmentProblem, RecipeError

_TEMPLATES = Path(__file__).parent / "templates"
_EXPLAINED = Path("docs/explanation/adapters.md")


class What(StrEnum):
    """What `new` can begin."""

    backbone = "backbone"
    adapter = "adapter"
    head = "head"
    task = "task"
    reader = "reader"


@dataclass(frozen=True)
class Draft:
    """A file that is to be written."""

    path: Path  # from the root of the checkout
    text: str


def command(
    what: Annotated[What, typer.Argument(help="Which kind of component.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="As recipes will say it, such as token_shift.")
    ],
) -> None:
    """Begin a component: its file, a test that fails until it is filled in, its docs row."""
    root = checkout(Path(__file__).parents[3])
    kind: Kind = what.value
    check_name(kind, name)
    written = drafts(kind, name)
    for draft in written:
        if (root / draft.path).exists():
            raise RecipeError(f"new: '{draft.path}' exists. Take another name, or remove it.")
    for draft in written:
        (root / draft.path).write_text(draft.text, encoding="utf-8")
        print(f"written: {draft.path}")
    if kind == "adapter":
        _explain(root, name)
    _write_tables(root)
    component, test = (draft.path for draft in written)
    print(f"next: fill in {component}, until this passes: python -m pytest {test}")


def checkout(root: Path) -> Path:
    """The root of the checkout that this package is run from.

    Raises:
        EnvironmentProblem: the package is installed without its tests and pages.
    """
    needed = ("pyproject.toml", "src/tsfm_adapt", "tests/contracts", "tools/tables.py", "docs")
    missing = [path for path in needed if not (root / path).exists()]
    if missing:
        raise EnvironmentProblem(
            "new: works in a checkout of tsfm-adapt, whose tests a component inherits; this is "
            f"an installed package ({root} lacks {missing[0]}). Clone the repository and install "
            "it with `pip install --editable .`, or add the component to a package of your own by "
            "an entry point: see docs/howto/component.md."
        )
    return root


def check_name(kind: Kind, name: str) -> None:
    """Stops where a component cannot have this name.

    Raises:
        RecipeError: it is no identifier in lower case, or another component has it.
    """
    fits = re.fullmatch(r"[a-z][a-z0-9_]*", name) and not keyword.iskeyword(name)
    if not fits or name == "base":
        raise RecipeError(
            f"new: a {kind}'s name is a Python identifier in lower case, not 'base', found "
            f"'{name}'. Use letters, digits and underscores, such as token_shift."
        )
    if name in names(kind):
        raise RecipeError(f"new: there is a {kind} named '{name}' already. Take another name.")


def drafts(kind: Kind, name: str) -> tuple[Draft, Draft]:
    """The component's file and its test."""
    words = name.split("_")
    values = {
        "name": name,
        "class_name": "".join(word.capitalize() for word in words),
        "title": " ".join(words).capitalize(),
    }
    package = PACKAGES[kind]
    return (
        Draft(Path(f"src/tsfm_adapt/{package}/{name}.py"), _filled(kind, values)),
        Draft(Path(f"tests/{package}/test_{name}.py"), _filled(f"{kind}_test", values)),
    )


def _filled(template: str, values: dict[str, str]) -> str:
    text = (_TEMPLATES / f"{template}.txt").read_text(encoding="utf-8")
    return Template(text).substitute(values)


def _explain(root: Path, name: str) -> None:
    """Adds the adapter's section to the page that explains all adapters."""
    page = root / _EXPLAINED
    text = page.read_text(encoding="utf-8")
    page.write_text(text + _filled("explanation", {"name": name}), encoding="utf-8")
    print(f"added a section: {_EXPLAINED}")


def _write_tables(root: Path) -> None:
    """Adds the component's rows to the tables of the pages.

    Raises:
        EnvironmentProblem: the command that writes them fails.
    """
    line = [sys.executable, str(root / "tools" / "tables.py"), "--write"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise EnvironmentProblem(
            f"new: the tables of the pages could not be written: {done.stderr.strip()}. Run "
            "python tools/tables.py --write once the component can be imported."
        )
    print(done.stdout, end="")
