"""Classify: which class a window or a recording is of, or what begins soon after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tsfm_adapt.signals.labels import (
    EventSpans,
    FutureSpans,
    LabelledWindows,
    Labelling,
    RecordingLabel,
    RecordingLabels,
)
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks.base import Part, Predictor, Scale, Task, TaskConfig, check_context, samples

if TYPE_CHECKING:
    import pyarrow
    from numpy.typing import NDArray

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.baselines.classifiers import Classifier
    from tsfm_adapt.evaluation.class_errors import ClassErrors
    from tsfm_adapt.evaluation.intervals import Pair
    from tsfm_adapt.heads.base import Head, HeadConfig
    from tsfm_adapt.model import AdaptedModel, Outputs
    from tsfm_adapt.signals.recording import BoolArray, FloatArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays

Metric = Literal["auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1"]
Value = str | int | float


class _Labels(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class OfRecording(_Labels):
    """`labels: {of: recording}`: every window has the class of its recording."""

    of: Literal["recording"] = "recording"
    label: str = Field(description="the recording's label that says it")
    classes: dict[str, Value] | tuple[Value, ...] = Field(
        min_length=2, description="every value of the label, or name: value"
    )

    def labelling(self, rate_hz: float) -> Labelling:  # noqa: ARG002
        """In samples."""
        if isinstance(self.classes, dict):
            return RecordingLabel(self.label, tuple(self.classes.values()), tuple(self.classes))
        return RecordingLabel(self.label, self.classes, tuple(map(str, self.classes)))


class OfRecordings(_Labels):
    """`labels: {of: any}`: any of several labels of the recording, each 0 or 1, may hold."""

    of: Literal["any"] = "any"
    labels: tuple[str, ...] = Field(min_length=2)

    def labelling(self, rate_hz: float) -> Labelling:  # noqa: ARG002
        """In samples."""
        return RecordingLabels(self.labels)


class OfFuture(_Labels):
    """`labels: {of: future}`: does a marked span begin soon after the window?"""

    of: Literal["future"] = "future"
    spans: tuple[str, ...] = Field(
        min_length=1, description="labels of spans; of several each is a class of its own"
    )
    within_s: float = Field(gt=0, description="how far ahead, s")

    def labelling(self, rate_hz: float) -> Labelling:
        """In samples."""
        within = samples(self.within_s, rate_hz, "labels.within_s")
        classes = self.spans if len(self.spans) > 1 else (f"no {self.spans[0]}", self.spans[0])
        return FutureSpans(self.spans, within, classes)


class OfEvent(_Labels):
    """`labels: {of: event}`: a window around every marked event, with the event's class."""

    of: Literal["event"] = "event"
    spans: dict[str, str] = Field(min_length=2, description="label of a span: class")
    before_s: float = Field(ge=0, description="how much of the window lies before the event, s")

    @model_validator(mode="after")
    def _several(self) -> OfEvent:
        if len(set(self.spans.values())) < 2:
            raise ValueError("spans: two classes or more")
        return self

    def labelling(self, rate_hz: float) -> Labelling:
        """In samples; the event begins in the sample after `before_s`."""
        classes = tuple(dict.fromkeys(self.spans.values()))
        number = {span: classes.index(name) for span, name in self.spans.items()}
        return EventSpans(number, classes, round(self.before_s * rate_hz))


Labels = Annotated[OfRecording | OfRecordings | OfFuture | OfEvent, Field(discriminator="of")]


class Config(TaskConfig):
    """`task: {name: classify}`."""

    name: Literal["classify"] = "classify"
    context_s: float = Field(gt=0, description="length of a window, s")
    labels: Labels = Field(description="where a window's class comes from")
    level: Literal["window", "recording"] = Field(
        default="window", description="recording: the mean over a recording's windows is scored"
    )
    stride_s: float | None = Field(
        default=None, gt=0, description="step between windows, s; default none overlap"
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: rare classes weigh more in the loss"
    )
    metric: Metric = Field(default="auroc", description="what the verdict compares")

    @model_validator(mode="after")
    def _sensible(self) -> Config:
        if self.level == "recording" and self.labels.of not in ("recording", "any"):
            raise ValueError(
                f"level: recording needs one class a recording; labels of: {self.labels.of} gives "
                "one a window"
            )
        if isinstance(self.labels, OfEvent) and self.labels.before_s >= self.context_s:
            raise ValueError("labels.before_s: the event lies inside the window of context_s")
        return self

    def build(self) -> Classify:
        """The task with the recipe's values."""
        return Classify(
            self.context_s,
            self.labels,
            self.level == "recording",
            self.stride_s,
            self.class_weights == "balanced",
            self.metric,
        )


