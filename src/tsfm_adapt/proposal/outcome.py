"""What a trial of candidates gave: scores, the best network, and both as text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from pydantic import JsonValue

from tsfm_adapt.evaluation.metric import Metric


@dataclass(frozen=True)
class Row:
    """A candidate, or a baseline beside it."""

    name: str
    score: float | None  # by the task's metric
    network: bool = True
    problem: str = "no score"  # why there is none


@dataclass(frozen=True)
class Trial:
    """What candidates scored, and which of them is proposed."""

    on: str  # what they were tried on; or why they were not
    metric: Metric | None = None  # None = there was no trial
    rows: tuple[Row, ...] = ()  # networks, the best first, then baselines
    # Of the best network, to take the place of those that the task proposes.
    sections: Mapping[str, JsonValue] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def best(self) -> Row | None:
        """The network to propose."""
        return next((row for row in self.rows if row.network and row.score is not None), None)

    @property
    def lines(self) -> list[str]:
        """The trial as text: on what, a line each, and what follows."""
        if self.metric is None:
            return [self.on]
        width = max(len(row.name) for row in self.rows)
        lines = [f"{self.metric.label} ({self.metric.better} is better) {self.on}"]
        for row in self.rows:
            shown = f"{row.score:.4g}" if row.score is not None else f"- ({row.problem})"
            mark = "  proposed" if row is self.best else "" if row.network else "  no network"
            lines.append(f"{row.name:<{width}}  {shown}{mark}")
        return lines + self._verdict(self.metric)

    def _verdict(self, metric: Metric) -> list[str]:
        """That a simple model is better, where one is."""
        best = self.best
        if best is None:
            return ["no network has a score: the usual one is proposed"]
        simple = next((r for r in self.rows if not r.network and r.score is not None), None)
        if simple is None or metric.key(simple.score) >= metric.key(best.score):
            return []
        return [
            f"{simple.name}, which is no network, is better than {best.name} as it is: see in the "
            "scores of a run whether it still is after training"
        ]
