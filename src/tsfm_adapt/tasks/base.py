"""What a task decides: the windows, the loss and the scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.signals.recording import FloatArray

if TYPE_CHECKING:
    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.metrics import ForecastErrors
    from tsfm_adapt.model import AdaptedModel
    from tsfm_adapt.signals.windows import WindowArrays, Windows, WindowSpec

Part = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Predictor:
    """Any model, trained or not, as a function from windows to quantiles in data units."""

    predict: Callable[[WindowArrays, int], FloatArray]  # windows, H -> (B, C, Q, H)
    levels: tuple[float, ...]  # Q quantile levels; (0.5,) for a point forecast


@dataclass(frozen=True)
class Scale:
    """What unit-free scores are divided by, and how channels are named."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    mase: FloatArray  # (C,) mean absolute step of the fit parts, data units; NaN = undefined


class Task(ABC):
    """What a model is trained and scored for."""

    name: str
    levels: tuple[float, ...]  # quantile levels that it predicts

    @abstractmethod
    def window(self, rate_hz: float, part: Part) -> WindowSpec:
        """Window geometry in samples.

        Raises:
            RecipeError: a duration is not a whole number of samples.
        """

    @abstractmethod
    def check(self, spec: BackboneSpec, rate_hz: float) -> None:
        """Stops where the backbone cannot do the task.

        Raises:
            RecipeError: with the lengths that it accepts.
        """

    @abstractmethod
    def predictor(self, model: AdaptedModel) -> Predictor:
        """The model's predictions for `score`, on the model's device, in eval mode."""

    @abstractmethod
    def score(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> ForecastErrors:
        """Errors on every window; `tick` is told how many windows each batch finished."""

    @abstractmethod
    def summary(
        self, errors: Mapping[str, ForecastErrors], scale: Scale, rate_hz: float
    ) -> dict[str, Any]:
        """The task's part of scores.json: `models`, and what the task adds beside it."""


class TaskConfig(BaseModel, ABC):
    """The recipe's `task`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    name: str

    @abstractmethod
    def build(self) -> Task:
        """The task with the recipe's values."""


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
