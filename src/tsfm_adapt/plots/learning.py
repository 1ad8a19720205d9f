"""Learning curves: training and validation loss by step."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm_adapt.plots._panels import panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Record = Mapping[str, float]  # a line of metrics.jsonl


def records(file: Path) -> list[Record]:
    """The lines of a run's metrics.jsonl; none where it trained nothing."""
    if not file.is_file():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def learning_curve(metrics: Sequence[Record]) -> Figure:
    """Training and validation loss by step, with the best checkpoint marked."""
    figure, axes = panels(1, 1)
    draw_losses(axes[0], metrics)
    validated = [r for r in metrics if "val_loss" in r]
    if validated:
        best = min(validated, key=lambda record: record["val_loss"])
        axes[0].axvline(best["step"], color="C0", linestyle=":", label=f"best: {best['step']}")
    axes[0].set(ylabel="loss (scaled space)", title="Learning")
    axes[0].legend()
    return figure


def draw_losses(axis: Axes, metrics: Sequence[Record]) -> None:
    """Both losses by step on one axis."""
    for key, label, style in (("loss", "train", "C7."), ("val_loss", "validation", "C0o-")):
        points = [(record["step"], record[key]) for record in metrics if key in record]
        if points:
            axis.plot(*zip(*points, strict=True), style, ms=3, label=label)
    axis.set(xlabel="step", ylabel="loss")
