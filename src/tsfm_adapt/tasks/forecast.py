"""Forecast: quantiles of the next `horizon_s` seconds of every channel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.signals.windows import WindowSpec
from tsfm_adapt.tasks.base import Part, Predictor, Scale, Task, TaskConfig, samples

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.metrics import ForecastErrors
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.recording import BoolArray, FloatArray
    from tsfm_adapt.signals.windows import WindowArrays, Windows


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

    def check(self, spec: BackboneSpec, rate_hz: float) -> None:
        """Needs a pretrained forecast head and a context that fits."""
        if "forecast" not in spec.native_tasks:
            raise RecipeError(
                f"task.name: {spec.name} has no pretrained head for forecast. It has: "
                f"{', '.join(sorted(spec.native_tasks)) or 'none'}."
            )
        context = self.window(rate_hz, "test").context
        if context > spec.max_context:
            raise RecipeError(
                f"task.context_s: {self.context_s:g} s at {rate_hz:g} Hz is {context} samples; "
                f"{spec.name} ({spec.checkpoint}) accepts {spec.max_context}. "
                f"Use context_s <= {spec.max_context / rate_hz:g} or a lower data.rate_hz."
            )

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


def counted(arrays: WindowArrays, min_context: int) -> BoolArray:
    """Which (window, channel) pairs are scored, (B, C)."""
    assert arrays.target_observed is not None
    enough = arrays.observed.sum(-1) >= min_context
    scored: BoolArray = enough & arrays.target_observed.any(-1)
    return scored
