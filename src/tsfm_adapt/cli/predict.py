"""`predict`: forecasts, filled gaps or classes of new recordings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsfm_adapt.cli.options import Json, print_json
from tsfm_adapt.cli.words import counted
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    import pyarrow


def command(
    model: Annotated[Path, typer.Argument(metavar="RUN|BUNDLE", help="A trained run or bundle.")],
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Recordings: file or folder.")],
    reader: Annotated[
        str | None,
        typer.Option(
            metavar="YAML",
            help="Settings of the reader of INPUT, such as '{name: csv, layout: wide, units: "
            "{HR: bpm}}'; default the recipe's reader.",
        ),
    ] = None,
    every_s: Annotated[
        float | None,
        typer.Option(
            "--every-s",
            help="Interval between forecast origins, in seconds (default: one forecast at the "
            "end of each recording).",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The table to write: .parquet or .csv.")] = Path(
        "predictions.parquet"
    ),
    raw: Annotated[
        bool, typer.Option("--raw", help="The model's own quantiles, without calibration.")
    ] = False,
    any_values: Annotated[
        bool,
        typer.Option("--any-values", help="Go on where values look like another unit."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Predict on new recordings: forecasts, filled gaps or class probabilities, as a table."""
    write = _writer(out)

    from tsfm_adapt.recipe.trees import parse_mapping
    from tsfm_adapt.runs.run import predictions

    settings = None if reader is None else parse_mapping(reader, "--reader")
    found = predictions(model, source, settings, every_s, raw, any_values)
    write(out, found.table)
    rows, subjects = found.table.num_rows, len(found.table.column("subject").unique())
    if as_json:
        content = {"predictions": str(out), "rows": rows, "subjects": subjects}
        print_json({**content, "remarks": list(found.remarks), "notes": dict(found.notes)})
        return
    print(f"{counted(rows, 'row')} of {counted(subjects, 'subject')}: {out}")
    for remark in found.remarks:
        print(remark)
    for what, count in found.notes.items():
        print(f"reader: {count:,} {what}")


def _writer(out: Path) -> Callable[[Path, pyarrow.Table], None]:
    """The function that writes a table in the format of the file's suffix.

    Raises:
        RecipeError: the suffix is of no format that can be written.
    """
    from tsfm_adapt.evaluation.tables import write as write_parquet

    writers = {".csv": _write_csv, ".parquet": write_parquet}
    if out.suffix.lower() not in writers:
        raise RecipeError(
            f"--out: the name must end with {' or '.join(writers)}; '{out}' does not. Add one."
        )
    return writers[out.suffix.lower()]


def _write_csv(path: Path, table: pyarrow.Table) -> None:
    """Writes CSV with a header, all of it or nothing."""
    import io

    import pyarrow.csv

    from tsfm_adapt._util import atomic

    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer)
    atomic.write_bytes(path, buffer.getvalue())
