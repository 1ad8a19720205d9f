import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.signals.recording import Recording, RecordingSet, Span
from tsfm_adapt.signals.splitting import SPLITS, SplitPlan, check_disjoint, split

START = np.datetime64("2896-10-10T00:00:00", "s")


def recording(id, subject=None, samples=10, **fields):
    values = fields.pop("values", np.arange(samples, dtype=np.float32)[None])
    return Recording(
        id, subject or id, values, ("HR",), ("bpm",), fields.pop("rate_hz", 1.0), **fields
    )


def cohort(subjects, each=1):
    return RecordingSet(
        tuple(recording(f"s{i:04}-{k}", f"s{i:04}") for i in range(subjects) for k in range(each))
    )


def ids(parts):
    return {part: [r.id for r in kept] for part, kept in parts.items()}


sizes = st.sampled_from(
    [(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.6, 0, 0.4), (0.3, 0.3, 0.3), (5, 2, 3), (4, 0, 4)]
)


def shuffled(recordings, seed):
    mixed = list(recordings)
    random.Random(seed).shuffle(mixed)
    return RecordingSet(tuple(mixed))


# --- laws


@settings(deadline=None, max_examples=50)
@given(st.integers(10, 40), st.integers(1, 4), sizes, st.integers(0, 2**31), st.data())
def test_a_subject_is_never_in_two_parts_and_no_recording_is_lost(
    subjects, each, size, seed, data
):
    order = data.draw(st.sampled_from(["seed", "name"]))
    source = cohort(subjects, each)
    plan = SplitPlan("subject", order, *size, seed=seed)
    parts = split(shuffled(source, seed), plan)
    owners = {}
    for part, kept in parts.items():
        for r in kept:
            assert owners.setdefault(r.subject, part) == part
    placed = [r.id for kept in parts.values() for r in kept]
    assert len(placed) == len(set(placed))
    assert set(placed) == {r.id for r in source if r.subject in owners}
    if sum(size) == pytest.approx(1):
        assert len(placed) == len(source)


@settings(deadline=None, max_examples=50)
@given(st.integers(10, 40), sizes, st.integers(0, 2**31), st.sampled_from(["seed", "name"]))
def test_parts_do_not_depend_on_the_order_of_reading(subjects, size, seed, order):
    source = cohort(subjects, each=2)
    plan = SplitPlan("subject", order, *size, seed=seed)
    assert ids(split(source, plan)) == ids(split(shuffled(source, seed + 1), plan))


@settings(deadline=None, max_examples=50)
@given(st.integers(20, 500), st.integers(1, 5), st.booleans())
def test_by_time_every_sample_is_in_one_part_in_order(samples, recordings, dated):
    source = RecordingSet(
        tuple(
            recording(f"r{i}", samples=samples + i, start=START if dated else None)
            for i in range(recordings)
        )
    )
    parts = split(source, SplitPlan("time", train=0.5, val=0.2, test=0.3))
    for index, whole in enumerate(source):
        pieces = [parts[part].recordings[index] for part in SPLITS]
        np.testing.assert_array_equal(
            np.concatenate([p.values for p in pieces], axis=1), whole.values
        )
        assert all(np.shares_memory(p.values, whole.values) for p in pieces)


# --- numbers


@pytest.mark.parametrize(
    ("n", "size", "expected"),
    [
        (1936, (0.6, 0, 0.4), (1161, 0, 775)),
        (1000, (0.7, 0.0, 0.3), (700, 0, 300)),
        (100, (0.29, 0.0, 0.71), (29, 0, 71)),
        (40, (0.7, 0.15, 0.15), (28, 6, 6)),
        (10, (0.5, 0.2, 0.2), (5, 2, 2)),
        (19, (13, 0, 6), (13, 0, 6)),
    ],
)
def test_parts_have_the_counts_that_the_sizes_say(n, size, expected):
    parts = split(cohort(n), SplitPlan("subject", "name", *size))
    assert tuple(len(parts[part]) for part in SPLITS) == expected
    names = [r.subject for part in SPLITS for r in parts[part]]
    assert names == sorted(names)


def test_seeds_give_different_parts_and_one_seed_the_same():
    plans = [SplitPlan(seed=seed) for seed in (1, 1, 2)]
    first, again, other = (ids(split(cohort(40), plan)) for plan in plans)
    assert first == again
    assert first["test"] != other["test"]


def test_pieces_of_a_recording_stay_in_their_order_and_together():
    pieces = [recording(f"p1#{k}", "p1") for k in range(1, 12)]
    source = RecordingSet((*pieces, recording("p2"), recording("p3")))
    parts = split(shuffled(source, 5), SplitPlan("record", "name", 1, 1, 1))
    assert ids(parts)["train"] == [f"p1#{k}" for k in range(1, 12)]


