"""Pictures of a run, drawn without a display; all can be redrawn from its files and windows."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from tsfm_adapt._util import atomic
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.plots.learning import learning_curve, records
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import Task


def draw(folder: Path, task: Task, windows: Windows, units: Sequence[str], scores: Scores) -> None:
    """Writes `plots/*.png` into a run's folder.

    Args:
        folder: the run's, with metrics.jsonl and predictions/test.parquet.
        task: the recipe's.
        windows: of the test set, as they were predicted.
        units: of the channels.
        scores: of the run.
    """
    import pyarrow.parquet

    predictions = pyarrow.parquet.read_table(folder / "predictions" / "test.parquet")
    title = title_of(scores.synthetic)
    figures = task.examples(windows, units, predictions, title)
    figures |= task.diagnostics(windows, units, predictions, scores, title)
    if metrics := records(folder / "metrics.jsonl"):
        figures["learning_curve"] = learning_curve(metrics)
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        atomic.write_bytes(folder / "plots" / f"{name}.png", buffer.getvalue())


def title_of(synthetic: bool) -> str:
    """What pictures are of."""
    return "SYNTHETIC data" if synthetic else "test set"
