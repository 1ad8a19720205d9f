"""Classify: the class of a window or a recording, or whether an event begins soon after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, JsonValue, model_validator

from tsfm_adapt._util.frozen import Frozen
from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.evaluation.class_errors import ClassMetric
from tsfm_adapt.evaluation.class_scoring import ClassScoring
from tsfm_adapt.signals.labels import (
    AroundSpans,
    FutureSpans,
    LabelledWindows,
    Labelling,
    RecordingLabel,
    RecordingLabels,
)
from tsfm_adapt.signals.windows import Windows, WindowSpec
from tsfm_adapt.tasks.base import (
    MOST_SAMPLES,
    Proposed,
    Sighting,
    SplitName,
    Task,
    TaskConfig,
    check_context,
    samples,
    stride_of,
)

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.figure import Figure

    from tsfm_adapt.backbones.base import BackboneSpec
    from tsfm_adapt.baselines.classifiers import Classifier
    from tsfm_adapt.heads.base import Head, HeadConfig
    from tsfm_adapt.model import AdaptedModel, Outputs
    from tsfm_adapt.signals.recording import FloatArray, IntArray, Recording, RecordingSet
    from tsfm_adapt.signals.windows import WindowArrays

Value = str | int | float


class OfRecording(Frozen):
    """`labels: {of: recording}`: every window has the class of its recording."""

    of: Literal["recording"] = "recording"
    label: str = Field(description="the recording's label that holds the class")
    classes: dict[str, Value] | tuple[Value, ...] = Field(
        min_length=2, description="every value of the label, or name: value"
    )

    def labelling(self, rate_hz: float) -> Labelling:  # noqa: ARG002
        """In samples."""
        if isinstance(self.classes, dict):
            return RecordingLabel(self.label, tuple(self.classes.values()), tuple(self.classes))
        return RecordingLabel(self.label, self.classes, tuple(map(str, self.classes)))


class OfRecordings(Frozen):
    """`labels: {of: any}`: any of several labels of the recording, each 0 or 1, may hold."""

    of: Literal["any"] = "any"
    labels: tuple[str, ...] = Field(min_length=2)

    def labelling(self, rate_hz: float) -> Labelling:  # noqa: ARG002
        """In samples."""
        return RecordingLabels(self.labels)


class OfFuture(Frozen):
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


class OfEvent(Frozen):
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
        return AroundSpans(number, classes, round(self.before_s * rate_hz))


Labels = Annotated[OfRecording | OfRecordings | OfFuture | OfEvent, Field(discriminator="of")]


class Config(TaskConfig):
    """`task: {name: classify}`."""

    of_labels = True
    candidates = MappingProxyType(
        {
            "probe": {"head": {"name": "probe"}},
            # with what the backbone's scaling removes
            "probe and statistics": {"head": {"name": "probe", "statistics": True}},
        }
    )
    trial_windows = 500
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
    metric: ClassMetric = Field(default="auroc", description="what the verdict compares")

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
        return Classify(self)

    @classmethod
    def geometries(cls, lengths: IntArray, contexts: Sequence[int]) -> list[tuple[int, int]]:
        """Whole recordings, as long as nine of ten are; shorter windows where that is too long."""
        whole = int(np.quantile(lengths, 0.1, method="lower"))
        longest = min(whole, MOST_SAMPLES)
        return [(longest, 0)] + [(context, 0) for context in contexts if context < longest]

    @classmethod
    def proposed(cls, sighting: Sighting) -> Proposed:
        """The recordings' label, by a probe on the frozen Chronos-Bolt."""
        classes = list(sighting.classes)
        labels: JsonValue = {"of": "recording", "label": sighting.label, "classes": [*classes]}
        level: dict[str, JsonValue] = {"level": "recording"} if sighting.several_windows else {}
        metric = "auroc" if len(classes) == 2 else "balanced_accuracy"
        return Proposed(
            title=f"One of {len(classes)} classes of '{sighting.label}'",
            task={"labels": labels, **level, "metric": metric},
            sections={
                "backbone": {"name": "chronos_bolt", "checkpoint": "embedded"},
                "head": {"name": "probe"},
            },
            section_reasons={"head": "computed, not trained: the first thing to try"},
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

    def __init__(self, config: Config) -> None:
        self.config = config

    def scoring(self, rate_hz: float) -> ClassScoring:
        """By the recipe's metric, of windows or recordings."""
        return ClassScoring(
            metric=self.config.metric,
            by_recording=self.config.level == "recording",
            classes=self.config.labels.labelling(rate_hz).classes,
        )

    def window(self, rate_hz: float, split_name: SplitName) -> WindowSpec:  # noqa: ARG002
        """The same geometry in all splits."""
        context = samples(self.config.context_s, rate_hz, "context_s")
        self.config.labels.labelling(rate_hz)
        return WindowSpec(context, 0, stride_of(self.config.stride_s, rate_hz, context))

    def windows(
        self, recordings: Sequence[Recording], rate_hz: float, split_name: SplitName
    ) -> Windows:
        """The windows whose class is known."""
        return LabelledWindows(
            recordings, self.window(rate_hz, split_name), self.config.labels.labelling(rate_hz)
        )

    def check(self, spec: BackboneSpec, rate_hz: float, headed: bool = False) -> None:
        """Needs a head, and a context that fits."""
        assert headed, "the recipe's own rule"
        check_context(spec, self.window(rate_hz, "test").context, rate_hz)

    def outputs(self, rate_hz: float, train: Windows | None = None) -> Outputs:
        """The classes, with `balanced` weighted by how rare they are in train."""
        labelling = self.config.labels.labelling(rate_hz)
        weights: tuple[float, ...] = ()
        if self.config.class_weights == "balanced" and isinstance(train, LabelledWindows):
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

    def with_thresholds(self, predictor: Predictor, val: Windows, batch_size: int) -> Predictor:
        """With the thresholds of best balanced accuracy on validation; 0.5 without any."""
        assert isinstance(val, LabelledWindows)
        rate_hz = val.recordings[0].rate_hz if val.recordings else 1.0
        thresholds = self.scoring(rate_hz).thresholds(predictor, val, batch_size)
        return replace(predictor, thresholds=thresholds)

    def table(
        self,
        windows: Windows,
        quantiles: FloatArray,
        units: Sequence[str],  # noqa: ARG002
    ) -> pyarrow.Table:
        """See `evaluation.tables.labelled`."""
        from tsfm_adapt.evaluation.tables import labelled

        rate_hz = windows.recordings[0].rate_hz
        return labelled(windows, quantiles, self.config.labels.labelling(rate_hz).classes)

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
        labelling = self.config.labels.labelling(rate_hz)
        windows = Windows(recordings.recordings, spec)
        if isinstance(labelling, AroundSpans):
            windows = LabelledWindows(recordings.recordings, spec, labelling)
        probabilities = [np.empty((0, len(labelling.classes)), dtype=np.float32)] + [
            predictor.predict(windows.gather(index), 0) for index in windows.batches(batch_size)
        ]
        return self.table(windows, np.concatenate(probabilities), units)

    def examples(
        self,
        windows: Windows,
        units: Sequence[str],  # noqa: ARG002
        predictions: pyarrow.Table,
        title: str,
    ) -> dict[str, Figure]:
        """ROC, reliability and confusion of windows."""
        from tsfm_adapt.plots.classes import class_pictures

        assert isinstance(windows, LabelledWindows)
        return class_pictures(windows, predictions, title)


def _plain(classifier: Classifier) -> Predictor:
    def predict(arrays: WindowArrays, steps: int) -> FloatArray:  # noqa: ARG001
        return classifier.predict(arrays.values, arrays.observed)

    return Predictor(predict, ())
