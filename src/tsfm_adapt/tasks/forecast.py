"""Forecast: quantiles of the next `horizon_s` seconds of every channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field, model_validator

from tsfm_adapt._util.durations import duration
from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.errors import RecipeError, closest
from tsfm_adapt.evaluation.alarms import Event
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.evaluation.forecast_scoring import ForecastScoring
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.forecasts import QuantileLevels
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks.base import (
    LORA_ON_CHRONOS2,
    TRIED_BACKBONES,
    Proposed,
    Sighting,
    SplitName,
    Task,
    TaskConfig,
    check_context,
    rounded,
    samples,
    stride_of,
)

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.figure import Figure

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.baselines.forecasters import Baseline
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.recording import FloatArray, IntArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays


class Crossing(Frozen):
    """An entry of `events`: a channel beyond a limit, to be warned of."""

    channel: str = Field(description="one of data.channels")
    below: float | None = Field(default=None, description="the limit, in the channel's unit")
    above: float | None = Field(default=None, description="the limit, in the channel's unit")
    for_s: float | None = Field(
        default=None, gt=0, description="measured time beyond it in a row, s; default one sample"
    )

    @model_validator(mode="after")
    def _one_limit(self) -> Crossing:
        if (self.below is None) == (self.above is None):
            raise ValueError("give one limit, below or above")
        return self


class Config(TaskConfig):
    """`task: {name: forecast}`."""

    candidates = TRIED_BACKBONES

    name: Literal["forecast"] = "forecast"
    context_s: float = Field(gt=0, description="history the model sees, s")
    horizon_s: float = Field(gt=0, description="how far ahead it predicts, s")
    horizons_s: tuple[float, ...] = Field(
        default=(), description="shorter horizons scored apart, s; each pools the steps up to it"
    )
    stride_s: float | None = Field(
        default=None,
        gt=0,
        description="step between windows in val and test, s; default the horizon",
    )
    min_context: int = Field(
        default=1, ge=1, description="measured context values a scored channel needs"
    )
    quantiles: QuantileLevels = Field(default=(0.1, 0.5, 0.9), min_length=1)
    events: dict[str, Crossing] = Field(
        default={}, description="name: what to warn of; scored as alarms, beside the forecasts"
    )
    false_alarms_a_day: tuple[float, ...] = Field(
        default=(1.0, 2.0, 5.0), min_length=1, description="how many are allowed, of `events`"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if any(not 0 < horizon <= self.horizon_s for horizon in self.horizons_s):
            raise ValueError(f"horizons_s lie within horizon_s = {self.horizon_s:g}")
        most = 86400 / self.horizon_s  # false alarms within a horizon are one
        if self.events and any(not 0 < rate < most for rate in self.false_alarms_a_day):
            raise ValueError(
                f"false_alarms_a_day lie between 0 and {most:g}, the most there can be with "
                f"horizon_s = {self.horizon_s:g}"
            )
        return self

    def build(self) -> Forecast:
        """The task with the recipe's values."""
        return Forecast(self)

    @classmethod
    def geometries(cls, lengths: IntArray, contexts: Sequence[int]) -> list[tuple[int, int]]:  # noqa: ARG003
        """A horizon of an eighth of long contexts, a fourth of short ones."""
        return [(context, context // (8 if context >= 192 else 4)) for context in contexts]

    @classmethod
    def proposed(cls, sighting: Sighting) -> Proposed:
        """A forecast of all channels, by LoRA on Chronos-2."""
        horizon_s = sighting.horizon / sighting.rate_hz
        half_s = (sighting.horizon // 2) / sighting.rate_hz
        share = sighting.context // sighting.horizon
        channels = f"{sighting.channels} channel{'s' if sighting.channels != 1 else ''}"
        return Proposed(
            title=f"The next {duration(horizon_s)} of {channels}",
            task={
                "horizon_s": rounded(horizon_s),
                "horizons_s": [rounded(half_s), rounded(horizon_s)],
                "quantiles": [0.1, 0.5, 0.9],
            },
            reasons={"horizon_s": f"{sighting.horizon} samples, 1/{share} of the context"},
            sections={
                **LORA_ON_CHRONOS2,
                "train": {"steps": 300, "batch_size": 32, "lr": 1.0e-3},
                "evaluate": {"max_windows": 2000},
            },
        )


class Forecast(Task):
    """Quantile forecasts, natively where the backbone is pretrained for them."""

    name = "forecast"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.levels = config.quantiles

    def scoring(self, rate_hz: float) -> ForecastScoring:
        """Quantile scores over all steps and up to each shorter horizon, and alarms of events."""
        return ForecastScoring(
            min_context=self.config.min_context,
            horizons={f"{s:g}": samples(s, rate_hz, "horizons_s") for s in self.config.horizons_s},
            events=self._events(rate_hz),
            false_alarms_a_day=self.config.false_alarms_a_day,
        )

    def check_channels(self, channels: Sequence[str]) -> None:
        """Every event has its channel."""
        for name, event in self.config.events.items():
            if event.channel not in channels:
                raise RecipeError(
                    f"task.events.{name}: data.channels has no '{event.channel}'."
                    f"{closest(event.channel, channels)} Known: {', '.join(channels)}."
                )

    def window(self, rate_hz: float, split_name: SplitName) -> WindowSpec:
        """Every sample starts a window in train; by default targets do not overlap elsewhere."""
        horizon = samples(self.config.horizon_s, rate_hz, "horizon_s")
        for shorter in self.config.horizons_s:
            samples(shorter, rate_hz, "horizons_s")
        self._events(rate_hz)
        context = samples(self.config.context_s, rate_hz, "context_s")
        stride = 1 if split_name == "train" else stride_of(self.config.stride_s, rate_hz, horizon)
        return WindowSpec(context, horizon, stride, self.config.min_context)

    def check(self, spec: BackboneSpec, rate_hz: float, headed: bool = False) -> None:
        """Needs a pretrained forecast head and a context that fits."""
        if not headed and "forecast" not in spec.native_tasks:
            raise RecipeError(
                f"task.name: {spec.name} has no pretrained head for forecast. It has: "
                f"{', '.join(sorted(spec.native_tasks)) or 'none'}."
            )
        check_context(spec, self.window(rate_hz, "test").context, rate_hz)

    def predictor(self, model: AdaptedModel) -> Predictor:
        """Quantiles (B, C, Q, H) at the recipe's levels."""
        import torch

        from tsfm_adapt.batches import collate

        device = next(model.parameters()).device

        def predict(arrays: WindowArrays, steps: int) -> FloatArray:
            with torch.inference_mode():
                forecast = model.forecast(collate(arrays).to(device), steps)
                quantiles: FloatArray = forecast.quantiles(self.levels).float().cpu().numpy()
            return quantiles

        return Predictor(predict, self.levels)

    def baselines(
        self, recordings: Sequence[Recording], rate_hz: float, season: int | None
    ) -> dict[str, Predictor]:
        """The simple forecasters, as point predictions."""
        from tsfm_adapt.baselines.forecasters import default_baselines

        fitted = default_baselines(self.windows(recordings, rate_hz, "train"), season)
        return {name: _point(baseline) for name, baseline in fitted.items()}

    def _events(self, rate_hz: float) -> dict[str, Event]:
        """The recipe's events, in samples."""
        events = {}
        for name, crossing in self.config.events.items():
            below = crossing.below is not None
            limit = crossing.below if crossing.below is not None else crossing.above
            assert limit is not None
            length = crossing.for_s
            long = 1 if length is None else samples(length, rate_hz, f"events.{name}.for_s")
            events[name] = Event(crossing.channel, limit, below, long)
        return events

    def table(
        self, windows: Windows, quantiles: FloatArray, units: Sequence[str]
    ) -> pyarrow.Table:
        """See `evaluation.tables.table`."""
        from tsfm_adapt.evaluation.tables import table

        return table(windows, quantiles, self.levels, units)

    def predict(
        self,
        predictor: Predictor,
        recordings: RecordingSet,
        units: Sequence[str],
        batch_size: int,
        every_s: float | None,
    ) -> pyarrow.Table:
        """A forecast every so many seconds; None = one, from each recording's end."""
        rate_hz = recordings.recordings[0].rate_hz
        spec = self.window(rate_hz, "test")
        every = Windows(recordings.recordings, WindowSpec(spec.context, 0, 1, spec.min_context))
        step = None if every_s is None else samples(every_s, rate_hz, "every_s")
        chosen, passed = [], 0  # counted back from each recording's end
        for recording in recordings:
            last = recording.samples - spec.context
            if last >= 0:
                own = np.array([last]) if step is None else np.arange(last % step, last + 1, step)
                chosen.append(passed + own)
                passed += last + 1
        windows = every.take(np.concatenate(chosen))
        quantiles = [
            predictor.predict(windows.gather(index), spec.horizon)
            for index in windows.batches(batch_size)
        ]
        return self.table(windows, np.concatenate(quantiles), units)

    def examples(
        self, windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str
    ) -> dict[str, Figure]:
        """Some forecasts beside what happened."""
        from tsfm_adapt.plots.forecasts import forecasts

        return {"forecasts": forecasts(windows, units, predictions, title)}

    def diagnostics(
        self,
        windows: Windows,
        units: Sequence[str],
        predictions: pyarrow.Table,
        scores: Scores,
        title: str,
    ) -> dict[str, Figure]:
        """Calibration, and the error by lead time."""
        from tsfm_adapt.plots.calibration import calibration_curve
        from tsfm_adapt.plots.forecasts import error_by_lead_time

        best = scores.best_baseline()
        return {
            "calibration": calibration_curve(predictions, title),
            "skill_by_lead_time": error_by_lead_time(scores.models, best, windows, units, title),
        }


def _point(baseline: Baseline) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:
        return baseline.predict(arrays.values, arrays.observed, steps)[:, :, None]

    return Predictor(predict, (0.5,))
