"""Writes a ranking as a self-contained HTML report, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from tsfm_adapt._util import atomic
from tsfm_adapt.comparison.plots import pictures
from tsfm_adapt.comparison.ranking import Against, Ranking
from tsfm_adapt.evaluation.metric import METRICS, Metric
from tsfm_adapt.evaluation.scores import ByName, ModelScores
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.recipe.parts import cleaning_plan
from tsfm_adapt.signals.windows import Windows

_TEMPLATE = Path(__file__).parent / "templates" / "report.html"
_SUBJECT_COLUMNS = 6  # models beside each other in the table of subjects

_OF_CHANNELS = tuple(METRICS[name] for name in ("mase", "mae", "wql", "coverage80"))
_COSTS = ("trainable_parameters", "seconds_per_step", "peak_memory_mb", "train_seconds")
_PARTS = ("name", "difference", "low", "high", "p_holm")


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
        figures=list(pictures(ranking, test)),
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


def plain(ranking: Ranking) -> dict[str, JsonValue]:
    """The ranking as JSON values."""

    def of(against: Against | None) -> dict[str, JsonValue] | None:
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
        "metric": ranking.metric.name,
        "better": ranking.metric.better,
        "interval": ranking.interval,
        "windows": ranking.windows,
        "subjects": ranking.subjects,
        "protocol": ranking.protocol.model_dump(mode="json"),
        "rows": [
            {
                "name": row.name,
                "backbone": row.backbone,
                "checkpoint": row.checkpoint,
                "adapters": row.adapters,
                "seeds": row.seeds,
                "overall": {**row.overall},
                "channels": _by_name(row.scores),
                "costs": row.costs.model_dump(exclude_none=True),
                "vs_reference": of(row.vs_reference),
                "vs_baseline": of(row.vs_baseline),
                "runs": [str(folder) for folder in row.folders],
                "failure": row.failure,
            }
            for row in ranking.rows
        ],
    }


def _by_name(scores: ModelScores | None) -> JsonValue:
    if scores is None or scores.channels is None:
        return None
    return {channel: {**own} for channel, own in scores.channels.items()}


def _csv(ranking: Ranking) -> str:
    metrics = _metrics(ranking)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    compared = [f"{kind}_{part}" for kind in ("vs_reference", "vs_baseline") for part in _PARTS]
    rows.writerow(["model", "seeds", *(m.name for m in metrics), *_COSTS, *compared, "failure"])
    for row in ranking.rows:
        rows.writerow(
            [
                row.name,
                row.seeds,
                *(row.overall.get(metric.name) for metric in metrics),
                *(row.costs.model_dump()[cost] for cost in _COSTS),
                *_parts(row.vs_reference),
                *_parts(row.vs_baseline),
                row.failure,
            ]
        )
    return text.getvalue()


def _parts(against: Against | None) -> list[Any]:
    if against is None:
        return [None] * len(_PARTS)
    comparison = against.comparison
    ends = (comparison.difference, comparison.low, comparison.high)
    return [against.name, *ends, against.p_holm]


def _metrics(ranking: Ranking) -> list[Metric]:
    """The columns for which some model has a value."""
    scored = ranking.scored
    return [
        metric
        for metric in ranking.shown
        if any(row.overall.get(metric.name) is not None for row in scored)
    ]


def _what(ranking: Ranking) -> str:
    return (
        f"task {ranking.recipe.task.name}, {ranking.windows} windows of {ranking.subjects} "
        f"subject{'s' if ranking.subjects != 1 else ''} of the test set"
    )


def _warnings(ranking: Ranking) -> Iterator[str]:
    if ranking.smoke:
        yield "A smoke run of a few windows: the scores mean nothing."
    if ranking.interval == "within one patient":
        yield "One test subject: intervals are within one patient; no difference counts as shown."
    elif ranking.interval == "few subjects":
        yield f"Only {ranking.subjects} subjects: intervals are wide (t intervals over subjects)."
    if any(row.seeds == 1 and row.adapters for row in ranking.rows):
        yield "One training seed: the variation between seeds is not known."


def _reading(ranking: Ranking) -> str:
    metric = ranking.metric
    return (
        f"Models are ranked by {metric.label}; {metric.better} is better. "
        f"Differences are in {metric.of_difference}; a positive one means that the row is better. "
        "Their 95 % intervals are over subjects, on the same windows. p values are adjusted for "
        "the number of rows in their column (Holm); differences with p below .05 are coloured. "
        "Seconds and memory were measured on this machine."
    )


def _ranked(ranking: Ranking) -> Table:
    metrics = _metrics(ranking)
    unit = ranking.metric.unit
    header = [
        "model",
        "seeds",
        *(metric.label for metric in metrics),
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
            *(Cell(_number(row.overall.get(metric.name))) for metric in metrics),
            *_compared(row.vs_reference),
            *_compared(row.vs_baseline),
            Cell(_number(row.costs.trainable_parameters, "{:,.0f}")),
            Cell(_number(row.costs.seconds_per_step, "{:.2f}")),
            Cell(_number(row.costs.peak_memory_mb, "{:.0f}")),
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
    mark = "" if verdict == "inconclusive" else verdict
    return Cell(text, mark), Cell(_number(against.p_holm, "{:.3f}"), mark)


def _number(value: float | None, form: str = "{:.3f}") -> str:
    return "" if value is None else form.format(value)


def _scores_of(ranking: Ranking) -> list[tuple[str, bool, ModelScores]]:
    """Each model's name, whether it is a baseline, and its scores."""
    return [
        (row.name, row.backbone is None, row.scores)
        for row in ranking.rows
        if row.scores is not None
    ]


