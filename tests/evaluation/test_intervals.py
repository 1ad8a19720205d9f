"""Intervals and p values that several comparisons share."""

import pytest

from tsfm_adapt.evaluation.intervals import holm


def test_holm_worked_out_by_hand():
    assert holm([0.01, None, 0.04, 0.03, 0.005]) == pytest.approx([0.03, None, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1.0, 1.0]
    assert holm([]) == []
