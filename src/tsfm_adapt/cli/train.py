"""`train`: one recipe, one run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tsfm_adapt.cli.options import Json, Quiet, RecipeFile, Sets


def command(
    recipe: RecipeFile,
    sets: Sets = None,
    runs: Annotated[Path, typer.Option(help="Where the run's folder goes.")] = Path("runs"),
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps on a few windows: does everything fit?")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a recipe, score it beside baselines and zero-shot, and save the adapted weights."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.cli.outcome import show
    from tsfm_adapt.recipe.files import load

    resolved = load(recipe, sets or (), to_tune=False)

    from tsfm_adapt.runs.lifecycle import first_process, train

    progress = Progress(quiet=quiet or not first_process())
    run = train(resolved, runs, progress, smoke=smoke)
    if first_process():
        show(run, as_json)
