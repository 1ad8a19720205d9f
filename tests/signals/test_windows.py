import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals import windows as windows_module
from tsfm_adapt.signals.missingness import HiddenWindows, Missingness
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec, step_indices


def recording(samples, id="r", subject=None, channels=2, dtype=np.float32, **fields):
    """Values that say where they are: 1000 x channel + sample."""
    values = (np.arange(samples) + 1000.0 * np.arange(channels)[:, None]).astype(dtype)
    names = tuple(f"c{i}" for i in range(channels))
    return Recording(
        id=id,
        subject=subject or id,
        values=fields.pop("values", values),
        channels=names,
        units=("mV",) * channels,
        rate_hz=fields.pop("rate_hz", 1.0),
        **fields,
    )


lengths = st.lists(st.integers(1, 60), min_size=1, max_size=6)
geometry = st.tuples(st.integers(1, 20), st.integers(0, 10), st.integers(1, 25))


@settings(deadline=None, max_examples=50)
@given(lengths, geometry)
def test_windows_are_exactly_the_starts_by_stride_that_fit_into_each_recording(samples, shape):
    context, horizon, stride = shape
    windows = Windows(
        [recording(n, id=f"r{i}") for i, n in enumerate(samples)],
        WindowSpec(context, horizon, stride),
    )
    expected = [
        (index, start)
        for index, n in enumerate(samples)
        for start in range(0, n, stride)
        if start + context + horizon <= n
    ]
    assert len(windows) == len(expected)
    assert list(zip(windows.recording, windows.start, strict=True)) == expected


@settings(deadline=None, max_examples=50)
@given(lengths, geometry, st.integers(0, 2**32 - 1))
def test_gathered_values_are_the_recordings_own_samples(samples, shape, seed):
    context, horizon, stride = shape
    recordings = [recording(n, id=f"r{i}", dtype=np.float64) for i, n in enumerate(samples)]
    generator = np.random.default_rng(seed)
    for r in recordings:
        r.values[generator.random(r.values.shape) < 0.3] = np.nan
    windows = Windows(recordings, WindowSpec(context, horizon, stride))
    if not len(windows):
        return
    indices = generator.integers(0, len(windows), size=5)
    batch = windows.gather(indices)
    assert batch.values.dtype == np.float32
    assert batch.subjects == tuple(recordings[windows.recording[i]].subject for i in indices)
    for row, index in enumerate(indices):
        start = windows.start[index]
        source = recordings[windows.recording[index]].values
        seen = np.where(batch.observed[row], batch.values[row], np.nan)
        np.testing.assert_array_equal(seen, source[:, start : start + context])
        if horizon:
            later = np.where(batch.target_observed[row], batch.target[row], np.nan)
            end = start + context + horizon
            np.testing.assert_array_equal(later, source[:, start + context : end])


def test_a_batch_is_finite_and_zero_where_nothing_was_measured():
    values = np.array([[1.0, np.nan, np.inf, 4.0, 1e300]])
    batch = Windows([recording(5, channels=1, values=values)], WindowSpec(5, 0)).gather([0])
    np.testing.assert_array_equal(batch.values[0, 0], [1, 0, 0, 4, 0])
    np.testing.assert_array_equal(batch.observed[0, 0], [True, False, False, True, False])


def test_horizon_zero_has_no_target():
    batch = Windows([recording(8)], WindowSpec(4, 0)).gather([0, 4])
    assert batch.target is None
    assert batch.target_observed is None
    assert batch.values.shape == (2, 2, 4)


