"""Trains and scores backbones x adapters x seeds of one recipe, each combination once.

Zero-shot is scored once a backbone, baselines once in all; everything else is a run of its own,
scored without baselines on the same windows. What is finished is not computed again.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from hashlib import sha256
from pathlib import Path

from pydantic import JsonValue

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt._util.workers import each
from tsfm_adapt.components import names
from tsfm_adapt.errors import Interrupted, RecipeError, TsfmAdaptError, closest
from tsfm_adapt.recipe.files import dumps, loads
from tsfm_adapt.recipe.parts import PreparedData, prepare
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.lifecycle import SMOKE, begun, completed
from tsfm_adapt.runs.scoring import score_baselines
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.training.checkpoints import forget_peak_memory

NONE = "none"  # among adapters: the unadapted backbone, or the frozen one under a head

_AT_MOST = 4  # runs at once by default: each holds a model and the recordings
_LONGER = 20  # times that a run which trains is taken to last longer than one that only scores


@dataclass(frozen=True)
class Cell:
    """One run of the comparison."""

    name: str
    recipe: Recipe


@dataclass(frozen=True)
class Finished:
    """Folders of scored runs, and the reasons of those that failed, by cell."""

    folders: tuple[Path, ...]
    failures: dict[str, str]


def cells(
    recipe: Recipe, backbones: Sequence[str], adapters: Sequence[str], seeds: Sequence[int]
) -> list[Cell]:
    """The runs of a comparison, those without adapters first; they need one seed only.

    Args:
        recipe: what they have in common.
        backbones: names, or name=checkpoint; empty = the recipe's.
        adapters: `none`, names, or several joined by +; one that the recipe has keeps its
            settings. Empty = `none` and the recipe's own list.
        seeds: of training; empty = the recipe's. The split stays the recipe's.

    Raises:
        RecipeError: a name does not exist, or a setting breaks a rule.
    """
    fixed = _with_fixed_split(recipe)
    grid = []
    for joined in sorted(dict.fromkeys(adapters) or (NONE, _joined(recipe)), key=NONE.__ne__):
        for entry in dict.fromkeys(backbones) or (recipe.backbone.name,):
            changes: dict[str, JsonValue] = {
                "backbone": _backbone(recipe, entry),
                "adapters": _adapters(recipe, joined),
            }
            adapted = fixed.override(changes)
            for seed in dict.fromkeys(seeds if adapted.adapts else ()) or (recipe.seed,):
                name = f"{entry}-{joined}-{seed}" if adapted.adapts else f"{entry}-{joined}"
                grid.append(Cell(name, adapted.override({"seed": seed})))
    return grid


def run(
    recipe: Recipe,
    wanted: Sequence[Cell],
    folder: Path,
    progress: Progress,
    jobs: int = 1,
    smoke: bool = False,
) -> Finished:
    """Trains and scores what is not finished yet.

    Args:
        recipe: of the baselines, and of the data of all cells.
        wanted: what `cells` gave for it.
        folder: where the runs are; what is there and finished is taken, what was stopped goes on.
        progress: where progress is shown.
        jobs: processes that work on cells at once.
        smoke: two steps on a few windows each.

    Raises:
        Interrupted: by Ctrl-C; what is finished stays.
    """
    comparison = _Comparison(dumps(_with_fixed_split(recipe)), folder, smoke)
    if smoke:
        wanted = [Cell(cell.name, cell.recipe.override(SMOKE)) for cell in wanted]
    done = {cell.name: path for cell in wanted if (path := comparison.finished(cell))}
    todo = [cell for cell in wanted if cell.name not in done]
    if done:
        progress.say(f"{len(done)} of {len(wanted)} runs are already finished")
    failures: dict[str, str] = {}
    start_s = time.monotonic()
    all_work = left_work = sum(map(_work, todo))
    try:
        baselines = comparison.baselines(progress)
        for number, (cell, path, failure) in enumerate(
            _worked(comparison, todo, jobs, progress), 1
        ):
            if path is None:
                failures[cell.name] = failure
            else:
                done[cell.name] = path
            left_work -= _work(cell)
            spent_s = time.monotonic() - start_s
            state = "done" if path is not None else f"failed: {failure.splitlines()[0]}"
            eta = _eta(spent_s, all_work - left_work, left_work) if number < len(todo) else ""
            progress.say(f"{number}/{len(todo)} {cell.name}: {state}{eta}")
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"stopped; {len(done)} of {len(wanted)} runs are finished. Repeat the command to "
            "resume."
        ) from None
    ordered = [done[cell.name] for cell in wanted if cell.name in done]
    return Finished((baselines, *ordered), failures)


def _work(cell: Cell) -> int:
    """How long a run takes, roughly, beside others; estimates of the time left depend on it."""
    return _LONGER if cell.recipe.adapts else 1


def _eta(spent_s: float, done: int, left: int) -> str:
    """How long the rest takes; nothing before a run that trains is done, which tells how long."""
    if done < _LONGER:
        return ""
    left_s = spent_s / done * left
    return f", about {left_s:.0f} s left" if left_s < 90 else f", about {left_s / 60:.0f} min left"


Outcome = tuple[Path | None, str]  # the run's folder, or why there is none


def _worked(
    comparison: _Comparison, todo: Sequence[Cell], jobs: int, progress: Progress
) -> Iterator[tuple[Cell, Path | None, str]]:
    """Cells as they get done: one by one, or in processes that share the cores."""
    if jobs == 1 or len(todo) < 2:
        for cell in todo:
            progress.say(f"== {cell.name}")
            yield cell, *comparison.outcome(cell, progress)
        return
    progress.say(f"{len(todo)} runs, {jobs} at a time; a line is printed when each is done")
    for cell, outcome in each(partial(_quietly, comparison), todo, jobs):
        yield cell, *outcome


def _quietly(comparison: _Comparison, cell: Cell) -> Outcome:
    return comparison.outcome(cell, Progress(quiet=True))


@dataclass(frozen=True)
class _Comparison:
    """Where the runs of a comparison are; a copy of it works in another process."""

    shared: str  # the recipe whose data, split and windows all have, as YAML
    folder: Path
    smoke: bool

    def outcome(self, cell: Cell, progress: Progress) -> Outcome:
        """Trains and scores one cell; a failure of its own is its reason."""
        try:
            forget_peak_memory()
            prepared = _prepared(self.shared, self.smoke)
            run = completed(
                cell.recipe,
                self._place(cell),
                progress,
                smoke=self.smoke,
                without_baselines=True,
                prepared=prepared,
            )
            return run.folder, ""
        except Interrupted:
            raise
        except TsfmAdaptError as error:
            return None, str(error)

    def finished(self, cell: Cell) -> Path | None:
        """The cell's run folder, where it is scored."""
        run = begun(cell.recipe, self._place(cell))
        return run.folder if run is not None and run.scored else None

    def baselines(self, progress: Progress) -> Path:
        """The folder of the simple models' scores, computed at need."""
        key = sha256(f"{self.smoke}{self.shared}".encode()).hexdigest()[:8]
        folder = self.folder / f"baselines-{key}"
        if not (folder / "scores.json").is_file():
            recipe = loads(self.shared)
            prepared = _prepared(self.shared, self.smoke)
            scores = score_baselines(recipe, prepared, folder, progress, self.smoke)
            atomic.write_text(folder / "recipe.yaml", self.shared)
            atomic.write_text(folder / "scores.json", scores.text())
        return folder

    def _place(self, cell: Cell) -> Path:
        return self.folder / "cells" / re.sub(r"[^A-Za-z0-9._+-]", "_", cell.name)


