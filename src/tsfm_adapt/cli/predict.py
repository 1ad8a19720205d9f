"""`predict`: forecasts of new recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsfm_adapt.cli.options import Json, print_json


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A trained run or bundle.")],
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Recordings: file or folder.")],
    reader: Annotated[
        str | None,
        typer.Option(help="How to read INPUT, YAML; default the recipe's reader."),
    ] = None,
    every_s: Annotated[
        float | None,
        typer.Option("--every-s", help="A forecast every so many seconds; default the end only."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The Parquet file to write.")] = Path(
        "predictions.parquet"
    ),
    raw: Annotated[
        bool, typer.Option("--raw", help="The model's own quantiles, without calibration.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Forecast recordings that the run need not have seen, into a Parquet table."""
    from tsfm_adapt.evaluation.tables import write
    from tsfm_adapt.recipe.trees import parse_mapping
    from tsfm_adapt.runs.run import predict

    settings = None if reader is None else parse_mapping(reader, "--reader")
    predictions = predict(model, source, settings, every_s, raw)
    write(out, predictions)
    found = {
        "predictions": str(out),
        "rows": predictions.num_rows,
        "subjects": len(predictions.column("subject").unique()),
    }
    if as_json:
        print_json(found)
    else:
        print(f"{found['rows']} rows of {found['subjects']} subjects: {out}")
