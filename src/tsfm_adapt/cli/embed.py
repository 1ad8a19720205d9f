"""`embed`: what the encoder makes of a recipe's windows."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tsfm_adapt.cli.options import Json, Quiet, Sets, print_json
from tsfm_adapt.cli.words import counted


class _Part(StrEnum):
    train = "train"
    val = "val"
    test = "test"
    all = "all"


class _Pooling(StrEnum):
    auto = "auto"
    mean = "mean"
    last = "last"
    max = "max"


def command(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="RUN|RECIPE",
            help="A run's folder: its trained model. A recipe: its backbone as it is.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path(
        "embeddings.parquet"
    ),
    part: Annotated[_Part, typer.Option(help="Of the recipe's split.")] = _Part.all,
    pooling: Annotated[
        _Pooling, typer.Option(help="Of a channel's tokens; auto: last where causal, else mean.")
    ] = _Pooling.auto,
    sets: Sets = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one vector for each window and channel into a Parquet table."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.runs.embeddings import embed

    found = embed(source, out, part.value, pooling.value, sets or (), Progress(quiet=quiet))
    if as_json:
        print_json({"embeddings": str(out), **asdict(found)})
    else:
        print(
            f"{counted(found.rows, 'vector')} of {found.width} numbers, "
            f"{counted(found.windows, 'window')} of {counted(found.subjects, 'subject')}: {out}"
        )
