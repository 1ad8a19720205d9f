"""Cells of an experiment: a recipe with changes each, run once, resumed where they stopped.

A finished cell is a JSON file in `results/`, to be committed; its run folder stays under `runs/`.
`score` trains and scores as the product does. Where many cells share data and zero-shot model, a
`Bench` does no more than each cell needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import TsfmAdaptError
from tsfm_adapt.evaluation.class_errors import ClassErrors
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors, MaskedErrors
from tsfm_adapt.evaluation.scores import Models, Role, Scores, Summary
from tsfm_adapt.recipe.files import dumps, load
from tsfm_adapt.recipe.parts import PreparedData, prepare, scale_of
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs import lifecycle
from tsfm_adapt.runs.run import Run
from tsfm_adapt.training.building import build
from tsfm_adapt.training.checkpoints import forget_peak_memory

if TYPE_CHECKING:
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.training.checkpoints import Fitted

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Condition:
    """One run of an experiment."""

    name: str  # of its result file
    recipe: str  # a file of recipes/, without .yaml
    changes: Mapping[str, Any]  # paths of the recipe, as --set takes them

    def load(self) -> Recipe:
        """The recipe with the changes.

        Raises:
            RecipeError: a change breaks a rule.
        """
        recipe = load(RECIPES / f"{self.recipe}.yaml", to_tune=False)
        return recipe.override(dict(self.changes))


def finish(
    cells: Sequence[Condition], results: Path, work: Callable[[Condition], Mapping[str, Any]]
) -> list[str]:
    """Does the work of every cell that has no result yet, and says how long the rest may take.

    Args:
        cells: with unique names.
        results: where `<cell>.json` goes: recipe, changes, and what `work` returned.
        work: once a cell.

    Returns:
        The names of cells that failed; each was printed with its reason.
    """
    todo = [cell for cell in cells if not (results / f"{cell.name}.json").exists()]
    print(f"{len(cells) - len(todo)} of {len(cells)} cells were finished before", flush=True)
    failed, start_s = [], time.monotonic()
    for done, cell in enumerate(todo):
        left_s = (time.monotonic() - start_s) / done * (len(todo) - done) if done else None
        eta = "" if left_s is None else f", about {left_s / 60:.0f} min left"
        print(f"== {done + 1}/{len(todo)} {cell.name}{eta}", flush=True)
        try:
            found = work(cell)
        except TsfmAdaptError as error:
            print(f"{cell.name} failed: {error}", flush=True)
            failed.append(cell.name)
            continue
        content = {"recipe": cell.recipe, "changes": dict(cell.changes)} | dict(found)
        atomic.write_text(results / f"{cell.name}.json", json.dumps(content, indent=1) + "\n")
    return failed


def score(cells: Iterable[Condition], results: Path, folder: Path) -> list[str]:
    """Trains and scores cells with all that a run of the product writes; see `finish`.

    Args:
        cells: with unique names.
        results: where `<cell>.json` goes.
        folder: where run folders go, one folder a cell.
    """
    return finish(
        list(cells), results, lambda cell: _result(_run(cell, folder / cell.name).scores)
    )


def validate(cells: Iterable[Condition], path: Path, bench: Bench) -> dict[str, Any]:
    """The lowest validation loss of every cell; the test set is never looked at.

    Args:
        cells: with unique names; those that `path` holds are not run again.
        path: a JSON file, {name: {changes, loss, step, seconds}}.
        bench: where they train.
    """
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for cell in cells:
        if cell.name in found:
            continue
        _, fitted = bench.train(cell.load())
        found[cell.name] = {
            "changes": dict(cell.changes),
            "loss": round(fitted.best_loss, 5),
            "step": fitted.best_step,
            "seconds": round(fitted.train_seconds),
        }
        print(cell.name, {k: v for k, v in found[cell.name].items() if k != "changes"}, flush=True)
        atomic.write_text(path, json.dumps(found, indent=1) + "\n")
    return found


@dataclass(frozen=True)
class Bench:
    """Trains and scores recipes at the least cost: no baselines, bundle or plots beside them.

    Recordings are read once for all recipes of the same data. Each model is scored by itself and
    its errors stay in its run folder, to be compared with those of any other.
    """

    folder: Path  # one folder a recipe goes here, found again by the recipe's content
    known_parts: dict[str, PreparedData] = field(default_factory=dict)  # may be shared by benches

    def run_folder(self, recipe: Recipe) -> Path:
        """Where a recipe trains; another recipe has another."""
        text = dumps(recipe)
        adapters = "+".join(adapter.name for adapter in recipe.adapters) or "zero_shot"
        adapters += f"+{recipe.head.name}" if recipe.head else ""
        stem = f"{recipe.name}-{recipe.backbone.name}-{adapters}"
        return self.folder / f"{stem}-{sha256(text.encode()).hexdigest()[:8]}"

    def prepared(self, recipe: Recipe) -> PreparedData:
        """The recipe's windows; other ones for another seed, where the split follows it."""
        split = recipe.data.split
        by_seed = split.order == "seed" and split.by not in ("lists", "time")
        key = recipe.model_dump_json(
            include={"data", "task", "evaluate"} | ({"seed"} if by_seed else set())
        )
        if key not in self.known_parts:
            self.known_parts[key] = prepare(recipe)
        return self.known_parts[key]

    def train(self, recipe: Recipe) -> tuple[AdaptedModel, Fitted]:
        """The trained model at its last step, and how it went; goes on where it was stopped.

        Raises:
            RecipeError: an adapter does not fit the backbone or the channels.
        """
        from tsfm_adapt.training import loop as training

        prepared, folder = self.prepared(recipe), self.run_folder(recipe)
        model = build(recipe, prepared, Progress(quiet=True))
        atomic.write_text(folder / "recipe.yaml", dumps(recipe))
        forget_peak_memory()
        train, val = prepared.windows["train"], prepared.windows["val"]
        return model, training.fit(
            model, train, val, recipe.train, recipe.seed, folder, Progress(interval_s=30)
        )

    def scores(self, recipe: Recipe) -> dict[str, Any]:
        """The test scores of a recipe's model, trained at need, and what it cost.

        Its errors are kept: see `errors`.

        Raises:
            RecipeError: an adapter does not fit the backbone or the channels.
        """
        from tsfm_adapt.model import device_for
        from tsfm_adapt.training import checkpoints

        prepared, task, folder = (
            self.prepared(recipe),
            recipe.task.build(),
            self.run_folder(recipe),
        )
        model, went = build(recipe, prepared, Progress(quiet=True)), {}
        if model.trainable():
            model, fitted = self.train(recipe)
            checkpoints.load_best(model, folder)
            went = asdict(fitted) | {"seconds_per_step": fitted.train_seconds / fitted.step}
        predictor = task.predictor(model.to(device_for(recipe.train.accelerator)))
        predictor = task.with_fallback(predictor, prepared.fit)
        predictor = task.with_thresholds(
            predictor, prepared.windows["val"], recipe.evaluate.batch_size
        )
        windows, val = prepared.windows["test"], prepared.windows["val"].evenly_spaced(512)
        with Progress(interval_s=30).work("score", len(windows)) as meter:
            errors = task.scoring(recipe.data.rate_hz).errors(
                predictor, windows, recipe.evaluate.batch_size, meter.advance
            )
        _keep(errors, folder / "errors.npz")
        seen = {}
        if len(val) and "probability" in vars(errors):
            chosen = task.scoring(recipe.data.rate_hz).errors(
                predictor, val, recipe.evaluate.batch_size, lambda _: None
            )
            seen = {"validation": self._summary(recipe, {"model": chosen})["models"]["model"]}
        return self._summary(recipe, {"model": errors}) | {
            **seen,
            "run": folder.name,
            "trainable_parameters": sum(p.numel() for p in model.trainable().values()),
            "training": went,
        }

    def of_cell(self, cell: Condition) -> dict[str, Any]:
        """The scores of its model; of the simple models where it is called `...-baselines`."""
        recipe = cell.load()
        return self.baselines(recipe) if cell.name.endswith("-baselines") else self.scores(recipe)

    def baselines(self, recipe: Recipe) -> dict[str, Any]:
        """The test scores of the simple models."""
        prepared, task = self.prepared(recipe), recipe.task.build()
        windows, size = prepared.windows["test"], recipe.evaluate.batch_size
        errors = {}
        for name, each in task.baselines(prepared.fit, recipe.data.rate_hz, None).items():
            decided = task.with_thresholds(each, prepared.windows["val"], size)
            errors[name] = task.scoring(recipe.data.rate_hz).errors(
                decided, windows, size, lambda _: None
            )
            _keep(errors[name], self.folder / f"{recipe.name}-{name}" / "errors.npz")
        return self._summary(recipe, errors)

    def errors(self, scores: Mapping[str, Any]) -> Any:
        """The errors behind `scores`, from the run folder; of the kind that the task keeps."""
        return self._read(self.folder / scores["run"] / "errors.npz")

    def errors_of_baseline(self, recipe: Recipe, name: str) -> Any:
        """The errors of a simple model that `baselines` has scored."""
        return self._read(self.folder / f"{recipe.name}-{name}" / "errors.npz")

    def _read(self, path: Path) -> Any:
        if not path.exists():
            sys.exit(f"{path} is gone: intervals need the run folders. Remove the result, score.")
        kept = dict(np.load(path))
        subjects = tuple(kept.pop("subjects").tolist())
        if "probability" in kept:
            plain = {name: kept.pop(name).item() for name in ("multilabel", "n_windows")}
            return ClassErrors(subjects, **kept, **plain)
        return (MaskedErrors if "mask" in kept else ForecastErrors)(subjects, **kept)

    def _summary(self, recipe: Recipe, errors: Mapping[str, Any]) -> dict[str, Any]:
        prepared = self.prepared(recipe)
        scale = scale_of(recipe, prepared)
        summary = recipe.task.build().scoring(recipe.data.rate_hz).summary(errors, scale)
        windows = prepared.windows["test"]
        return _kept(summary) | {
            "mase_scale": scale.mase.tolist(),
            "windows": len(windows),
            "overlap": windows.overlap,
            "origins_sha256": windows.origins_sha256(),
        }


