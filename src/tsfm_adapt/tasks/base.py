"""What a task decides: the windows, the loss and the scores."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.signals.recording import BoolArray, FloatArray
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.evaluation.conformal import Conformal
    from tsfm_adapt.evaluation.intervals import Pair
    from tsfm_adapt.heads.base import Head, HeadConfig
    from tsfm_adapt.model import AdaptedModel, Estimate, Outputs
    from tsfm_adapt.signals.recording import Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays, WindowSpec

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Predictor:
    """Any model, trained or not, as a function from windows to quantiles in data units."""

    # windows, H -> (B, C, Q, H); H is the number of target samples, T for a filled window.
    # For classes (B, K) probabilities.
    predict: Callable[[WindowArrays, int], FloatArray]
    levels: tuple[float, ...]  # Q quantile levels; (0.5,) for a point forecast, () for classes
    thresholds: FloatArray | None = None  # (K,) from which on a class is said to hold
    headed: bool = False  # by a head of the recipe instead of the backbone's own

    def calibrated(self, conformal: Conformal | None) -> Predictor:
        """The same with calibrated quantiles; None = as it is."""
        if conformal is None:
            return self
        return replace(self, predict=lambda arrays, steps: conformal(self.predict(arrays, steps)))


class Errors(Protocol):
    """What a task keeps of a model's predictions on W windows; the task alone looks inside."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """(W,)."""

    @property
    def scored(self) -> BoolArray:
        """(W, C, H) what is scored; of classes (W, 1, 1)."""

    def where(self, some: BoolArray) -> Errors:
        """The errors of some windows (W,)."""


