"""What every scoring has in common: predictors, errors, scales, and the contract `Scoring`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from tsfm_adapt.evaluation.intervals import Pair
from tsfm_adapt.evaluation.metric import Metric
from tsfm_adapt.evaluation.scores import Summary
from tsfm_adapt.signals.recording import BoolArray, FloatArray
from tsfm_adapt.signals.windows import WindowArrays, Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tsfm_adapt.evaluation.conformal import Conformal

# What a later comparison needs of one model's errors, by name; see `Scoring.kept`.
Kept = Mapping[str, "NDArray[Any]"]  # Any: numbers, truth values or names


@dataclass(frozen=True)
class Predictor:
    """Any model, trained or not, as a function from windows to quantiles in data units."""

    # windows, H -> (B, C, Q, H); H is the number of target samples, T for a filled window.
    # For classes (B, K) probabilities.
    predict: Callable[[WindowArrays, int], FloatArray]
    levels: tuple[float, ...]  # Q quantile levels; (0.5,) for a point forecast, () for classes
    thresholds: FloatArray | None = None  # (K,) probability from which a class is decided
    by_head: bool = False  # by a head of the recipe instead of the backbone's own

    def calibrated(self, conformal: Conformal | None) -> Predictor:
        """The same with calibrated quantiles; None = unchanged."""
        if conformal is None:
            return self
        return replace(self, predict=lambda arrays, steps: conformal(self.predict(arrays, steps)))


@dataclass(frozen=True)
class Predicted:
    """A batch of windows and what a model predicted for them."""

    arrays: WindowArrays
    values: FloatArray  # (B, C, Q, H); of classes (B, K)


class Errors(Protocol):
    """The errors of one model on W windows; only its scoring looks inside."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """(W,)."""

    @property
    def scored(self) -> BoolArray:
        """(W, C, H) what is scored; of classes (W, 1, 1)."""

    def where(self, some: BoolArray) -> Self:
        """The errors of some windows (W,)."""


@dataclass(frozen=True)
class Scale:
    """What unit-free scores are divided by, and how channels are named."""

    channels: tuple[str, ...]
    units: tuple[str, ...]
    mase: FloatArray  # (C,) mean absolute first difference in train and val; NaN = undefined
    deviation: FloatArray | None = None  # (C,) standard deviation in train, data units


E = TypeVar("E", bound=Errors)


class Scoring(ABC, Generic[E]):
    """How predictions are scored, summarised and compared; several tasks may share one.

    `E` is what is kept of a model's predictions on windows.
    """

    metric: Metric  # that models are ranked by
    shown: tuple[Metric, ...]  # columns of tables

    def errors(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> E:
        """The errors of a model on every window.

        Args:
            predictor: the model.
            windows: those that are scored, with targets.
            batch_size: windows at once.
            tick: called with the number of windows of each finished batch.
        """
        batches = self.predicted(predictor, windows, batch_size, tick)
        return self.rated(batches, predictor, windows)

    def predicted(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> Iterator[Predicted]:
        """Predictions for all windows in order, batch by batch; arguments as of `errors`."""
        for index in windows.batches(batch_size):
            arrays = windows.gather(index)
            yield Predicted(arrays, predictor.predict(arrays, self.steps(windows)))
            tick(len(index))

    def steps(self, windows: Windows) -> int:
        """How many target samples a prediction has."""
        return windows.spec.horizon

    @abstractmethod
    def rated(self, batches: Iterable[Predicted], predictor: Predictor, windows: Windows) -> E:
        """The errors of predictions.

        Args:
            batches: of all windows, in their order.
            predictor: that they came from; asked for its levels and thresholds only.
            windows: those that were predicted.
        """

    @abstractmethod
    def summary(self, errors: Mapping[str, E], scale: Scale) -> Summary:
        """Scores of models, by name, as scores.json holds them."""

    @abstractmethod
    def headline(self, errors: E, scale: Scale) -> float | None:
        """The overall score by `metric`; None where undefined."""

    @abstractmethod
    def kept(self, errors: E) -> Kept:
        """What `pair` needs of a model's errors, as arrays that are written to disk."""

    @abstractmethod
    def pair(self, ours: Kept, theirs: Kept, mase: FloatArray) -> Pair:
        """Two models on the same windows, to be compared; see `intervals.compared`.

        Args:
            ours: of the model that is better where the difference is positive.
            theirs: of the other.
            mase: (C,) as in `Scale`.
        """

    def block(self, windows: Windows) -> int:
        """Consecutive rows of the errors that share samples."""
        return windows.overlap


def counted(arrays: WindowArrays, min_context: int) -> BoolArray:
    """Which (window, channel) pairs are scored, (B, C)."""
    assert arrays.target_observed is not None
    enough = arrays.observed.sum(-1) >= min_context
    scored: BoolArray = enough & arrays.target_observed.any(-1)
    return scored
