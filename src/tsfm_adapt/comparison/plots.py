"""The pictures of a comparison's report."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm_adapt.comparison.ranking import Ranking, Row
from tsfm_adapt.plots._panels import logarithmic, panels
from tsfm_adapt.plots.calibration import Shares, calibration, draw_calibration
from tsfm_adapt.plots.forecasts import draw_error
from tsfm_adapt.plots.learning import draw_losses, records
from tsfm_adapt.recipe.parts import cleaning_plan
from tsfm_adapt.runs.pictures import title_of
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN = 3  # models whose predictions are drawn
_CURVES = 6  # models beside each other in one picture
_MARKERS = "osD^v<>phX*P"


@dataclass(frozen=True)
class Picture:
    """A picture of the report."""

    title: str
    text: str
    png: str  # base64


def pictures(ranking: Ranking, test: Windows | None) -> Iterator[Picture]:
    """The pictures of a ranking, in the report's order.

    Args:
        ranking: what to show.
        test: the windows that were scored; None draws no examples.
    """
    if any(_trained(row) for row in ranking.rows):
        yield _picture(
            "Accuracy against cost",
            "Score of each adapted model by trained parameters, seconds per step and peak memory.",
            _costs(ranking),
        )
    if any(row.vs_reference for row in ranking.rows):
        yield _picture(
            "Effect of adapting",
            "Difference from the frozen backbone, with its 95 % interval; right of the line the "
            "adapted model is better.",
            _forest(ranking),
        )
    with_steps = [row for row in ranking.scored if row.scores and row.scores.by_step]
    if with_steps:
        text = "Mean absolute error of each channel by step ahead."
        yield _picture("Error by lead time", text, _lead_time(with_steps[:_CURVES], ranking))
    drawn = [row for row in ranking.scored if row.folders]
    yield from _of_predictions(drawn, ranking, test)
    trained = [row for row in drawn if _metrics_file(row).is_file()][:_CURVES]
    if trained:
        text = "Validation loss by step, of the first seed; the units differ between models."
        yield _picture("Learning", text, _learning(trained))


def _of_predictions(
    rows: Sequence[Row], ranking: Ranking, test: Windows | None
) -> Iterator[Picture]:
    """Examples and calibration of the best models, from what they predicted."""
    import pyarrow.parquet

    title = title_of(ranking.synthetic)
    units, task = cleaning_plan(ranking.recipe.data).units, ranking.recipe.task.build()
    shares: dict[str, Shares] = {}
    for row in rows[:_DRAWN]:
        path = row.folders[0] / "predictions" / "test.parquet"
        predictions = pyarrow.parquet.read_table(path)
        if "measured" in predictions.column_names:
            shares[row.name] = calibration(predictions)
        if test is None:
            continue
        for name, figure in task.examples(test, units, predictions, title).items():
            yield _picture(f"{name}: {row.name}", "The same windows for every model.", figure)
    if shares:
        text = (
            "Share of measured values below each predicted quantile; on the diagonal, coverage is "
            "nominal."
        )
        yield _picture("Calibration", text, _calibration(shares))


def _picture(title: str, text: str, figure: Figure) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode("ascii"))


def _costs(ranking: Ranking) -> Figure:
    """A panel a cost; colour = backbone, marker = adapters."""
    rows = [row for row in ranking.scored if _trained(row) and row.adapters]
    backbones = sorted({(row.backbone, row.checkpoint) for row in rows})
    adapters = sorted({row.adapters or "" for row in rows})
    figure, axes = panels(3, 3)
    labels = ("trained parameters", "seconds a step", "peak memory, MB")
    keys = ("trainable_parameters", "seconds_per_step", "peak_memory_mb")
    for axis, key, label in zip(axes, keys, labels, strict=True):
        for row in rows:
            value, score = getattr(row.costs, key), row.overall[ranking.metric.name]
            if not value or score is None:
                continue
            colour = f"C{backbones.index((row.backbone, row.checkpoint)) % 10}"
            marker = _MARKERS[adapters.index(row.adapters or "") % len(_MARKERS)]
            axis.plot([value], [score], marker, color=colour, label=row.name)
        best = next((row for row in ranking.scored if not row.backbone), None)
        level = best.overall[ranking.metric.name] if best else None
        if best is not None and level is not None:
            axis.axhline(level, color="C7", ls=":", label=best.name)
        axis.set(xlabel=label, ylabel=ranking.metric.label)
        logarithmic(axis)
    _legend(figure, axes[0])
    return figure


def _forest(ranking: Ranking) -> Figure:
    rows = [row for row in reversed(ranking.scored) if row.vs_reference]
    figure, axes = panels(1, 1)
    figure.set_size_inches(8, 1.2 + 0.32 * len(rows))
    axis = axes[0]
    for at, row in enumerate(rows):
        against = row.vs_reference
        assert against is not None
        comparison = against.comparison
        colour = {"better": "C2", "worse": "C3"}.get(against.verdict, "C7")
        axis.plot([comparison.difference], [at], "o", color=colour)
        if comparison.low is not None and comparison.high is not None:
            axis.plot([comparison.low, comparison.high], [at, at], color=colour)
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [row.name for row in rows])
    axis.set_xlabel(f"{ranking.metric.of_difference} than the frozen backbone")
    return figure


def _lead_time(rows: Sequence[Row], ranking: Ranking) -> Figure:
    models = [(row, row.scores.by_step) for row in rows if row.scores is not None]
    channels = list(models[0][1])
    units = cleaning_plan(ranking.recipe.data).units
    figure, axes = panels(len(channels), 4)
    for axis, channel, unit in zip(axes, channels, units, strict=False):
        for row, by_step in models:
            steps = np.arange(1.0, len(by_step[channel]["mae"]) + 1)
            style = "-" if row.backbone else ":"
            draw_error(axis, by_step, channel, steps, label=row.name, linestyle=style)
        axis.set(xlabel="step", ylabel=f"MAE, {unit}", title=channel)
        axis.set_ylim(bottom=0)
    _legend(figure, axes[0])
    return figure


def _calibration(shares: Mapping[str, Shares]) -> Figure:
    """A panel a model, a line a channel."""
    figure, axes = panels(len(shares), _DRAWN)
    for axis, (name, by_channel) in zip(axes, shares.items(), strict=False):
        draw_calibration(axis, by_channel)
        axis.set(title=name)
    return figure


def _trained(row: Row) -> bool:
    """True if the row's costs are known."""
    return row.costs.total_parameters is not None


def _metrics_file(row: Row) -> Path:
    return row.folders[0] / "metrics.jsonl"


def _learning(rows: Sequence[Row]) -> Figure:
    figure, axes = panels(len(rows), 3)
    for axis, row in zip(axes, rows, strict=False):
        draw_losses(axis, records(_metrics_file(row)))
        axis.set(title=row.name)
        axis.legend(fontsize="small")
    return figure


def _legend(figure: Figure, axis: Any) -> None:
    entries, labels = axis.get_legend_handles_labels()
    figure.legend(entries, labels, loc="outside lower center", ncols=3, fontsize="small")
