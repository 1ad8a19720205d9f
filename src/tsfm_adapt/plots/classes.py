"""Pictures of a classification: ROC, precision and recall, confusion, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.plots._panels import panels
from tsfm_adapt.signals.labels import LabelledWindows
from tsfm_adapt.signals.recording import BoolArray, FloatArray

if TYPE_CHECKING:
    import pyarrow
    from matplotlib.figure import Figure

_CURVES = 10  # classes beyond which curves cannot be told apart
_BINS = 10  # of the reliability diagram
_FEW = 12  # classes up to which each cell of the confusion has its number


def class_pictures(
    windows: LabelledWindows, predictions: pyarrow.Table, title: str
) -> dict[str, Figure]:
    """Pictures of classified windows, before those of one recording are averaged.

    Args:
        windows: of the test set, as they were predicted.
        predictions: with a column `p_CLASS` each.
        title: of the data.
    """
    classes, target = windows.labelling.classes, windows.classes_of
    columns = [predictions.column(f"p_{name}").to_numpy() for name in classes]
    probability = np.stack(columns, axis=1)
    figures = {"reliability": reliability(probability, target, classes, title)}
    if len(classes) <= _CURVES:
        figures["roc"] = roc(probability, target, classes, title)
    if len(classes) > 2 and not windows.labelling.multilabel:
        figures["confusion"] = confusion(probability, target, classes, title)
    return figures


def roc(probability: FloatArray, target: BoolArray, classes: Sequence[str], title: str) -> Figure:
    """ROC and precision-recall curves, each class against the rest; of two classes the second.

    Args:
        probability: (N, K).
        target: (N, K).
        classes: K names.
        title: what was classified.
    """
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_curve,
        roc_auc_score,
        roc_curve,
    )

    figure, (left, right) = panels(2, 2)
    left.plot([0, 1], [0, 1], color="C7", linewidth=0.8)
    for k in _shown_classes(len(classes), target):
        true, sure = target[:, k], probability[:, k]
        if true.all() or not true.any():
            continue
        curve = roc_curve(true, sure)
        area, precision = roc_auc_score(true, sure), average_precision_score(true, sure)
        left.plot(curve[0], curve[1], color=f"C{k % 10}", label=f"{classes[k]}: {area:.2f}")
        precisions, recall, _ = precision_recall_curve(true, sure)
        share = true.mean()
        label = f"{classes[k]}: {precision:.2f} ({true.sum()} of {len(true)})"
        right.step(recall, precisions, where="post", color=f"C{k % 10}", label=label)
        right.axhline(share, color=f"C{k % 10}", linestyle=":", linewidth=0.8)
    left.set(xlabel="1 - specificity", ylabel="sensitivity", title="ROC, area", aspect="equal")
    right.set(xlabel="sensitivity (recall)", ylabel="precision", ylim=(0, 1.02))
    right.set_title("Precision and recall, average precision")
    for axis in (left, right):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize="small")
    figure.suptitle(title)
    return figure


def confusion(
    probability: FloatArray, target: BoolArray, classes: Sequence[str], title: str
) -> Figure:
    """True classes by the class of largest probability: share of each row, and counts.

    Args:
        probability: (N, K), one class of K a row.
        target: (N, K).
        classes: K names.
        title: what was classified.
    """
    count = len(classes)
    decided = np.arange(count) == probability.argmax(axis=1)[:, None]
    counts = target.astype(np.int64).T @ decided
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, (axis,) = panels(1, 1)
    image = axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    if count <= _FEW:
        for row, column in np.ndindex(count, count):
            colour = "white" if share[row, column] > 0.5 else "black"
            axis.text(column, row, counts[row, column], ha="center", va="center", color=colour)
    axis.set_xticks(range(count), classes, rotation=45, ha="right")
    axis.set_yticks(range(count), classes)
    axis.set(xlabel="largest probability", ylabel="true class", title=title)
    return figure


def reliability(
    probability: FloatArray, target: BoolArray, classes: Sequence[str], title: str
) -> Figure:
    """Reliability diagram: how often a class was true, by its predicted probability; and counts.

    Args:
        probability: (N, K).
        target: (N, K).
        classes: K names.
        title: what was classified.
    """
    figure, (above, below) = panels(2, 1)
    figure.set_size_inches(6.0, 6.0)
    above.plot([0, 1], [0, 1], color="C7", linewidth=0.8)
    edges = np.linspace(0, 1, _BINS + 1)
    for k in _shown_classes(len(classes), target):
        number = np.clip((probability[:, k] * _BINS).astype(int), 0, _BINS - 1)
        stated = np.bincount(number, weights=probability[:, k], minlength=_BINS)
        occurred = np.bincount(number, weights=target[:, k], minlength=_BINS)
        rows = np.bincount(number, minlength=_BINS)
        some = rows > 0
        points = stated[some] / rows[some], occurred[some] / rows[some]
        above.plot(*points, "o-", color=f"C{k % 10}", label=classes[k])
        below.stairs(rows, edges, color=f"C{k % 10}")
    above.set(xlabel="probability", ylabel="share that was of the class", title=title)
    above.legend(fontsize="small")
    below.set(xlabel="probability", ylabel="how often")
    return figure


def _shown_classes(classes: int, target: BoolArray) -> range:
    """The classes with a curve: the second of two exclusive ones, else all."""
    exclusive = bool((target.sum(axis=1) == 1).all())
    return range(1, 2) if classes == 2 and exclusive else range(classes)
