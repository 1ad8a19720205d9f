"""The metrics of scores.json: their names for people, which direction is better, their units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Better = Literal["lower", "higher", "nominal"]
Unit = Literal["%", "points"]  # of a difference between two models


@dataclass(frozen=True)
class Metric:
    """One score of a model.

    A difference between two models is relative (percent of the reference) where the unit is "%",
    and absolute times 100 where it is "points".
    """

    name: str  # key in scores.json
    label: str
    better: Better = "lower"  # nominal = the closer to its nominal value
    unit: Unit = "%"
    in_data_units: bool = False  # has the unit of its channel, no mean over channels of several

    @property
    def sign(self) -> int:
        """1 where lower is better, -1 where higher is: `sign * value` sorts the best first."""
        return -1 if self.better == "higher" else 1

    def key(self, value: float | None) -> tuple[bool, float]:
        """A sort key, best first; undefined values last."""
        return value is None, 0.0 if value is None else self.sign * value

    @property
    def of_difference(self) -> str:
        """What a positive difference is, in words."""
        if self.unit == "%":
            return f"percent {self.better} {self.label}"
        return f"points of {self.label}"


_ALL = (
    Metric("mase", "MASE"),
    Metric("wql", "WQL"),
    Metric("crps", "CRPS", in_data_units=True),
    Metric("crps_scaled", "CRPS, scaled"),
    Metric("coverage80", "coverage of the 80 % prediction interval", "nominal", "points"),
    Metric("width80", "width of the 80 % prediction interval", in_data_units=True),
    Metric("mae", "MAE", in_data_units=True),
    Metric("rmse", "RMSE", in_data_units=True),
    Metric("mape", "MAPE", in_data_units=True),
    Metric("dtw", "DTW distance", in_data_units=True),
    Metric("mre", "MRE"),
    Metric("mae_standardised", "MAE, standardised"),
    Metric("auroc", "AUROC", "higher", "points"),
    Metric("auprc", "AUPRC", "higher", "points"),
    Metric("accuracy", "accuracy", "higher", "points"),
    Metric("balanced_accuracy", "balanced accuracy", "higher", "points"),
    Metric("macro_f1", "macro F1", "higher", "points"),
    Metric("ece", "calibration error", "lower", "points"),
    Metric("brier", "Brier score", "lower", "points"),
)

METRICS: Mapping[str, Metric] = MappingProxyType({metric.name: metric for metric in _ALL})

# The columns of tables, by what kind of prediction is scored.
OF_QUANTILES = tuple(METRICS[n] for n in ("mase", "wql", "mae", "crps_scaled", "coverage80"))
OF_CLASSES = tuple(
    METRICS[n] for n in ("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1", "ece")
)


def metric(name: str) -> Metric:
    """A metric by its key; one that is not known is lower-is-better under its own name."""
    return METRICS.get(name) or Metric(name, name)
