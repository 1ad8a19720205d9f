"""Arguments and options that several verbs share."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from tsfm_adapt.errors import TsfmAdaptError

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe, YAML.")]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change a value of the recipe, e.g. train.steps=50."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


# Options that are not called like the argument that they give; `sets` are several `--set`.
_OPTIONS = {"sets": "--set"}


def with_options(error: TsfmAdaptError) -> str:
    """An error's message for a user of the command line, with the options that it is about.

    The library names arguments. One that was given a wrong value becomes the option in front of
    the message, one that would help stands behind it: `... Export the bundle (--to bundle).`
    """
    message = str(error)
    if error.argument is not None:
        option = _option(error.argument)
        rest = message.removeprefix(error.argument)
        named = rest != message and rest[:1] in (":", " ")
        message = f"{option}{rest}" if named else f"{option} {message}"
    if error.remedy is not None:
        argument, _, value = error.remedy.partition("=")
        shown = f"{_option(argument)} {shlex.quote(value)}" if value else _option(argument)
        message = f"{message.removesuffix('.')} ({shown})."
    return message


def _option(argument: str) -> str:
    return _OPTIONS.get(argument, f"--{argument.replace('_', '-')}")


def print_json(content: Any) -> None:
    """The one document that `--json` writes."""
    print(json.dumps(content, indent=1, ensure_ascii=False))
