"""A ranking as a page that needs nothing but itself, and as CSV and JSON for machines."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tsfm_adapt import atomic
from tsfm_adapt.figures import panels
from tsfm_adapt.ranking import Against, Ranking, Row
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.recipe.parts import cleaning_plan
from tsfm_adapt.signals.windows import Windows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TEMPLATE = Path(__file__).parent / "templates" / "report.html"
_DRAWN = 3  # models whose predictions are drawn
_CURVES = 6  # models beside each other in one picture

_SHOWN = ("mase", "wql", "crps_scaled", "coverage80")  # of forecasts and filled gaps
_OF_CLASSES = ("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1", "ece")
_OF_CHANNELS = ("mase", "mae", "wql", "coverage80")
_PRINTED = {
    "mase": "MASE",
    "wql": "WQL",
    "crps_scaled": "CRPS, scaled",
    "coverage80": "coverage of the 80 % band",
    "mae": "MAE",
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "ece": "calibration error",
}


@dataclass(frozen=True)
class Cell:
    """Of a table; `mark` is a class of the page's style."""

    text: str
    mark: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a table."""

    cells: Sequence[Cell]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Of the page; the first column names the row."""

    title: str
    header: Sequence[str]
    rows: Sequence[Line]


@dataclass(frozen=True)
class Picture:
    """Of the page."""

    title: str
    text: str
    png: str  # base64


