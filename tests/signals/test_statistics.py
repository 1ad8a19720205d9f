"""Moments: those of numpy, however the samples are cut, and with all their digits."""

import numpy as np
import pytest

from tsfm_adapt.signals import recording as recordings
from tsfm_adapt.signals.recording import Recording
from tsfm_adapt.signals.statistics import moments


def series(values, id="r"):
    values = np.atleast_2d(values)
    names = tuple(f"c{number}" for number in range(len(values)))
    return Recording(id, id, values, names, ("1",) * len(names), 1.0)


def with_gaps(seed=3, samples=5000):
    generator = np.random.default_rng(seed)
    values = generator.normal([[3.0], [-40.0], [0.0]], [[1.0], [7.0], [0.01]], (3, samples))
    values[generator.random(values.shape) < 0.3] = np.nan
    return values.astype(np.float32)


def test_they_are_those_of_numpy_over_observed_samples():
    values = with_gaps()
    known = moments([series(values)])
    exact = values.astype(np.float64)
    assert known.count.tolist() == np.isfinite(values).sum(1).tolist()
    assert known.mean == pytest.approx(np.nanmean(exact, 1), rel=1e-13, abs=1e-15)
    assert known.standard_deviation == pytest.approx(np.nanstd(exact, 1), rel=1e-13)
    assert known.scale == pytest.approx(known.standard_deviation, rel=0)


@pytest.mark.parametrize("block", [1, 7, 4999])
def test_how_the_samples_are_cut_changes_nothing(monkeypatch, block):
    values = with_gaps()
    whole = moments([series(values)])
    monkeypatch.setattr(recordings, "_BLOCK", block)
    cut = moments([series(values[:, :1234]), series(values[:, 1234:])])
    assert cut.count.tolist() == whole.count.tolist()
    assert cut.mean == pytest.approx(whole.mean, rel=1e-12, abs=1e-14)
    assert cut.standard_deviation == pytest.approx(whole.standard_deviation, rel=1e-12)


@pytest.mark.parametrize("block", [100, 1 << 16])
def test_a_small_spread_far_from_zero_keeps_its_digits(monkeypatch, block):
    """Where the difference of mean squares has none left: it is below 0 or off by thousands."""
    monkeypatch.setattr(recordings, "_BLOCK", block)
    wave = np.sin(np.arange(10_000))
    far = 1e9 + wave
    naive = np.square(far).mean() - far.mean() ** 2
    assert not np.isclose(naive, wave.var(), rtol=0.1)
    known = moments([series(far)])
    assert known.standard_deviation[0] == pytest.approx((far - 1e9).std(), rel=1e-9)


def test_a_constant_has_no_spread_and_is_divided_by_one():
    constant = series(np.full((1, 70_000), 36.6, dtype=np.float32))
    known = moments([constant, constant])
    assert known.standard_deviation.tolist() == [0.0]
    assert known.scale.tolist() == [1.0]
    almost = moments([constant, series([[36.60001]])])  # a step of float32's rounding
    assert almost.standard_deviation[0] > 0
    assert almost.scale.tolist() == [1.0]


def test_a_channel_that_was_never_observed_has_no_standard_deviation():
    known = moments([series([[1.0, 3.0], [np.nan, np.nan]]), series([[5.0], [np.nan]])])
    assert known.count.tolist() == [3, 0]
    assert known.mean.tolist() == [3.0, 0.0]
    assert np.isnan(known.standard_deviation).tolist() == [False, True]
    assert known.scale[1] == 1.0


def test_memory_mapped_values_are_given_back_on_the_way(tmp_path, monkeypatch):
    np.save(tmp_path / "v.npy", with_gaps(samples=300))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    released = []
    monkeypatch.setattr(recordings, "release", lambda values: released.append(values is mapped))
    monkeypatch.setattr(recordings, "_BLOCK", 100)
    one = Recording("r", "r", mapped, ("a", "b", "c"), ("1",) * 3, 1.0)
    moments([one])
    assert released == [True] * 3


def test_without_recordings_there_are_no_channels():
    assert moments([]).standard_deviation.shape == moments([]).mean.shape == (0,)
