"""Forecast: quantiles of the next `horizon_s` seconds of every channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tsfm_adapt.errors import RecipeError, closest
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks.base import (
    Part,
    Predictor,
    Scale,
    Task,
    TaskConfig,
    check_context,
    counted,
    samples,
)

if TYPE_CHECKING:
    import pyarrow

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.baselines.forecasters import Baseline
    from tsfm_adapt.evaluation.alarms import Event
    from tsfm_adapt.evaluation.forecast_errors import ForecastErrors
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.recording import BoolArray, FloatArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays


class Crossing(BaseModel):
    """An entry of `events`: a channel beyond a limit, to be warned of."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
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
    quantiles: tuple[float, ...] = Field(default=(0.1, 0.5, 0.9), min_length=1)
    events: dict[str, Crossing] = Field(
        default={}, description="name: what to warn of; scored as alarms, beside the forecasts"
    )
    false_alarms_a_day: tuple[float, ...] = Field(
        default=(1.0, 2.0, 5.0), min_length=1, description="how many are allowed, of `events`"
    )

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if any(not 0 < q < 1 for q in self.quantiles) or 0.5 not in self.quantiles:
            raise ValueError("quantiles lie between 0 and 1 and include 0.5, the point forecast")
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError("quantiles increase and do not repeat")
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
        return Forecast(
            self.context_s,
            self.horizon_s,
            self.horizons_s,
            self.stride_s,
            self.min_context,
            self.quantiles,
            self.events,
            self.false_alarms_a_day,
        )


class Forecast(Task):
    """Quantile forecasts, natively where the backbone is pretrained for them.

    A (window, channel) pair is scored where its context holds at least `min_context` measured
    values and its target at least one: the same pairs for every model.
    """

    name = "forecast"

    def __init__(
        self,
        context_s: float,
        horizon_s: float,
        horizons_s: tuple[float, ...],
        stride_s: float | None,
        min_context: int,
        quantiles: tuple[float, ...],
        events: Mapping[str, Crossing] | None = None,
        false_alarms_a_day: tuple[float, ...] = (),
    ) -> None:
        self.context_s = context_s
        self.horizon_s = horizon_s
        self.horizons_s = horizons_s
        self.stride_s = stride_s
        self.min_context = min_context
        self.levels = quantiles
        self.events = dict(events or {})
        self.false_alarms_a_day = false_alarms_a_day

    def check_channels(self, channels: Sequence[str]) -> None:
        """Every event has its channel."""
        for name, event in self.events.items():
            if event.channel not in channels:
                raise RecipeError(
                    f"task.events.{name}: data.channels has no '{event.channel}'."
                    f"{closest(event.channel, channels)} Known: {', '.join(channels)}."
                )

    def window(self, rate_hz: float, part: Part) -> WindowSpec:
        """Every sample starts a window in train; by default targets do not overlap elsewhere."""
        horizon = samples(self.horizon_s, rate_hz, "horizon_s")
        for shorter in self.horizons_s:
            samples(shorter, rate_hz, "horizons_s")
        self._events(rate_hz)
        context = samples(self.context_s, rate_hz, "context_s")
        stride = horizon if self.stride_s is None else samples(self.stride_s, rate_hz, "stride_s")
        return WindowSpec(context, horizon, 1 if part == "train" else stride, self.min_context)

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

    def score(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> ForecastErrors:
        """Sufficient statistics of the errors, batch by batch; with events, alarm scores too."""
        from tsfm_adapt.evaluation.alarms import AlarmErrors
        from tsfm_adapt.evaluation.forecast_errors import concatenate, forecast_errors

        pieces, alarms = [], []
        for index in windows.batches(batch_size):
            arrays = windows.gather(index)
            assert arrays.target is not None
            assert arrays.target_observed is not None
            quantiles = predictor.predict(arrays, windows.spec.horizon)
            pairs = counted(arrays, self.min_context)
            pieces.append(
                forecast_errors(
                    quantiles,
                    predictor.levels,
                    arrays.target,
                    arrays.target_observed,
                    pairs,
                    arrays.subjects,
                )
            )
            alarms.append(self._alarms(arrays, quantiles, predictor.levels, pairs))
            tick(len(arrays.subjects))
        errors = concatenate(pieces)
        if not self.events:
            return errors
        alarm, at_risk = np.concatenate(alarms, axis=2)  # (E, W)
        return AlarmErrors(
            **vars(errors), alarm=alarm.T, at_risk=at_risk.T.astype(bool), windows=windows
        )

    def summary(
        self, errors: Mapping[str, ForecastErrors], scale: Scale, rate_hz: float
    ) -> dict[str, Any]:
        """`models` over the whole horizon, `horizons` (by seconds) over the listed ones.

        With events, how they were warned of; see `tsfm_adapt.evaluation.alarms`.
        """
        from tsfm_adapt.evaluation.alarms import AlarmErrors, summarise_events
        from tsfm_adapt.evaluation.forecast_errors import summarise

        def over(steps: int | None) -> dict[str, Any]:
            return {
                name: summarise(e, scale.channels, scale.units, scale.mase, steps)
                for name, e in errors.items()
            }

        summary: dict[str, Any] = {
            "models": over(None),
            "horizons": {
                f"{s:g}": over(samples(s, rate_hz, "horizons_s")) for s in self.horizons_s
            },
        }
        alarms = {name: e for name, e in errors.items() if isinstance(e, AlarmErrors)}
        if alarms:
            summary["events"] = summarise_events(
                alarms,
                self._events(rate_hz),
                dict(zip(scale.channels, scale.units, strict=True)),
                self.false_alarms_a_day,
            )
        return summary

    def _alarms(
        self,
        arrays: WindowArrays,
        quantiles: FloatArray,
        levels: tuple[float, ...],
        pairs: BoolArray,
    ) -> FloatArray:
        """Alarm scores, and who is at risk, of the events: (2, E, B)."""
        found = np.empty((2, len(self.events), len(quantiles)))
        for number, event in enumerate(self._events(arrays.rate_hz).values()):
            c = arrays.channels.index(event.channel)
            found[0, number] = event.score(quantiles[:, c], levels)
            found[1, number] = event.at_risk(
                arrays.values[:, c], arrays.observed[:, c], pairs[:, c]
            )
        return found

    def _events(self, rate_hz: float) -> dict[str, Event]:
        """The recipe's events, in samples."""
        from tsfm_adapt.evaluation.alarms import Event

        found = {}
        for name, crossing in self.events.items():
            below = crossing.below is not None
            limit = crossing.below if crossing.below is not None else crossing.above
            assert limit is not None
            length = crossing.for_s
            long = 1 if length is None else samples(length, rate_hz, f"events.{name}.for_s")
            found[name] = Event(crossing.channel, limit, below, long)
        return found

    def table(
        self, windows: Windows, quantiles: FloatArray, units: Sequence[str]
    ) -> pyarrow.Table:
        """See `predictions.table`."""
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


def _point(baseline: Baseline) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:
        return baseline.predict(arrays.values, arrays.observed, steps)[:, :, None]

    return Predictor(predict, (0.5,))
