import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.labels import (
    AroundSpans,
    FutureSpans,
    LabelledWindows,
    RecordingLabel,
    RecordingLabels,
)
from tsfm_adapt.signals.recording import Recording, Span
from tsfm_adapt.signals.windows import Windows, WindowSpec

DEATH = RecordingLabel("death", (0, 1), ("survived", "died"))
ALARM = FutureSpans(("alarm",), 4, ("no", "yes"))
BEATS = AroundSpans({"N": 0, "A": 1, "V": 1}, ("normal", "other"), 2)


def recording(samples=30, id="r", rate_hz=1.0, **fields):
    values = fields.pop("values", np.arange(2.0 * samples, dtype=np.float32).reshape(2, samples))
    return Recording(
        id, fields.pop("subject", id), values, ("a", "b"), ("1",) * 2, rate_hz, **fields
    )


def marks(*pairs):
    return tuple(Span(float(at), float(at), label) for at, label in pairs)


@st.composite
def with_spans(draw, labels="AB"):
    """A recording at an odd rate with spans at any times, marks and overlapping ones too."""
    samples = draw(st.integers(1, 60))
    rate_hz = draw(st.sampled_from([1.0, 1 / 60, 250.0, 0.3]))
    places = st.floats(0, samples, exclude_max=True) | st.integers(0, samples - 1).map(float)
    lengths = st.just(0.0) | st.floats(0, 20) | st.integers(0, 20).map(float)
    drawn = draw(st.lists(st.tuples(places, lengths, st.sampled_from(labels)), max_size=8))
    spans = tuple(
        Span(first / rate_hz, min(first + length, samples) / rate_hz, label)
        for first, length, label in drawn
    )
    return recording(samples, rate_hz=rate_hz, spans=spans)


def covers(span, rate_hz):
    """The samples that a span touches, one by one; at least that in which it begins."""
    first, stop = round(span.start_s * rate_hz, 6), round(span.stop_s * rate_hz, 6)
    return [i for i in range(200) if (i <= first < i + 1) or (first < i < stop)]


geometry = st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 9))


@settings(deadline=None, max_examples=100)
@given(with_spans(), geometry, st.booleans())
def test_a_future_label_says_what_a_search_sample_by_sample_finds(source, shape, several):
    context, stride, within = shape
    names = ("A", "B") if several else ("A",)
    labelling = FutureSpans(names, within, names if several else ("no", "yes"))
    assert labelling.multilabel == several
    found = dict(
        zip(*_as_lists(labelling.of(source, WindowSpec(context, 0, stride))), strict=True)
    )
    expected = {}
    touched = {n: [covers(s, source.rate_hz) for s in source.spans if s.label == n] for n in names}
    for start in range(0, source.samples, stride):
        end = start + context
        if end + within > source.samples:
            continue
        if any(t[0] < end <= t[-1] for n in names for t in touched[n]):
            continue  # touches a sample on either side: it is running
        begins = [any(end <= t[0] < end + within for t in touched[n]) for n in names]
        expected[start] = begins if several else [not begins[0], begins[0]]
    assert found == expected


def _as_lists(labelled):
    starts, classes = labelled
    assert starts.dtype == np.int64
    assert classes.dtype == np.bool_
    assert (np.diff(starts) >= 0).all()
    return starts.tolist(), classes.tolist()


@settings(deadline=None, max_examples=60)
@given(with_spans(), st.integers(1, 12), st.integers(0, 5))
def test_every_event_with_room_around_it_has_one_window_of_its_class(source, context, before):
    starts, classes = AroundSpans((("A", 1),), ("no", "yes"), before).of(
        source, WindowSpec(context, 0, 3)
    )
    firsts = [covers(s, source.rate_hz)[0] - before for s in source.spans if s.label == "A"]
    room = [first for first in firsts if 0 <= first <= source.samples - context]
    assert starts.tolist() == sorted(room)
    assert classes.tolist() == [[False, True]] * len(room)


