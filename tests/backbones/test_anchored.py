import pytest
import torch

from contracts.batch import random_batch
from tsfm_adapt.backbones._anchored import FLAT, DetrendedSeries, GaplessSeries
from tsfm_adapt.backbones.timesfm3 import TimesFM3

LONGEST = 64


def gapless(batch):
    return GaplessSeries.of(batch, LONGEST)


def detrended(batch):
    return DetrendedSeries.of(batch, TimesFM3.tiny().model, LONGEST)


@pytest.mark.parametrize("held", [gapless, detrended])
@pytest.mark.parametrize("mean", [0.0, 36.6, 1e6])
def test_a_constant_series_is_exactly_zero_whatever_its_value(held, mean):
    batch = random_batch()
    batch.values[:] = mean
    series = held(batch)
    assert not series.values.any()
    assert (series.unit == 1).all()
    assert series.anchor.unique().tolist() == pytest.approx([mean])


@pytest.mark.parametrize("held", [gapless, detrended])
@pytest.mark.parametrize("factor", [2.0**-20, 2.0**10])
def test_series_in_a_unit_that_is_a_power_of_two_smaller_are_held_alike(held, factor):
    batch, changed = random_batch(), random_batch()
    changed.values.mul_(factor)
    before, after = held(batch), held(changed)
    assert torch.equal(after.values, before.values)
    assert torch.equal(after.unit, before.unit * factor)
    assert torch.equal(after.anchor, before.anchor * factor)


def test_gapless_series_go_through_their_observed_samples():
    batch = random_batch(samples=LONGEST)
    series = gapless(batch)
    restored = series.in_units(series.values).unflatten(0, batch.values.shape[:2])
    close = torch.isclose(restored, batch.values, rtol=1e-5, atol=1e-4)
    assert close[batch.observed].all()
    assert series.values.abs().max() <= 2
    assert torch.allclose(series.seen_as(series.in_units(series.values)), series.values, atol=1e-3)


def test_gaps_lie_on_the_line_between_their_neighbours_and_the_end_repeats_the_last():
    batch = random_batch(windows=1, channels=1, samples=8, missing=0.0)
    batch.values[0, 0] = torch.tensor([9.0, 9.0, 1.0, 9.0, 9.0, 4.0, 9.0, 9.0])
    batch.observed[0, 0] = torch.tensor([0, 0, 1, 0, 0, 1, 0, 0]).bool()
    series = gapless(batch)
    expected = [1.0, 1.0, 1.0, 2.0, 3.0, 4.0, 4.0, 4.0]
    assert series.in_units(series.values)[0].tolist() == pytest.approx(expected)
    assert series.absent[0].tolist() == [True, True] + 6 * [False]


def test_a_straight_line_is_all_trend():
    batch = random_batch(windows=1, channels=1, samples=LONGEST, missing=0.0)
    batch.values[0, 0] = 5.0 + 0.25 * torch.arange(LONGEST)
    series = detrended(batch)
    assert not series.values.any()
    assert (series.slope * series.unit).item() == pytest.approx(0.25)
    assert (series.start * series.unit + series.anchor).item() == pytest.approx(20.75)
    assert series.deviation.item() > FLAT
