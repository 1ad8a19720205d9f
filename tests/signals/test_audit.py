"""What the splits of a run share is named, and nothing else."""

import numpy as np

from contracts.copies import pair, recording, wander
from tsfm_adapt.signals.audit import audit
from tsfm_adapt.signals.windows import Windows, WindowSpec

SPEC = WindowSpec(context=60, horizon=20, stride=20)


def splits_of(**recordings):
    splits = {name: tuple(kept) for name, kept in recordings.items()}
    return splits, {name: Windows(kept, SPEC) for name, kept in splits.items() if kept}


def found(splits, windows, fitted=None, by_time=False):
    fitted = {"baselines": splits["train"]} if fitted is None else fitted
    return audit(splits, windows, fitted, by_time).findings


def test_splits_that_share_nothing_have_no_finding():
    splits, windows = splits_of(
        train=[recording(wander(seed=1), "a")],
        val=[recording(wander(seed=2), "b")],
        test=[recording(wander(seed=3), "c")],
    )
    outcome = audit(splits, windows, {"baselines": splits["train"]}, by_time=False)
    assert outcome.findings == ()
    assert outcome.recordings == 3
    assert outcome.lines == [
        "leakage audit: no subject, no stretch of >= 32 samples and no window in two splits; "
        "nothing fitted on test"
    ]


def test_a_subject_in_two_splits_is_named():
    splits, windows = splits_of(
        train=[recording(wander(seed=1), "a", "a-1")], test=[recording(wander(seed=2), "a", "a-2")]
    )
    (finding,) = found(splits, windows)
    assert (finding.kind, finding.splits, finding.subjects) == (
        "subject",
        ("train", "test"),
        ("a",),
    )
    assert found(splits, windows, by_time=True) == ()


def test_a_copy_across_splits_is_named_with_its_times_and_one_within_a_split_is_not():
    one, other = pair(90)
    splits, windows = splits_of(train=[one], val=[recording(wander(seed=3), "c")], test=[other])
    (finding,) = found(splits, windows)
    assert (finding.kind, finding.splits) == ("duplicate", ("train", "test"))
    assert finding.subjects == ("a", "b")
    assert "the same 90 values of HR, from 01:40:00 to 03:09:00 of the first" in finding.what
    assert "from 00:37:00 to 02:06:00 of the second" in finding.what
    together, windows = splits_of(train=[one, other], test=[recording(wander(seed=3), "c")])
    assert found(together, windows) == ()


def test_a_channel_copied_beside_another_makes_one_finding():
    one = wander(seed=1)
    splits, windows = splits_of(train=[recording(one, "a")], test=[recording(one.copy(), "b")])
    (finding,) = found(splits, windows)
    assert "in all, of HR, MAP" in finding.what


def test_halves_of_a_recording_share_no_window_and_pieces_that_overlap_do():
    whole = recording(wander(400), "a")

    def split(stop, first):
        return splits_of(
            train=[whole.between(0, stop, "a@train")], test=[whole.between(first, 400, "a@test")]
        )

    outcome = audit(*split(200, 200), {}, by_time=True)
    assert outcome.findings == ()
    assert "no subject" not in outcome.lines[0]
    assert "in two splits (subjects are, by time)" in outcome.lines[0]
    kinds = {finding.kind for finding in found(*split(210, 190), by_time=True)}
    assert {"window", "fitted"} <= kinds


def test_times_by_the_clock_overlap_where_copies_in_memory_do_not():
    """Noise was added, so that no value is shared: only the dates tell."""
    start = np.datetime64("2020-01-01T00:00:00")
    late = start + np.timedelta64(60 * 350, "s")
    one = recording(wander(400, 1), "a", "x", start)
    splits, windows = splits_of(train=[one], test=[recording(wander(400, 2), "a", "y", late)])
    assert "window" in {finding.kind for finding in found(splits, windows, by_time=True)}
    apart = start + np.timedelta64(60 * 400, "s")
    splits, windows = splits_of(train=[one], test=[recording(wander(400, 2), "a", "y", apart)])
    assert found(splits, windows, by_time=True) == ()


def test_what_was_fitted_on_test_is_named():
    test = recording(wander(seed=2), "b")
    splits, windows = splits_of(train=[recording(wander(seed=1), "a")], test=[test])
    (finding,) = found(splits, windows, fitted={"the scale": [*splits["train"], test]})
    assert (finding.kind, finding.subjects) == ("fitted", ("b",))
    assert "the scale was fitted on samples of b" in finding.what


def test_where_nobody_knows_the_subjects_it_says_so_and_claims_nothing_of_them():
    splits, windows = splits_of(
        train=[recording(wander(seed=1), "p1_day1")], test=[recording(wander(seed=3), "p1_day2")]
    )
    fitted = {"baselines": splits["train"]}
    outcome = audit(splits, windows, fitted, False, "name them with data.reader.subject")
    first, last = outcome.lines
    assert first.startswith("leakage audit: no stretch of >= 32 samples")
    assert last == (
        "leakage audit: subjects: not checked (each file is taken as a subject of its own; "
        "name them with data.reader.subject)"
    )
    assert not any("no subject" in line for line in outcome.lines)
    assert outcome.summary()["subjects"] == "not checked"
    one, other = pair(90)
    splits, windows = splits_of(train=[one], test=[other])
    found = audit(splits, windows, {"baselines": splits["train"]}, False, "name them").lines
    assert "hold the same" in found[0]
    assert "not checked" in found[-1]