@settings(deadline=None, max_examples=40)
@given(with_spans(), geometry)
def test_nothing_of_the_future_is_in_the_values(source, shape):
    context, stride, within = shape
    labelling = FutureSpans(("A",), within, ("no", "yes"))
    windows = LabelledWindows([source], WindowSpec(context, 0, stride), labelling)
    if not len(windows):
        return
    indices = np.arange(len(windows))
    batch = windows.gather(indices)
    for row, start in enumerate(windows.start.tolist()):
        altered = source.values.copy()
        altered[:, start + context :] = np.nan
        other = LabelledWindows(
            [
                recording(
                    source.samples, rate_hz=source.rate_hz, values=altered, spans=source.spans
                )
            ],
            windows.spec,
            labelling,
        ).gather([row])
        np.testing.assert_array_equal(other.values[0], batch.values[row])
        np.testing.assert_array_equal(other.observed[0], batch.observed[row])
        np.testing.assert_array_equal(other.target[0], batch.target[row])


def test_a_label_of_the_recording_belongs_to_all_its_windows():
    sources = [
        recording(10, "a", labels={"death": 0}),
        recording(12, "b"),
        recording(9, "c", labels={"death": 1.0}),
        recording(3, "d", labels={"death": 1}),
    ]
    windows = LabelledWindows(sources, WindowSpec(4, 0, 3), DEATH)
    assert windows.recording.tolist() == [0, 0, 0, 2, 2]
    assert windows.start.tolist() == [0, 3, 6, 0, 3]
    assert windows.classes_of.tolist() == [[True, False]] * 3 + [[False, True]] * 2
    assert windows.labelling is DEATH


@pytest.mark.parametrize("value", [2, "1", float("nan")])
def test_a_value_that_is_not_listed_is_named_with_the_recording(value):
    with pytest.raises(DataError, match=rf"'death'.*recording x has {value!r}, listed are 0, 1"):
        LabelledWindows([recording(id="x", labels={"death": value})], WindowSpec(4, 0), DEATH)


def test_several_labels_of_a_recording_are_known_together_or_not_at_all():
    labelling = RecordingLabels(("mi", "af"))
    assert labelling.multilabel
    assert labelling.classes == ("mi", "af")
    sources = [
        recording(5, "a", labels={"mi": 1, "af": 1, "other": 7}),
        recording(5, "b", labels={"mi": 1}),
        recording(5, "c", labels={"af": 0.0, "mi": 0}),
    ]
    windows = LabelledWindows(sources, WindowSpec(5, 0), labelling)
    assert windows.recording.tolist() == [0, 2]
    assert windows.gather([0, 1]).target.tolist() == [[1, 1], [0, 0]]
    with pytest.raises(DataError, match="'af' of recording x is 2"):
        labelling.of(recording(id="x", labels={"mi": 1, "af": 2}), WindowSpec(5, 0))


def test_an_alarm_that_is_on_needs_no_forecast_and_one_that_ended_does():
    spans = (Span(10, 14, "alarm"), Span(16, 17, "alarm"), Span(0, 30, "something else"))
    starts, classes = ALARM.of(recording(30, spans=spans), WindowSpec(5, 0))
    ends = dict(zip((starts + 5).tolist(), classes[:, 1].tolist(), strict=True))
    assert sorted(set(range(5, 27)) - set(ends)) == [11, 12, 13]  # begun, not over
    assert [end for end, yes in ends.items() if yes] == [7, 8, 9, 10, 14, 15, 16]


def test_a_window_around_each_event_has_its_class_and_others_are_ignored():
    spans = marks((1, "N"), (5, "N"), (9, "A"), (9, "+"), (20, "V"), (28, "N"))
    windows = LabelledWindows([recording(30, spans=spans)], WindowSpec(6, 0, 99), BEATS)
    assert windows.start.tolist() == [3, 7, 18]  # 1 and 28 are too near the ends
    batch = windows.gather([0, 1, 2])
    assert batch.target.tolist() == [[1, 0], [0, 1], [0, 1]]
    assert (batch.values[:, 0, 2] == [5, 9, 20]).all()