def test_changing_a_batch_does_not_change_the_recording():
    source = recording(10)
    before = source.values.copy()
    Windows([source], WindowSpec(4, 2)).gather([1]).values[:] = -1
    np.testing.assert_array_equal(source.values, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_memory_mapped_recording_stays_on_disk(tmp_path, dtype):
    np.save(tmp_path / "values.npy", np.ones((2, 50), dtype=dtype))
    mapped = np.load(tmp_path / "values.npy", mmap_mode="r+")
    windows = Windows([recording(50, values=mapped)], WindowSpec(4, 2))
    mapped[0, 3] = 7.0  # seen by `gather` only if construction copied nothing
    assert windows.gather([0]).values[0, 0, 3] == 7.0


def test_an_hours_long_waveform_list_is_made_without_one_entry_per_window():
    flat = np.broadcast_to(np.float32(0), (1, 10**12))  # 4 TB if anything copied it
    windows = Windows([recording(1, channels=1, values=flat)], WindowSpec(1000, 100))
    assert len(windows) == 10**12 - 1099
    assert windows.gather([10**12 - 1100]).start_s.shape == (1,)


def test_seconds_since_the_epoch_hold_beyond_nanosecond_time():
    start = np.datetime64("2896-10-10T00:31:00", "s")
    windows = Windows([recording(10, start=start, rate_hz=1 / 60)], WindowSpec(4, 2))
    began = windows.gather([0, 3]).start_s
    assert began.dtype == np.float64
    assert began[0] == start.astype(np.int64)
    assert began[1] - began[0] == 180
    assert np.datetime64(int(began[1]), "s") == np.datetime64("2896-10-10T00:34:00")


@pytest.mark.parametrize("start", [None, np.datetime64("NaT", "s")])
def test_an_unknown_start_is_nan(start):
    assert np.isnan(Windows([recording(9, start=start)], WindowSpec(4, 2)).gather([0]).start_s)


def test_subjects_are_numbered_by_sorted_name():
    recordings = [recording(6, "a", "s2"), recording(5, "b", "s1"), recording(6, "c", "s2")]
    windows = Windows(recordings, WindowSpec(3, 2))
    assert windows.subject_names == ("s1", "s2")
    np.testing.assert_array_equal(windows.subjects, [1, 1, 0, 1, 1])


def test_a_view_keeps_the_windows_it_took_in_their_order():
    windows = Windows([recording(6, "a"), recording(7, "b")], WindowSpec(3, 2))
    view = windows.take([4, 0, 2]).take([2, 0])
    np.testing.assert_array_equal(view.recording, [1, 1])
    np.testing.assert_array_equal(view.start, [0, 2])
    np.testing.assert_array_equal(view.gather([1]).values, windows.gather([4]).values)


@settings(deadline=None, max_examples=50)
@given(st.integers(5, 300), st.integers(1, 50))
def test_evenly_spaced_windows_are_distinct_and_their_steps_differ_by_at_most_one(samples, n):
    windows = Windows([recording(samples)], WindowSpec(4, 1))
    view = windows.evenly_spaced(n)
    assert len(view) == min(n, len(windows))
    assert view.start[0] == 0
    steps = np.diff(view.start)
    assert (steps > 0).all()
    assert np.ptp(steps) <= 1 if len(steps) else True


@pytest.mark.parametrize("index", [-1, 5])
def test_an_index_outside_the_list_is_refused(index):
    with pytest.raises(IndexError, match="of 5 windows"):
        Windows([recording(9)], WindowSpec(3, 2)).gather([0, index])


def test_recordings_too_short_give_no_windows():
    assert len(Windows([recording(4), recording(1)], WindowSpec(3, 2))) == 0
    assert len(Windows([], WindowSpec(3, 2))) == 0


def test_the_hash_of_origins_is_the_documented_one_and_sees_order_and_ids():
    spec = WindowSpec(3, 1, stride=2)
    windows = Windows([recording(6, "a"), recording(4, "b")], spec)
    expected = hashlib.sha256(b"a\t0\na\t2\nb\t0\n").hexdigest()
    assert windows.origins_sha256() == expected
    assert windows.take([1, 0, 2]).origins_sha256() != expected
    assert Windows([recording(6, "a"), recording(4, "x")], spec).origins_sha256() != expected


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 2**31), st.integers(0, 5))
def test_every_epoch_draws_each_window_once_whatever_the_batch_size(n, batch_size, seed, epoch):
    first, last = epoch * n // batch_size, ((epoch + 1) * n - 1) // batch_size
    drawn = [step_indices(n, batch_size, seed, k) for k in range(first, last + 1)]
    assert all(len(batch) == batch_size for batch in drawn)
    offset = epoch * n - first * batch_size
    assert sorted(np.concatenate(drawn)[offset : offset + n]) == list(range(n))


def test_a_step_draws_the_same_windows_whichever_steps_came_before():
    later_first = [step_indices(100, 7, 3, k) for k in (30, 2, 14)]
    in_order = [step_indices(100, 7, 3, k) for k in range(31)]
    for step, drawn in zip((30, 2, 14), later_first, strict=True):
        np.testing.assert_array_equal(drawn, in_order[step])


def test_epochs_and_seeds_are_shuffled_differently():
    epochs = [tuple(step_indices(50, 50, seed=1, step=k)) for k in range(3)]
    assert len(set(epochs)) == 3
    assert tuple(step_indices(50, 50, seed=2, step=0)) not in epochs


@pytest.mark.parametrize("n", [1, 2, 5, 64, 65, 1000])
def test_an_order_that_is_computed_holds_every_window_once_too(n, monkeypatch):
    monkeypatch.setattr(windows_module, "_LISTED", 0)
    epochs = [tuple(step_indices(n, n, seed=3, step=k).tolist()) for k in range(2)]
    assert all(sorted(epoch) == list(range(n)) for epoch in epochs)
    for seed, step in ((3, 1), (4, 0)):
        assert n < 64 or tuple(step_indices(n, n, seed, step)) != epochs[0]


def test_an_order_that_is_computed_is_even_over_places_and_in_time(monkeypatch):
    monkeypatch.setattr(windows_module, "_LISTED", 0)
    drawn = np.concatenate([step_indices(10**9, 1000, seed=1, step=k) for k in range(20)])
    assert len(set(drawn.tolist())) == len(drawn)
    counts = np.bincount(drawn * 10 // 10**9, minlength=10)
    assert np.abs(counts - 2000).max() < 5 * np.sqrt(2000)
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.04


@pytest.mark.parametrize("stride", [1, 3])
def test_the_reach_of_windows_is_that_of_looking_at_each(stride):
    recordings = [recording(n, id=str(n)) for n in (12, 3, 20, 5)]
    whole = Windows(recordings, WindowSpec(4, 1, stride))
    hidden = HiddenWindows(
        recordings, WindowSpec(5, 0, stride), [Missingness("point", 0.5, seed=s) for s in (0, 1)]
    )
    for windows in (whole, whole.take([5, 2, 3, 9]), whole.take([]), hidden, hidden.take([7])):
        every: dict[int, list[int]] = {}
        for r, start in zip(windows.recording.tolist(), windows.start.tolist(), strict=True):
            every.setdefault(r, []).append(start)
        found = zip(*(column.tolist() for column in windows.reach()), strict=True)
        assert {r: (first, last) for r, first, last in found} == {
            r: (min(starts), max(starts)) for r, starts in every.items()
        }


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_batches_are_all_windows_in_order(size):
    windows = Windows([recording(10)], WindowSpec(4, 0))
    batches = list(windows.batches(size))
    assert np.concatenate(batches).tolist() == list(range(7))
    assert all(len(batch) == min(size, 7) for batch in batches[:-1])
    assert list(windows.take([]).batches(size)) == []