def test_pieces_of_the_pieces_of_a_record_stay_in_one_part():
    names = ("a#1#1", "a#1#2", "a#2", "a#10#1", "b", "c")
    parts = split(
        RecordingSet(tuple(recording(name, name[0]) for name in names)),
        SplitPlan("record", train=1, val=1, test=1),
    )
    found = [[r.id for r in kept] for kept in parts.values()]
    assert sorted(found) == [["a#1#1", "a#1#2", "a#2", "a#10#1"], ["b"], ["c"]]


def test_time_parts_are_named_dated_and_keep_their_spans():
    source = RecordingSet((recording("a", samples=100, start=START, spans=(Span(55, 65, "x"),)),))
    parts = split(source, SplitPlan("time", train=0.6, val=0, test=0.4))
    train, test = parts["train"].recordings[0], parts["test"].recordings[0]
    assert (train.id, test.id) == ("a@train", "a@test")
    assert (train.samples, test.samples) == (60, 40)
    assert test.start - START == np.timedelta64(60, "s")
    assert train.spans == (Span(55, 60, "x"),)
    assert test.spans == (Span(0, 5, "x"),)
    assert len(parts["val"]) == 0


def test_lists_name_subjects_recordings_or_the_recording_a_piece_was_cut_from():
    source = RecordingSet(
        (
            recording("a1", "a"),
            recording("b1", "b"),
            recording("c1#1", "c"),
            recording("c1#2", "c"),
        )
    )
    plan = SplitPlan("lists", train=("a",), val=("b1",), test=("c1",))
    assert ids(split(source, plan)) == {"train": ["a1"], "val": ["b1"], "test": ["c1#1", "c1#2"]}


def test_a_listed_recording_that_cleaning_left_out_is_no_error():
    source = RecordingSet((recording("a"), recording("b")), {"c": "has no measured value"})
    parts = split(source, SplitPlan("lists", train=("a", "c"), val=(), test=("b",)))
    assert ids(parts) == {"train": ["a"], "val": [], "test": ["b"]}


def test_predefined_parts_are_those_of_the_labels():
    source = RecordingSet(
        tuple(recording(f"r{i}", labels={"part": p}) for i, p in enumerate(("test", "train")))
    )
    assert ids(split(source, SplitPlan("predefined", val=0))) == {
        "train": ["r1"],
        "val": [],
        "test": ["r0"],
    }


def labelled(subjects, each=2, **last):
    parts = ["train"] * (subjects - 2) + ["test"] * 2
    return RecordingSet(
        tuple(
            recording(f"s{i:02}-{k}", f"s{i:02}", labels={"part": part} | (last if not i else {}))
            for i, part in enumerate(parts)
            for k in range(each)
        )
    )


@settings(deadline=None, max_examples=50)
@given(
    st.integers(6, 40),
    st.sampled_from([0.2, 0.15, 1, 3, 0, 0.0]),
    st.integers(0, 2**31),
    st.sampled_from(["seed", "name"]),
)
def test_validation_subjects_are_taken_from_the_predefined_train_part(subjects, val, seed, order):
    source = labelled(subjects)
    plan = SplitPlan("predefined", order, val=val, seed=seed)
    parts = split(shuffled(source, seed), plan)
    assert ids(parts) == ids(split(source, plan))
    assert ids(parts)["test"] == [r.id for r in source if r.labels["part"] == "test"]
    assert sorted(ids(parts)["train"] + ids(parts)["val"]) == [r.id for r in source][:-4]
    assert not set(parts["train"].subjects) & set(parts["val"].subjects)
    n = subjects - 2
    asked = val if isinstance(val, int) else n - int((1 - val) * n + 1e-6)
    assert len(parts["val"].subjects) == asked


def test_predefined_validation_subjects_depend_on_the_seed_alone_and_may_be_labelled():
    one, other = (ids(split(labelled(30), SplitPlan("predefined", seed=s)))["val"] for s in (1, 2))
    assert one != other
    given_val = split(labelled(30, part="val"), SplitPlan("predefined"))
    assert given_val["val"].subjects == ("s00",)


def test_predefined_train_without_subjects_for_both_parts_is_refused():
    with pytest.raises(DataError, match="train split is empty; 6 recordings of 3 subjects"):
        split(labelled(3), SplitPlan("predefined"))
    with pytest.raises(DataError, match="4 subjects are asked for, 1 are there"):
        split(labelled(3), SplitPlan("predefined", val=4))