def test_a_mark_at_a_fast_rate_is_the_sample_that_it_was_made_of():
    first = np.arange(2, 5000, 7)
    spans = tuple(Span(n / 360, n / 360, "N") for n in first)
    starts, _ = BEATS.of(recording(5010, rate_hz=360.0, spans=spans), WindowSpec(6, 0))
    np.testing.assert_array_equal(starts, first - 2)


@pytest.mark.parametrize("labelling", [DEATH, ALARM, BEATS], ids=lambda x: type(x).__name__)
def test_a_batch_has_its_classes_as_the_target(labelling):
    spans = (*marks(*[(n, "NAV"[n % 3]) for n in range(0, 30, 4)]), Span(20, 22, "alarm"))
    sources = [
        recording(30, id, spans=spans, labels={"death": n}) for n, id in enumerate(("a", "b"))
    ]
    spec = WindowSpec(6, 0, 2)
    windows = LabelledWindows(sources, spec, labelling)
    assert len(windows) == len(windows.recording) == len(windows.start) == len(windows.classes_of)
    picked = windows.take(np.arange(len(windows))[::-2])
    batch = picked.gather(range(len(picked)))
    assert batch.target.dtype == np.float32
    assert batch.target_observed.all()
    assert batch.target.shape == batch.target_observed.shape == (len(picked), 2)
    np.testing.assert_array_equal(batch.target, picked.classes_of)
    np.testing.assert_array_equal(batch.target.sum(1), 1)
    np.testing.assert_array_equal(picked.classes_of, windows.classes_of[::-2])
    for row, (index, start) in enumerate(zip(picked.recording, picked.start, strict=True)):
        np.testing.assert_array_equal(
            batch.values[row], sources[index].values[:, start : start + 6]
        )
    assert batch.subjects == tuple(sources[index].subject for index in picked.recording)
    assert picked.subjects.tolist() == picked.recording.tolist()


def test_a_view_keeps_classes_and_origins():
    sources = [recording(20, id, labels={"death": n}) for n, id in enumerate("ab")]
    spec = WindowSpec(4, 0, 2)
    windows, plain = LabelledWindows(sources, spec, DEATH), Windows(sources, spec)
    assert windows.origins_sha256() == plain.origins_sha256()
    few = windows.evenly_spaced(4)
    assert isinstance(few, LabelledWindows)
    assert few.origins_sha256() == plain.evenly_spaced(4).origins_sha256()
    assert few.classes_of[:, 1].tolist() == [False, False, True, True]
    with pytest.raises(IndexError, match="of 4 windows"):
        few.gather([4])


@settings(deadline=None, max_examples=60)
@given(with_spans(), geometry, st.sampled_from(["future", "events"]))
def test_overlap_is_the_most_windows_that_share_a_sample(source, shape, kind):
    context, stride, within = shape
    labelling = (
        FutureSpans(("A",), within, ("no", "yes"))
        if kind == "future"
        else AroundSpans({"A": 0, "B": 1}, ("a", "b"), 2)
    )
    windows = LabelledWindows([source], WindowSpec(context, 0, stride), labelling)
    length = context + labelling.future
    used = [(windows.start <= i) & (i < windows.start + length) for i in range(source.samples)]
    assert windows.overlap == max(1, *(int(u.sum()) for u in used))


def test_overlap_by_the_stride_is_that_of_plain_windows():
    source = recording(40, labels={"death": 1})
    for stride in (1, 3, 5, 7):
        spec = WindowSpec(5, 0, stride)
        plain = Windows([source], spec).overlap
        assert LabelledWindows([source], spec, DEATH).overlap == plain


def test_nothing_labelled_is_an_empty_list():
    windows = LabelledWindows([recording()], WindowSpec(4, 0), DEATH)
    assert len(windows) == 0
    assert windows.classes_of.shape == (0, 2)
    assert windows.overlap == 1
    assert len(LabelledWindows([], WindowSpec(4, 0), DEATH)) == 0
