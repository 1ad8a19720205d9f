"""What a trial says of its candidates."""

from __future__ import annotations

from tsfm_adapt.evaluation.metric import METRICS
from tsfm_adapt.proposal.outcome import Row, Trial

ROWS = (Row("one", 0.912), Row("two", 1.2), Row("broken", None, problem="no weights"))


def trial(*rows, metric="mase"):
    return Trial("on some windows", METRICS[metric], rows, {"backbone": {"name": "one"}})


def test_every_row_is_a_line_and_the_best_network_is_marked():
    lines = trial(*ROWS, Row("ridge", 1.0, network=False)).lines
    assert lines == [
        "MASE (lower is better) on some windows",
        "one     0.912  proposed",
        "two     1.2",
        "broken  - (no weights)",
        "ridge   1  no network",
    ]


def test_a_simple_model_that_is_better_is_said_to_be():
    assert (
        "ridge, which is no network, is better than one"
        in (trial(*ROWS, Row("ridge", 0.5, network=False)).lines[-1])
    )
    higher = trial(Row("probe", 0.7), Row("forest", 0.8, network=False), metric="auroc")
    assert "forest, which is no network, is better than probe" in higher.lines[-1]


def test_without_a_score_nothing_is_proposed():
    found = trial(Row("broken", None), Row("ridge", 0.5, network=False))
    assert found.best is None
    assert "the usual one is proposed" in found.lines[-1]
    assert Trial("none: too large").lines == ["none: too large"]
