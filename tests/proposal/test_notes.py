"""Notes beside a proposal."""

from __future__ import annotations

from contracts.proposed import proposed, recording, walk


def test_copies_under_two_names_are_told():
    same = walk(600)
    proposal = proposed(recording(same, "a"), recording(same, "b"), recording(walk(600, 1), "c"))
    (note,) = [note for note in proposal.notes if "share" in note]
    assert "1 pair of subjects" in note
    assert "600 values of HR" in note


def test_what_a_reader_left_out_stands_first():
    item = recording(walk(600), notes={"rows that repeat the header, skipped": 1234})
    assert proposed(item).notes[0] == "1,234 rows that repeat the header, skipped"