def default_jobs(recipe: Recipe) -> int:
    """One run a core, at most four; one where training uses a GPU, which runs would share."""
    from tsfm_adapt.model import device_for

    if device_for(recipe.train.accelerator).type != "cpu":
        return 1
    return min(_AT_MOST, os.cpu_count() or 1)


@lru_cache(maxsize=1)
def _prepared(shared: str, smoke: bool) -> PreparedData:
    """The recordings and windows, read once a process."""
    return prepare(loads(shared), smoke)


def test_windows(recipe: Recipe, smoke: bool) -> Windows:
    """The windows that every cell of a recipe is scored on."""
    return _prepared(dumps(_with_fixed_split(recipe)), smoke).windows["test"]


def _with_fixed_split(recipe: Recipe) -> Recipe:
    """The recipe with a split that does not follow its seed."""
    seed = recipe.data.split.seed
    return recipe.override({"data.split.seed": recipe.seed if seed is None else seed})


def _joined(recipe: Recipe) -> str:
    return "+".join(adapter.name for adapter in recipe.adapters) or NONE


def _adapters(recipe: Recipe, joined: str) -> list[JsonValue]:
    """The recipe's list for names joined by +."""
    if joined == NONE:
        return []
    own = {a.name: a.model_dump(mode="json", exclude_unset=True) for a in recipe.adapters}
    listed = joined.split("+")
    for name in listed:
        if name not in names("adapter"):
            raise RecipeError(
                f"adapters: there is no adapter '{name}'.{closest(name, names('adapter'))} "
                f"Known: {NONE}, {', '.join(names('adapter'))}.",
                argument="adapters",
            )
    return [own.get(name, {"name": name}) for name in listed]


def _backbone(recipe: Recipe, entry: str) -> dict[str, JsonValue]:
    """The recipe's section for a name or name=checkpoint."""
    name, _, checkpoint = entry.partition("=")
    if name not in names("backbone"):
        raise RecipeError(
            f"backbones: there is no backbone '{name}'.{closest(name, names('backbone'))} "
            f"Known: {', '.join(names('backbone'))}.",
            argument="backbones",
        )
    if checkpoint:
        return {"name": name, "checkpoint": checkpoint}
    if name == recipe.backbone.name:
        return recipe.backbone.model_dump(mode="json", exclude_unset=True)
    return {"name": name}
