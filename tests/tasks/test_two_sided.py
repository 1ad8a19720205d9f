from dataclasses import replace

import numpy as np
import pytest
import torch

from contracts.batch import GARBAGE, random_batch, with_garbage
from contracts.small_run import model
from tsfm_adapt.forecasts import QuantileForecast
from tsfm_adapt.tasks._two_sided import some_gaps, two_sided

LEVELS = (0.1, 0.5, 0.9)


def batch_of(rows, gaps):
    """One window whose channels are `rows`, with stretches (channel, first, stop) missing."""
    batch = random_batch(windows=1, channels=len(rows), samples=len(rows[0]), missing=0.0)
    observed = torch.ones_like(batch.observed)
    for channel, first, stop in gaps:
        observed[0, channel, first:stop] = False
    return replace(batch, values=torch.tensor([rows], dtype=torch.float32), observed=observed)


def held(batch, steps):
    """The last observed value, one lower and one higher."""
    time = torch.arange(batch.values.shape[-1])
    last = torch.where(batch.observed, time, -1).amax(-1, keepdim=True).clamp(min=0)
    value = batch.values.gather(-1, last)[:, :, None].expand(-1, -1, 3, steps)
    return QuantileForecast(value + torch.tensor([-1.0, 0.0, 1.0])[:, None], LEVELS)


def filled(forecaster, batch, wanted=None, patch=4):
    wanted = ~batch.observed if wanted is None else wanted
    return two_sided(forecaster, batch, wanted, LEVELS, patch).quantiles(LEVELS)


def test_a_gap_is_blended_by_distance():
    """Between 10 and 20 the held values on both sides make a straight line."""
    batch = batch_of([[10.0, 10, 0, 0, 0, 0, 20, 20]], [(0, 2, 6)])
    result = filled(held, batch)
    expected = torch.tensor([10.0, 10, 12, 14, 16, 18, 20, 20])
    torch.testing.assert_close(result[0, 0, 1], expected)
    torch.testing.assert_close(result[0, 0, 0, 2:6], expected[2:6] - 1)
    torch.testing.assert_close(result[0, 0, 2, 2:6], expected[2:6] + 1)


def test_what_is_observed_is_its_own_quantiles():
    batch = random_batch(windows=2, missing=0.3)
    result = filled(held, batch)
    for level in range(3):
        quantile = result[:, :, level]
        assert torch.equal(quantile[batch.observed], batch.values[batch.observed])


def test_a_gap_at_an_edge_has_one_side_and_a_whole_channel_none():
    batch = batch_of(
        [[0.0, 0, 5, 6], [5.0, 6, 0, 0], [0.0, 0, 0, 0]], [(0, 0, 2), (1, 2, 4), (2, 0, 4)]
    )
    result = filled(held, batch)[0, :, 1]
    assert result[0].tolist() == [5, 5, 5, 6]
    assert result[1].tolist() == [5, 6, 6, 6]
    assert result[2].tolist() == [0, 0, 0, 0]


def test_the_forecaster_sees_the_window_up_to_the_gap_and_from_behind_it_backwards():
    rows = [[1.0, 2, 3, 4, 5, 6, 7, 8], [11.0, 12, 13, 14, 15, 16, 17, 18]]
    batch = batch_of(rows, [(0, 2, 4)])
    seen = []

    def watching(context, steps):
        seen.append((context, steps))
        return held(context, steps)

    filled(watching, batch)
    (before, steps), (behind, _) = seen
    assert steps == 4  # two samples are one patch
    assert before.values[0, :, -2:].tolist() == [[1, 2], [11, 12]]
    assert before.observed.sum(-1).tolist() == [[2, 2]]
    assert behind.values[0, :, -4:].tolist() == [[8, 7, 6, 5], [18, 17, 16, 15]]
    assert behind.observed.sum(-1).tolist() == [[4, 4]]
    assert before.start_s.item() == batch.start_s.item() + (2 - 8) / batch.rate_hz
    assert behind.start_s.isnan().all()
    assert before.target is None
    assert before.subjects == batch.subjects


def test_gaps_that_begin_together_share_a_forecast():
    batch = batch_of([[1.0] * 12] * 3, [(0, 3, 5), (1, 3, 7), (2, 3, 8)])
    rows = []

    def counting(context, steps):
        rows.append((context.size, steps))
        return held(context, steps)

    filled(counting, batch)
    # in front two gaps of one patch and one of two; behind, all three end apart
    assert sorted(rows) == [(1, 4), (1, 8), (1, 8), (2, 4)]


