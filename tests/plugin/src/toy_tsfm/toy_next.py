"""Toy next: the next samples of every channel, as one value each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors
from tsfm_adapt.evaluation.forecast_scoring import ForecastScoring
from tsfm_adapt.evaluation.metric import Metric
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks.base import SplitName, Task, TaskConfig, check_context, samples

if TYPE_CHECKING:
    import pyarrow

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.evaluation.base import Scale
    from tsfm_adapt.evaluation.scores import Summary
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.recording import FloatArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays


class Config(TaskConfig):
    """`task: {name: toy_next}`."""

    name: Literal["toy_next"] = "toy_next"
    context_s: float = Field(gt=0)
    horizon_s: float = Field(gt=0)

    def build(self) -> ToyNext:
        """The task with the recipe's values."""
        return ToyNext(self)


class ToyScoring(ForecastScoring):
    """Forecasts, ranked by a score that no other task has; compared as forecasts are."""

    metric = Metric("toy_skill", "toy skill", "higher", "points")

    def headline(self, errors: ForecastErrors, scale: Scale) -> float | None:
        """One over MASE."""
        mase = super().headline(errors, scale)
        return None if mase is None else 1 / mase

    def summary(self, errors: Mapping[str, ForecastErrors], scale: Scale) -> Summary:
        """With the metric among the overall scores."""
        of_forecasts = super().summary(errors, scale)
        models = {}
        for name, own in of_forecasts.models.items():
            overall = own.overall | {self.metric.name: self.headline(errors[name], scale)}
            models[name] = own.model_copy(update={"overall": overall})
        return of_forecasts.model_copy(update={"models": models})


class ToyNext(Task):
    """No backbone is pretrained for it: it needs a head."""

    name = "toy_next"
    levels = (0.5,)
    needs_head = True

    def __init__(self, config: Config) -> None:
        self.config = config

    def scoring(self, rate_hz: float) -> ToyScoring:
        """That of forecasts, ranked by a metric of its own."""
        return ToyScoring()

    def window(self, rate_hz: float, split_name: SplitName) -> WindowSpec:
        """Targets do not overlap outside train."""
        context = samples(self.config.context_s, rate_hz, "context_s")
        horizon = samples(self.config.horizon_s, rate_hz, "horizon_s")
        return WindowSpec(context, horizon, 1 if split_name == "train" else horizon, 1)

    def check(self, spec: BackboneSpec, rate_hz: float, headed: bool = False) -> None:
        """A context that fits."""
        check_context(spec, self.window(rate_hz, "test").context, rate_hz)

    def predictor(self, model: AdaptedModel) -> Predictor:
        """The head's forecast (B, C, 1, H)."""
        import torch

        from tsfm_adapt.batches import collate

        device = next(model.parameters()).device

        def predict(arrays: WindowArrays, steps: int) -> FloatArray:
            with torch.inference_mode():
                ahead = model.forecast(collate(arrays).to(device), steps)
                return ahead.quantiles(self.levels).float().cpu().numpy()

        return Predictor(predict, self.levels)

    def baselines(
        self, recordings: Sequence[Recording], rate_hz: float, season: int | None
    ) -> dict[str, Predictor]:
        """The mean of what the context shows."""

        def mean(arrays: WindowArrays, steps: int) -> FloatArray:
            shown = np.where(arrays.observed, arrays.values, 0.0).sum(-1)
            level = shown / arrays.observed.sum(-1).clip(1)
            return np.repeat(level[..., None, None], steps, -1).astype(np.float32)

        return {"toy_mean": Predictor(mean, self.levels)}

    def table(
        self, windows: Windows, quantiles: FloatArray, units: Sequence[str]
    ) -> pyarrow.Table:
        """As forecasts are kept."""
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
        """From each recording's end."""
        spec = self.window(recordings.recordings[0].rate_hz, "test")
        ends = [r.between(r.samples - spec.context, r.samples, r.id) for r in recordings]
        windows = Windows(ends, WindowSpec(spec.context, 0, 1, 1))
        quantiles = [
            predictor.predict(windows.gather(index), spec.horizon)
            for index in windows.batches(batch_size)
        ]
        return self.table(windows, np.concatenate(quantiles), units)
