"""The contract of tasks: windows and targets, training loss, predictions, tables, pictures.

How predictions are scored is a `Scoring`, which the task names. A task is one file: what `init`
proposes for it, the pictures of its runs and the columns of its predictions are part of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import JsonValue

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.base import Predictor, Scoring
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.figure import Figure

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.heads.base import Head, HeadConfig
    from tsfm_adapt.model import AdaptedModel, Estimate, Outputs
    from tsfm_adapt.signals.recording import IntArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowSpec

SplitName = Literal["train", "val", "test"]


class Task(ABC):
    """A task that models are trained and scored for.

    Guarantees, tested by `tests/contracts/task.py` for every task:

    - predictions repeat, and depend on observed context values only;
    - scores do not depend on the batch size;
    - windows have one geometry in all splits.
    """

    name: str
    levels: tuple[float, ...]  # quantile levels that it predicts; () for classes
    needs_head = False  # True = no backbone is pretrained for it

    @abstractmethod
    def scoring(self, rate_hz: float) -> Scoring[Any]:
        """How predictions are scored; Any: what it keeps of them is its own business.

        Args:
            rate_hz: of the data, by which durations become samples.
        """

    @abstractmethod
    def window(self, rate_hz: float, split_name: SplitName) -> WindowSpec:
        """Window geometry in samples.

        Raises:
            RecipeError: a duration is not a whole number of samples.
        """

    def check_channels(self, channels: Sequence[str]) -> None:  # noqa: B027
        """Stops where the task names a channel that the data do not have.

        Raises:
            RecipeError: with the names there are.
        """

    def windows(
        self, recordings: Sequence[Recording], rate_hz: float, split_name: SplitName
    ) -> Windows:
        """The windows of a split, with the task's target."""
        return Windows(recordings, self.window(rate_hz, split_name))

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
        """The shape of what a head has to put out.

        Args:
            rate_hz: of the data.
            train: the training windows; None where a trained model is assembled.
        """
        from tsfm_adapt.model import Outputs

        window = self.window(rate_hz, "test")
        return Outputs(window.context, rate_hz, window.horizon)

    def no_zero_shot(self, spec: BackboneSpec) -> str | None:
        """Why the backbone without head and adapters cannot do the task; None = it can."""
        if self.name in spec.native_tasks:
            return None
        return f"{spec.name} has no head pretrained for task {self.name}"

    def reference_head(self, head: HeadConfig | None) -> Head | None:  # noqa: ARG002
        """The head of a frozen backbone that is scored where there is no zero-shot model.

        Args:
            head: the recipe's.
        """
        return None

    def estimate(self) -> Estimate | None:
        """How a model in training estimates the target; None = as a forecast."""
        return None

    @abstractmethod
    def predictor(self, model: AdaptedModel) -> Predictor:
        """The model's predictions, on the model's device, in eval mode."""

    def with_fallback(
        self,
        predictor: Predictor,
        recordings: Sequence[Recording],  # noqa: ARG002
    ) -> Predictor:
        """Fills predictions that the model cannot make, by what is fitted on the recordings."""
        return predictor

    def with_thresholds(
        self,
        predictor: Predictor,
        val: Windows,  # noqa: ARG002
        batch_size: int,  # noqa: ARG002
    ) -> Predictor:
        """Sets decision thresholds that are tuned on the validation windows."""
        return predictor

    @abstractmethod
    def baselines(
        self, recordings: Sequence[Recording], rate_hz: float, season: int | None
    ) -> dict[str, Predictor]:
        """The simple models, by name, fitted on the recordings.

        Args:
            recordings: of train and val.
            rate_hz: of the data.
            season: period in samples of the seasonal naive forecast; None = without it.
        """

    @abstractmethod
    def table(self, windows: Windows, predictions: Any, units: Sequence[str]) -> pyarrow.Table:
        """Predictions of scored windows, as the run keeps them.

        Args:
            windows: N of them.
            predictions: (N, C, Q, H) quantiles; of classes the probabilities (N, K).
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
        """Predictions for recordings, as `predict` writes them.

        Args:
            predictor: the model's.
            recordings: one or more are as long as the context.
            units: of the channels.
            batch_size: windows at once.
            every_s: time between predictions, where the task makes several of one recording.

        Raises:
            RecipeError: the task has no use for `every_s`.
        """

    def remarks(self, predictions: pyarrow.Table, rate_hz: float) -> list[str]:  # noqa: ARG002
        """Sentences about predictions that a user should read beside the table.

        Args:
            predictions: what `predict` returned.
            rate_hz: of the data.
        """
        return []

    def examples(
        self,
        windows: Windows,  # noqa: ARG002
        units: Sequence[str],  # noqa: ARG002
        predictions: pyarrow.Table,  # noqa: ARG002
        title: str,  # noqa: ARG002
    ) -> dict[str, Figure]:
        """Pictures of some predictions, by the name of the file.

        Args:
            windows: of the test set, as they were predicted.
            units: of the channels.
            predictions: what `table` gave for them.
            title: of the data.
        """
        return {}

    def diagnostics(
        self,
        windows: Windows,  # noqa: ARG002
        units: Sequence[str],  # noqa: ARG002
        predictions: pyarrow.Table,  # noqa: ARG002
        scores: Scores,  # noqa: ARG002
        title: str,  # noqa: ARG002
    ) -> dict[str, Figure]:
        """Pictures of the scores, by the name of the file; arguments as of `examples`."""
        return {}


@dataclass(frozen=True)
class Sighting:
    """What `init` knows of the recordings for which a task proposes a recipe."""

    rate_hz: float
    context: int  # samples
    horizon: int  # samples; 0 = none
    channels: int
    label: str | None  # of recordings, that could be a class
    classes: tuple[str | int | float, ...]
    several_windows: bool  # recordings are twice as long as the context and longer


@dataclass(frozen=True)
class Proposed:
    """The task's lines of a proposed recipe; values are written as YAML in their order."""

    title: str  # what the recipe does, the first line of its file
    task: Mapping[str, JsonValue]  # fields behind name and context_s
    reasons: Mapping[str, str] = field(default_factory=dict)  # comments, by field
    sections: Mapping[str, JsonValue] = field(default_factory=dict)  # backbone, adapters, train...
    section_reasons: Mapping[str, str] = field(default_factory=dict)


