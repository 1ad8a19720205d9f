"""Filled gaps scored: over all masks, and by pattern and length."""

import numpy as np
import pytest

from contracts.hiding import BLOCKS, POINTS, config
from contracts.small_run import windows
from contracts.task import RATE_HZ
from tsfm_adapt.evaluation.base import Predictor, Scale


def scored(predict, task, levels=(0.5,)):
    some = task.windows(windows().recordings, RATE_HZ, "test")
    errors = task.scoring(RATE_HZ).errors(Predictor(predict, levels), some, 8, lambda _: None)
    scale = Scale(("HR", "MAP"), ("bpm", "mmHg"), np.array([0.5, 2.0]))
    return task.scoring(RATE_HZ).summary({"model": errors}, scale).model_dump(
        exclude_unset=True
    ), errors


def test_the_truth_scores_zero_and_an_error_of_one_its_scale():
    task = config(missingness=[BLOCKS, POINTS], mask_seeds=2).build()
    exact, _ = scored(lambda arrays, steps: arrays.target[:, :, None], task)
    assert exact["models"]["model"]["overall"]["mase"] == 0
    off, errors = scored(lambda arrays, steps: arrays.target[:, :, None] + 1, task)
    scores = off["models"]["model"]
    assert scores["channels"]["HR"]["mae"] == pytest.approx(1, rel=1e-5)
    assert scores["overall"]["mase"] == pytest.approx(1.25, rel=1e-5)
    hidden = errors.target[:, 0][errors.scored[:, 0]]
    assert scores["channels"]["HR"]["mre"] == pytest.approx(1 / hidden.mean(), rel=1e-4)
    assert "by_step" not in scores
    assert "dtw" not in scores["overall"]
    assert off["missingness"]["seeds"] == 2


def test_gaps_are_scored_apart_by_pattern_and_length():
    """An error of one in windows of each kind of mask, numbered from 1."""
    task = config(missingness=[BLOCKS, POINTS], mask_seeds=2).build()

    def by_mask(arrays, steps):
        return (arrays.target + (arrays.mask // 2 + 1)[:, None, None])[:, :, None]

    summary, _ = scored(by_mask, task)
    maes = {
        name: models["model"]["channels"]["HR"]["mae"] for name, models in summary["gaps"].items()
    }
    assert maes == {
        "block_60": pytest.approx(1, rel=1e-4),
        "block_240": pytest.approx(2, rel=1e-4),
        "point": pytest.approx(3, rel=1e-4),
    }
