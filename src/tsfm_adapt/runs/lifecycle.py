"""Trains a recipe's model, scores it once, and saves what came of it into the run's folder."""

from __future__ import annotations

import json
import os
import platform
import time
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path

from pydantic import JsonValue

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import Interrupted
from tsfm_adapt.evaluation.conformal import Conformal
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.recipe.parts import PreparedData, cleaning_plan, prepare
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs import bundle
from tsfm_adapt.runs.model_card import model_card
from tsfm_adapt.runs.run import Run
from tsfm_adapt.signals.levels import as_numbers, levels
from tsfm_adapt.training.building import build
from tsfm_adapt.training.feature_cache import with_cached_features

# How torchrun, Lightning and srun number processes, in the order in which Lightning asks.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")

# What a smoke run changes in a recipe.
SMOKE = {"train.steps": 2, "train.batch_size": 2, "train.accumulate": 1, "train.warmup": 0.0}

_PACKAGES = ("tsfm-adapt", "torch", "transformers", "peft", "lightning", "numpy", "pandas")


def train(
    recipe: Recipe,
    runs: str | Path = "runs",
    progress: Progress | None = None,
    *,
    smoke: bool = False,
    without_baselines: bool = False,
    prepared: PreparedData | None = None,
) -> Run:
    """Trains, scores and saves.

    Of several processes (one a device) the first alone writes and scores; the others return a run
    without scores once training has ended. See `first_process`.

    Args:
        recipe: validated.
        runs: the folder that the new run's folder goes into.
        progress: where progress is shown; None = on standard error.
        smoke: two steps on a few windows, to see that everything fits; no verdict.
        without_baselines: without zero-shot, baselines and plots; no verdict.
        prepared: the recipe's recordings and windows, where they are known; None = read here.
    """
    progress = progress or Progress()
    if smoke:
        recipe = recipe.override(SMOKE)
    prepared = prepared or _read(recipe, progress, smoke)
    with progress.step(f"loading {recipe.backbone.name}"):
        model = build(recipe, prepared, progress)
    run = _created(recipe, Path(runs), smoke, without_baselines)
    progress.say(f"run folder: {run.folder}")
    return _finish(run, recipe, prepared, model, progress)


def resume(run: Run, progress: Progress, prepared: PreparedData | None = None) -> Run:
    """Goes on where a run stopped: at its last checkpoint, or at scoring."""
    recipe = run.recipe
    prepared = prepared or _read(recipe, progress, run.smoke)
    with progress.step(f"loading {recipe.backbone.name}"):
        model = build(recipe, prepared, progress)
    return _finish(run, recipe, prepared, model, progress)


def begun(recipe: Recipe, runs: Path) -> Run | None:
    """The latest run of this very recipe below a folder, scored or not; None without one."""
    folders = sorted(path.parent for path in runs.glob("*/*/recipe.yaml"))
    return next((run for run in map(Run, reversed(folders)) if run.recipe == recipe), None)


def completed(
    recipe: Recipe,
    runs: Path,
    progress: Progress,
    *,
    smoke: bool = False,
    without_baselines: bool = False,
    prepared: PreparedData | None = None,
) -> Run:
    """The scored run of a recipe below a folder: the one that is there, resumed, or a new one.

    Args:
        recipe: as its run will have it; see `SMOKE`.
        runs: as for `train`, and so the others.
        progress: where progress is shown.
        smoke: of a new run.
        without_baselines: of a new run.
        prepared: the recipe's recordings and windows, where they are known; None = read at need.
    """
    run = begun(recipe, runs)
    if run is None:
        return train(
            recipe,
            runs,
            progress,
            smoke=smoke,
            without_baselines=without_baselines,
            prepared=prepared,
        )
    return run if run.scored else resume(run, progress, prepared)


def evaluate(run: Run, progress: Progress) -> Scores:
    """Scores the run's best checkpoint beside its rivals, and writes scores.json and the bundle.

    A run of a comparison, which was scored without baselines, so gets its verdict.
    """
    from tsfm_adapt.training import checkpoints

    recipe = run.recipe
    prepared = _read(recipe, progress, run.smoke)
    model = build(recipe, prepared, progress)
    if model.trainable():
        checkpoints.load_best(model, run.folder)
    scores, conformal = _scored(run, recipe, prepared, model, progress, without_baselines=False)
    if recipe.adapts:
        _save_bundle(run, recipe, prepared, model, scores, conformal)
    return scores


