"""The task, the split and the windows that are proposed."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import proposed, recording, walk
from tsfm_adapt.errors import DataError


@pytest.mark.parametrize(
    ("subjects", "by"), [(1, "time"), (2, "time"), (3, "subject"), (5, "subject"), (9, "subject")]
)
def test_people_are_split_where_there_are_enough(subjects, by):
    proposal = proposed(*(recording(walk(3000, s), f"s{s}") for s in range(subjects)))
    assert proposal.split["by"] == by
    said = " ".join(proposal.notes)
    assert ("never evidence" in said) == (by == "time")
    assert ("fewer than 8" in said) == (3 <= subjects < 8)


@pytest.mark.parametrize("samples", [60, 100, 333, 1000, 5000])
def test_every_part_holds_a_window(samples):
    proposal = proposed(recording(walk(samples)))
    window = proposal.window
    assert 0.2 * samples >= window.context + window.horizon
    assert window.context <= 256
    if samples >= 5000:
        assert window.context == 256


def test_no_window_is_an_error_that_names_the_longest():
    with pytest.raises(DataError, match=r"a-1, has 20 samples"):
        proposed(recording(walk(20)))


def trials(count=30, samples=64, classes=3, **labels):
    return [
        recording(
            np.random.default_rng(i).normal(size=samples),
            f"t{i}",
            channels=("x",),
            units=("1",),
            labels={"label": i % classes} | labels,
        )
        for i in range(count)
    ]


def test_labelled_trials_are_classified():
    proposal = proposed(*trials())
    assert (proposal.task, proposal.window.context) == ("classify", 64)
    assert proposal.written.task["labels"]["classes"] == [0, 1, 2]
    assert proposed(*trials(), task="forecast").task == "forecast"


def test_long_trials_are_slowed_until_they_fit():
    proposal = proposed(*trials(samples=1200))
    assert proposal.rate_hz == pytest.approx(1 / 3)
    assert proposal.window.context == 400


def test_published_parts_are_kept():
    items = trials(20, part="train")
    items += [
        recording(i.values, f"u{n}", id=f"u{n}", channels=("x",), units=("1",),
                  labels=i.labels | {"part": "test"})
        for n, i in enumerate(trials(10))
    ]  # fmt: skip
    assert proposed(*items).split == {"by": "predefined", "val": 0.2}
    assert proposed(*trials(20, part="train")).split["by"] == "subject"


def test_to_classify_needs_a_label():
    with pytest.raises(DataError, match="no labels"):
        proposed(recording(walk(500)), task="classify")
