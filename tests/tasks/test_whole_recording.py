"""Whole recordings filled window by window: which window a sample is estimated in."""

import numpy as np
import pytest

from tsfm_adapt.evaluation.base import Predictor
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.windows import WindowSpec
from tsfm_adapt.tasks._whole_recording import whole_recording

CONTEXT = 8


def recording(values):
    values = np.atleast_2d(np.asarray(values, float))
    names = tuple(f"c{number}" for number in range(len(values)))
    return Recording("r", "p", values, names, ("1",) * len(values), 1.0)


def filled(values, predict, min_context=1, batch_size=2):
    return whole_recording(
        Predictor(predict, (0.5,)),
        recording(values),
        WindowSpec(CONTEXT, horizon=0, min_context=min_context),
        batch_size,
    )[:, 0]


def repeats(arrays, steps):
    """Says what it sees."""
    return arrays.values[:, :, None]


def places(arrays, steps):
    """Says where in its window a sample lies."""
    return np.broadcast_to(np.arange(steps, dtype=float), (*arrays.values.shape[:2], 1, steps))


@pytest.mark.parametrize("samples", [8, 9, 11, 12, 30, 31])
@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_every_sample_comes_from_its_own_place_however_windows_are_batched(samples, batch_size):
    values = np.stack([np.arange(samples), 100.0 - np.arange(samples)])
    np.testing.assert_array_equal(filled(values, repeats, batch_size=batch_size), values)


@pytest.mark.parametrize("samples", [8, 12, 13, 30])
def test_a_sample_is_estimated_in_the_window_that_shows_most_on_both_its_sides(samples):
    (place,) = filled(np.zeros(samples), places)
    starts = sorted({*range(0, samples - CONTEXT + 1, CONTEXT // 2), samples - CONTEXT})
    for sample in range(samples):
        inside = [sample - start for start in starts if 0 <= sample - start < CONTEXT]
        most = max(min(at, CONTEXT - 1 - at) for at in inside)
        assert min(place[sample], CONTEXT - 1 - place[sample]) == most, sample


def test_a_channel_that_shows_too_little_in_every_window_is_not_estimated():
    values = np.ones((2, 24))
    values[1, 2:] = np.nan
    found = filled(values, places, min_context=3)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    assert np.isfinite(filled(values, places, min_context=2)[1, :CONTEXT]).all()


def test_a_window_without_an_estimate_leaves_its_samples_to_its_neighbours():
    """The model has no estimate where the window starts at sample 8."""

    def some(arrays, steps):
        found = np.array(places(arrays, steps))
        found[arrays.values[:, 0, 0] == 8] = np.nan
        return found

    (place,) = filled(np.arange(20.0), some)
    np.testing.assert_array_equal(place[8:12], np.arange(4, 8))  # of the window at 4
    np.testing.assert_array_equal(place[12:16], np.arange(0, 4))  # of the window at 12