def test_only_gaps_that_are_wanted_are_filled_and_alike():
    batch = batch_of([[10.0, 0, 20, 20, 0, 0, 50, 50]], [(0, 1, 2), (0, 4, 6)])
    wanted = torch.zeros_like(batch.observed)
    wanted[0, 0, 5] = True
    some, every = filled(held, batch, wanted), filled(held, batch)
    assert torch.equal(some[..., 4:6], every[..., 4:6])
    assert (some[..., 1] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_what_is_not_observed_cannot_change_a_model_s_estimate(seed):
    adapted, batch = model(), random_batch(windows=2, samples=40, missing=0.3, seed=seed)
    with torch.inference_mode():
        expected = filled(adapted.forecast, batch, patch=8)
        assert torch.equal(filled(adapted.forecast, with_garbage(batch), patch=8), expected)
        moved = replace(batch, target=batch.target + 1e4)
        assert torch.equal(filled(adapted.forecast, moved, patch=8), expected)
    assert expected.isfinite().all()


def test_one_window_cannot_change_another():
    adapted, batch = model(), random_batch(windows=3, samples=40, missing=0.3)
    other = random_batch(windows=3, samples=40, missing=0.5, seed=1)
    mixed = replace(
        batch,
        values=torch.cat([other.values[:1], batch.values[1:]]),
        observed=torch.cat([other.observed[:1], batch.observed[1:]]),
    )
    with torch.inference_mode():
        expected = filled(adapted.forecast, batch, patch=8)
        torch.testing.assert_close(
            filled(adapted.forecast, mixed, patch=8)[1:], expected[1:], rtol=1e-4, atol=1e-4
        )


def test_time_runs_the_other_way_for_a_reversed_window():
    """The estimate of the mirror image is the mirror image, as long as time has no date."""
    adapted, batch = model(), random_batch(windows=2, samples=40, missing=0.3)
    mirrored = replace(batch, values=batch.values.flip(-1), observed=batch.observed.flip(-1))
    with torch.inference_mode():
        expected = filled(adapted.forecast, batch, patch=8).flip(-1)
        torch.testing.assert_close(
            filled(adapted.forecast, mirrored, patch=8), expected, rtol=1e-4, atol=1e-3
        )


def test_gradients_reach_every_trainable_weight_even_without_a_gap():
    adapted = model()
    batch = random_batch(windows=2, samples=40, missing=0.3)
    whole = replace(batch, observed=torch.ones_like(batch.observed))
    parameters = list(adapted.trainable().values())
    for each, learns in ((batch, True), (whole, False)):
        gradients = torch.autograd.grad(
            filled(adapted.forecast, each, patch=8).square().mean(), parameters
        )
        assert all(g.isfinite().all() for g in gradients)
        assert any(g.any() for g in gradients) == learns


@pytest.mark.parametrize("garbage", GARBAGE)
def test_a_forecaster_never_sees_garbage(garbage):
    batch = random_batch(windows=1, samples=30, missing=0.3)
    dirty = replace(batch, values=batch.values.where(batch.observed, garbage))

    def strict(context, steps):
        assert (context.values[~context.observed] == 0).all()
        return held(context, steps)

    assert torch.equal(filled(strict, dirty), filled(strict, batch))


def test_at_most_so_many_stretches_of_a_window_are_kept():
    wanted = torch.zeros(3, 2, 30, dtype=torch.bool)
    wanted[0, :, [1, 5, 9, 13, 17, 21]] = True
    wanted[1, 0, 4:9] = True
    wanted[1, 1, 7:12] = True  # runs on where channel 0 ends: one stretch
    kept = some_gaps(wanted, 2)
    assert not (kept & ~wanted).any()
    assert kept[0].any(0).sum() == 2
    assert torch.equal(kept[1], wanted[1])
    assert not kept[2].any()
    alone = some_gaps(wanted[:1], 2)
    assert torch.equal(alone[0], kept[0])
    assert torch.equal(some_gaps(wanted, 10), wanted)


def test_weights_sum_to_one_for_a_constant():
    batch = random_batch(windows=2, samples=50, missing=0.4)
    batch = replace(batch, values=torch.full_like(batch.values, 7.0))
    median = filled(held, batch)[:, :, 1]
    some = batch.observed.any(-1)
    np.testing.assert_allclose(median[some].numpy(), 7.0, rtol=1e-6)
