"""Which channels are kept, and what is proposed for the values of each."""

from __future__ import annotations

import numpy as np

from contracts.proposed import proposed, recording, walk


def line_of(proposal, name):
    return next(line for line in proposal.channels if line.name == name)


def test_zeros_of_a_vital_sign_are_missing_and_of_others_only_where_far_away():
    heart, far, near, both = walk(400), walk(400, 1), walk(400, 2, 0.0), np.abs(walk(400, 3, 1.0))
    for row in (heart, far, near, both):
        row[100:110] = 0
    channels = ("HR", "X", "ECG", "Y")
    proposal = proposed(
        recording([heart, far, near, both], channels=channels, units=("bpm", "1", "mV", "1"))
    )
    assert "2.5% are exactly 0" in line_of(proposal, "HR").zero
    assert line_of(proposal, "X").zero is not None
    assert line_of(proposal, "ECG").zero is None
    assert line_of(proposal, "Y").zero is None
    assert line_of(proposal, "HR").limits == (10, 350)
    assert line_of(proposal, "X").limits is None


def test_what_is_constant_empty_or_dead_is_left_out():
    dead = np.zeros(400)
    dead[:3] = 90
    rows = [walk(400), np.full(400, 7.0), np.full(400, np.nan), dead]
    proposal = proposed(
        recording(rows, channels=("HR", "flag", "none", "MAP"), units=("bpm", "1", "1", "mmHg"))
    )
    assert [line.name for line in proposal.kept] == ["HR"]
    assert line_of(proposal, "flag").why == "always 7"
    assert line_of(proposal, "none").why == "never measured"
    assert "0.8% of the samples" in line_of(proposal, "MAP").why


def test_a_channel_of_a_minority_is_left_out():
    both = recording([walk(400), walk(400, 1)], channels=("HR", "RESP"), units=("bpm", "pm"))
    proposal = proposed(both, *(recording(walk(400, s), f"s{s}") for s in range(3)))
    assert line_of(proposal, "RESP").why == "measured in 1 of 4 recordings"


def test_an_unstated_unit_is_told_by_name_and_values():
    proposal = proposed(
        recording(
            [walk(400), walk(400, 1, 1000.0), walk(400, 2, 98.0) * 0.01 + 97],
            channels=("HR", "X", "Temp"),
            units=("1", "", "1"),
        )
    )
    assert (line_of(proposal, "HR").unit, line_of(proposal, "HR").from_unit) == ("1/min", "1/min")
    assert (line_of(proposal, "X").unit, line_of(proposal, "X").from_unit) == ("1", "1")
    assert line_of(proposal, "Temp").from_unit == "degF"
    assert line_of(proposal, "Temp").limits == (59, 113)
