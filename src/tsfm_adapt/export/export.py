"""Exports an adapted model as a bundle, as a checkpoint of upstream's class, or as ONNX."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.base import TINY
from tsfm_adapt.batches import Batch, collate
from tsfm_adapt.errors import CannotMerge, DataError, RecipeError, TsfmAdaptError
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.forecasts import SampleForecast
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs import bundle
from tsfm_adapt.runs.bundle import Card
from tsfm_adapt.runs.model_card import model_card
from tsfm_adapt.runs.run import Run, load
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.forecast import Forecast
from tsfm_adapt.training.bundle_files import bundle_in

Target = Literal["bundle", "merged", "onnx"]

# How far what was exported may be from the adapted model, as a share of a series' magnitude.
MERGED_WITHIN = 1e-5
GRAPH_WITHIN = 1e-4

_COMPARED = 16  # windows of each kind

Differences = Mapping[str, float]


@dataclass(frozen=True)
class Exported:
    """An export: its folder, how to load it, and how closely it matches the adapted model."""

    folder: Path
    loading: str  # Python that loads it
    differences: Differences  # from the adapted model, relative, by the windows compared
    notes: tuple[str, ...] = ()  # warnings at the top of the card


@dataclass(frozen=True)
class _Source:
    """What is exported, and what is known of it."""

    folder: Path  # as the user named it
    bundle: Path
    card: Card
    recipe: Recipe
    scores: Scores


def export(folder: Path, to: Target, out: Path, force: bool, progress: Progress) -> Exported:
    """Writes a run's adapted model into a new folder.

    Args:
        folder: a run or a bundle.
        to: `bundle` copies it; `merged` is a checkpoint of upstream's own class with the adapters
            in its weights; `onnx` a graph of the recipe's channels, context and horizon.
        out: a folder that does not exist yet.
        force: export even if the scores or the licence would block it; the card then warns.
        progress: where progress is shown.

    Raises:
        RecipeError: the folder exists, there is a reason not to export, or the model has no such
            form.
        DataError: there is no trained model in the folder.
        EnvironmentProblem: the disk is full, or `onnx` needs packages.
    """
    if out.exists():
        raise RecipeError(
            f"out: '{out}' exists. Remove it, or give a folder that does not.", argument="out"
        )
    source = _source(folder)
    objections = _objections(source)
    if objections and not force:
        raise RecipeError(
            f"'{folder}' is not exported: {'; '.join(objections)}. Exported by force, its card "
            "will warn of this.",
            remedy="force",
        )
    notes = tuple(f"Exported by force although {objection}." for objection in objections)
    writers: Mapping[Target, Callable[[_Source, Path, Progress], tuple[str, Differences]]] = {
        "bundle": _bundle,
        "merged": _merged,
        "onnx": _onnx,
    }
    with _whole(out) as unfinished:
        loading, differences = writers[to](source, unfinished, progress)
        loading = loading.replace("FOLDER", str(out))
        text = model_card(source.card, source.recipe, source.scores, loading, notes)
        atomic.write_text(unfinished / "README.md", text)
        atomic.write_text(unfinished / "scores.json", source.scores.text())
    return Exported(out, loading, differences, notes)


def _source(folder: Path) -> _Source:
    inner = bundle_in(folder)
    if inner is None:
        recipe = Run(folder).recipe
        if not recipe.adapts:
            raise RecipeError(
                f"'{folder}' adapted nothing, so that there is nothing to export. Use the weights "
                f"'{recipe.backbone.checkpoint}' as they are."
            )
        raise DataError(
            f"'{folder}' holds no trained weights yet. Run: tsfm-adapt resume {folder}"
        )
    latest = folder if (folder / "scores.json").is_file() else inner
    return _Source(folder, inner, bundle.read_card(inner), Run(inner).recipe, Run(latest).scores)


def _objections(source: _Source) -> list[str]:
    """Reasons not to export the model: its scores, its weights, or its licence."""
    objections = []
    if source.scores.smoke:
        objections.append("it is a smoke run, whose scores mean nothing")
    elif source.card.checkpoint == TINY:
        objections.append("its base weights are random")
    else:
        verdict = source.scores.verdict
        if verdict is None:
            objections.append(
                "it is not known whether adapting helped: scores.json has no verdict (a run of "
                "`compare` gets one by tsfm-adapt evaluate RUN)"
            )
        elif not (against := verdict.reference or verdict.baseline).shown:
            sentences = " ".join(source.scores.sentences)
            objections.append(f"it was not shown to be better than {against.label} ({sentences})")
    if source.card.non_commercial:
        objections.append(
            f"the base weights '{source.card.checkpoint}' are {source.card.licence}: not for "
            "commercial use, and neither is what is made of them"
        )
    return objections


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    """A sibling folder that becomes `out` where the block ends well, and vanishes where not."""
    unfinished = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        unfinished.mkdir(parents=True)
        yield unfinished
        unfinished.rename(out)
    except OSError as error:
        raise atomic.unwritable(out, error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _bundle(source: _Source, folder: Path, progress: Progress) -> tuple[str, Differences]:
    """The bundle's files, once they are known to make a model again."""
    with progress.step("loading the bundle"):
        load(source.bundle)
    for path in sorted(source.bundle.iterdir()):
        shutil.copy2(path, folder / path.name)
    return bundle.loading(Path("FOLDER")), {}