def write(folder: Path, ranking: Ranking, test: Windows | None, command: str = "") -> Path:
    """Writes `report.html`, `comparison.csv` and `comparison.json`.

    Args:
        folder: where they go.
        ranking: what to show.
        test: the windows that were scored; None draws no examples.
        command: that makes the report again.

    Returns:
        The page.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        title=f"{ranking.recipe.name}: models compared",
        about=f"tsfm-adapt {version('tsfm-adapt')}; {_what(ranking)}",
        synthetic=ranking.synthetic,
        warnings=list(_warnings(ranking)),
        ranking=_ranked(ranking),
        reading=_reading(ranking),
        failures=[(row.name, row.failure) for row in ranking.rows if row.failure],
        figures=list(_pictures(ranking, test)),
        tables=[_by_channel(ranking, score) for score in _channel_scores(ranking)]
        + _by_subject(ranking),
        protocol=list(_protocol(ranking)),
        command=command,
        recipe=dumps(ranking.recipe),
    )
    atomic.write_text(folder / "report.html", page)
    atomic.write_text(folder / "comparison.csv", _csv(ranking))
    atomic.write_text(folder / "comparison.json", json.dumps(plain(ranking), indent=1) + "\n")
    return folder / "report.html"


def plain(ranking: Ranking) -> dict[str, Any]:
    """The ranking as JSON holds it."""

    def of(against: Against | None) -> dict[str, Any] | None:
        if against is None:
            return None
        return {
            "name": against.name,
            **asdict(against.comparison),
            "p_holm": against.p_holm,
            "verdict": against.verdict,
        }

    return {
        "recipe": ranking.recipe.name,
        "task": ranking.recipe.task.name,
        "synthetic": ranking.synthetic,
        "metric": ranking.metric,
        "better": ranking.better,
        "interval": ranking.interval,
        "windows": ranking.windows,
        "subjects": ranking.subjects,
        "protocol": ranking.protocol,
        "rows": [
            {
                "name": row.name,
                "backbone": row.backbone,
                "checkpoint": row.checkpoint,
                "adapters": row.adapters,
                "seeds": row.seeds,
                "overall": row.overall,
                "channels": row.scores.get("channels"),
                "costs": row.costs,
                "vs_reference": of(row.vs_reference),
                "vs_baseline": of(row.vs_baseline),
                "runs": [str(folder) for folder in row.folders],
                "failure": row.failure,
            }
            for row in ranking.rows
        ],
    }


def _csv(ranking: Ranking) -> str:
    metrics = _metrics(ranking)
    costs = ("trainable_parameters", "seconds_per_step", "peak_memory_mb", "train_seconds")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    compared = [f"{kind}_{part}" for kind in ("vs_reference", "vs_baseline") for part in _PARTS]
    rows.writerow(["model", "seeds", *metrics, *costs, *compared, "failure"])
    for row in ranking.rows:
        rows.writerow(
            [
                row.name,
                row.seeds,
                *(row.overall.get(metric) for metric in metrics),
                *(row.costs.get(cost) for cost in costs),
                *_parts(row.vs_reference),
                *_parts(row.vs_baseline),
                row.failure,
            ]
        )
    return text.getvalue()


_PARTS = ("name", "difference", "low", "high", "p_holm")


def _parts(against: Against | None) -> list[Any]:
    if against is None:
        return [None] * len(_PARTS)
    comparison = against.comparison
    ends = (comparison.difference, comparison.low, comparison.high)
    return [against.name, *ends, against.p_holm]


def _metrics(ranking: Ranking) -> list[str]:
    known = _OF_CLASSES if ranking.metric in _OF_CLASSES else _SHOWN
    scored = [row for row in ranking.rows if row.scores]
    first = [ranking.metric, *(name for name in known if name != ranking.metric)]
    return [name for name in first if any(row.overall.get(name) is not None for row in scored)]


def _what(ranking: Ranking) -> str:
    return (
        f"task {ranking.recipe.task.name}, {ranking.windows} windows of {ranking.subjects} "
        f"subject{'s' if ranking.subjects != 1 else ''} of the test part"
    )


def _warnings(ranking: Ranking) -> Iterator[str]:
    if ranking.protocol.get("smoke"):
        yield "A smoke run of a few windows: the scores mean nothing."
    if ranking.interval == "within one patient":
        yield "One subject: intervals lie within one patient, and nothing counts as shown."
    elif ranking.interval == "few subjects":
        yield f"Only {ranking.subjects} subjects: intervals are wide (t intervals over subjects)."
    if any(row.seeds == 1 and row.adapters for row in ranking.rows):
        yield "One seed of training: how much another seed would change is not known."


def _reading(ranking: Ranking) -> str:
    unit = "percent lower MASE" if ranking.metric == "mase" else "points of the score"
    return (
        f"Ranked by {_PRINTED.get(ranking.metric, ranking.metric)}, {ranking.better} is better. "
        f"Differences are in {unit}, positive = the row is better, with 95 % intervals over "
        "subjects on the same windows. p is adjusted for the number of rows in its column (Holm); "
        "only what is below .05 is coloured. Seconds and memory are those of this machine."
    )


def _ranked(ranking: Ranking) -> Table:
    metrics = _metrics(ranking)
    unit = "%" if ranking.metric == "mase" else "points"
    header = [
        "model",
        "seeds",
        *(_PRINTED.get(metric, metric) for metric in metrics),
        f"against the frozen backbone, {unit}",
        "p",
        f"against the best baseline, {unit}",
        "p",
        "trained parameters",
        "s a step",
        "peak MB",
    ]
    lines = []
    for row in ranking.rows:
        if row.failure:
            continue
        cells = [
            Cell(row.name),
            Cell(str(row.seeds) if row.adapters else ""),
            *(Cell(_number(row.overall.get(metric))) for metric in metrics),
            *_compared(row.vs_reference),
            *_compared(row.vs_baseline),
            Cell(_number(row.costs.get("trainable_parameters"), "{:,.0f}")),
            Cell(_number(row.costs.get("seconds_per_step"), "{:.2f}")),
            Cell(_number(row.costs.get("peak_memory_mb"), "{:.0f}")),
        ]
        lines.append(Line(cells, "" if row.backbone else "baseline"))
    return Table("", header, lines)


def _compared(against: Against | None) -> tuple[Cell, Cell]:
    if against is None:
        return Cell(""), Cell("")
    comparison = against.comparison
    if comparison.low is None:
        return Cell(f"{comparison.difference:+.1f}"), Cell("")
    text = f"{comparison.difference:+.1f} [{comparison.low:+.1f}, {comparison.high:+.1f}]"
    verdict = against.verdict
    mark = "" if verdict == "not shown" else verdict
    return Cell(text, mark), Cell(_number(against.p_holm, "{:.3f}"), mark)


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "" if value is None else form.format(value)


def _scored(ranking: Ranking) -> list[Row]:
    return [row for row in ranking.rows if row.scores]


def _channel_scores(ranking: Ranking) -> list[str]:
    scored = _scored(ranking)
    channels = next((row.scores.get("channels") for row in scored), None) or {}
    known = {name for scores in channels.values() for name in scores}
    return [name for name in _OF_CHANNELS if name in known]


def _by_channel(ranking: Ranking, score: str) -> Table:
    scored = _scored(ranking)
    units = {plan.name: plan.unit for plan in cleaning_plan(ranking.recipe.data).channels}
    channels = list(scored[0].scores["channels"])
    header = [f"{name}, {units[name]}" if score == "mae" else name for name in channels]
    lines = [
        Line(
            [
                Cell(row.name),
                *(Cell(_number(row.scores["channels"][name].get(score))) for name in channels),
            ],
            "" if row.backbone else "baseline",
        )
        for row in scored
    ]
    return Table(f"{_PRINTED[score]} by channel", ["model", *header], lines)


def _by_subject(ranking: Ranking) -> list[Table]:
    rows = [row for row in _scored(ranking) if row.scores.get("by_subject")][:_CURVES]
    if not rows:
        return []
    subjects = list(rows[0].scores["by_subject"])
    lines = [
        Line(
            [
                Cell(subject),
                *(Cell(_number(row.scores["by_subject"][subject].get("mase"))) for row in rows),
            ]
        )
        for subject in subjects
    ]
    title = f"MASE by subject, the best {len(rows)} models"
    return [Table(title, ["subject", *(row.name for row in rows)], lines)]


def _protocol(ranking: Ranking) -> Iterator[str]:
    protocol, recipe = ranking.protocol, ranking.recipe
    by_part = protocol.get("windows_by_part", {})
    yield "Data: reader " + recipe.data.reader.name + ("; SYNTHETIC" if ranking.synthetic else "")
    plan = cleaning_plan(recipe.data)
    named = ", ".join(f"{channel.name} ({channel.unit})" for channel in plan.channels)
    yield f"Channels: {named}; {recipe.data.rate_hz:g} Hz"
    yield f"Split by {recipe.data.split.by}; windows " + ", ".join(
        f"{part} {count}" for part, count in by_part.items()
    )
    yield f"Fitted on: {protocol.get('fitted_on', '')}"
    yield f"Test windows: sha256 {protocol['origins_sha256'][:12]}, the same for every model"


def _pictures(ranking: Ranking, test: Windows | None) -> Iterator[Picture]:
    if any(row.costs for row in ranking.rows):
        yield _picture(
            "Accuracy against cost",
            "Each adapted model by what it trained, how long a step took and its peak memory.",
            _costs(ranking),
        )
    if any(row.vs_reference for row in ranking.rows):
        yield _picture(
            "What adapting gave",
            "Difference to the frozen backbone with its 95 % interval; right of the line is "
            "better.",
            _forest(ranking),
        )
    with_steps = [row for row in _scored(ranking) if row.scores.get("by_step")]
    if with_steps:
        text = "Mean absolute error of each channel by step ahead."
        yield _picture("Error by lead time", text, _lead_time(with_steps[:_CURVES], ranking))
    drawn = [row for row in _scored(ranking) if row.folders]
    yield from _of_predictions(drawn, ranking, test)
    trained = [row for row in drawn if _metrics_file(row).is_file()][:_CURVES]
    if trained:
        text = "Validation loss by step, of the first seed; each in the units of its own loss."
        yield _picture("Learning", text, _learning(trained))


def _of_predictions(
    rows: Sequence[Row], ranking: Ranking, test: Windows | None
) -> Iterator[Picture]:
    """Examples and calibration of the best models, from what they predicted."""
    import pyarrow.parquet

    from tsfm_adapt import run_plots

    title = "SYNTHETIC data" if ranking.synthetic else "test part"
    units = [plan.unit for plan in cleaning_plan(ranking.recipe.data).channels]
    bands: dict[str, Mapping[str, Sequence[tuple[float, float]]]] = {}
    for row in rows[:_DRAWN]:
        path = row.folders[0] / "predictions" / "test.parquet"
        predictions = pyarrow.parquet.read_table(path)
        if "measured" in predictions.column_names:
            bands[row.name] = run_plots.calibration(predictions)
        if test is None:
            continue
        for name, figure in run_plots.examples(test, units, predictions, title).items():
            yield _picture(f"{name}: {row.name}", "The same windows for every model.", figure)
    if bands:
        text = (
            "Share of measured values below each predicted quantile; on the diagonal, bands hold "
            "what they say."
        )
        yield _picture("Calibration", text, _calibration(bands))


def _picture(title: str, text: str, figure: Figure) -> Picture:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Picture(title, text, base64.b64encode(buffer.getvalue()).decode("ascii"))


_MARKERS = "osD^v<>phX*P"


def _costs(ranking: Ranking) -> Figure:
    """A panel a cost; colour = backbone, marker = adapters."""
    rows = [row for row in _scored(ranking) if row.costs and row.adapters]
    backbones = sorted({(row.backbone, row.checkpoint) for row in rows})
    adapters = sorted({row.adapters or "" for row in rows})
    figure, axes = panels(3, 3)
    labels = ("trained parameters", "seconds a step", "peak memory, MB")
    keys = ("trainable_parameters", "seconds_per_step", "peak_memory_mb")
    for axis, key, label in zip(axes, keys, labels, strict=True):
        for row in rows:
            value, score = row.costs.get(key), row.overall[ranking.metric]
            if not value or score is None:
                continue
            colour = f"C{backbones.index((row.backbone, row.checkpoint)) % 10}"
            marker = _MARKERS[adapters.index(row.adapters or "") % len(_MARKERS)]
            axis.plot([value], [score], marker, color=colour, label=row.name)
        best = next((row for row in _scored(ranking) if not row.backbone), None)
        level = best.overall[ranking.metric] if best else None
        if best is not None and level is not None:
            axis.axhline(level, color="C7", ls=":", label=best.name)
        axis.set(xlabel=label, ylabel=_PRINTED.get(ranking.metric, ranking.metric))
        axis.set_xscale("log")
    _legend(figure, axes[0])
    return figure


def _forest(ranking: Ranking) -> Figure:
    rows = [row for row in reversed(_scored(ranking)) if row.vs_reference]
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
    unit = "% lower MASE" if ranking.metric == "mase" else "points"
    axis.set_xlabel(f"{unit} than the frozen backbone")
    return figure


def _lead_time(rows: Sequence[Row], ranking: Ranking) -> Figure:
    channels = list(rows[0].scores["by_step"])
    units = [plan.unit for plan in cleaning_plan(ranking.recipe.data).channels]
    figure, axes = panels(len(channels), 4)
    for axis, channel, unit in zip(axes, channels, units, strict=False):
        for row in rows:
            curve = row.scores["by_step"][channel]["mae"]
            values = [np.nan if value is None else value for value in curve]
            style = "-" if row.backbone else ":"
            axis.plot(range(1, len(values) + 1), values, style, label=row.name)
        axis.set(xlabel="step", ylabel=f"MAE, {unit}", title=channel)
        axis.set_ylim(bottom=0)
    _legend(figure, axes[0])
    return figure


def _calibration(bands: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]]) -> Figure:
    """A panel a model, a line a channel."""
    figure, axes = panels(len(bands), _DRAWN)
    for axis, (name, by_channel) in zip(axes, bands.items(), strict=False):
        axis.plot([0, 1], [0, 1], color="C7", linewidth=0.8)
        for channel, points in by_channel.items():
            axis.plot(*zip(*points, strict=True), "o-", ms=3, label=channel)
        axis.set(xlabel="quantile level", ylabel="share below", title=name)
        axis.legend(fontsize="small")
    return figure


def _metrics_file(row: Row) -> Path:
    return row.folders[0] / "metrics.jsonl"


def _learning(rows: Sequence[Row]) -> Figure:
    figure, axes = panels(len(rows), 3)
    for axis, row in zip(axes, rows, strict=False):
        lines = _metrics_file(row).read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines]
        for key, style, label in (("loss", "C7.", "train"), ("val_loss", "C0o-", "validation")):
            points = [(each["step"], each[key]) for each in records if key in each]
            if points:
                axis.plot(*zip(*points, strict=True), style, ms=3, label=label)
        axis.set(xlabel="step", ylabel="loss", title=row.name)
        axis.legend(fontsize="small")
    return figure


def _legend(figure: Figure, axis: Any) -> None:
    entries, labels = axis.get_legend_handles_labels()
    figure.legend(entries, labels, loc="outside lower center", ncols=3, fontsize="small")
