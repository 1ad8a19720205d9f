import numpy as np
import pytest

from tsfm_adapt.signals.recording import Recording, RecordingSet, Span, later, spans_between


def recording(id="r", subject="s", rate_hz=2.0, **fields):
    return Recording(
        id, subject, np.arange(20.0).reshape(2, 10), ("a", "b"), ("mV", "mV"), rate_hz, **fields
    )


def test_a_stretch_is_a_view_with_its_own_start_and_spans():
    whole = recording(
        start=np.datetime64("2896-10-10T00:00:00", "s"),
        spans=(Span(0.5, 2.5, "apnoea"), Span(4.0, 5.0, "late")),
        labels={"died": 1},
    )
    piece = whole.between(4, 8, "r#2")
    assert np.shares_memory(piece.values, whole.values)
    np.testing.assert_array_equal(piece.values, [[4, 5, 6, 7], [14, 15, 16, 17]])
    assert piece.start == np.datetime64("2896-10-10T00:00:02")
    assert piece.spans == (Span(0.0, 0.5, "apnoea"),)
    assert (piece.id, piece.subject, piece.labels, piece.duration_s) == (
        "r#2",
        "s",
        {"died": 1},
        2.0,
    )


def test_an_unknown_start_stays_unknown():
    assert recording().between(4, 8, "x").start is None
    assert later(None, 5.0) is None


@pytest.mark.parametrize(("seconds", "expected"), [(0.4, 0), (0.6, 1), (86400.0, 86400)])
def test_a_start_moves_by_the_nearest_second(seconds, expected):
    start = np.datetime64("2896-10-10T00:00:00", "s")
    assert (later(start, seconds) - start).astype(int) == expected


def test_spans_are_clipped_and_marks_belong_to_the_stretch_that_begins_with_them():
    spans = (Span(0, 10, "long"), Span(4, 4, "mark"), Span(8, 8, "edge"), Span(0, 4, "before"))
    assert spans_between(spans, 4, 8) == (Span(0, 4, "long"), Span(0, 0, "mark"))


def test_a_set_lists_its_subjects_once_and_sorted():
    assert RecordingSet(
        (recording("1", "b"), recording("2", "a"), recording("3", "b"))
    ).subjects == ("a", "b")


def test_a_set_holds_recordings_of_one_rate():
    with pytest.raises(AssertionError):
        RecordingSet((recording(), recording(rate_hz=1.0)))
