"""Impute: quantiles of values that were not measured, from the rest of their window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from pydantic import Field, JsonValue, model_validator

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.evaluation.gap_scoring import GapScoring
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.forecasts import QuantileLevels
from tsfm_adapt.signals.missingness import HiddenWindows, Missingness, Pattern
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks._whole_recording import whole_recording
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
    from torch import Tensor

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.baselines.imputers import Imputer
    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast
    from tsfm_adapt.model import AdaptedModel, Estimate
    from tsfm_adapt.signals.recording import (
        FloatArray,
        IntArray,
        Recording,
        RecordingSet,
    )
    from tsfm_adapt.signals.windows import WindowArrays

Route = Literal["auto", "native", "two_sided"]

# The pretrained heads that each route can use.
_NEEDED: Mapping[Route, tuple[str, ...]] = {
    "native": ("impute",),
    "two_sided": ("forecast",),
    "auto": ("impute", "forecast"),
}

_OF_LENGTH = ("block", "subsequence", "patch")  # patterns whose pieces have a length
_LEARNED_GAPS = 2  # that a window in training is asked for, since each costs two forecasts


class Hiding(Frozen):
    """An entry of `missingness`: what is hidden on purpose, on top of the real gaps."""

    pattern: Pattern = Field(
        description="point: single values; block: stretches of all channels at once; subsequence: "
        "stretches of each channel; channel: whole channels; patch: whole patches"
    )
    rate: float = Field(default=0.2, gt=0, lt=1, description="share that is hidden")
    lengths_s: tuple[float, ...] = Field(
        default=(), description="block, subsequence, patch: one mask for each of these lengths, s"
    )

    @model_validator(mode="after")
    def _lengths(self) -> Hiding:
        if (self.pattern in _OF_LENGTH) != bool(self.lengths_s):
            raise ValueError(f"lengths_s are for {', '.join(_OF_LENGTH)}, and needed there")
        if any(length <= 0 for length in self.lengths_s):
            raise ValueError("lengths_s are positive")
        return self


class Config(TaskConfig):
    """`task: {name: impute}`."""

    spans_gaps: ClassVar[bool] = True
    candidates = TRIED_BACKBONES
    trial_windows = 48  # two forecasts for each gap

    name: Literal["impute"] = "impute"
    context_s: float = Field(gt=0, description="window within which gaps are filled, s")
    missingness: tuple[Hiding, ...] = Field(
        min_length=1, description="what is hidden, to learn and to score"
    )
    mask_seeds: int = Field(
        default=1, ge=1, description="masks of each kind for every window, seeds 0, 1, ..."
    )
    route: Route = Field(
        default="auto",
        description="native: the pretrained reconstruction; two_sided: forecasts from before and "
        "behind a gap; auto: native where the backbone has it; with a head auto, and the head "
        "fills",
    )
    stride_s: float | None = Field(
        default=None,
        gt=0,
        description="step between windows in val and test, s; default none overlap",
    )
    min_context: int = Field(
        default=1,
        ge=0,
        description="visible values a scored channel needs in its window; 0 scores channels that "
        "are hidden whole",
    )
    quantiles: QuantileLevels = Field(default=(0.1, 0.5, 0.9), min_length=1)

    @model_validator(mode="after")
    def _sensible(self) -> Config:
        if self.min_context > 0 and any(h.pattern == "channel" for h in self.missingness):
            raise ValueError(
                "missingness: a channel that is hidden whole shows no value, so that none of it "
                f"is scored with min_context {self.min_context}; use min_context: 0"
            )
        names = [name for hiding in self.missingness for name in _names(hiding)]
        if len(set(names)) < len(names):
            raise ValueError("missingness: each pattern and length stands once")
        return self

    def build(self) -> Impute:
        """The task with the recipe's values."""
        return Impute(self)

    @classmethod
    def geometries(cls, lengths: IntArray, contexts: Sequence[int]) -> list[tuple[int, int]]:  # noqa: ARG003
        """Windows of every usual length, without a horizon."""
        return [(context, 0) for context in contexts]

    @classmethod
    def proposed(cls, sighting: Sighting) -> Proposed:
        """Gaps of two lengths in all channels at once, filled from both sides."""
        gaps = sorted({max(1, sighting.context // 32), max(1, sighting.context // 8)})
        lengths: list[JsonValue] = [rounded(gap / sighting.rate_hz) for gap in gaps]
        return Proposed(
            title=f"Gaps of {sighting.channels} channels filled",
            task={
                "missingness": [{"pattern": "block", "rate": 0.2, "lengths_s": lengths}],
                "route": "two_sided",
                "quantiles": [0.1, 0.5, 0.9],
            },
            sections={
                **LORA_ON_CHRONOS2,
                "train": {"steps": 100, "batch_size": 16, "lr": 1.0e-3, "val_windows": 60},
                "evaluate": {"max_windows": 600},
            },
        )


class Impute(Task):
    """Quantiles of what a window does not show, natively or from two forecasts.

    Windows are scored where values were measured and are hidden: the same values for every model,
    since masks depend on nothing but their seed and the window. A (window, channel) pair counts
    where at least `min_context` of its values stay visible. With 0, a channel that shows none has
    its mean over train and validation, unless a head or a baseline knows better from the others.

    Adapters train on the hidden values of the training split, by the same route, with the loss of
    the estimate (pinball for quantiles) in units of the standard deviation of what is visible. Of
    two-sided forecasts two gaps a window are learned from, since each costs two forecasts.
    """

    name = "impute"

    def __init__(self, config: Config) -> None:
        self.config = config
        self.levels = config.quantiles

    def scoring(self, rate_hz: float) -> GapScoring:
        """Scores at hidden values, over all masks and by pattern and length."""
        return GapScoring(
            min_context=self.config.min_context,
            masks=self._masks(rate_hz),
            seeds=self.config.mask_seeds,
            route=self.config.route,
        )

    def window(self, rate_hz: float, split_name: SplitName) -> WindowSpec:
        """Every sample starts a window in train; by default windows do not overlap elsewhere."""
        context = samples(self.config.context_s, rate_hz, "context_s")
        stride = 1 if split_name == "train" else stride_of(self.config.stride_s, rate_hz, context)
        for mask in self._masks(rate_hz).values():
            if not mask.fits(context):
                raise RecipeError(
                    f"task.missingness: {mask.pieces(context)} of {mask.length} samples "
                    f"({mask.pattern}, rate {mask.rate:g}) leave too little of the {context} of "
                    "task.context_s. Use a longer context, or a lower rate or length."
                )
        return WindowSpec(context, 0, stride, self.config.min_context)

    def windows(
        self, recordings: Sequence[Recording], rate_hz: float, split_name: SplitName
    ) -> Windows:
        """Every window under every mask."""
        kinds = self._masks(rate_hz).values()
        seeds = range(self.config.mask_seeds)
        masks = [replace(kind, seed=seed) for kind in kinds for seed in seeds]
        return HiddenWindows(recordings, self.window(rate_hz, split_name), masks)

    def check(self, spec: BackboneSpec, rate_hz: float, headed: bool = False) -> None:
        """Needs a context that fits, and a pretrained head for the route, or one of the recipe."""
        route = self.config.route
        if headed and route != "auto":
            raise RecipeError(
                f"task.route: {route} is a way to fill gaps without a head, but the recipe has "
                "one, which fills them. Use route: auto, or leave the head out."
            )
        if not headed and not spec.native_tasks.intersection(_NEEDED[route]):
            raise RecipeError(
                f"task.route: {route} needs a head pretrained for {' or '.join(_NEEDED[route])}; "
                f"{spec.name} has: {', '.join(sorted(spec.native_tasks)) or 'none'}. Use route: "
                "two_sided with a backbone that forecasts, or route: native with one that "
                "reconstructs (tsfm-adapt list backbones)."
            )
        check_context(spec, self.window(rate_hz, "test").context, rate_hz)

    def estimate(self) -> Estimate | None:
        """The hidden values, by the route that is scored."""
        from tsfm_adapt.tasks._two_sided import some_gaps

        def of_target(model: AdaptedModel, batch: Batch) -> tuple[Forecast, Tensor]:
            assert batch.target_observed is not None
            wanted = batch.target_observed
            if model.head is None and not self._natively(model):
                wanted = some_gaps(wanted, _LEARNED_GAPS)
            return self._filled(model, batch, wanted), wanted

        return of_target

    def no_zero_shot(self, spec: BackboneSpec) -> str | None:
        """None where the backbone reconstructs, or forecasts from both sides."""
        return None if "forecast" in spec.native_tasks else super().no_zero_shot(spec)

    def predictor(self, model: AdaptedModel) -> Predictor:
        """Quantiles (B, C, Q, T) at the recipe's levels; what is visible is its own.

        Where windows have a target, gaps without a hidden value are not estimated. Without a head
        that fills, channels that show nothing have NaN: `with_fallback` gives them their mean.
        """
        import torch

        from tsfm_adapt.batches import collate

        device = next(model.parameters()).device

        def predict(arrays: WindowArrays, steps: int) -> FloatArray:
            assert steps == arrays.values.shape[-1]
            with torch.inference_mode():
                batch = collate(arrays).to(device)
                wanted = batch.target_observed
                estimate = self._filled(
                    model, batch, ~batch.observed if wanted is None else wanted
                )
                shown = batch.observed[:, :, None]
                estimated = estimate.quantiles(self.levels).float()
                if model.head is None:
                    founded = batch.observed.any(-1)[..., None, None]
                    estimated = estimated.where(founded, torch.nan)
                quantiles = torch.where(shown, batch.values[:, :, None], estimated)
            filled: FloatArray = quantiles.cpu().numpy()
            return filled

        return Predictor(predict, self.levels, by_head=model.head is not None)

    def baselines(
        self,
        recordings: Sequence[Recording],
        rate_hz: float,
        season: int | None,  # noqa: ARG002  # gaps are filled from both sides of the window
    ) -> dict[str, Predictor]:
        """The simple ways to fill gaps, as point estimates."""
        from tsfm_adapt.baselines.imputers import default_imputers

        windows = self.windows(recordings, rate_hz, "test")  # without overlap: no more to learn
        return {name: _point(imputer) for name, imputer in default_imputers(windows).items()}

    def with_fallback(self, predictor: Predictor, recordings: Sequence[Recording]) -> Predictor:
        """With a channel's mean over the recordings where the model has no estimate."""
        from tsfm_adapt.baselines.forecasters import channel_means

        rate_hz = recordings[0].rate_hz
        level = channel_means(self.windows(recordings, rate_hz, "test"))[:, None, None]

        def predict(arrays: WindowArrays, steps: int) -> FloatArray:
            predicted = predictor.predict(arrays, steps)
            known: FloatArray = np.where(np.isnan(predicted), level, predicted)
            return known.astype(np.float32)

        return replace(predictor, predict=predict)

    def table(
        self, windows: Windows, quantiles: FloatArray, units: Sequence[str]
    ) -> pyarrow.Table:
        """See `evaluation.tables.hidden`."""
        from tsfm_adapt.evaluation.tables import hidden

        return hidden(windows, quantiles, self.levels, units)

    def predict(
        self,
        predictor: Predictor,
        recordings: RecordingSet,
        units: Sequence[str],
        batch_size: int,
        every_s: float | None,
    ) -> pyarrow.Table:
        """The recordings with their gaps filled; see `evaluation.tables.filled`.

        Windows overlap by half, and a sample is estimated in the one that shows most on both of
        its sides. Recordings shorter than a window are left out.

        Raises:
            RecipeError: `every_s` was given.
        """
        from tsfm_adapt.evaluation.tables import filled

        if every_s is not None:
            raise RecipeError(
                f"predict: a time between forecasts ({every_s:g} s) was given, but the run fills "
                "gaps, and fills all of them. Leave it out."
            )
        window = self.window(recordings.recordings[0].rate_hz, "test")
        whole = [r for r in recordings if r.samples >= window.context]
        estimates = [whole_recording(predictor, r, window, batch_size) for r in whole]
        return filled(whole, estimates, self.levels, units)

    def remarks(self, predictions: pyarrow.Table, rate_hz: float) -> list[str]:
        """How many missing values were filled, and why others were not."""
        from tsfm_adapt.tasks._whole_recording import counts_of_gaps

        window = self.window(rate_hz, "test")
        return counts_of_gaps(predictions, window.context, rate_hz).remarks

    def examples(
        self, windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str
    ) -> dict[str, Figure]:
        """Some filled gaps beside what was hidden."""
        from tsfm_adapt.plots.gaps import gaps

        return {"gaps": gaps(windows, units, predictions, title)}

    def diagnostics(
        self,
        windows: Windows,  # noqa: ARG002
        units: Sequence[str],  # noqa: ARG002
        predictions: pyarrow.Table,
        scores: Scores,  # noqa: ARG002
        title: str,
    ) -> dict[str, Figure]:
        """Calibration."""
        from tsfm_adapt.plots.calibration import calibration_curve

        return {"calibration": calibration_curve(predictions, title)}

    def _filled(self, model: AdaptedModel, batch: Batch, wanted: Tensor) -> Forecast:
        """The estimate of a window's samples from those that are observed."""
        from tsfm_adapt.tasks._two_sided import two_sided

        if model.head is not None or self._natively(model):
            return model.reconstruct(batch)
        patch = model.backbone.spec.patch
        return two_sided(model.forecast, batch, wanted, self.levels, patch)

    def _natively(self, model: AdaptedModel) -> bool:
        return self.config.route != "two_sided" and "impute" in model.backbone.spec.native_tasks

    def _masks(self, rate_hz: float) -> dict[str, Missingness]:
        """The kinds of masks by name, seed 0."""
        masks = {}
        for hiding in self.config.missingness:
            lengths = [samples(s, rate_hz, "missingness.lengths_s") for s in hiding.lengths_s]
            for name, length in zip(_names(hiding), lengths or [1], strict=True):
                masks[name] = Missingness(hiding.pattern, hiding.rate, length)
        return masks


def _names(hiding: Hiding) -> list[str]:
    """`point`, or `block_60` and so on by seconds."""
    return [f"{hiding.pattern}_{s:g}" for s in hiding.lengths_s] or [hiding.pattern]


def _point(imputer: Imputer) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:
        assert steps == arrays.values.shape[-1]
        filled = imputer.fill(arrays.values, arrays.observed)
        return filled.astype(np.float32)[:, :, None]

    return Predictor(predict, (0.5,))
