"""A run: one folder that holds a recipe, what came of it, and all that is needed to go on.

recipe.yaml  env.json  metrics.jsonl  tensorboard/  checkpoints/{last,best}.ckpt
scores.json  predictions/{test.parquet,paired.npz}  plots/  bundle/
"""

from __future__ import annotations

import json
import math
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm_adapt._util import atomic

from tsfm_adapt.runs import bundle
from tsfm_adapt.training.building import build, put_together
from tsfm_adapt.evaluation.conformal import Conformal
from tsfm_adapt.runs.model_card import model_card
from tsfm_adapt.errors import DataError, Interrupted, RecipeError
from tsfm_adapt.training.feature_cache import remembered
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.recipe.files import dumps, loads
from tsfm_adapt.recipe.parts import Parts, cleaning_plan, prepare, read_clean
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import Recording, RecordingSet

if TYPE_CHECKING:
    import pandas
    import pyarrow

# Set for the processes that Lightning starts for further devices: they join the first one's run.
_JOIN = "TSFM_ADAPT_RUN"

# How torchrun, Lightning and srun number processes, in the order in which Lightning asks.
_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID")

# What --smoke changes in a recipe.
SMOKE = {"train.steps": 2, "train.batch_size": 2, "train.accumulate": 1, "train.warmup": 0.0}

