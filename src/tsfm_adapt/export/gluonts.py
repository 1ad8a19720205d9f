"""An adapted forecaster as GluonTS takes it, for its datasets, backtests and metrics.

    from gluonts.dataset.split import split
    from gluonts.ev.metrics import MASE
    from gluonts.model.evaluation import evaluate_model
    from tsfm_adapt.export.gluonts import AdaptedPredictor

    predictor = AdaptedPredictor(Path("adapters/vitals-forecast-lora"), channel="HR")
    _, template = split(dataset, offset=-30)
    evaluate_model(predictor, test_data=template.generate_instances(30), metrics=[MASE()])

Only this module of the package needs gluonts: import it where it is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

import numpy as np

from tsfm_adapt.errors import DataError, EnvironmentProblem, RecipeError, closest
from tsfm_adapt.model import device_for
from tsfm_adapt.runs.run import calibration, load
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import WindowArrays
from tsfm_adapt.tasks.forecast import Forecast

if TYPE_CHECKING:
    import pandas

try:
    from gluonts.dataset.util import forecast_start
    from gluonts.model.forecast import QuantileForecast
    from gluonts.model.predictor import Predictor
except ImportError as error:
    raise EnvironmentProblem(
        "tsfm_adapt.export.gluonts needs gluonts, which is not installed. Run: pip install gluonts"
    ) from error


class Entry(TypedDict):
    """The fields of an entry of GluonTS that are read; it may have others."""

    target: FloatArray  # (T,) or (C, T)
    start: pandas.Period
    item_id: NotRequired[str]
    channel: NotRequired[str]


class AdaptedPredictor(Predictor):
    """The forecasts of a run or bundle, `prediction_length` steps from each entry's end.

    An entry's target is (T,), one channel, or (C, T), all channels of the model in its order, in
    the model's units, with NaN where nothing was measured. Of a model of several channels, a
    target (T,) is the channel that the entry's field `channel` names, else the predictor's; the
    others are missing. What is longer than the model's context is cut, what is shorter is missing
    before its start. A channel whose context shows less than the recipe's `task.min_context` is
    forecast as NaN.

    Args:
        folder: a run or bundle of task forecast.
        channel: of targets (T,) whose entries have no field `channel`.
        raw: the model's own quantiles, where the bundle could calibrate them.

    Raises:
        RecipeError: the model does not forecast, or has no such channel.
        DataError: there is no trained model in the folder.
    """

    def __init__(self, folder: Path, channel: str | None = None, raw: bool = False) -> None:
        model, recipe = load(folder)
        task = recipe.task.build()
        if not isinstance(task, Forecast):
            raise RecipeError(
                f"'{folder}' was trained for task {task.name}; a GluonTS predictor forecasts. "
                "Give a run of task forecast."
            )
        window = task.window(recipe.data.rate_hz, "test")
        super().__init__(prediction_length=window.horizon)
        self.channels = tuple(recipe.data.channels)
        self.rate_hz = recipe.data.rate_hz
        self.context = window.context
        if channel is not None:
            self._row(channel)
        self._channel = channel
        self._enough = max(task.config.min_context, 1)
        self._batch_size = recipe.evaluate.batch_size
        device = device_for(recipe.train.accelerator)
        self._predictor = task.predictor(model.to(device)).calibrated(
            None if raw else calibration(folder)
        )

    def predict(
        self,
        dataset: Iterable[Entry],
        num_samples: int | None = None,  # noqa: ARG002  # quantiles are given, nothing is drawn
    ) -> Iterator[QuantileForecast]:
        """A forecast an entry, in their order: arrays (Q, H) of targets (T,), else (Q, H, C).

        Args:
            dataset: entries of GluonTS.
            num_samples: of no use here; GluonTS's evaluation gives it.

        Raises:
            DataError: an entry's rate or number of channels is not the model's.
        """
        entries = iter(dataset)
        while batch := list(islice(entries, self._batch_size)):
            yield from self._forecasts(batch)

    def _forecasts(self, entries: list[Entry]) -> Iterator[QuantileForecast]:
        windows = np.stack([self._window(entry) for entry in entries])  # (B, C, T) with NaN
        observed = np.isfinite(windows)
        arrays = WindowArrays(
            values=np.where(observed, windows, 0).astype(np.float32),
            observed=observed,
            target=None,
            target_observed=None,
            start_s=np.array([self._start_s(entry) for entry in entries]),
            rate_hz=self.rate_hz,
            channels=self.channels,
            subjects=tuple(str(entry.get("item_id", "")) for entry in entries),
        )
        quantiles = self._predictor.predict(arrays, self.prediction_length)  # (B, C, Q, H)
        founded = observed.sum(-1) >= self._enough
        quantiles = np.where(founded[..., None, None], quantiles, np.nan)
        for entry, forecast in zip(entries, quantiles, strict=True):
            one_channel = np.ndim(entry["target"]) == 1
            yield QuantileForecast(
                forecast_arrays=forecast[self._row_of(entry)]
                if one_channel
                else forecast.transpose(1, 2, 0),
                start_date=forecast_start(entry),
                forecast_keys=[f"{level:g}" for level in self._predictor.levels],
                item_id=entry.get("item_id"),
            )

    def _window(self, entry: Entry) -> FloatArray:
        """The context (C, T) of an entry; NaN = not measured."""
        self._check_rate(entry)
        target = np.asarray(entry["target"], dtype=np.float64)
        if target.ndim == 2 and len(target) != len(self.channels):
            raise DataError(
                f"entry '{entry.get('item_id', '')}': its target has {len(target)} channels; the "
                f"model has {len(self.channels)}: {', '.join(self.channels)}. Give all of them in "
                "this order, NaN where there is none."
            )
        window = np.full((len(self.channels), self.context), np.nan)
        latest = target[..., -self.context :]
        rows = slice(None) if target.ndim == 2 else self._row_of(entry)
        window[rows, self.context - latest.shape[-1] :] = latest
        return window

    def _row_of(self, entry: Entry) -> int:
        """Which channel a target (T,) is."""
        name = entry.get("channel", self._channel)
        if name is not None:
            return self._row(str(name))
        if len(self.channels) > 1:
            raise DataError(
                f"entry '{entry.get('item_id', '')}': its target is one channel, but the model "
                f"has {', '.join(self.channels)}. Say which: a field 'channel', or "
                "AdaptedPredictor(folder, channel=NAME)."
            )
        return 0

    def _row(self, name: str) -> int:
        if name not in self.channels:
            raise RecipeError(
                f"the model has no channel '{name}'.{closest(name, self.channels)} Known: "
                f"{', '.join(self.channels)}."
            )
        return self.channels.index(name)

    def _start_s(self, entry: Entry) -> float:
        """Seconds since the epoch of the first context sample, which may be before the entry."""
        skipped = np.shape(entry["target"])[-1] - self.context
        return float(entry["start"].to_timestamp().timestamp() + skipped / self.rate_hz)

    def _check_rate(self, entry: Entry) -> None:
        freq = entry["start"].freq
        try:
            step_s = freq.nanos / 1e9
        except ValueError:  # months and the like have no length
            step_s = float("nan")
        if not np.isclose(step_s * self.rate_hz, 1.0, rtol=1e-6):
            raise DataError(
                f"entry '{entry.get('item_id', '')}' has one sample every {freq.freqstr}; the "
                f"model was trained on one every {1 / self.rate_hz:g} s. Resample the dataset."
            )
