"""The task, the split and the windows that are proposed."""

from __future__ import annotations

import numpy as np
import pytest

from contracts.proposed import given_items, proposed, recording, walk
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.signals.recording import RecordingSet
from tsfm_adapt.signals.splitting import SplitPlan, split


@pytest.mark.parametrize(
    ("subjects", "by"), [(1, "time"), (2, "time"), (3, "subject"), (5, "subject"), (9, "subject")]
)
def test_people_are_split_where_there_are_enough(subjects, by):
    proposal = proposed(*(recording(walk(3000, s), f"s{s}") for s in range(subjects)))
    assert proposal.split["by"] == by
    notes = " ".join(proposal.notes)
    assert ("never evidence" in notes) == (by == "time")
    assert ("fewer than 8" in notes) == (3 <= subjects < 8)


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


@pytest.mark.parametrize(
    ("subjects", "note"),
    [
        (3, "1 in the test set, where a verdict needs at least 2: add subjects"),
        (5, "at least 2: add subjects or use train: 2, val: 1, test: 2"),
        (4, "at least 2: add subjects or use train: 1, val: 1, test: 2"),
    ],
)
def test_one_test_subject_is_too_few_for_a_verdict_and_the_note_says_how_many_are_not(
    subjects, note
):
    items = [recording(walk(3000, s), f"s{s}") for s in range(subjects)]
    proposal = proposed(*items)
    assert note in " ".join(proposal.notes)
    assert note.rsplit(":", 1)[0] in proposal.split_why
    if subjects == 5:
        plan = SplitPlan(by="subject", train=2, val=1, test=2)
        assert len(split(RecordingSet(tuple(items)), plan)["test"].subjects) == 2


def test_with_two_test_subjects_nothing_is_said_of_a_verdict():
    proposal = proposed(*(recording(walk(3000, s), f"s{s}") for s in range(8)))
    assert "verdict" not in " ".join([*proposal.notes, proposal.split_why])


def with_gap(samples, first, length, channels=("HR", "RESP")):
    """One recording whose first channel lacks a stretch; the others are whole."""
    values = np.array([walk(samples, s) for s in range(len(channels))])
    values[0, first : first + length] = np.nan
    return recording(values, channels=channels, units=("bpm",) * len(channels))


def test_a_window_that_fills_gaps_is_longer_than_the_longest_gap_of_each_channel():
    item = with_gap(1800, 300, 100)
    assert look(given_items(item)).longest_gap_s == 0, "the other channel is measured there"
    proposal = proposed(item, task="impute")
    assert proposal.window.context > 100
    assert "longer than the longest gap (HR, 100 s)" in proposal.window_why
    without = proposed(with_gap(1800, 300, 0), task="impute")
    assert without.window.context < 100, "else the gap would change nothing"
    assert "gap" not in without.window_why


def test_a_gap_longer_than_every_usual_window_is_named_beside_the_window():
    proposal = proposed(with_gap(6000, 300, 600), task="impute")
    assert "the longest gap (HR, 10 min) is longer: raise context_s" in proposal.window_why


def test_gaps_choose_no_window_of_a_forecast():
    gap, none = (proposed(with_gap(1800, 300, n), task="forecast") for n in (100, 0))
    assert gap.window == none.window
    assert "gap" not in gap.window_why


@pytest.mark.parametrize("subjects", [12, 13, 16, 19, 26, 27, 34, 60])
def test_of_a_dozen_subjects_and_more_five_are_for_test(subjects):
    items = [recording(walk(600, s), f"s{s:02d}") for s in range(subjects)]
    proposal = proposed(*items)
    parts = split(RecordingSet(tuple(items)), SplitPlan(seed=17, **proposal.split))
    counts = {name: len(of.subjects) for name, of in parts.items()}
    assert counts["test"] >= 5
    assert counts["val"] >= 2
    assert counts["train"] >= 5
    assert sum(counts.values()) == subjects
    assert "large differences" not in proposal.split_why


def test_of_fewer_it_says_that_only_large_differences_can_be_shown():
    proposal = proposed(*(recording(walk(600, s), f"s{s}") for s in range(10)))
    assert "12 subjects or more would leave 5" in proposal.split_why


def test_most_recordings_have_a_window_though_one_holds_most_of_the_time():
    long = [recording(walk(20_000, 99), "long")]
    short = [recording(walk(110, s), f"s{s}") for s in range(14)]
    proposal = proposed(*long, *short)
    assert proposal.window.context + proposal.window.horizon <= 110
    assert "15 of 15 recordings have a window" in proposal.window_why
    assert not any("are as long as a window" in note for note in proposal.notes)


def test_where_no_window_fits_most_recordings_it_says_how_many_are_left_out():
    long = [recording(walk(4000, 90 + s), f"l{s}") for s in range(4)]
    short = [recording(walk(9, s), f"s{s}") for s in range(12)]
    notes = proposed(*long, *short).notes
    assert any(note.startswith("only 4 of 16 recordings are as long as") for note in notes)


def test_pieces_of_a_recording_that_was_cut_count_once():
    values = walk(3000)
    values[1000:1900] = np.nan
    items = [recording(np.roll(values, 7 * s), f"s{s}") for s in range(6)]
    assert "of 6 recordings have a window" in proposed(*items).window_why
