"""`scores.json`, typed: what a run's models scored, and what the verdict is.

Format 2. `read` also takes format 1, which version 0.1 wrote without a format number. Numbers that
are undefined are null. Shapes and units are those of the functions that compute the numbers:
`forecast_errors.summarise`, `class_errors.summarise_classes`, `alarms.summarise_events`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from tsfm_adapt.errors import DataError
from tsfm_adapt.evaluation.intervals import Comparison, Interval
from tsfm_adapt.evaluation.metric import Better, Metric, Unit, metric

FORMAT: Literal[2] = 2

Value = int | float | None
ByName = dict[str, Value]


class Role(StrEnum):
    """What a model is in a comparison."""

    ADAPTED = "adapted"
    ZERO_SHOT = "zero_shot"  # the backbone without adapters
    FROZEN_PROBE = "frozen_probe"  # a fitted probe on the frozen backbone
    BASELINE = "baseline"

    @property
    def label(self) -> str:
        """In words."""
        return {"zero_shot": "zero-shot", "frozen_probe": "the frozen probe"}.get(self, self)


# What an adapted model is compared with first: the one that stands there.
REFERENCES = (Role.ZERO_SHOT, Role.FROZEN_PROBE)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelScores(_Frozen):
    """The scores of one model on the test set."""

    role: Role = Role.BASELINE
    overall: ByName  # metric: value over all channels or classes
    channels: dict[str, ByName] = {}
    by_subject: dict[str, ByName] = {}
    by_step: dict[str, dict[str, list[Value]]] = {}  # channel: metric: value a step ahead
    classes: dict[str, ByName] = {}
    confusion: list[list[int]] | None = None  # a row a true, a column a decided class


Models = dict[str, ModelScores]


Quartiles = dict[Literal["median", "q25", "q75"], float]


class AlarmScores(_Frozen):
    """Alarms of one model at the threshold that allows so many false ones a day."""

    sensitivity: Value  # share of episodes detected
    low: Value
    high: Value
    interval: Interval | None
    detected: int
    false_alarms_a_day: Value
    lead_s: Quartiles | None  # of detected episodes, s


class ModelAlarms(_Frozen):
    """How one model warned of an event."""

    auroc: Value
    at: dict[str, AlarmScores]  # by false alarms a day that are allowed


class EventScores(_Frozen):
    """What happened of an event in the test set, and how models warned of it."""

    event: str  # in words
    windows: int  # at risk
    windows_before_onset: int
    windows_not_at_risk: int
    episodes: int
    episodes_unforeseeable: int
    subjects: int
    monitored_days: float
    threshold: str  # how it was chosen
    models: dict[str, ModelAlarms]


class MaskScheme(_Frozen):
    """How values were hidden to score imputation."""

    masks: dict[str, dict[str, str | float | None]]  # name: pattern, rate, length in samples
    seeds: int
    route: str


class Difference(_Frozen):
    """How much better one model is than another, with a 95 % interval; positive = better."""

    difference: Value  # in the metric's unit of differences
    low: Value
    high: Value
    shown: bool  # the interval excludes 0, over several subjects

    @classmethod
    def of(cls, comparison: Comparison) -> Difference:
        """The numbers of a comparison; NaN becomes null."""
        value = comparison.difference
        return cls(
            difference=value if math.isfinite(value) else None,
            low=comparison.low,
            high=comparison.high,
            shown=comparison.shown,
        )


class Compared(Difference):
    """The adapted model against one other model."""

    against: str  # the other model's name
    role: Role

    @property
    def label(self) -> str:
        """The other model in words."""
        named = f"the best baseline ({self.against})"
        return named if self.role == Role.BASELINE else self.role.label


class Verdict(_Frozen):
    """The adapted model against its reference, then against the best baseline."""

    metric: str
    interval: Interval
    subjects: int | None = None  # of the test set; None in files of version 0.1
    comparisons: tuple[Compared, ...]

    @property
    def reference(self) -> Compared | None:
        """Against zero-shot or the frozen probe; None where neither can be."""
        return next((c for c in self.comparisons if c.role in REFERENCES), None)

    @property
    def baseline(self) -> Compared:
        """Against the best baseline."""
        return next(c for c in self.comparisons if c.role == Role.BASELINE)


class SubgroupDifference(_Frozen):
    """The adapted model against its reference in one group of subjects."""

    versus: str
    difference: Value
    low: Value
    high: Value
    interval: Interval


class Subgroup(_Frozen):
    """One group of subjects; of few subjects only their number is given."""

    subjects: int
    windows: int
    models: ByName | None
    difference: SubgroupDifference | None


class SubgroupTable(_Frozen):
    """Scores by an attribute of subjects."""

    metric: str
    better: Better
    unit: Unit | None = None  # of differences; None in files of version 0.1
    min_subjects: int
    groups: dict[str, Subgroup]


class CalibrationScores(_Frozen):
    """Conformal calibration of the prediction intervals, and what they then cover on test."""

    split: Literal["val"] = "val"
    windows: int
    subjects: int
    reason: str | None = None  # why nothing was calibrated
    factors: dict[str, ByName] = {}  # channel: nominal coverage in percent: factor
    not_calibrated: dict[str, str] = {}  # channel: reason
    overall: ByName = {}
    channels: dict[str, ByName] = {}


class LeftOut(_Frozen):
    """What was not scored."""

    windows: int
    pairs: int  # of a window and a channel
    recordings: dict[str, str]  # id: reason


class Protocol(_Frozen):
    """How the data were split and which windows were scored."""

    split: dict[str, JsonValue]
    stride_s: float
    windows_by_split: dict[str, int]
    recordings_by_split: dict[str, int]
    subjects_by_split: dict[str, int]
    origins_sha256: str
    fitted_on: str


class LeakFinding(_Frozen):
    """Something that two splits share."""

    kind: str
    splits: tuple[str, str]
    subjects: tuple[str, ...]
    what: str


class AuditSummary(_Frozen):
    """The leakage audit."""

    recordings: int
    stretch_samples: int
    findings: tuple[LeakFinding, ...]
    lines: tuple[str, ...]
    # Whether splits share subjects: checked, not checked, by time (on purpose); or a file of old.
    subjects: Literal["checked", "not checked", "by time", "not said"] = "not said"


class Costs(_Frozen):
    """Parameters, time and memory of the trained model."""

    trainable_parameters: int | float | None = None
    total_parameters: int | float | None = None
    best_step: int | float | None = None  # a mean where seeds are one row
    train_seconds: float | None = None
    seconds_per_step: float | None = None
    peak_memory_mb: float | None = None


class Summary(_Frozen):
    """What a task's scoring makes of the models' errors."""

    models: Models
    horizons: dict[str, Models] = {}  # by seconds
    gaps: dict[str, Models] = {}  # by pattern and length in seconds
    missingness: MaskScheme | None = None
    events: dict[str, EventScores] = {}
    rows: Literal["windows", "recordings"] = "windows"
    details: dict[str, JsonValue] = {}  # what only one task has

    def with_roles(self, roles: Mapping[str, Role]) -> Summary:
        """The same with each model's role, which its errors do not know."""

        def named(models: Models) -> Models:
            return {
                name: own.model_copy(update={"role": roles[name]}) for name, own in models.items()
            }

        return self.model_copy(
            update={
                "models": named(self.models),
                "horizons": {key: named(own) for key, own in self.horizons.items()},
                "gaps": {key: named(own) for key, own in self.gaps.items()},
            }
        )