@dataclass(frozen=True)
class Scale:
    """What unit-free scores are divided by, and how channels are named."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    mase: FloatArray  # (C,) mean absolute step of the fit parts, data units; NaN = undefined
    deviation: FloatArray | None = None  # (C,) standard deviation in train, data units


class Task(ABC):
    """What a model is trained and scored for."""

    name: str
    levels: tuple[float, ...]  # quantile levels that it predicts; () for classes
    needs_head = False  # True = no backbone is pretrained for it
    metric: str = "mase"  # that models are ranked by
    better: Literal["lower", "higher"] = "lower"

    @abstractmethod
    def window(self, rate_hz: float, part: Part) -> WindowSpec:
        """Window geometry in samples.

        Raises:
            RecipeError: a duration is not a whole number of samples.
        """

    def check_channels(self, channels: Sequence[str]) -> None:  # noqa: B027
        """Stops where the task names a channel that the data do not have.

        Raises:
            RecipeError: with the names there are.
        """

    def windows(self, recordings: Sequence[Recording], rate_hz: float, part: Part) -> Windows:
        """The windows of a part, with what the task wants to know as their target."""
        return Windows(recordings, self.window(rate_hz, part))

    @abstractmethod
    def check(self, spec: BackboneSpec, rate_hz: float, headed: bool = False) -> None:
        """Stops where the backbone cannot do the task.

        Args:
            spec: of the backbone.
            rate_hz: of the data.
            headed: the recipe brings a head, so that the backbone's own is not needed.

        Raises:
            RecipeError: with the lengths that it accepts.
        """

    def outputs(self, rate_hz: float, train: Windows | None = None) -> Outputs:  # noqa: ARG002
        """What a head is asked for.

        Args:
            rate_hz: of the data.
            train: the windows that are learned from; None where a trained model is put together.
        """
        from tsfm_adapt.model import Outputs

        window = self.window(rate_hz, "test")
        return Outputs(window.context, rate_hz, window.horizon)

    def no_zero_shot(self, spec: BackboneSpec) -> str | None:  # noqa: ARG002
        """Why the backbone without head and adapters cannot do the task; None = it can."""
        return None

    def reference_head(self, head: HeadConfig | None) -> Head | None:  # noqa: ARG002
        """The head of a frozen backbone that stands for zero-shot where there is none.

        Args:
            head: the recipe's.
        """
        return None

    def estimate(self) -> Estimate | None:
        """How a model in training estimates the target; None = as a forecast."""
        return None

    @abstractmethod
    def predictor(self, model: AdaptedModel) -> Predictor:
        """The model's predictions for `score`, on the model's device, in eval mode."""

    def grounded(
        self,
        predictor: Predictor,
        recordings: Sequence[Recording],  # noqa: ARG002
    ) -> Predictor:
        """A model's predictor with what it lacks, fitted on the recordings."""
        return predictor

    def decided(self, predictor: Predictor, val: Windows, batch_size: int) -> Predictor:  # noqa: ARG002
        """Any predictor with what is chosen on the validation windows."""
        return predictor

    @abstractmethod
    def baselines(
        self, recordings: Sequence[Recording], rate_hz: float, season: int | None
    ) -> dict[str, Predictor]:
        """What a model is compared with, by name, fitted on the recordings."""

    @abstractmethod
    def score(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> Errors:
        """Errors on every window; `tick` is told how many windows each batch finished."""

    @abstractmethod
    def summary(self, errors: Mapping[str, Any], scale: Scale, rate_hz: float) -> dict[str, Any]:
        """The task's part of scores.json: `models`, and what the task adds beside it."""

    def verdict(
        self, errors: Mapping[str, Any], scale: Scale, block: int, seed: int
    ) -> dict[str, Any]:
        """The adapted model against the others: by overall MASE, where the task says no other.

        Args:
            errors: by model: `adapted`, the reference, and baselines; what `score` returned.
            scale: see there.
            block: consecutive rows that share samples; see `block`.
            seed: of the resampling.
        """
        from tsfm_adapt.evaluation.verdict import verdict

        return verdict(errors, scale.mase, block, seed)

    def headline(self, errors: Any, scale: Scale) -> float | None:
        """The overall score by `metric`; None where undefined."""
        from tsfm_adapt.evaluation.forecast_errors import mase

        absolute, count = errors.sums()
        found = float(mase(absolute.sum(0), count.sum(0), scale.mase))
        return found if math.isfinite(found) else None

    def block(self, windows: Windows) -> int:
        """Consecutive rows of the errors that share samples."""
        return windows.overlap

    def kept(self, errors: Any) -> dict[str, NDArray[Any]]:
        """What a later comparison with another model needs of `score`'s errors, as arrays."""
        from tsfm_adapt.evaluation.verdict import kept_forecasts

        return kept_forecasts(errors)

    def pair(
        self,
        ours: Mapping[str, NDArray[Any]],
        theirs: Mapping[str, NDArray[Any]],
        mase: FloatArray,
    ) -> Pair:
        """Two models on the same windows, from what `kept` gave; see `intervals.compared`.

        Args:
            ours: of the model that is better where the difference is positive.
            theirs: of the other.
            mase: (C,) as in `Scale`.
        """
        from tsfm_adapt.evaluation.verdict import forecast_pair

        return forecast_pair(ours, theirs, mase)

    @abstractmethod
    def table(
        self, windows: Windows, quantiles: FloatArray, units: Sequence[str]
    ) -> pyarrow.Table:
        """What was predicted for windows that are scored, as the run keeps it.

        Args:
            windows: N of them.
            quantiles: (N, C, Q, H); of classes the probabilities (N, K).
            units: of the channels.
        """

    @abstractmethod
    def predict(
        self,
        predictor: Predictor,
        recordings: RecordingSet,
        units: Sequence[str],
        batch_size: int,
        every_s: float | None,
    ) -> pyarrow.Table:
        """What the model says about recordings, as `predict` writes it.

        Args:
            predictor: the model's.
            recordings: one or more are as long as the context.
            units: of the channels.
            batch_size: windows at once.
            every_s: time between predictions, where the task makes several of one recording.

        Raises:
            RecipeError: the task has no use for `every_s`.
        """


class TaskConfig(BaseModel, ABC):
    """The recipe's `task`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str

    @abstractmethod
    def build(self) -> Task:
        """The task with the recipe's values."""


def counted(arrays: WindowArrays, min_context: int) -> BoolArray:
    """Which (window, channel) pairs are scored, (B, C)."""
    assert arrays.target_observed is not None
    enough = arrays.observed.sum(-1) >= min_context
    scored: BoolArray = enough & arrays.target_observed.any(-1)
    return scored


def check_context(spec: BackboneSpec, context: int, rate_hz: float) -> None:
    """Stops where a backbone cannot take a context of so many samples.

    Raises:
        RecipeError: with the longest that it accepts.
    """
    if context > spec.max_context:
        raise RecipeError(
            f"task.context_s: {context / rate_hz:g} s at {rate_hz:g} Hz is {context} samples; "
            f"{spec.name} ({spec.checkpoint}) accepts {spec.max_context}. "
            f"Use context_s <= {spec.max_context / rate_hz:g} or a lower data.rate_hz."
        )


def samples(seconds: float, rate_hz: float, field: str) -> int:
    """A duration as a number of samples.

    Raises:
        RecipeError: not within 1e-3 of a whole number, or not positive.
    """
    exact = seconds * rate_hz
    whole = round(exact)
    if abs(exact - whole) > 1e-3 or whole < 1:
        raise RecipeError(
            f"task.{field}: {seconds:g} s at data.rate_hz {rate_hz:g} is {exact:.4g} samples, but "
            f"it must be a whole number. Use a multiple of {1 / rate_hz:g} s."
        )
    return whole
