"""`compare`: models beside each other, under one protocol."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tsfm_adapt.cli.options import Json, Quiet, Sets, print_json

if TYPE_CHECKING:
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.comparison.ranking import Ranking, Row


def command(
    targets: Annotated[
        list[Path],
        typer.Argument(metavar="RECIPE|RUN...", help="A recipe, YAML, or folders of runs."),
    ],
    backbones: Annotated[
        str, typer.Option(help="Comma-separated names, or name=checkpoint; default the recipe's.")
    ] = "",
    adapters: Annotated[
        str,
        typer.Option(
            help="Comma-separated; join with + to combine; 'none' means unadapted. Default the "
            "recipe's."
        ),
    ] = "",
    seeds: Annotated[str, typer.Option(help="Of training, comma-separated.")] = "",
    sets: Sets = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; default runs/<recipe name>/compare.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time, each in a process; default one per core, at most 4; 1 on a GPU.",
        ),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps on a few windows each.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare backbones and adapters on one recipe, or runs that exist, in one report."""
    from tsfm_adapt._util.progress import Progress
    from tsfm_adapt.errors import RecipeError

    progress = Progress(quiet=quiet)
    if all(path.is_dir() for path in targets):
        if backbones or adapters or seeds or sets:
            raise RecipeError(
                "compare: --backbones, --adapters, --seeds and --set belong to a recipe; folders "
                "of runs are compared as they are. Leave them out."
            )
        page, ranked = _runs(targets, out or Path("runs/compare"), progress)
    elif len(targets) == 1:
        chosen = (_listed(backbones), _listed(adapters), _numbers(seeds))
        page, ranked = _recipe(targets[0], chosen, sets or (), out, jobs, smoke, progress)
    else:
        raise RecipeError(
            "compare: give one recipe, or folders of runs. Neither: "
            + ", ".join(str(path) for path in targets if not path.is_dir())
        )
    if as_json:
        _print_json(page, ranked)
        return
    for row in ranked.rows:
        print(_line(row, ranked.metric.name))
    print(f"report: {page}")


def _print_json(page: Path, ranking: Ranking) -> None:
    from tsfm_adapt.comparison.report import plain

    print_json({"report": str(page), "comparison": plain(ranking)})


def _recipe(
    path: Path,
    chosen: tuple[list[str], list[str], list[int]],
    sets: Sequence[str],
    out: Path | None,
    jobs: int | None,
    smoke: bool,
    progress: Progress,
) -> tuple[Path, Ranking]:
    from tsfm_adapt.recipe.files import load

    recipe = load(path, sets, to_tune=False)

    from tsfm_adapt.comparison import cells as comparison
    from tsfm_adapt.comparison import ranking, report

    folder = out or Path("runs") / recipe.name / "compare"
    wanted = comparison.cells(recipe, *chosen)
    jobs = jobs or comparison.default_jobs(recipe)
    finished = comparison.run(recipe, wanted, folder, progress, jobs, smoke)
    ranked = ranking.rank(finished.folders, finished.failures)
    with progress.step("writing the report"):
        test = comparison.test_windows(recipe, smoke)
        page = report.write(folder, ranked, test, shlex.join(["tsfm-adapt", *sys.argv[1:]]))
    return page, ranked


def _runs(folders: Sequence[Path], out: Path, progress: Progress) -> tuple[Path, Ranking]:
    from tsfm_adapt.comparison import cells as comparison
    from tsfm_adapt.comparison import ranking, report

    ranked = ranking.rank(folders)
    with progress.step("writing the report"):
        test = comparison.test_windows(ranked.recipe, ranked.smoke)
        page = report.write(out, ranked, test, shlex.join(["tsfm-adapt", *sys.argv[1:]]))
    return page, ranked


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str) -> list[int]:
    from tsfm_adapt.errors import RecipeError

    try:
        return [int(part) for part in _listed(text)]
    except ValueError:
        raise RecipeError(
            f"--seeds: '{text}' is no list of whole numbers, such as 17,23."
        ) from None


def _line(row: Row, metric: str) -> str:
    """A row of the ranking: its score, and the difference from its reference."""
    if row.failure:
        return f"{row.name:<40} failed: {row.failure.splitlines()[0]}"
    score = row.overall[metric]
    shown = "-" if score is None else f"{score:.3f}"
    against = row.vs_reference
    if against is None:
        return f"{row.name:<40} {metric} {shown}"
    compared, interval = against.comparison, ""
    if compared.low is not None and compared.high is not None:
        interval = f" [{compared.low:+.1f}, {compared.high:+.1f}]"
    gain = f"{compared.difference:+.1f}{interval} against {against.name}"
    return f"{row.name:<40} {metric} {shown}  {gain}: {against.verdict}"
