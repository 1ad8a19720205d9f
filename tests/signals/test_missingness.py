from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsfm_adapt.signals.missingness import HiddenWindows, Missingness
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import Windows, WindowSpec

CHANNELS, SAMPLES = 4, 96
EVERY = [
    Missingness("point", 0.2),
    Missingness("block", 0.2, 1),
    Missingness("block", 0.2, 15),
    Missingness("subsequence", 0.3, 10),
    Missingness("channel", 0.5),
    Missingness("patch", 0.25, 8),
]
each = pytest.mark.parametrize("mask", EVERY, ids=lambda m: f"{m.pattern}-{m.length}")


def recordings(missing=0.1, seed=0, samples=200):
    rng = np.random.default_rng(seed)
    found = []
    for number in range(2):
        values = 80 + rng.normal(size=(3, samples)).cumsum(1)
        values[rng.random(values.shape) < missing] = np.nan
        names, units = ("HR", "RESP", "MAP"), ("bpm", "breaths/min", "mmHg")
        found.append(Recording(f"r{number}", f"p{number}", values, names, units, 1 / 60))
    return found


def windows(stride=5, masks=EVERY, **changes):
    return HiddenWindows(recordings(**changes), WindowSpec(40, 0, stride), masks)


def runs(row):
    """Lengths of the stretches of a (T,) mask."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
    return (edges[1::2] - edges[::2]).tolist()


@each
def test_a_mask_is_a_function_of_its_seed_and_the_window(mask):
    observed = np.ones((CHANNELS, SAMPLES), dtype=bool)
    first = mask.hidden(observed, "r0\t12")
    np.testing.assert_array_equal(mask.hidden(observed, "r0\t12"), first)
    other_windows = [mask.hidden(observed, f"r0\t{start}") for start in range(12)]
    assert any((other != first).any() for other in other_windows)
    other_seeds = [replace(mask, seed=s).hidden(observed, "r0\t12") for s in range(1, 12)]
    assert any((other != first).any() for other in other_seeds)


@each
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), missing=st.floats(0, 1))
def test_only_what_was_measured_is_hidden_and_values_play_no_part(mask, seed, missing):
    observed = np.random.default_rng(seed).random((CHANNELS, SAMPLES)) >= missing
    hidden = mask.hidden(observed, f"r\t{seed}")
    assert hidden.shape == observed.shape
    assert not (hidden & ~observed).any()


@each
def test_the_rate_is_reached(mask):
    observed = np.ones((CHANNELS, SAMPLES), dtype=bool)
    share = np.mean([mask.hidden(observed, str(w)).mean() for w in range(50)])
    one_piece = mask.length / SAMPLES
    assert share == pytest.approx(mask.rate, abs=one_piece / 2 + 0.003)


def test_points_are_a_share_of_what_was_measured():
    observed = np.random.default_rng(0).random((CHANNELS, SAMPLES)) < 0.5
    hidden = Missingness("point", 0.3).hidden(observed, "w")
    assert hidden.sum() == round(0.3 * observed.sum())


@pytest.mark.parametrize("length", [1, 4, 15])
def test_blocks_hide_all_channels_at_once_for_their_length_with_values_on_both_sides(length):
    observed = np.ones((CHANNELS, SAMPLES), dtype=bool)
    for window in range(30):
        hidden = Missingness("block", 0.2, length).hidden(observed, str(window))
        assert (hidden == hidden[0]).all()
        assert set(runs(hidden[0])) == {length}
        assert not hidden[0, [0, -1]].any()


def test_blocks_reach_every_place_but_the_ends():
    observed = np.ones((1, 20), dtype=bool)
    mask = Missingness("block", 0.2, 4)
    everywhere = sum(mask.hidden(observed, str(w))[0].astype(int) for w in range(200))
    assert (everywhere[1:-1] > 0).all()
    assert everywhere[0] == everywhere[-1] == 0


def test_subsequences_have_their_length_and_each_channel_its_own_place():
    observed = np.ones((CHANNELS, SAMPLES), dtype=bool)
    hidden = Missingness("subsequence", 0.1, 10).hidden(observed, "w")
    assert [runs(row) for row in hidden] == [[10]] * CHANNELS
    assert len({row.tobytes() for row in hidden}) == CHANNELS


def test_patches_are_aligned_to_the_end_of_the_window():
    observed = np.ones((CHANNELS, 43), dtype=bool)
    hidden = Missingness("patch", 0.4, 8).hidden(observed, "w")
    assert not hidden[:, :3].any()  # no whole patch
    by_patch = hidden[:, 3:].reshape(CHANNELS, 5, 8)
    assert (by_patch.all(-1) == by_patch.any(-1)).all()
    assert (by_patch.any(-1).sum(1) == 2).all()


def test_a_channel_is_hidden_whole_and_one_that_was_measured_stays():
    observed = np.ones((CHANNELS, SAMPLES), dtype=bool)
    observed[0] = False
    hidden = Missingness("channel", 0.99).hidden(observed, "w")
    assert hidden.all(1).sum() == 2
    assert (hidden.all(1) == hidden.any(1)).all()
    observed[1:3] = False
    assert not Missingness("channel", 0.99).hidden(observed, "w").any()


@pytest.mark.parametrize(
    ("mask", "fits"),
    [
        (Missingness("block", 0.2, 18), True),
        (Missingness("block", 0.2, 19), False),
        (Missingness("block", 0.9, 1), False),
        (Missingness("subsequence", 0.9, 3), False),
        (Missingness("patch", 0.5, 20), False),
        (Missingness("patch", 0.5, 5), True),
        (Missingness("point", 0.9), True),
    ],
    ids=str,
)
def test_stretches_that_find_no_room_do_not_fit(mask, fits):
    assert mask.fits(20) == fits
    if fits:
        for window in range(20):
            assert not mask.hidden(np.ones((2, 20), dtype=bool), str(window)).all()


def test_every_window_comes_under_every_mask_in_the_order_of_time():
    some, plain = windows(), Windows(recordings(), WindowSpec(40, 0, 5))
    assert len(some) == len(plain) * len(EVERY)
    np.testing.assert_array_equal(some.start, np.repeat(plain.start, len(EVERY)))
    np.testing.assert_array_equal(some.recording, np.repeat(plain.recording, len(EVERY)))
    np.testing.assert_array_equal(some.mask, np.tile(np.arange(len(EVERY)), len(plain)))
    assert some.overlap == 8 * len(EVERY)


def test_what_is_shown_and_what_is_hidden_together_are_what_was_measured():
    some, plain = windows(), Windows(recordings(), WindowSpec(40, 0, 5))
    for window in range(0, len(some), 7):
        arrays, whole = some.gather([window]), plain.gather([window // len(EVERY)])
        assert not (arrays.observed & arrays.target_observed).any()
        both = arrays.observed | arrays.target_observed
        np.testing.assert_array_equal(both, whole.observed)
        np.testing.assert_array_equal(arrays.target, whole.values)
        assert (arrays.values[~arrays.observed] == 0).all()
        np.testing.assert_array_equal(
            arrays.values[arrays.observed], whole.values[arrays.observed]
        )
        assert arrays.mask.tolist() == [window % len(EVERY)]


def test_a_window_has_the_same_mask_in_every_batch_list_and_stride():
    some = windows()
    whole = some.gather(range(len(some)))
    for window in (0, 17, len(some) - 1):
        alone = some.gather([window])
        taken = some.take([5, window]).gather([1])
        np.testing.assert_array_equal(alone.target_observed[0], whole.target_observed[window])
        np.testing.assert_array_equal(taken.target_observed[0], whole.target_observed[window])
    dense = windows(stride=1)
    position = 5 * len(EVERY) + 2  # start 5, mask 2: second window of stride 5
    np.testing.assert_array_equal(
        dense.gather([position]).target_observed[0], whole.target_observed[len(EVERY) + 2]
    )


def test_values_that_are_hidden_play_no_part_in_where_they_are():
    moved = [replace(r, values=r.values * 3 - 7) for r in recordings()]
    other = HiddenWindows(moved, WindowSpec(40, 0, 5), EVERY)
    some = windows()
    np.testing.assert_array_equal(
        other.gather(range(12)).target_observed, some.gather(range(12)).target_observed
    )


def test_evenly_spaced_windows_keep_all_their_masks():
    some = windows()
    fewer = some.evenly_spaced(4 * len(EVERY) + 3)
    assert len(fewer) == 4 * len(EVERY)
    np.testing.assert_array_equal(np.bincount(fewer.mask), [4] * len(EVERY))
    starts = fewer.start.reshape(4, -1)
    assert (starts == starts[:, :1]).all()
    assert len(fewer.evenly_spaced(2 * len(EVERY))) == 2 * len(EVERY)
    assert len(some.evenly_spaced(4)) == 4
    assert len(some.evenly_spaced(10**6)) == len(some)


def test_the_hash_of_windows_tells_masks_apart():
    some = windows(masks=EVERY[:1])
    assert some.origins_sha256() == windows(masks=EVERY[:1]).origins_sha256()
    other = windows(masks=[replace(EVERY[0], seed=1)])
    assert other.origins_sha256() != some.origins_sha256()