class Scores(Summary):
    """The content of scores.json."""

    format: Literal[2] = FORMAT
    split: Literal["test"] = "test"
    task: str
    metric: str  # that models are ranked by
    better: Better
    metric_label: str | None = None  # the metric in words; None in files of version 0.1
    metric_unit: Unit | None = None  # of differences between two models; as above
    checkpoint: str | None
    smoke: bool  # a run of a few steps and windows, whose scores mean nothing
    synthetic: bool
    windows: int
    subjects: int
    left_out: LeftOut
    protocol: Protocol
    audit: AuditSummary
    reasons: dict[str, str] = Field(default={}, description="why a model was not scored")
    subgroups: dict[str, SubgroupTable] = {}
    calibration: CalibrationScores | None = None
    verdict: Verdict | None = None
    sentences: tuple[str, ...] = ()
    costs: Costs = Costs()

    @property
    def ranked_by(self) -> Metric:
        """The metric that models are ranked by, as the task's scoring stated it."""
        known = metric(self.metric)
        return replace(
            known,
            label=self.metric_label or known.label,
            better=self.better,
            unit=self.metric_unit or known.unit,
        )

    def of(self, role: Role) -> ModelScores | None:
        """The model in a role; None without one. Of baselines the first."""
        return next((own for own in self.models.values() if own.role == role), None)

    def best_first(self) -> list[tuple[str, ModelScores]]:
        """The models by the ranked metric."""
        by = self.ranked_by
        return sorted(self.models.items(), key=lambda m: by.key(m[1].overall.get(by.name)))

    def best_baseline(self) -> str | None:
        """The baseline with the best score by the ranked metric."""
        names = [name for name, own in self.best_first() if own.role == Role.BASELINE]
        return next(iter(names), None)

    def tree(self) -> dict[str, JsonValue]:
        """As plain JSON values; what a task does not have is left out."""
        return {"format": FORMAT} | self.model_dump(mode="json", exclude_unset=True)

    def text(self) -> str:
        """As scores.json holds it."""
        return json.dumps(self.tree(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read(path: Path) -> Scores:
    """The content of a scores.json, of this version or of version 0.1.

    Raises:
        DataError: the file is broken, or of a newer format.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        written = tree.get("format", 1)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"'{path}' cannot be read ({error}). Score the run again: tsfm-adapt evaluate RUN"
        ) from error
    if written not in (1, FORMAT):
        raise DataError(
            f"'{path}' has format {written}; this version reads up to {FORMAT}. Update tsfm-adapt."
        )
    from tsfm_adapt.evaluation._scores_v1 import upgraded

    try:
        return Scores.model_validate(upgraded(tree) if written == 1 else tree)
    except (ValidationError, KeyError, TypeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"'{path}' is no scores.json of format {written} ({reason}). Score the run again: "
            "tsfm-adapt evaluate RUN"
        ) from error