def _merged(source: _Source, folder: Path, progress: Progress) -> tuple[str, Differences]:
    """Upstream's checkpoint, compared with the adapted model after it was loaded again."""
    adapted, merged = _loaded(source, progress), _loaded(source, progress)
    if merged.head is not None:
        raise RecipeError(
            f"merged: upstream's {source.card.backbone} has no place for head "
            f"{merged.head.name}. Export the bundle.",
            argument="to",
            remedy="to=bundle",
        )
    for adapter in merged.adapters:
        try:
            adapter.merge(merged.backbone)
        except CannotMerge as error:
            raise RecipeError(
                f"merged: {error} Export the bundle.", argument="to", remedy="to=bundle"
            ) from error
    with progress.step("writing the checkpoint"):
        loading = merged.backbone.save(folder)
    settings = source.recipe.backbone.model_copy(
        update={"checkpoint": str(folder.absolute()), "revision": None}
    )
    task = source.recipe.task.build()
    again = AdaptedModel(settings.build(), (), adapted.deviation, estimate=task.estimate())
    with progress.step("comparing"):
        differences = {
            name: _difference(_outputs(again, batch), _outputs(adapted, batch))
            for name, batch in _batches(source, progress).items()
        }
    _check(differences, MERGED_WITHIN, "merged")
    return loading, differences


def _onnx(source: _Source, folder: Path, progress: Progress) -> tuple[str, Differences]:
    """The graph, compared with the adapted model in onnxruntime."""
    from tsfm_adapt.export import onnx as graph

    graph.check_installed()
    if not isinstance(source.recipe.task.build(), Forecast):
        raise RecipeError(
            f"onnx writes forecasts; the recipe's task is {source.recipe.task.name}. "
            "Export the bundle.",
            argument="to",
            remedy="to=bundle",
        )
    adapted, traced = _loaded(source, progress), _loaded(source, progress)
    for adapter in traced.adapters:
        with suppress(CannotMerge):  # what acts on activations is traced with the rest
            adapter.merge(traced.backbone)
    file = folder / "model.onnx"
    with progress.step("tracing"):
        dynamic = graph.write(traced, source.card, file)
        runnable = graph.Graph.open(file, dynamic)
    differences = {}
    with progress.step("comparing in onnxruntime"):
        for name, batch in _batches(source, progress).items():
            levels, steps = source.card.quantiles, source.card.horizon
            with torch.inference_mode():
                forecast = adapted.forecast(batch, steps).quantiles(levels).movedim(2, 3)
            quantiles = runnable(batch.values.masked_fill(~batch.observed, torch.nan))
            differences[name] = _difference(quantiles, forecast)
    _check(differences, GRAPH_WITHIN, "onnx")
    size = "any number of windows" if dynamic else "one window at a time"
    loading = (
        "import onnxruntime\n"
        'model = onnxruntime.InferenceSession("FOLDER/model.onnx")\n'
        f"# values: {size} (B, {len(source.card.channels)}, {source.card.context}) float32, NaN "
        "where missing\n"
        '(quantiles,) = model.run(None, {"values": values})  # (B, C, horizon, levels)'
    )
    return loading, differences


