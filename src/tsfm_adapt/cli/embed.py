"""`embed`: embeddings of a recipe's windows."""

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
            help="A run's folder: its trained model. A recipe: its backbone, unadapted.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path(
        "embeddings.parquet"
    ),
    part: Annotated[
        _Part, typer.Option(help="Split of the recipe to embed, or all of it.")
    ] = _Part.all,
    pooling: Annotated[
        _Pooling,
        typer.Option(
            help="How a channel's tokens become one vector; auto: last where causal, else mean."
        ),
    ] = _Pooling.auto,
    sets: Sets = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one vector for each window and channel into a Parquet table."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.runs.embeddings import embed

    embedded = embed(source, out, part.value, pooling.value, sets or (), Progress(quiet=quiet))
    if as_json:
        print_json({"embeddings": str(out), **asdict(embedded)})
    else:
        print(
            f"{counted(embedded.rows, 'vector')} of {embedded.width} numbers, "
            f"{counted(embedded.windows, 'window')} of "
            f"{counted(embedded.subjects, 'subject')}: {out}"
        )