MOST_SAMPLES = 512  # of a proposed context: every embedded backbone accepts it

_LORA: JsonValue = [
    {"name": "lora", "rank": 8, "alpha": 16, "sites": ["attn.q", "attn.k", "attn.v", "attn.out"]}
]
# What is proposed to adapt where the task says nothing else.
LORA_ON_CHRONOS2: Mapping[str, JsonValue] = {
    "backbone": {"name": "chronos2", "checkpoint": "embedded"},
    "adapters": _LORA,
}


# Backbones that are tried where a task needs none trained: quick and, of those embedded, strong.
# On validation windows of the development recordings each was the best of all on some.
TRIED_BACKBONES: Mapping[str, Mapping[str, JsonValue]] = {
    name: {"backbone": {"name": name, "checkpoint": "embedded"}}
    for name in ("chronos2", "chronos_bolt", "timesfm")
}


class TaskConfig(Frozen, ABC):
    """The recipe's `task`."""

    name: str

    # Read by `init`; a task that can be proposed sets `contexts` and writes `proposed`.
    of_labels: ClassVar[bool] = False  # it needs a label of the recordings
    spans_gaps: ClassVar[bool] = False  # its window shall be longer than the longest gap
    # Sections of a recipe that `init` tries beside each other, by a name to show; {} = none. Of a
    # task without labels they are backbones, of one with labels heads.
    candidates: ClassVar[Mapping[str, Mapping[str, JsonValue]]] = MappingProxyType({})
    trial_windows: ClassVar[int] = 256  # at most, on which they are tried

    @abstractmethod
    def build(self) -> Task:
        """The task with the recipe's values."""

    @classmethod
    def geometries(cls, lengths: IntArray, contexts: Sequence[int]) -> list[tuple[int, int]]:  # noqa: ARG003
        """Context and horizon in samples that `init` tries, the longest first; () = none.

        Args:
            lengths: of the recordings, samples.
            contexts: usual lengths, the longest first.
        """
        return []

    @classmethod
    def can_be_proposed(cls) -> bool:
        """Whether `init` can write a recipe for it."""
        return "proposed" in vars(cls)

    @classmethod
    def proposed(cls, sighting: Sighting) -> Proposed:  # noqa: ARG003
        """What `init` writes for recordings that it looked at."""
        raise RecipeError(
            f"task {cls.model_fields['name'].default}: init proposes no recipe for it. Choose "
            "another task, or write the recipe by hand.",
            remedy="task=forecast",
        )


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


def stride_of(stride_s: float | None, rate_hz: float, default: int) -> int:
    """The step between windows in samples.

    Raises:
        RecipeError: see `samples`.
    """
    return default if stride_s is None else samples(stride_s, rate_hz, "stride_s")


def rounded(seconds: float) -> float:
    """A duration for a proposed recipe, without the noise of a division."""
    return float(f"{seconds:.10g}")
