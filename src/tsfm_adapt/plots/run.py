"""Pictures of a run: what it learned, where it helps, whether its bands hold, and examples.

Drawn without a display; every picture can be redrawn from the files of the run and its windows.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm_adapt._util import atomic
from tsfm_adapt.plots._panels import panels
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.figure import Figure

_EXAMPLES = 3
_CURVES = 10  # classes beyond which curves cannot be told apart
_COLOURS = {"adapted": "C0", "zero_shot": "C1"}


def draw(folder: Path, windows: Windows, units: Sequence[str], scores: Mapping[str, Any]) -> None:
    """Writes `plots/*.png` into a run's folder.

    Args:
        folder: the run's, with metrics.jsonl and predictions/test.parquet.
        windows: those of the test part, as they were predicted.
        units: of the channels.
        scores: the content of scores.json.
    """
    import pyarrow.parquet

    predictions = pyarrow.parquet.read_table(folder / "predictions" / "test.parquet")
    title = "SYNTHETIC data" if scores["synthetic"] else "test part"
    figures = examples(windows, units, predictions, title)
    if not isinstance(windows, LabelledWindows):
        figures["calibration"] = calibration_curve(predictions, title)
        if windows.spec.horizon:  # filled windows have no lead time
            figures["skill_by_lead_time"] = skill_by_lead_time(scores, windows, units, title)
    if (folder / "metrics.jsonl").is_file():
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        figures["learning_curve"] = learning_curve([json.loads(line) for line in lines])
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        atomic.write_bytes(folder / "plots" / f"{name}.png", buffer.getvalue())


def examples(
    windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str
) -> dict[str, Figure]:
    """What a model predicted, by the name of the picture.

    Args:
        windows: those of the test part, as they were predicted.
        units: of the channels.
        predictions: the content of predictions/test.parquet.
        title: of the data.
    """
    if isinstance(windows, LabelledWindows):
        return _of_classes(windows, predictions, title)
    if windows.spec.horizon:
        return {"forecasts": forecasts(windows, units, predictions, title)}
    return {"gaps": gaps(windows, units, predictions, title)}


def _of_classes(
    windows: LabelledWindows, predictions: pyarrow.Table, title: str
) -> dict[str, Figure]:
    """Pictures of classified windows, before those of one recording are averaged."""
    from tsfm_adapt.plots.classes import confusion, reliability, roc

    classes, target = windows.labelling.classes, windows.classes_of
    columns = [predictions.column(f"p_{name}").to_numpy() for name in classes]
    probability = np.stack(columns, axis=1)
    figures = {"reliability": reliability(probability, target, classes, title)}
    if len(classes) <= _CURVES:
        figures["roc"] = roc(probability, target, classes, title)
    if len(classes) > 2 and not windows.labelling.multilabel:
        figures["confusion"] = confusion(probability, target, classes, title)
    return figures


def learning_curve(metrics: Sequence[Mapping[str, float]]) -> Figure:
    """Training and validation loss by step."""
    figure, axes = panels(1, 1)
    for key, label, style in (("loss", "train", "C7."), ("val_loss", "validation", "C0o-")):
        points = [(record["step"], record[key]) for record in metrics if key in record]
        if points:
            axes[0].plot(*zip(*points, strict=True), style, label=label)
    validated = [r for r in metrics if "val_loss" in r]
    if validated:
        best = min(validated, key=lambda record: record["val_loss"])
        axes[0].axvline(best["step"], color="C0", linestyle=":", label=f"best: {best['step']}")
    axes[0].set(xlabel="step", ylabel="loss (scaled space)", title="Learning")
    axes[0].legend()
    return figure


def skill_by_lead_time(
    scores: Mapping[str, Any], windows: Windows, units: Sequence[str], title: str
) -> Figure:
    """Mean absolute error of each channel by lead time: the model, zero-shot, best baseline."""
    channels = windows.recordings[0].channels
    baselines = [name for name in scores["models"] if name not in _COLOURS]
    best = min(baselines, key=lambda name: _or_inf(scores["models"][name]["overall"]["mase"]))
    figure, axes = panels(len(channels), 4)
    lead, unit = _lead_time(windows)
    for axis, channel, of in zip(axes, channels, units, strict=False):
        for name in [*(n for n in _COLOURS if n in scores["models"]), best]:
            curve = scores["models"][name]["by_step"][channel]["mae"]
            values = [np.nan if value is None else value for value in curve]
            axis.plot(lead, values, label=name, color=_COLOURS.get(name, "C7"))
        axis.set(xlabel=f"lead time, {unit}", ylabel=f"MAE, {of}", title=channel)
        axis.set_ylim(bottom=0)
    axes[0].legend()
    figure.suptitle(f"Error by lead time, {title}")
    return figure


def calibration_curve(predictions: pyarrow.Table, title: str) -> Figure:
    """Share of measured values below each predicted quantile, by channel."""
    figure, axes = panels(1, 1)
    axes[0].plot([0, 1], [0, 1], color="C7", linewidth=0.8)
    by_channel = calibration(predictions)
    for channel, points in by_channel.items():
        axes[0].plot(*zip(*points, strict=True), "o-", label=channel)
    axes[0].set(xlabel="quantile level", ylabel="share of measured values below", title=title)
    if by_channel:
        axes[0].legend()
    return figure


def calibration(predictions: pyarrow.Table) -> dict[str, list[tuple[float, float]]]:
    """(level, share of measured values at or below) for each channel with measured values."""
    channel = predictions.column("channel").to_numpy(zero_copy_only=False)
    measured = predictions.column("measured").to_numpy(zero_copy_only=False).astype(float)
    levels = _quantile_columns(predictions)
    quantiles = {q: predictions.column(q).to_numpy(zero_copy_only=False) for q in levels}
    founded = np.isfinite(quantiles[levels[0]])
    found = {}
    for name in dict.fromkeys(channel):
        of = (channel == name) & np.isfinite(measured) & founded
        if of.any():
            found[str(name)] = [
                (
                    float(q[1:]),
                    float((measured[of] <= predictions.column(q).to_numpy()[of]).mean()),
                )
                for q in levels
            ]
    return found


def forecasts(
    windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str
) -> Figure:
    """Some windows: the measured past and future with their gaps, median and outer band."""
    channels = windows.recordings[0].channels
    picked = np.linspace(0, len(windows) - 1, min(_EXAMPLES, len(windows))).astype(int)
    arrays = windows.gather(picked)
    assert arrays.target is not None
    assert arrays.target_observed is not None
    levels = _quantile_columns(predictions)
    shape = (len(windows), len(channels), windows.spec.horizon)
    low, middle, high = (
        predictions.column(name).to_numpy(zero_copy_only=False).reshape(shape)[picked]
        for name in (levels[0], "q0.5", levels[-1])
    )
    past = np.where(arrays.observed, arrays.values, np.nan)
    future = np.where(arrays.target_observed, arrays.target, np.nan)
    lead, unit = _lead_time(windows)
    before = (np.arange(windows.spec.context) - windows.spec.context + 1) * lead[0]
    figure, axes = panels(len(picked) * len(channels), len(channels))
    for row in range(len(picked)):
        for column, name in enumerate(channels):
            axis = axes[row * len(channels) + column]
            axis.plot(before, past[row, column], ".-", color="C7", ms=2)
            axis.plot(lead, future[row, column], ".-", color="black", ms=3, label="measured")
            axis.fill_between(lead, low[row, column], high[row, column], color="C0", alpha=0.25)
            axis.plot(lead, middle[row, column], color="C0", label="median and band")
            if not np.isfinite(middle[row, column]).any():
                axis.text(0.5, 0.5, "not in the context", transform=axis.transAxes, ha="center")
            axis.set_xlim(before[0], lead[-1])
            axis.set(title=f"{arrays.subjects[row]}: {name}", ylabel=units[column])
            axis.set_xlabel(f"time from the end of the context, {unit}")
    axes[0].legend(fontsize="small")
    figure.suptitle(f"Forecasts, band {levels[0][1:]} to {levels[-1][1:]}, {title}")
    return figure


def gaps(windows: Windows, units: Sequence[str], predictions: pyarrow.Table, title: str) -> Figure:
    """Some windows: what was visible, what was hidden, median and outer band."""
    channels, rate_hz = windows.recordings[0].channels, windows.recordings[0].rate_hz
    picked = np.linspace(0, len(windows) - 1, min(_EXAMPLES, len(windows))).astype(int)
    arrays = windows.gather(picked)
    assert arrays.mask is not None
    levels = _quantile_columns(predictions)
    names = ("recording", "channel", "window", "mask", "time_s", "measured")
    column = {
        name: predictions.column(name).to_numpy(zero_copy_only=False) for name in (*names, *levels)
    }
    shown = np.where(arrays.observed, arrays.values, np.nan)
    figure, axes = panels(len(picked) * len(channels), len(channels))
    for row, index in enumerate(picked):
        recording = windows.recordings[windows.recording[index]]
        start_s = windows.start[index] / rate_hz
        seconds = start_s + np.arange(windows.spec.context) / rate_hz
        of_window = (column["recording"] == recording.id) & (column["window"] == start_s)
        of_window &= column["mask"] == arrays.mask[row]
        for number, name in enumerate(channels):
            axis = axes[row * len(channels) + number]
            of = of_window & (column["channel"] == name)
            low, middle, high = (column[q][of] for q in (levels[0], "q0.5", levels[-1]))
            at = column["time_s"][of]
            axis.plot(seconds, shown[row, number], ".-", color="C7", ms=2, label="visible")
            axis.plot(at, column["measured"][of], ".", color="black", ms=3, label="hidden")
            axis.errorbar(
                at,
                middle,
                yerr=np.clip([middle - low, high - middle], 0, None),
                fmt="_",
                color="C0",
                alpha=0.5,
                label="median and band",
            )
            axis.set(title=f"{recording.subject}: {name}", ylabel=units[number], xlabel="s")
    axes[0].legend(fontsize="small")
    figure.suptitle(f"Filled gaps, band {levels[0][1:]} to {levels[-1][1:]}, {title}")
    return figure


def _quantile_columns(predictions: pyarrow.Table) -> list[str]:
    """The columns q0.1 ..., in increasing order of the level."""
    return [name for name in predictions.column_names if re.fullmatch(r"q0?\.\d+", name)]


def _lead_time(windows: Windows) -> tuple[FloatArray, str]:
    """Lead times of the steps in a unit that suits them."""
    seconds = np.arange(1, windows.spec.horizon + 1) / windows.recordings[0].rate_hz
    for unit, length_s in (("h", 3600.0), ("min", 60.0)):
        if seconds[-1] >= 3 * length_s:
            return seconds / length_s, unit
    return seconds, "s"


def _or_inf(value: float | None) -> float:
    return float("inf") if value is None else value