_PACKAGES = ("tsfm-adapt", "torch", "transformers", "peft", "lightning", "numpy", "pandas")


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe, as it was trained."""
        path = self.folder / "recipe.yaml"
        if not path.is_file():
            raise DataError(f"'{self.folder}' is no run: it holds no recipe.yaml.")
        return loads(path.read_text(encoding="utf-8"), source=str(path))

    @property
    def smoke(self) -> bool:
        """True where the run was cut down to a few steps and windows."""
        return self._noted("smoke")

    @property
    def alone(self) -> bool:
        """True where zero-shot and baselines are scored elsewhere."""
        return self._noted("alone")

    def _noted(self, key: str) -> bool:
        path = self.folder / "env.json"
        return path.is_file() and bool(json.loads(path.read_text("utf-8")).get(key))

    @property
    def scores(self) -> dict[str, Any]:
        """`scores.json`, once the run is scored."""
        path = self.folder / "scores.json"
        if not path.is_file():
            raise DataError(f"'{self.folder}' is not scored yet. Run: tsfm-adapt evaluate RUN")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def model(self) -> AdaptedModel:
        """The trained model, in eval mode, on the CPU; see `load`."""
        return load(self.folder)[0]

    def predict(
        self,
        source: str | Path | Sequence[Recording] | RecordingSet,
        *,
        reader: Mapping[str, Any] | None = None,
        every_s: float | None = None,
        raw: bool = False,
    ) -> pandas.DataFrame:
        """What the trained model says of recordings that it need not have seen.

        Args:
            source: a file or folder in the format of the recipe's reader; or recordings with the
                recipe's channels, units and rate, as `prepare` gives them.
            reader: another reader's settings, where the format of files differs.
            every_s: one forecast every so many seconds; None = one, from each recording's end.
            raw: the model's own quantiles, where the run could calibrate them.

        Returns:
            The table of `predictions.table` for forecasts, of `predictions.filled` for filled
            gaps, of `predictions.labelled` for classes.

        Raises:
            DataError: no recording is as long as the context, or the channels are others.
        """
        if isinstance(source, str | Path):
            table = predict(self.folder, str(source), reader, every_s, raw)
        else:
            table = predict_recordings(self.folder, source, every_s, raw)
        frame: pandas.DataFrame = table.to_pandas()
        return frame


def train(
    recipe: Recipe,
    runs: str | Path = "runs",
    progress: Progress | None = None,
    smoke: bool = False,
    alone: bool = False,
    parts: Parts | None = None,
) -> Run:
    """Trains, scores and saves.

    Args:
        recipe: validated.
        runs: the folder that the new run's folder goes into.
        progress: where progress is shown; None = on standard error.
        smoke: two steps on a few windows, to see that everything fits; no verdict.
        alone: without zero-shot, baselines and plots; no verdict.
        parts: the recipe's recordings and windows, where they are known; None = read here.
    """
    progress = progress or Progress()
    if smoke:
        recipe = recipe.override(SMOKE)
    parts = parts or _read(recipe, progress, smoke)
    with progress.step(f"loading {recipe.backbone.name}"):
        model = build(recipe, parts, progress)
    run = _created(recipe, Path(runs), smoke, alone)
    progress.say(f"run folder: {run.folder}")
    return _finish(run, recipe, parts, model, progress)


def resume(run: Run, progress: Progress, parts: Parts | None = None) -> Run:
    """Goes on where a run stopped: at its last checkpoint, or at scoring."""
    recipe = run.recipe
    parts = parts or _read(recipe, progress, run.smoke)
    with progress.step(f"loading {recipe.backbone.name}"):
        model = build(recipe, parts, progress)
    return _finish(run, recipe, parts, model, progress)


def evaluate(run: Run, progress: Progress) -> dict[str, Any]:
    """Scores the run's best checkpoint beside its rivals, and writes scores.json and the bundle.

    A run of a comparison, which was scored alone, so gets its verdict.
    """
    from tsfm_adapt.training import checkpoints

    recipe = run.recipe
    parts = _read(recipe, progress, run.smoke)
    model = build(recipe, parts, progress)
    if model.trainable():
        checkpoints.load_best(model, run.folder)
    scores, conformal = _scored(run, recipe, parts, model, progress, alone=False)
    if recipe.adapts:
        _save_bundle(run, recipe, model, scores, conformal)
    return scores


def load(folder: Path) -> tuple[AdaptedModel, Recipe]:
    """The trained model of a run or bundle, and its recipe.

    Raises:
        DataError: the folder is neither, or holds no trained weights.
        EnvironmentProblem: the base weights are not those of the training.
    """
    inner = _bundle(folder)
    if inner is not None:
        recipe = Run(inner).recipe
        subjects = bundle.read_card(inner).subjects
        model = put_together(recipe, bundle.fitted(inner)["deviation"].numpy(), subjects)
        bundle.restore(inner, model)
        return model, recipe
    recipe = Run(folder).recipe
    if recipe.adapts:
        raise DataError(
            f"'{folder}' holds no trained weights yet. Run: tsfm-adapt resume {folder}"
        )
    return put_together(recipe, None, ()), recipe


def calibration(folder: Path) -> Conformal | None:
    """The calibration of the bands of a run or bundle; None where there is none."""
    inner = _bundle(folder)
    return None if inner is None else bundle.calibration(inner)


def predict(
    folder: Path,
    source: str,
    reader: Mapping[str, Any] | None,
    every_s: float | None,
    raw: bool = False,
) -> pyarrow.Table:
    """What a run's model says of recordings that it need not have seen.

    Args:
        folder: a run or a bundle.
        source: a file or folder with recordings, in the format of the recipe's reader.
        reader: another reader's settings, where the format differs.
        every_s: one forecast every so many seconds; None = one, from each recording's end.
        raw: the model's own quantiles, where the bundle could calibrate them.

    Returns:
        The table of `predictions.table` for forecasts, of `predictions.filled` for filled gaps.

    Raises:
        DataError: no recording is as long as the model's context.
    """
    model, recipe = load(folder)
    recipe = recipe.override(_reading(recipe, source, reader))
    conformal = None if raw else calibration(folder)
    return _predicted(model, recipe, read_clean(recipe.data), conformal, every_s, source)


def predict_recordings(
    folder: Path,
    recordings: Sequence[Recording] | RecordingSet,
    every_s: float | None,
    raw: bool = False,
) -> pyarrow.Table:
    """`predict` of recordings in memory, on the clock and in the units of the run's recipe.

    Raises:
        DataError: their channels, units or rate are others, or none is as long as the context.
    """
    model, recipe = load(folder)
    of_run = tuple((plan.name, plan.unit) for plan in cleaning_plan(recipe.data).channels)
    for recording in recordings:
        own = tuple(zip(recording.channels, recording.units, strict=True))
        if own != of_run or not math.isclose(recording.rate_hz, recipe.data.rate_hz):
            raise DataError(
                f"'{recording.id}' has {_listed(own)} at {recording.rate_hz:g} Hz; the run was "
                f"trained on {_listed(of_run)} at {recipe.data.rate_hz:g} Hz. Bring it to these, "
                "or give the file, which is then cleaned as the recipe says."
            )
    given = RecordingSet(tuple(recordings))
    conformal = None if raw else calibration(folder)
    return _predicted(model, recipe, given, conformal, every_s, "the recordings given")


def _listed(channels: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({unit})" for name, unit in channels)


def _predicted(
    model: AdaptedModel,
    recipe: Recipe,
    recordings: RecordingSet,
    conformal: Conformal | None,
    every_s: float | None,
    source: str,
) -> pyarrow.Table:
    task, rate_hz = recipe.task.build(), recipe.data.rate_hz
    context = task.window(rate_hz, "test").context
    longest = max((r.samples for r in recordings), default=0)
    if longest < context:
        raise DataError(
            f"'{source}': the model needs {context} samples of context at {rate_hz:g} Hz; "
            f"the longest of {len(recordings)} recordings has {longest}. Give longer recordings."
        )
    predictor = task.predictor(model.to(device_for(recipe.train.accelerator)))
    predictor = predictor.calibrated(conformal)
    units = [channel.unit for channel in cleaning_plan(recipe.data).channels]
    return task.predict(predictor, recordings, units, recipe.evaluate.batch_size, every_s)


def _bundle(folder: Path) -> Path | None:
    """The bundle that a folder is or holds."""
    found = [f for f in (folder / "bundle", folder) if (f / "bundle.json").is_file()]
    return found[0] if found else None


def _reading(recipe: Recipe, source: str, reader: Mapping[str, Any] | None) -> dict[str, Any]:
    """The override that makes a recipe read `source`."""
    known = recipe.data.reader.model_dump(mode="json") if reader is None else dict(reader)
    if reader is None and "root" not in known:
        raise RecipeError(
            f"predict: the run was trained with reader '{known['name']}', which reads no files. "
            "Say how to read INPUT, e.g. --reader '{name: csv, layout: wide, units: {HR: bpm}}'."
        )
    if reader is None:  # which of the training data were read, and from where
        known |= {key: None for key in ("records", "pn_dir") if key in known}
    return {"data.reader": known | {"root": source}}


def _read(recipe: Recipe, progress: Progress, smoke: bool) -> Parts:
    with progress.step("reading recordings"):
        return prepare(recipe, smoke, progress)


def _finish(
    run: Run, recipe: Recipe, parts: Parts, model: AdaptedModel, progress: Progress
) -> Run:
    """Trains what is left to train, scores, saves."""
    from tsfm_adapt.training import checkpoints
    from tsfm_adapt.training import loop as training

    if model.trainable():
        os.environ[_JOIN] = str(run.folder.absolute())
        try:
            training.fit(
                model,
                remembered(model, recipe, parts.windows["train"], progress),
                remembered(model, recipe, parts.windows["val"], progress),
                recipe.train,
                recipe.seed,
                run.folder,
                progress,
            )
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped and saved. Go on with: tsfm-adapt resume {run.folder}"
            ) from None
        finally:
            os.environ.pop(_JOIN, None)
        if not first_process():
            raise SystemExit(0)
        checkpoints.load_best(model, run.folder)
    scores, conformal = _scored(run, recipe, parts, model, progress, run.alone)
    if recipe.adapts:
        _save_bundle(run, recipe, model, scores, conformal)
    return run


def _scored(
    run: Run, recipe: Recipe, parts: Parts, model: AdaptedModel, progress: Progress, alone: bool
) -> tuple[dict[str, Any], Conformal | None]:
    from tsfm_adapt.plots.run import draw
    from tsfm_adapt.runs.scoring import score

    scores, conformal = score(recipe, parts, model, run.folder, progress, run.smoke, alone)
    atomic.write_text(run.folder / "scores.json", _json(scores))
    if not run.smoke and not alone:
        with progress.step("drawing"):
            units = [channel.unit for channel in cleaning_plan(recipe.data).channels]
            draw(run.folder, parts.windows["test"], units, scores)
    return scores, conformal


def _save_bundle(
    run: Run,
    recipe: Recipe,
    model: AdaptedModel,
    scores: Mapping[str, Any],
    conformal: Conformal | None,
) -> None:
    spec = model.backbone.spec
    window = recipe.task.build().window(recipe.data.rate_hz, "test")
    plan = cleaning_plan(recipe.data)
    card = bundle.Card(
        channels=tuple(channel.name for channel in plan.channels),
        units=tuple(channel.unit for channel in plan.channels),
        rate_hz=recipe.data.rate_hz,
        context=window.context,
        horizon=window.horizon,
        quantiles=recipe.task.build().levels,
        backbone=spec.name,
        checkpoint=spec.checkpoint,
        revision=recipe.backbone.revision,
        base_sha256=model.base_sha256,
        licence=spec.licence,
        synthetic=recipe.data.reader.synthetic,
        versions=_versions(),
        subjects=model.setting.subjects if any(a.per_subject for a in model.adapters) else (),
        calibrated=() if conformal is None else conformal.fitted,
    )
    texts = {
        "recipe.yaml": dumps(recipe),
        "scores.json": _json(scores),
        "README.md": model_card(card, recipe, scores, bundle.loading(run.folder / "bundle")),
    }
    bundle.write(run.folder / "bundle", model, card, texts, conformal)


def _created(recipe: Recipe, runs: Path, smoke: bool, alone: bool) -> Run:
    """A new folder `<runs>/<recipe name>/<time>-<hash>` with recipe.yaml and env.json."""
    if _JOIN in os.environ and not first_process():
        return Run(Path(os.environ[_JOIN]))
    text = dumps(recipe)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    stem = f"{stamp}-{sha256(text.encode()).hexdigest()[:6]}"
    names = (stem if n == 1 else f"{stem}-{n}" for n in count(1))
    folder = next(f for name in names if not (f := runs / recipe.name / name).exists())
    if first_process():
        environment = {
            "smoke": smoke,
            "alone": alone,
            "started": stamp,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "versions": _versions(),
        }
        atomic.write_text(folder / "recipe.yaml", text)
        atomic.write_text(folder / "env.json", _json(environment))
    return Run(folder)


def first_process() -> bool:
    """False in the processes that a launcher starts for further devices."""
    told = [os.environ[name] for name in _RANKS if name in os.environ]
    return not told or int(told[0]) == 0


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