def _channel_scores(ranking: Ranking) -> list[Metric]:
    first = next((scores.channels for _, _, scores in _scores_of(ranking) if scores.channels), {})
    known = {name for values in first.values() for name in values}
    return [metric for metric in _OF_CHANNELS if metric.name in known]


def _by_channel(ranking: Ranking, metric: Metric) -> Table:
    models = _scores_of(ranking)
    plan = cleaning_plan(ranking.recipe.data)
    units = dict(zip(plan.names, plan.units, strict=True))
    channels = list(models[0][2].channels)
    header = [f"{name}, {units[name]}" if metric.in_data_units else name for name in channels]
    lines = []
    for name, baseline, scores in models:
        values: list[ByName] = [scores.channels[channel] for channel in channels]
        cells = [Cell(name), *(Cell(_number(of.get(metric.name))) for of in values)]
        lines.append(Line(cells, "baseline" if baseline else ""))
    return Table(f"{metric.label} by channel", ["model", *header], lines)


def _by_subject(ranking: Ranking) -> list[Table]:
    models = [
        (name, scores.by_subject) for name, _, scores in _scores_of(ranking) if scores.by_subject
    ][:_SUBJECT_COLUMNS]
    if not models:
        return []
    metric = ranking.metric
    lines = [
        Line([Cell(subject), *(Cell(_number(own[subject].get(metric.name))) for _, own in models)])
        for subject in models[0][1]
    ]
    title = f"{metric.label} by subject, the best {len(models)} models"
    return [Table(title, ["subject", *(name for name, _ in models)], lines)]


def _protocol(ranking: Ranking) -> Iterator[str]:
    protocol, recipe = ranking.protocol, ranking.recipe
    yield "Data: reader " + recipe.data.reader.name + ("; SYNTHETIC" if ranking.synthetic else "")
    plan = cleaning_plan(recipe.data)
    assumed = recipe.data.assumed_units
    named = ", ".join(
        f"{c.name} ({c.unit}{', ASSUMED' if c.name in assumed else ''})" for c in plan.channels
    )
    yield f"Channels: {named}; {recipe.data.rate_hz:g} Hz"
    yield f"Split by {recipe.data.split.by}; windows " + ", ".join(
        f"{name} {count}" for name, count in protocol.windows_by_split.items()
    )
    yield f"Fitted on: {protocol.fitted_on}"
    yield from (line[:1].upper() + line[1:] for line in ranking.audit.lines)
    yield f"Test windows: sha256 {protocol.origins_sha256[:12]}, the same for every model"
