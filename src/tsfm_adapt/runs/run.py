"""A run: one folder with a recipe, its checkpoints, scores, predictions and bundle.

recipe.yaml  env.json  metrics.jsonl  tensorboard/  checkpoints/{last,best}.ckpt
scores.json  predictions/{test.parquet,paired.npz}  plots/  bundle/
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import JsonValue

from tsfm_adapt.components import require
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.evaluation.conformal import Conformal
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.evaluation.scores import read as read_scores
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.recipe.files import loads
from tsfm_adapt.recipe.parts import cleaning_plan, read_clean
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs import bundle
from tsfm_adapt.runs.value_check import check_values
from tsfm_adapt.signals.channel_rules import ChannelPlan, CleaningPlan
from tsfm_adapt.signals.recording import Notes, Recording, RecordingSet
from tsfm_adapt.training.building import assembled
from tsfm_adapt.training.bundle_files import bundle_in

if TYPE_CHECKING:
    import pandas
    import pyarrow


@dataclass(frozen=True)
class Run:
    """A trained or started run, by its folder."""

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
    def without_baselines(self) -> bool:
        """True where zero-shot and baselines are scored elsewhere, as in a comparison."""
        return self._noted("without_baselines") or self._noted("alone")  # alone: version 0.1

    def _noted(self, key: str) -> bool:
        path = self.folder / "env.json"
        return path.is_file() and bool(json.loads(path.read_text("utf-8")).get(key))

    @property
    def scores(self) -> Scores:
        """`scores.json`, once the run is scored.

        Raises:
            DataError: it is not scored, or the file is broken or of a newer format.
        """
        path = self.folder / "scores.json"
        if not path.is_file():
            raise DataError(f"'{self.folder}' is not scored yet. Run: tsfm-adapt evaluate RUN")
        return read_scores(path)

    @property
    def scored(self) -> bool:
        """Whether it has scores."""
        return (self.folder / "scores.json").is_file()

    def model(self) -> AdaptedModel:
        """The trained model, in eval mode, on the CPU; see `load`."""
        return load(self.folder)[0]

    def predict(
        self,
        source: str | Path | Sequence[Recording] | RecordingSet,
        *,
        reader: Mapping[str, JsonValue] | None = None,
        every_s: float | None = None,
        raw: bool = False,
        any_values: bool = False,
    ) -> pandas.DataFrame:
        """Predicts on new recordings, with the trained model.

        Args:
            source: a file or folder in the format of the recipe's reader; or recordings with the
                recipe's channels, units and rate, as `prepare` gives them.
            reader: settings of another reader, where the format of the files differs.
            every_s: interval between forecast origins, s; None = one forecast, at the end.
            raw: the model's own quantiles, without calibration.
            any_values: go on where values look like another unit.

        Returns:
            The table that `table` of `evaluation.tables` gives for forecasts, `filled` for filled
            gaps, `labelled` for classes. Its `attrs["remarks"]` are sentences about it.

        Raises:
            DataError: no recording is as long as the context, the channels are others, or their
                values are in another unit than those that the model learned from.
        """
        if isinstance(source, str | Path):
            found = predictions(self.folder, str(source), reader, every_s, raw, any_values)
        else:
            found = predict_recordings(self.folder, source, every_s, raw, any_values)
        frame: pandas.DataFrame = found.table.to_pandas()
        frame.attrs["remarks"] = list(found.remarks)
        return frame


@dataclass(frozen=True)
class Predictions:
    """What a model predicted, and what a user should read beside it."""

    table: pyarrow.Table  # of `evaluation.tables`: `table`, `filled` or `labelled`
    remarks: tuple[str, ...]  # sentences about the input's values and the predictions
    notes: Notes  # what the reader changed or left out


def load(folder: Path) -> tuple[AdaptedModel, Recipe]:
    """The trained model of a run or bundle, and its recipe.

    Raises:
        DataError: the folder is neither, or holds no trained weights.
        EnvironmentProblem: the base weights are not those of the training.
    """
    inner = bundle_in(folder)
    if inner is not None:
        recipe = Run(inner).recipe
        subjects = bundle.read_card(inner).subjects
        model = assembled(recipe, bundle.fitted(inner)["deviation"].numpy(), subjects)
        bundle.restore(inner, model)
        return model, recipe
    recipe = Run(folder).recipe
    if recipe.adapts:
        raise DataError(
            f"'{folder}' holds no trained weights yet. Run: tsfm-adapt resume {folder}"
        )
    return assembled(recipe, None, ()), recipe


def calibration(folder: Path) -> Conformal | None:
    """The calibration of the prediction intervals of a run or bundle; None = not calibrated."""
    inner = bundle_in(folder)
    return None if inner is None else bundle.calibration(inner)


def predict(
    folder: Path,
    source: str,
    reader: Mapping[str, JsonValue] | None,
    every_s: float | None,
    raw: bool = False,
) -> pyarrow.Table:
    """The table of `predictions`, whose arguments these are."""
    return predictions(folder, source, reader, every_s, raw).table


def predictions(
    folder: Path,
    source: str,
    reader: Mapping[str, JsonValue] | None,
    every_s: float | None,
    raw: bool = False,
    any_values: bool = False,
) -> Predictions:
    """Predicts on the recordings of a file or folder, with a run's trained model.

    Args:
        folder: a run or a bundle.
        source: a file or folder with recordings, in the format of the recipe's reader.
        reader: settings of another reader, where the format differs.
        every_s: interval between forecast origins, s; None = one forecast, at the end.
        raw: the model's own quantiles, without calibration.
        any_values: go on where values look like another unit.

    Raises:
        DataError: no recording is as long as the model's context, or values are in another unit
            than those that it learned from.
    """
    model, recipe = load(folder)
    recipe = recipe.override(_reading(recipe, source, reader))
    require("reader", recipe.data.reader.name)
    plan = cleaning_plan(recipe.data)
    items = recipe.data.reader.read(plan.sources)
    remarks = check_values(_card(folder), plan, items, any_values)
    recordings = read_clean(recipe.data)
    conformal = None if raw else calibration(folder)
    table = _predicted(model, recipe, recordings, conformal, every_s, source)
    return _with_remarks(recipe, table, remarks, recordings.notes)


def predict_recordings(
    folder: Path,
    recordings: Sequence[Recording] | RecordingSet,
    every_s: float | None,
    raw: bool = False,
    any_values: bool = False,
) -> Predictions:
    """Predicts on recordings in memory, at the rate and in the units of the run's recipe.

    Raises:
        DataError: their channels, units or rate are others, none is as long as the context, or
            values are in another unit than those that the model learned from.
    """
    model, recipe = load(folder)
    plan = cleaning_plan(recipe.data)
    of_run = tuple((channel.name, channel.unit) for channel in plan.channels)
    for recording in recordings:
        own = tuple(zip(recording.channels, recording.units, strict=True))
        if own != of_run or not math.isclose(recording.rate_hz, recipe.data.rate_hz):
            raise DataError(
                f"'{recording.id}' has {_listed(own)} at {recording.rate_hz:g} Hz; the run was "
                f"trained on {_listed(of_run)} at {recipe.data.rate_hz:g} Hz. Bring it to these, "
                "or give the file, which is then cleaned as the recipe says."
            )
    as_given = CleaningPlan(tuple(ChannelPlan(n, u, n) for n, u in of_run), recipe.data.rate_hz)
    remarks = check_values(_card(folder), as_given, recordings, any_values)
    given = RecordingSet(tuple(recordings))
    conformal = None if raw else calibration(folder)
    table = _predicted(model, recipe, given, conformal, every_s, "the recordings given")
    return _with_remarks(recipe, table, remarks, given.notes)


def _card(folder: Path) -> bundle.Card | None:
    """The card of a run's bundle, or of a bundle; None = nothing was adapted."""
    inner = bundle_in(folder)
    return None if inner is None else bundle.read_card(inner)


def _with_remarks(
    recipe: Recipe, table: pyarrow.Table, remarks: Sequence[str], notes: Notes
) -> Predictions:
    own = recipe.task.build().remarks(table, recipe.data.rate_hz)
    return Predictions(table, (*remarks, *own), notes)


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


def _reading(
    recipe: Recipe, source: str, reader: Mapping[str, JsonValue] | None
) -> dict[str, JsonValue]:
    """The override of the recipe's reader that makes it read `source`.

    Raises:
        RecipeError: the recipe's reader reads no files, and no other is given.
    """
    known = recipe.data.reader.model_dump(mode="json") if reader is None else dict(reader)
    if reader is None and "root" not in known:
        raise RecipeError(
            f"predict: the run was trained with reader '{known['name']}', which reads no files. "
            "Give the settings of a reader.",
            remedy="reader={name: csv, layout: wide, units: {HR: bpm}}",
        )
    if reader is None:  # which of the training data were read, and from where
        known |= {key: None for key in ("records", "pn_dir") if key in known}
    return {"data.reader": known | {"root": source}}
