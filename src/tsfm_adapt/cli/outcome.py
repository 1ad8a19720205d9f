"""What a finished run prints: scores side by side, the verdict, where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsfm_adapt.cli.options import print_json

if TYPE_CHECKING:
    from tsfm_adapt.runs.run import Run

_SHOWN = ("mase", "wql", "mae", "coverage80")  # of forecasts and filled gaps
_OF_CLASSES = ("auroc", "auprc", "accuracy", "balanced_accuracy", "macro_f1", "ece")


def show(run: Run, as_json: bool) -> None:
    """Prints the outcome; the last line is `run: PATH`, unless it is JSON."""
    scores = run.scores
    if as_json:
        print_json({"run": str(run.folder), "scores": scores})
        return
    for line in [*_table(scores), *_calibration(scores), *_events(scores), *_subgroups(scores)]:
        print(line)
    print()
    for sentence in scores["sentences"]:
        print(sentence)
    print(f"run: {run.folder}")


def _table(scores: dict[str, Any]) -> list[str]:
    """One row a model, best first."""
    synthetic = " (SYNTHETIC data)" if scores["synthetic"] else ""
    head = (
        f"test part{synthetic}: {scores['windows']} windows of {scores['subjects']} "
        f"subject{'s' if scores['subjects'] != 1 else ''}"
    )
    rows = [(name, model["overall"]) for name, model in scores["models"].items() if model]
    ranked = scores.get("ranked_by", {"metric": "mase", "better": "lower"})
    metric, sign = ranked["metric"], -1 if ranked["better"] == "higher" else 1
    rows.sort(key=lambda row: (row[1][metric] is None, sign * (row[1][metric] or 0)))
    shown = _OF_CLASSES if metric in _OF_CLASSES else _SHOWN
    width = max(len(name) for name, _ in rows)
    widths = [max(12, len(name) + 2) for name in shown]
    titles = (f"{name:>{w}}" for name, w in zip(shown, widths, strict=True))
    lines = [head, " " * width + "".join(titles)]
    for name, overall in rows:
        cells = (_cell(overall.get(m), w) for m, w in zip(shown, widths, strict=True))
        lines.append(f"{name:<{width}}" + "".join(cells))
    lines += [f"{name}: {reason}" for name, reason in scores.get("reasons", {}).items()]
    return lines


def _calibration(scores: dict[str, Any]) -> list[str]:
    """What the adapted model's bands cover, before and after calibration, or why not."""
    found = scores.get("calibration")
    if found is None:
        return []
    if "reason" in found:
        return [f"bands not calibrated: {found['reason']}"]
    raw, now = scores["models"]["adapted"]["overall"]["coverage80"], found["overall"]["coverage80"]
    lines = [f"{name} not calibrated: {why}" for name, why in found["not_calibrated"].items()]
    if raw is None or now is None:
        return lines
    return [f"coverage of the 80 % band: {raw:.2f}, calibrated {now:.2f}", *lines]


def _events(scores: dict[str, Any]) -> list[str]:
    """For each event, how surely and how early the models warn of it."""
    lines: list[str] = []
    for name, event in scores.get("events", {}).items():
        lines += [
            "",
            f"{name} ({event['event']}): {event['episodes']} episodes of {event['subjects']} "
            f"subjects in {event['monitored_days']:.1f} monitored days; share detected",
        ]
        width = max(map(len, event["models"]))
        rates = list(next(iter(event["models"].values()))["at"])
        titles = "".join(f"{f'{rate} false/day':>19}" for rate in rates)
        lines.append(f"{'':{width}}{titles}{'lead at last':>19}")
        for model, found in event["models"].items():
            cells = "".join(f"{_share(found['at'][rate]):>19}" for rate in rates)
            lead = found["at"][rates[-1]]["lead_s"]
            shown = "-" if lead is None else f"{lead['median'] / 60:.0f} min"
            lines.append(f"{model:<{width}}{cells}{shown:>19}")
    return lines


def _subgroups(scores: dict[str, Any]) -> list[str]:
    """For each attribute, how the adapted model and its reference do in each group."""
    lines: list[str] = []
    for attribute, table in scores.get("subgroups", {}).items():
        width = max(map(len, table["groups"]))
        scored = [group for group in table["groups"].values() if group["models"]]
        shown = [
            m
            for m in ("adapted", "zero_shot", "frozen_probe")
            if scored and m in scored[0]["models"]
        ]
        unit = "%" if table["better"] == "lower" else "points"
        titles = "".join(f"{name:>14}" for name in shown)
        lines += ["", f"by {attribute} ({table['metric']}, {table['better']} is better)"]
        lines.append(f"{'':{width}}{'subjects':>10}{'windows':>10}{titles}  adapted better by")
        for name, group in table["groups"].items():
            line = f"{name:<{width}}{group['subjects']:>10}{group['windows']:>10}"
            if group["models"] is None:
                lines.append(f"{line}  fewer than {table['min_subjects']} subjects")
                continue
            line += "".join(_cell(group["models"][model], 14) for model in shown)
            lines.append(f"{line}  {_gain(group['difference'], unit)}")
    return lines


def _gain(difference: dict[str, Any] | None, unit: str) -> str:
    if difference is None or difference["difference"] is None:
        return "-"
    low, high = difference["low"], difference["high"]
    interval = "" if low is None else f" [{low:.1f}, {high:.1f}]"
    return f"{difference['difference']:.1f} {unit}{interval}"


def _share(point: dict[str, Any]) -> str:
    """Such as `0.52 [0.31, 0.70]`."""
    if point["sensitivity"] is None:
        return "-"
    interval = "" if point["low"] is None else f" [{point['low']:.2f}, {point['high']:.2f}]"
    return f"{point['sensitivity']:.2f}{interval}"


def _cell(value: float | None, width: int) -> str:
    return f"{'-':>{width}}" if value is None else f"{value:>{width}.4f}"
