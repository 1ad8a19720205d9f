import io

import numpy as np
import pytest
from matplotlib.image import imread

from tsfm_adapt.plots.classes import confusion, reliability, roc

NAMES = ("rest", "walk", "run")


def said(classes, multilabel=False, rows=300, seed=0):
    rng = np.random.default_rng(seed)
    if multilabel:
        target = rng.random((rows, classes)) < 0.3
        return np.clip(0.4 * target + 0.6 * rng.random(target.shape), 0, 1), target
    target = np.eye(classes, dtype=bool)[rng.integers(0, classes, rows)]
    probability = rng.random((rows, classes)) + 0.7 * target
    return probability / probability.sum(1, keepdims=True), target


@pytest.mark.parametrize("draw", [roc, confusion, reliability])
@pytest.mark.parametrize("classes", [2, 3])
def test_pictures_show_something(draw, classes):
    figure = draw(*said(classes), NAMES[:classes], "test part")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    buffer.seek(0)
    assert imread(buffer).std() > 0.05


def test_curves_are_of_the_second_of_two_classes_and_of_every_label():
    figure = roc(*said(2), NAMES[:2], "test part")
    assert [line.get_label().split(":")[0] for line in figure.axes[0].lines[1:]] == ["walk"]
    figure = roc(*said(2, multilabel=True), NAMES[:2], "test part")
    assert [line.get_label().split(":")[0] for line in figure.axes[0].lines[1:]] == list(NAMES[:2])


def test_a_class_that_never_occurs_has_no_curve():
    probability, target = said(3)
    kept = ~target[:, 2]
    figure = roc(probability[kept], target[kept], NAMES, "test part")
    assert len(figure.axes[0].lines) == 3  # chance and two classes
    nothing = roc(probability[:1], target[:1], NAMES, "test part")
    assert len(nothing.axes[0].lines) == 1


def test_the_confusion_counts_every_row_once():
    probability, target = said(3)
    figure = confusion(probability, target, NAMES, "test part")
    counts = np.array([int(text.get_text()) for text in figure.axes[0].texts]).reshape(3, 3)
    np.testing.assert_array_equal(counts.sum(axis=1), target.sum(axis=0))
    right = probability.argmax(1) == target.argmax(1)
    assert np.trace(counts) == right.sum()


def test_reliability_by_hand():
    sure = np.array([0.05, 0.05, 0.95, 0.95, 0.95, 0.95])
    target = np.eye(2, dtype=bool)[[0, 1, 1, 1, 1, 0]]
    figure = reliability(np.stack([1 - sure, sure], axis=1), target, NAMES[:2], "test part")
    points = figure.axes[0].lines[1].get_xydata()
    np.testing.assert_allclose(points, [[0.05, 0.5], [0.95, 0.75]])
