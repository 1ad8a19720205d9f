"""Cells of an experiment: a recipe with changes each, run once, resumed where they stopped.

A finished cell is a JSON file in `results/`, to be committed; its run folder stays under `runs/`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsfm_adapt import atomic, runs
from tsfm_adapt.errors import TsfmAdaptError
from tsfm_adapt.progress import Progress
from tsfm_adapt.recipe.files import load
from tsfm_adapt.recipe.parts import prepare

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Cell:
    """One run of an experiment."""

    name: str  # of its result file
    recipe: str  # a file of recipes/, without .yaml
    changes: Mapping[str, Any]  # paths of the recipe, as --set takes them


def score(cells: Iterable[Cell], results: Path, folder: Path) -> list[str]:
    """Trains and scores every cell that has no result yet.

    Args:
        cells: with unique names.
        results: where `<cell>.json` goes.
        folder: where run folders go, one folder a cell.

    Returns:
        The names of cells that failed; each was printed with its reason.
    """
    failed = []
    for cell in cells:
        path = results / f"{cell.name}.json"
        if path.exists():
            continue
        print(f"== {cell.name}", flush=True)
        try:
            scores = _run(cell, folder / cell.name).scores
        except TsfmAdaptError as error:
            print(f"{cell.name} failed: {error}", flush=True)
            failed.append(cell.name)
            continue
        content = {"recipe": cell.recipe, "changes": dict(cell.changes)} | _kept(scores)
        atomic.write_text(path, json.dumps(content, indent=1) + "\n")
    return failed


def validate(cells: Iterable[Cell], path: Path) -> dict[str, Any]:
    """The lowest validation loss of every cell; the test part is never looked at.

    Args:
        cells: with unique names; those that `path` holds are not run again.
        path: a JSON file, {name: {changes, loss, step, seconds}}.
    """
    from tsfm_adapt import training

    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for cell in cells:
        if cell.name in found:
            continue
        recipe = load(RECIPES / f"{cell.recipe}.yaml").override(dict(cell.changes))
        parts = prepare(recipe, False)
        model = runs.build(recipe, parts)
        with tempfile.TemporaryDirectory() as scratch:
            fitted = training.fit(
                model,
                parts.windows["train"],
                parts.windows["val"],
                recipe.train,
                recipe.seed,
                Path(scratch),
                Progress(quiet=True),
            )
        found[cell.name] = {
            "changes": dict(cell.changes),
            "loss": round(fitted.best_loss, 5),
            "step": fitted.best_step,
            "seconds": round(fitted.train_seconds),
        }
        print(cell.name, found[cell.name], flush=True)
        atomic.write_text(path, json.dumps(found, indent=1) + "\n")
    return found


def read(results: Path, name: str) -> dict[str, Any] | None:
    """The scores of a finished cell; None where it is not finished."""
    path = results / f"{name}.json"
    content: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
    return content


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def mase(horizon: Mapping[str, Any], model: str) -> str:
    """The MASE of a model over a horizon of `scores.json`."""
    return f"{horizon[model]['overall']['mase']:.3f}"


def interval(compared: Mapping[str, Any]) -> str:
    """A comparison of the verdict: percent lower MASE with its 95 % interval."""
    shown = "" if compared["shown"] else ", not shown"
    percent = [f"{compared[key]:+.1f}" for key in ("difference", "low", "high")]
    return f"{percent[0]} % [{percent[1]}, {percent[2]}]{shown}"


def _kept(scores: dict[str, Any]) -> dict[str, Any]:
    """The scores without those of single subjects, which the run folder keeps."""

    def shorter(models: dict[str, Any]) -> dict[str, Any]:
        return {
            model: {part: value for part, value in own.items() if part != "by_subject"}
            for model, own in models.items()
        }

    horizons = {seconds: shorter(models) for seconds, models in scores["horizons"].items()}
    return scores | {"models": shorter(scores["models"]), "horizons": horizons}


def _run(cell: Cell, folder: Path) -> runs.Run:
    recipe = load(RECIPES / f"{cell.recipe}.yaml").override(dict(cell.changes))
    begun = sorted(path.parent for path in folder.glob("*/*/recipe.yaml"))
    for earlier in map(runs.Run, begun):
        if earlier.recipe == recipe:
            if not (earlier.folder / "scores.json").exists():
                runs.resume(earlier, Progress())
            return earlier
    return runs.train(recipe, folder, Progress())
