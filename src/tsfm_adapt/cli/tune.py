"""`tune`: a study of recipes, then the best one's run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue

from tsfm_adapt.cli.options import Json, Quiet, Sets, print_json
from tsfm_adapt.errors import RecipeError

if TYPE_CHECKING:
    from tsfm_adapt.studies.folder import StudyFolder
    from tsfm_adapt.studies.tuning import Tuned


def command(
    recipe: Annotated[
        Path | None, typer.Argument(metavar="RECIPE", help="A recipe with a search, YAML.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="STUDY", help="Resume the study in this folder; no RECIPE."),
    ] = None,
    sets: Sets = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that run trials at the same time.")
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="TSFM_ADAPT_STORAGE",
            help="Database that holds the trials, e.g. postgresql+psycopg://user@host/name; the "
            "same recipe on another machine joins the study. Default a journal in its folder.",
        ),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where the study's folder goes.")] = Path("runs"),
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Three trials of two steps, to check that everything fits."),
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    worker: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Search a recipe's `search.space` on validation; train the best and score test once."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.recipe.files import load

    if (recipe is None) == (resume is None):
        raise RecipeError("tune: give either RECIPE or --resume STUDY.")
    if resume is not None and (sets or smoke):
        raise RecipeError("tune: --set and --smoke belong to a new study; leave them out.")
    resolved = None if recipe is None else load(recipe, sets or ())

    from tsfm_adapt.studies import tuning
    from tsfm_adapt.studies.folder import StudyFolder

    progress = Progress(quiet=quiet)
    if resolved is not None:
        study = tuning.begin(resolved, runs, storage, smoke)
    else:
        assert resume is not None
        study = StudyFolder(resume)
    if worker:
        try:
            tuning.work(study, storage, worker, progress)
        except KeyboardInterrupt:  # of which the process that started this one tells
            raise typer.Exit(130) from None
        return
    _show(tuning.tune(study, storage, workers, progress), as_json)


def _show(tuned: Tuned, as_json: bool) -> None:
    from tsfm_adapt.cli.outcome import show

    folder = str(tuned.study.folder)
    if as_json:
        content: dict[str, JsonValue] = {
            "study": folder,
            "trials": {**tuned.trials},
            "metric": tuned.study.search.metric,
            "best": {"trial": tuned.best, "value": tuned.value, "changes": {**tuned.changes}},
            "as_it_stands": tuned.standing,
            "run": str(tuned.run.folder) if tuned.run else None,
            "scores": tuned.run.scores.tree() if tuned.run else None,
        }
        print_json(content)
        return
    print(_sentence(tuned.study, tuned))
    for path, value in tuned.changes.items():
        print(f"  {path}: {value}")
    print(f"  in {folder}: trials.csv, best.yaml, plots/")
    if tuned.run is None:
        print("The best recipe is trained and tested on the machine where the study began.")
        return
    print()
    show(tuned.run, as_json=False)


def _sentence(study: StudyFolder, tuned: Tuned) -> str:
    counted = ", ".join(f"{count} {state}" for state, count in tuned.trials.items() if count)
    standing = ""
    if tuned.standing is not None:
        standing = f"; the recipe as it stands: {tuned.standing:.4f}"
    return (
        f"validation {study.search.metric} {tuned.value:.4f}, trial {tuned.best} ({counted})"
        f"{standing}"
    )