class Classify(Task):
    """Probabilities of classes by a head on the encoder's tokens.

    Thresholds of two classes, or of labels of which any may hold, are chosen on validation; of
    more classes the most probable is decided. Since no backbone is pretrained for it, a frozen
    backbone with a logistic probe stands beside the model in place of zero-shot.
    """

    name = "classify"
    levels = ()
    needs_head = True
    better = "higher"

    def __init__(
        self,
        context_s: float,
        labels: Labels,
        by_recording: bool,
        stride_s: float | None,
        balanced: bool,
        metric: Metric,
    ) -> None:
        self.context_s = context_s
        self.labels = labels
        self.by_recording = by_recording
        self.stride_s = stride_s
        self.balanced = balanced
        self.metric: Metric = metric

    def window(self, rate_hz: float, part: Part) -> WindowSpec:  # noqa: ARG002
        """The same geometry in all parts."""
        context = samples(self.context_s, rate_hz, "context_s")
        self.labels.labelling(rate_hz)
        stride = context if self.stride_s is None else samples(self.stride_s, rate_hz, "stride_s")
        return WindowSpec(context, 0, stride)

    def windows(self, recordings: Sequence[Recording], rate_hz: float, part: Part) -> Windows:
        """The windows whose class is known."""
        return LabelledWindows(
            recordings, self.window(rate_hz, part), self.labels.labelling(rate_hz)
        )

    def check(self, spec: BackboneSpec, rate_hz: float, headed: bool = False) -> None:
        """Needs a head, and a context that fits."""
        assert headed, "the recipe's own rule"
        check_context(spec, self.window(rate_hz, "test").context, rate_hz)

    def outputs(self, rate_hz: float, train: Windows | None = None) -> Outputs:
        """The classes, weighted by how rare they are in train where that is asked for."""
        labelling = self.labels.labelling(rate_hz)
        weights: tuple[float, ...] = ()
        if self.balanced and isinstance(train, LabelledWindows):
            count = np.maximum(train.classes_of.sum(0), 1)  # (K,)
            each = len(train) / count
            weights = tuple((each - 1 if labelling.multilabel else each / len(count)).tolist())
        return replace(
            super().outputs(rate_hz, train),
            classes=labelling.classes,
            multilabel=labelling.multilabel,
            class_weights=weights,
        )

    def no_zero_shot(self, spec: BackboneSpec) -> str | None:
        """No family has a pretrained classifier."""
        return f"{spec.name} has no head pretrained to classify; frozen_probe stands in its place"

    def reference_head(self, head: HeadConfig | None) -> Head:
        """A logistic probe that reads what the recipe's head reads."""
        from tsfm_adapt.heads.probe import Config as Probe

        return Probe.like(head).build()

    def predictor(self, model: AdaptedModel) -> Predictor:
        """Probabilities (B, K)."""
        import torch

        from tsfm_adapt.batches import collate
        from tsfm_adapt.heads.base import ClassHead

        device = next(model.parameters()).device
        head = model.head
        assert isinstance(head, ClassHead)

        def predict(arrays: WindowArrays, steps: int) -> FloatArray:  # noqa: ARG001
            with torch.inference_mode():
                logits = model.logits(collate(arrays).to(device)).float()
                probabilities: FloatArray = head.probabilities(logits).cpu().numpy()
            return probabilities

        return Predictor(predict, ())

    def baselines(
        self,
        recordings: Sequence[Recording],
        rate_hz: float,
        season: int | None,  # noqa: ARG002  # classes have none
    ) -> dict[str, Predictor]:
        """The simple classifiers."""
        from tsfm_adapt.baselines.classifiers import default_classifiers

        windows = self.windows(recordings, rate_hz, "train")
        assert isinstance(windows, LabelledWindows)
        fitted = default_classifiers(windows)
        return {name: _plain(classifier) for name, classifier in fitted.items()}

    def decided(self, predictor: Predictor, val: Windows, batch_size: int) -> Predictor:
        """With the thresholds of best balanced accuracy on validation; 0.5 without any."""
        from tsfm_adapt.evaluation.class_errors import choose_threshold

        assert isinstance(val, LabelledWindows)
        multilabel = val.labelling.multilabel
        if len(val) == 0:
            half = np.full(len(val.labelling.classes), 0.5)
            return replace(predictor, thresholds=half)
        probability, target, _ = self._rows(predictor, val, batch_size, lambda _: None)
        return replace(predictor, thresholds=choose_threshold(probability, target, multilabel))

    def score(
        self, predictor: Predictor, windows: Windows, batch_size: int, tick: Callable[[int], None]
    ) -> ClassErrors:
        """Probabilities of every window, or of every recording, and what is decided from them."""
        from tsfm_adapt.evaluation.class_errors import class_errors

        assert isinstance(windows, LabelledWindows)
        assert predictor.thresholds is not None
        probability, target, subjects = self._rows(predictor, windows, batch_size, tick)
        return class_errors(
            probability,
            target,
            subjects,
            windows.labelling.multilabel,
            predictor.thresholds,
            len(windows),
        )

    def summary(
        self, errors: Mapping[str, ClassErrors], scale: Scale, rate_hz: float
    ) -> dict[str, Any]:
        """`models`, and what they are ranked by."""
        from tsfm_adapt.evaluation.class_errors import summarise_classes

        del scale
        classes = self.labels.labelling(rate_hz).classes
        return {
            "models": {
                name: summarise_classes(e, classes, by_subject=False) for name, e in errors.items()
            },
            "ranked_by": {"metric": self.metric, "better": self.better},
            "rows": "recordings" if self.by_recording else "windows",
        }

    def verdict(
        self, errors: Mapping[str, ClassErrors], scale: Scale, block: int, seed: int
    ) -> dict[str, Any]:
        """By the recipe's metric; see `statistics.class_verdict`."""
        from tsfm_adapt.evaluation.verdict import class_verdict

        del scale
        return class_verdict(errors, self.metric, block, seed)

    def headline(self, errors: ClassErrors, scale: Scale) -> float | None:
        """By the recipe's metric."""
        from tsfm_adapt.evaluation.class_errors import weighted

        del scale
        found = float(weighted(errors, self.metric, np.ones((1, len(errors.target))))[0])
        return found if np.isfinite(found) else None

    def block(self, windows: Windows) -> int:
        """Recordings share no samples."""
        return 1 if self.by_recording else windows.overlap

    def kept(self, errors: ClassErrors) -> dict[str, NDArray[Any]]:
        """All of it."""
        return {one.name: np.array(getattr(errors, one.name)) for one in fields(errors)}

    def pair(
        self,
        ours: Mapping[str, NDArray[Any]],
        theirs: Mapping[str, NDArray[Any]],
        mase: FloatArray,
    ) -> Pair:
        """By the recipe's metric."""
        from tsfm_adapt.evaluation.verdict import class_pair

        del mase
        return class_pair(_restored(ours), _restored(theirs), self.metric)

    def table(
        self,
        windows: Windows,
        quantiles: FloatArray,
        units: Sequence[str],  # noqa: ARG002
    ) -> pyarrow.Table:
        """See `predictions.labelled`."""
        from tsfm_adapt.evaluation.tables import labelled

        rate_hz = windows.recordings[0].rate_hz
        return labelled(windows, quantiles, self.labels.labelling(rate_hz).classes)

    def predict(
        self,
        predictor: Predictor,
        recordings: RecordingSet,
        units: Sequence[str],
        batch_size: int,
        every_s: float | None,
    ) -> pyarrow.Table:
        """Probabilities of windows, by the task's stride or every so many seconds.

        Where a window lies around an event, of the events that the recordings mark.
        """
        rate_hz = recordings.recordings[0].rate_hz
        spec = self.window(rate_hz, "test")
        if every_s is not None:
            spec = replace(spec, stride=samples(every_s, rate_hz, "every_s"))
        labelling = self.labels.labelling(rate_hz)
        windows = Windows(recordings.recordings, spec)
        if isinstance(labelling, EventSpans):
            windows = LabelledWindows(recordings.recordings, spec, labelling)
        probabilities = [np.empty((0, len(labelling.classes)), dtype=np.float32)] + [
            predictor.predict(windows.gather(index), 0) for index in windows.batches(batch_size)
        ]
        return self.table(windows, np.concatenate(probabilities), units)

    def _rows(
        self,
        predictor: Predictor,
        windows: LabelledWindows,
        batch_size: int,
        tick: Callable[[int], None],
    ) -> tuple[FloatArray, BoolArray, tuple[str, ...]]:
        """Probabilities (W, K), classes (W, K) and subjects (W,) of what is scored."""
        from tsfm_adapt.evaluation.class_errors import aggregated

        pieces = []
        for index in windows.batches(batch_size):
            arrays = windows.gather(index)
            pieces.append(predictor.predict(arrays, 0))
            tick(len(arrays.subjects))
        probability, target = np.concatenate(pieces), windows.classes_of
        subjects = tuple(windows.subject_names[index] for index in windows.subjects)
        if not self.by_recording:
            return probability, target, subjects
        return aggregated(probability, target, subjects, windows.recording)


def _restored(kept: Mapping[str, NDArray[Any]]) -> ClassErrors:
    """What `Classify.kept` was given."""
    from tsfm_adapt.evaluation.class_errors import ClassErrors

    plain = {name: kept[name].item() for name in ("multilabel", "n_windows")}
    subjects = {"subjects": tuple(kept["subjects"].tolist())}
    return ClassErrors(**{**kept, **plain, **subjects})


def _plain(classifier: Classifier) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:  # noqa: ARG001
        return classifier.predict(arrays.values, arrays.observed)

    return Predictor(predict, ())
