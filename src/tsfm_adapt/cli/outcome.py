"""What a finished run prints: scores side by side, the verdict, where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tsfm_adapt.cli.options import print_json

if TYPE_CHECKING:
    from tsfm_adapt.runs import Run

_SHOWN = ("mase", "wql", "mae", "coverage80")


def show(run: Run, as_json: bool) -> None:
    """Prints the outcome; the last line is `run: PATH`, unless it is JSON."""
    scores = run.scores
    if as_json:
        print_json({"run": str(run.folder), "scores": scores})
        return
    for line in _table(scores):
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
    rows.sort(key=lambda row: (row[1]["mase"] is None, row[1]["mase"]))
    width = max(len(name) for name, _ in rows)
    lines = [head, " " * width + "".join(f"{metric:>12}" for metric in _SHOWN)]
    for name, overall in rows:
        lines.append(f"{name:<{width}}" + "".join(_cell(overall.get(m)) for m in _SHOWN))
    return lines


def _cell(value: float | None) -> str:
    return f"{'-':>12}" if value is None else f"{value:>12.4f}"