def first_process() -> bool:
    """False in the processes that a launcher starts for further devices."""
    ranks = [os.environ[name] for name in _RANKS if name in os.environ]
    return not ranks or int(ranks[0]) == 0


def _read(recipe: Recipe, progress: Progress, smoke: bool) -> PreparedData:
    with progress.step("reading recordings"):
        return prepare(recipe, smoke, progress)


def _finish(
    run: Run, recipe: Recipe, prepared: PreparedData, model: AdaptedModel, progress: Progress
) -> Run:
    """Trains what is left to train, scores, saves."""
    from tsfm_adapt.training import checkpoints, loop

    if model.trainable():
        try:
            loop.fit(
                model,
                with_cached_features(model, recipe, prepared.windows["train"], progress),
                with_cached_features(model, recipe, prepared.windows["val"], progress),
                recipe.train,
                recipe.seed,
                run.folder,
                progress,
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped and saved. Go on with: tsfm-adapt resume {run.folder}"
            ) from None
        if not first_process():
            return run
        checkpoints.load_best(model, run.folder)
    scores, conformal = _scored(run, recipe, prepared, model, progress, run.without_baselines)
    if recipe.adapts:
        _save_bundle(run, recipe, prepared, model, scores, conformal)
    return run


def _scored(
    run: Run,
    recipe: Recipe,
    prepared: PreparedData,
    model: AdaptedModel,
    progress: Progress,
    without_baselines: bool,
) -> tuple[Scores, Conformal | None]:
    """Scores and calibration; scores are saved before anything is drawn."""
    from tsfm_adapt.runs.pictures import draw
    from tsfm_adapt.runs.scoring import score

    scores, conformal = score(
        recipe,
        prepared,
        model,
        run.folder,
        progress,
        smoke=run.smoke,
        without_baselines=without_baselines,
    )
    atomic.write_text(run.folder / "scores.json", scores.text())
    if not run.smoke and not without_baselines:
        with progress.step("drawing"):
            units = cleaning_plan(recipe.data).units
            draw(run.folder, recipe.task.build(), prepared.windows["test"], units, scores)
    return scores, conformal


def _save_bundle(
    run: Run,
    recipe: Recipe,
    prepared: PreparedData,
    model: AdaptedModel,
    scores: Scores,
    conformal: Conformal | None,
) -> None:
    spec = model.backbone.spec
    task, plan = recipe.task.build(), cleaning_plan(recipe.data)
    window = task.window(recipe.data.rate_hz, "test")
    card = bundle.Card(
        channels=tuple(channel.name for channel in plan.channels),
        units=tuple(plan.units),
        rate_hz=recipe.data.rate_hz,
        context=window.context,
        horizon=window.horizon,
        quantiles=task.levels,
        backbone=spec.name,
        checkpoint=spec.checkpoint,
        revision=recipe.backbone.revision,
        base_sha256=model.base_sha256,
        licence=spec.licence,
        synthetic=recipe.data.reader.synthetic,
        versions=_versions(),
        subjects=model.setting.subjects if any(a.per_subject for a in model.adapters) else (),
        calibrated=() if conformal is None else conformal.fitted,
        levels=as_numbers(levels(prepared.recordings["train"])),
    )
    texts = {
        "recipe.yaml": dumps(recipe),
        "scores.json": scores.text(),
        "README.md": model_card(card, recipe, scores, bundle.loading(run.folder / "bundle")),
    }
    bundle.write(run.folder / "bundle", model, card, texts, conformal)


def _created(recipe: Recipe, runs: Path, smoke: bool, without_baselines: bool) -> Run:
    """A new folder `<runs>/<recipe name>/<time>-<hash>` with recipe.yaml and env.json.

    Only the first process writes; the others never use their folder.
    """
    text = dumps(recipe)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    stem = f"{stamp}-{sha256(text.encode()).hexdigest()[:6]}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
    folder = next(f for name in names if not (f := runs / recipe.name / name).exists())
    if first_process():
        environment: dict[str, JsonValue] = {
            "smoke": smoke,
            "without_baselines": without_baselines,
            "started": stamp,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": {**_versions()},
        }
        atomic.write_text(folder / "recipe.yaml", text)
        atomic.write_text(folder / "env.json", json.dumps(environment, indent=1) + "\n")
    return Run(folder)


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "missing"
    return versions
