"""Forecast: quantiles of the next `horizon_s` seconds of every channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tsfm_adapt.errors import RecipeError
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
    from tsfm_adapt.baselines import Baseline
    from tsfm_adapt.metrics import ForecastErrors
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.recording import FloatArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays


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

    @model_validator(mode="after")
    def _ordered(self) -> Config:
        if any(not 0 < q < 1 for q in self.quantiles) or 0.5 not in self.quantiles:
            raise ValueError("quantiles lie between 0 and 1 and include 0.5, the point forecast")
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError("quantiles increase and do not repeat")
        if any(not 0 < horizon <= self.horizon_s for horizon in self.horizons_s):
            raise ValueError(f"horizons_s lie within horizon_s = {self.horizon_s:g}")
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
    ) -> None:
        self.context_s = context_s
        self.horizon_s = horizon_s
        self.horizons_s = horizons_s
        self.stride_s = stride_s
        self.min_context = min_context
        self.levels = quantiles

    def window(self, rate_hz: float, part: Part) -> WindowSpec:
        """Every sample starts a window in train; by default targets do not overlap elsewhere."""
        horizon = samples(self.horizon_s, rate_hz, "horizon_s")
        for shorter in self.horizons_s:
            samples(shorter, rate_hz, "horizons_s")
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
        from tsfm_adapt.baselines import default_baselines

        fitted = default_baselines(self.windows(recordings, rate_hz, "train"), season)
        return {name: _point(baseline) for name, baseline in fitted.items()}

    def score(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> ForecastErrors:
        """Sufficient statistics of the errors, batch by batch."""
        from tsfm_adapt.metrics import concatenate, forecast_errors

        pieces = []
        for first in range(0, len(windows), batch_size):
            arrays = windows.gather(np.arange(first, min(first + batch_size, len(windows))))
            assert arrays.target is not None
            assert arrays.target_observed is not None
            pieces.append(
                forecast_errors(
                    predictor.predict(arrays, windows.spec.horizon),
                    predictor.levels,
                    arrays.target,
                    arrays.target_observed,
                    counted(arrays, self.min_context),
                    arrays.subjects,
                )
            )
            tick(len(arrays.subjects))
        return concatenate(pieces)

    def summary(
        self, errors: Mapping[str, ForecastErrors], scale: Scale, rate_hz: float
    ) -> dict[str, Any]:
        """`models` over the whole horizon, `horizons` (by seconds) over the listed ones."""
        from tsfm_adapt.metrics import summarise

        def over(steps: int | None) -> dict[str, Any]:
            return {
                name: summarise(e, scale.channels, scale.units, scale.mase, steps)
                for name, e in errors.items()
            }

        return {
            "models": over(None),
            "horizons": {
                f"{s:g}": over(samples(s, rate_hz, "horizons_s")) for s in self.horizons_s
            },
        }

    def table(
        self, windows: Windows, quantiles: FloatArray, units: Sequence[str]
    ) -> pyarrow.Table:
        """See `predictions.table`."""
        from tsfm_adapt.predictions import table

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
        length = np.array([recording.samples for recording in recordings])
        left = length[every.recording] - every.start - spec.context  # samples after each context
        step = 0 if every_s is None else samples(every_s, rate_hz, "every_s")
        windows = every.take(np.flatnonzero(left % step == 0 if step else left == 0))
        quantiles = [
            predictor.predict(
                windows.gather(np.arange(i, min(i + batch_size, len(windows)))), spec.horizon
            )
            for i in range(0, len(windows), batch_size)
        ]
        return self.table(windows, np.concatenate(quantiles), units)


def _point(baseline: Baseline) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:
        return baseline.predict(arrays.values, arrays.observed, steps)[:, :, None]

    return Predictor(predict, (0.5,))