def averaged(seeds: Sequence[ForecastErrors]) -> ForecastErrors:
    """The mean absolute errors of models on the same windows, as if of one; nothing else."""
    absolute = np.mean([each.absolute for each in seeds], axis=0)
    unknown = np.full_like(absolute, np.nan)
    return replace(
        seeds[0],
        target=np.zeros_like(absolute),
        point=absolute,
        pinball=unknown,
        low=unknown,
        high=unknown,
    )


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
    worse = compared.get("interval") != "within one patient" and compared["high"] < 0
    shown = "" if compared["shown"] or worse else ", not shown"
    percent = [f"{compared[key]:+.1f}" for key in ("difference", "low", "high")]
    return f"{percent[0]} % [{percent[1]}, {percent[2]}]{shown}"


def _kept(summary: Summary) -> dict[str, Any]:
    """The scores without those of single subjects, which the run folder keeps."""

    def shorter(models: Models) -> dict[str, Any]:
        return {
            name: own.model_dump(mode="json", exclude_unset=True, exclude={"by_subject", "role"})
            for name, own in models.items()
        }

    tree = summary.model_dump(mode="json", exclude_unset=True)
    for kind in ("horizons", "gaps"):
        by_length: dict[str, Models] = getattr(summary, kind)
        tree |= {kind: {key: shorter(own) for key, own in by_length.items()}} if by_length else {}
    return tree | {"models": shorter(summary.models)}


def _result(scores: Scores) -> dict[str, Any]:
    """A run's scores in the form of the results of these experiments: a comparison a role."""
    tree = _kept(scores) | scores.costs.model_dump()
    if scores.verdict is not None:
        tree["verdict"] = {"interval": scores.verdict.interval} | {
            "vs_best_baseline" if own.role == Role.BASELINE else f"vs_{own.role}": (
                own.model_dump(exclude={"role", "against"}) | {"name": own.against}
            )
            for own in scores.verdict.comparisons
        }
    return tree


def _run(cell: Condition, folder: Path) -> Run:
    forget_peak_memory()
    return lifecycle.completed(cell.load(), folder, Progress())


def _keep(errors: Any, path: Path) -> None:
    kinds = (ClassErrors, MaskedErrors, ForecastErrors)  # as what it is read again
    kind = next(kind for kind in kinds if isinstance(errors, kind))
    arrays = {one.name: getattr(errors, one.name) for one in fields(kind)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name("errors.tmp.npz")
    np.savez_compressed(temporary, **arrays | {"subjects": np.array(errors.subjects)})
    temporary.replace(path)
