"""Prints a finished run: its scores, the verdict, and where its files are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsfm_adapt.cli.options import print_json
from tsfm_adapt.evaluation.metric import Metric, metric
from tsfm_adapt.evaluation.scores import AlarmScores, Role, Scores, SubgroupDifference

if TYPE_CHECKING:
    from tsfm_adapt.runs.run import Run


def show(run: Run, as_json: bool) -> None:
    """Prints the outcome; the last line is `run: PATH`, unless it is JSON."""
    scores = run.scores
    if as_json:
        print_json({"run": str(run.folder), "scores": scores.tree()})
        return
    shown = run.recipe.task.build().scoring(run.recipe.data.rate_hz).shown
    if scores.metric not in {each.name for each in shown}:  # of another package's task
        shown = (scores.ranked_by, *shown)
    lines = [*_table(scores, shown), *_calibration(scores), *_events(scores), *_subgroups(scores)]
    for line in lines:
        print(line)
    if (run.folder / "plots").is_dir():
        print(f"pictures: {run.folder / 'plots'}")
    print()
    for sentence in scores.sentences:
        print(sentence)
    print(f"run: {run.folder}")


def _table(scores: Scores, shown: Sequence[Metric]) -> list[str]:
    """One row a model, best first."""
    synthetic = " (SYNTHETIC data)" if scores.synthetic else ""
    subjects = counted(scores.subjects, "subject")
    head = f"test set{synthetic}: {counted(scores.windows, 'window')} of {subjects}"
    width = max(len(name) for name in scores.models)
    widths = [max(12, len(metric.name) + 2) for metric in shown]
    titles = (f"{m.name:>{w}}" for m, w in zip(shown, widths, strict=True))
    lines = [head, " " * width + "".join(titles)]
    for name, own in scores.best_first():
        cells = (_cell(own.overall.get(m.name), w) for m, w in zip(shown, widths, strict=True))
        lines.append(f"{name:<{width}}" + "".join(cells))
    lines += [f"{name}: {reason}" for name, reason in scores.reasons.items()]
    return lines


def _calibration(scores: Scores) -> list[str]:
    """What the adapted model's intervals cover, before and after calibration, or why not."""
    calibration, adapted = scores.calibration, scores.of(Role.ADAPTED)
    if calibration is None or adapted is None:
        return []
    if calibration.reason is not None:
        return [f"prediction intervals not calibrated: {calibration.reason}"]
    lines = [f"{name} not calibrated: {why}" for name, why in calibration.not_calibrated.items()]
    raw, now = adapted.overall.get("coverage80"), calibration.overall.get("coverage80")
    if raw is None or now is None:
        return lines
    return [f"coverage of the 80 % prediction interval: {raw:.2f}, calibrated {now:.2f}", *lines]


def _events(scores: Scores) -> list[str]:
    """For each event, how surely and how early the models warn of it."""
    lines: list[str] = []
    for name, event in scores.events.items():
        lines += [
            "",
            f"{name} ({event.event}): {counted(event.episodes, 'episode')} of "
            f"{counted(event.subjects, 'subject')} in {event.monitored_days:.1f} monitored days; "
            "share detected",
        ]
        width = max(map(len, event.models))
        rates = list(next(iter(event.models.values())).at)
        titles = "".join(f"{f'{rate} false/day':>19}" for rate in rates)
        lines.append(f"{'':{width}}{titles}{'lead at last':>19}")
        for model, alarms in event.models.items():
            cells = "".join(f"{_share(alarms.at[rate]):>19}" for rate in rates)
            lead = alarms.at[rates[-1]].lead_s
            shown = "-" if lead is None else f"{lead['median'] / 60:.0f} min"
            lines.append(f"{model:<{width}}{cells}{shown:>19}")
    return lines


def _subgroups(scores: Scores) -> list[str]:
    """For each attribute, how the adapted model and its reference do in each group."""
    compared = [n for n, own in scores.models.items() if own.role != Role.BASELINE]
    lines: list[str] = []
    for attribute, table in scores.subgroups.items():
        width = max(map(len, table.groups))
        unit = table.unit or metric(table.metric).unit
        titles = "".join(f"{name:>14}" for name in compared)
        lines += ["", f"by {attribute} ({table.metric}, {table.better} is better)"]
        lines.append(f"{'':{width}}{'subjects':>10}{'windows':>10}{titles}  adapted better by")
        for name, group in table.groups.items():
            line = f"{name:<{width}}{group.subjects:>10}{group.windows:>10}"
            if group.models is None:
                lines.append(f"{line}  fewer than {table.min_subjects} subjects")
                continue
            line += "".join(_cell(group.models.get(model), 14) for model in compared)
            lines.append(f"{line}  {_gain(group.difference, unit)}")
    return lines


def _gain(gain: SubgroupDifference | None, unit: str) -> str:
    if gain is None or gain.difference is None:
        return "-"
    interval = "" if gain.low is None else f" [{gain.low:.1f}, {gain.high:.1f}]"
    return f"{gain.difference:.1f} {unit}{interval}"


def _share(point: AlarmScores) -> str:
    """Such as `0.52 [0.31, 0.70]`."""
    if point.sensitivity is None:
        return "-"
    interval = "" if point.low is None else f" [{point.low:.2f}, {point.high:.2f}]"
    return f"{point.sensitivity:.2f}{interval}"


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.4f}"


def counted(number: int, noun: str) -> str:
    """Such as `1 subject` and `2 subjects`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
