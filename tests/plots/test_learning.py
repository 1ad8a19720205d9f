"""Learning curves: what is read and what is drawn."""

import json

import pytest

from tsfm_adapt.plots.learning import learning_curve, records

METRICS = [
    {"step": 0, "val_loss": 2.0},
    {"step": 1, "loss": 1.5, "lr": 0.1},
    {"step": 2, "loss": 1.25, "val_loss": 0.5},
    {"step": 4, "val_loss": 0.75},
]


def drawn(figure):
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def test_lines_of_a_file_are_records_and_a_file_that_is_not_there_has_none(tmp_path):
    assert records(tmp_path / "metrics.jsonl") == []
    text = "".join(json.dumps(record) + "\n" for record in METRICS)
    (tmp_path / "metrics.jsonl").write_text(text)
    assert records(tmp_path / "metrics.jsonl") == METRICS


def test_both_losses_are_drawn_at_their_steps_and_the_best_is_marked():
    lines = drawn(learning_curve(METRICS))
    assert lines["train"].get_xydata().tolist() == [[1, 1.5], [2, 1.25]]
    assert lines["validation"].get_xydata().tolist() == [[0, 2.0], [2, 0.5], [4, 0.75]]
    assert list(lines["best: 2"].get_xdata()) == [2, 2]


@pytest.mark.parametrize("key", ["loss", "val_loss"])
def test_a_run_without_one_of_them_shows_the_other(key):
    lines = drawn(learning_curve([record for record in METRICS if key not in record]))
    assert lines.keys() == ({"train"} if key == "val_loss" else {"validation", "best: 4"})