# --- refusals


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"train": 0.7, "val": 0.2, "test": 0.2}, r"sum to 1\.1"),
        ({"train": 0.7, "val": 1, "test": 0.2}, "only fractions"),
        ({"train": -1, "val": 1, "test": 2}, "fractions or counts"),
        ({"train": ("a",), "val": 0.1, "test": 0.1}, "by: lists"),
        ({"by": "predefined", "val": ("a",)}, "a fraction or a count of the train split"),
        ({"by": "predefined", "val": 1.0}, "a fraction or a count of the train split"),
        ({"by": "time", "train": 7, "val": 1, "test": 2}, "counts have no meaning"),
        ({"by": "lists", "train": ("a",), "val": 0, "test": ("b",)}, "list of ids"),
        ({"by": "lists", "train": ("a",), "val": (), "test": ("a",)}, "a is listed twice"),
    ],
)
def test_sizes_that_do_not_fit_are_a_recipe_error(plan, words):
    with pytest.raises(RecipeError, match=words):
        SplitPlan(**plan)


@pytest.mark.parametrize(
    ("subjects", "size", "words"),
    [
        (3, (0.7, 0.15, 0.15), "val split is empty; 3 recordings of 3 subjects"),
        (1, (0.6, 0.0, 0.4), "train split is empty"),
        (5, (1.0, 0, 0), "test split is empty"),
        (5, (4, 1, 2), "7 subjects are asked for, 5 are there"),
    ],
)
def test_too_few_subjects_stop_with_the_numbers(subjects, size, words):
    with pytest.raises(DataError, match=words):
        split(cohort(subjects), SplitPlan("subject", "name", *size))


def test_by_record_refuses_a_subject_in_two_parts():
    with pytest.raises(DataError, match=r"train and test share s0000.*by: subject"):
        split(cohort(1, each=2), SplitPlan("record", "name", 1, 0, 1))


def test_lists_refuse_unknown_ids_and_two_parts_for_a_subject():
    source = cohort(2, each=2)
    with pytest.raises(DataError, match=r"called 's0003'\. Did you mean"):
        split(source, SplitPlan("lists", train=("s0000",), val=(), test=("s0003",)))
    with pytest.raises(DataError, match="share s0000"):
        split(source, SplitPlan("lists", train=("s0000-0",), val=(), test=("s0000-1",)))
    with pytest.raises(DataError, match="listed for test and train"):
        split(source, SplitPlan("lists", train=("s0000",), val=(), test=("s0000-1",)))


@pytest.mark.parametrize("labels", [{}, {"part": "holdout"}])
def test_a_predefined_part_has_to_be_one_of_the_three(labels):
    with pytest.raises(DataError, match="splits are train, val, test"):
        split(RecordingSet((recording("a", labels=labels),)), SplitPlan("predefined"))


def test_by_time_refuses_two_recordings_of_a_subject_that_run_at_once():
    later = START + np.timedelta64(50, "s")
    source = (recording("a", "p", 100, start=START), recording("b", "p", 100, start=later))
    with pytest.raises(DataError, match=r"a@test \(test\) of p overlap|b@train.* of p overlap"):
        split(RecordingSet(source), SplitPlan("time", train=0.5, val=0, test=0.5))
    apart = (source[0], recording("b", "p", 100, start=START + np.timedelta64(100, "s")))
    assert (
        len(split(RecordingSet(apart), SplitPlan("time", train=0.5, val=0, test=0.5))["test"]) == 2
    )


def test_a_cut_within_a_second_is_no_overlap():
    source = RecordingSet((recording("a", samples=147, rate_hz=4.0, start=START),))
    parts = split(source, SplitPlan("time", train=0.5, val=0, test=0.5))
    assert (parts["train"].recordings[0].samples, parts["test"].recordings[0].samples) == (73, 74)
    assert parts["test"].recordings[0].start == START + np.timedelta64(18, "s")  # 18.25 s


def test_the_check_finds_what_a_split_must_not_share():
    one, two = recording("x", "p"), recording("y", "p")
    with pytest.raises(DataError, match="train and test share p"):
        check_disjoint({"train": RecordingSet((one,)), "test": RecordingSet((two,))})
    whole = recording("x", "p", samples=20)
    early, late = whole.between(0, 10, "x@train"), whole.between(10, 20, "x@test")
    check_disjoint({"train": RecordingSet((early,)), "test": RecordingSet((late,))}, "time")
    late = whole.between(9, 20, "x@test")
    with pytest.raises(DataError, match=r"x@train .* x@test .* overlap"):
        check_disjoint({"train": RecordingSet((early,)), "test": RecordingSet((late,))}, "time")
