"""`export`: an adapted model for other software."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tsfm_adapt.cli.options import Json, Quiet, print_json


class _Target(StrEnum):
    bundle = "bundle"
    merged = "merged"
    onnx = "onnx"


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A trained run or bundle.")],
    to: Annotated[
        _Target,
        typer.Option(
            help="bundle: what was trained, apart from its base; merged: a checkpoint of "
            "upstream's own class; onnx: a graph of fixed shapes."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder to write; must not exist.")],
    force: Annotated[
        bool,
        typer.Option("--force", help="Export even if the scores or the licence would block it."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a run's adapted model for other software, with a model card."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.export.export import export

    exported = export(model, to.value, out, force, Progress(quiet=quiet))
    if as_json:
        print_json(asdict(exported) | {"folder": str(exported.folder)})
        return
    for note in exported.notes:
        print(note)
    for windows, difference in exported.differences.items():
        print(f"maximum relative difference from the adapted model on {windows}: {difference:.1e}")
    print("load it with:")
    for line in exported.loading.splitlines():
        print(f"  {line}")
    print(f"exported: {exported.folder}")