def _loaded(source: _Source, progress: Progress) -> AdaptedModel:
    with progress.step(f"loading {source.card.backbone}"):
        model, _ = load(source.bundle)
    return model


def _outputs(model: AdaptedModel, batch: Batch) -> Tensor:
    """The outputs that two models are compared by, (B, C, ...), from the same seed."""
    torch.manual_seed(0)
    with torch.inference_mode():
        assert batch.target is not None
        forecast = model.forecast(batch, batch.target.shape[-1])
        if isinstance(forecast, SampleForecast):
            # What is drawn and fed back magnifies rounding, and a token jumps to the next bin:
            # compared is what the draws come from.
            tokens = model.encode(batch).tokens.flatten(2)
            return torch.cat([tokens, model(batch).expand(*tokens.shape[:2], 1)], dim=-1)
        return forecast.quantiles((0.1, 0.5, 0.9))


def _batches(source: _Source, progress: Progress) -> dict[str, Batch]:
    """Windows to compare on: of the test set where it can be read, and random ones with gaps."""
    task, recipe = source.recipe.task.build(), source.recipe
    random = task.windows(_random(source), recipe.data.rate_hz, "test")
    batches = {"random windows": _some(random)}
    try:
        test = prepare(recipe, smoke=source.scores.smoke).windows["test"]
    except TsfmAdaptError as error:
        reason = str(error).partition(". ")[0]
        progress.say(f"compared on random windows only; the recordings cannot be read: {reason}")
        return batches
    return batches | {"test windows": _some(test)}


def _some(windows: Windows) -> Batch:
    few = windows.evenly_spaced(_COMPARED)
    return collate(few.gather(np.arange(len(few))))


def _random(source: _Source) -> list[Recording]:
    """Random walks with each channel's standard deviation; with gaps, one without a channel."""
    card = source.card
    deviation = bundle.fitted(source.bundle)["deviation"].numpy().astype(np.float64)
    generator = np.random.default_rng(0)
    samples = (card.context + card.horizon) * 4
    recordings = []
    for number in range(4):
        steps = generator.normal(size=(len(card.channels), samples)).cumsum(axis=1)
        values = 10 * deviation[:, None] + deviation[:, None] * steps / steps.std()
        values[generator.random(values.shape) < 0.2] = np.nan
        if number == 0 and len(values) > 1:
            values[0] = np.nan
        recordings.append(
            Recording(
                id=f"r{number}",
                subject=f"p{number}",
                values=values,
                channels=card.channels,
                units=card.units,
                rate_hz=card.rate_hz,
            )
        )
    return recordings


def _difference(actual: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to each series' largest magnitude; NaN equals only NaN."""
    actual, expected = actual.flatten(2).double(), expected.flatten(2).double()
    if not torch.equal(actual.isfinite(), expected.isfinite()):
        return float("inf")
    actual, expected = actual.nan_to_num(), expected.nan_to_num()
    magnitude = expected.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    return float(((actual - expected).abs() / magnitude).max())


def _check(differences: Differences, within: float, to: Target) -> None:
    """Stops where an export differs from the adapted model by more than `within`.

    Raises:
        RecipeError: nothing is left behind.
    """
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= within:
        raise RecipeError(
            f"{to}: what was written differs from the adapted model by "
            f"{differences[worst]:.1e} on {worst}, at most {within:g} is allowed, and it was "
            "removed. Export the bundle.",
            argument="to",
            remedy="to=bundle",
        )
