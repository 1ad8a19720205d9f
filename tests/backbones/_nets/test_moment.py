"""MOMENT's network: its statistics, gaps and positions."""

import numpy as np
import pytest
import torch

from contracts.batch import random_batch, with_garbage
from tsfm_adapt.backbones._nets import moment as nets
from tsfm_adapt.backbones.moment import Moment


def test_gaps_before_the_first_measured_value_take_the_next_one():
    values = torch.tensor([[9.0, 9.0, 1.0, 9.0, 2.0, 9.0], [9.0] * 6])
    observed = torch.tensor([[False, False, True, False, True, False], [False] * 6])
    expected = torch.tensor([[1.0, 1.0, 1.0, 1.0, 2.0, 2.0], [0.0] * 6])
    assert torch.equal(nets.carried(values, observed), expected)


def test_statistics_are_numpys_over_observed_samples():
    batch = random_batch(missing=0.4)
    mean, deviation = nets.statistics(with_garbage(batch).values, batch.observed)
    values = np.where(batch.observed, batch.values.double(), np.nan)
    np.testing.assert_allclose(mean[..., 0], np.nanmean(values, -1), rtol=1e-5)
    np.testing.assert_allclose(deviation[..., 0], np.nanstd(values, -1), rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "observed", "mean", "deviation"),
    [
        ([5.0, 5.0], [False, False], 0.0, 1.0),
        ([1000.0, 1000.0], [True, True], 1000.0, 1e-3),
        ([0.0, 0.0], [True, True], 0.0, 1e-5),
        ([1e-6, 3e-6], [True, True], 2e-6, 1e-6),  # volts of microvolts
    ],
)
def test_statistics_of_hard_cases_are_positive_and_in_any_unit(values, observed, mean, deviation):
    found = nets.statistics(torch.tensor([values]), torch.tensor([observed]))
    assert [each.item() for each in found] == pytest.approx([mean, deviation])


def test_positions_are_sines_and_cosines_of_slower_and_slower_waves():
    found = nets.positions(8)
    assert found.shape == (1, 5000, 8)
    for place in (0, 1, 63):
        angles = place / 10_000 ** (np.arange(0, 8, 2) / 8)
        np.testing.assert_allclose(found[0, place, ::2], np.sin(angles), atol=1e-5)
        np.testing.assert_allclose(found[0, place, 1::2], np.cos(angles), atol=1e-5)


def test_a_hidden_patch_enters_as_the_same_token_whatever_it_holds():
    backbone = Moment.tiny()
    net, patch = backbone.model.eval(), backbone.spec.patch
    patches, visible = torch.randn(2, 5, patch), torch.ones(2, 5, dtype=torch.bool)
    visible[0, 2] = False
    before = net(patches, visible)
    patches[0, 2] = 1e3
    assert torch.equal(net(patches, visible), before)
    visible[0, 2] = True
    assert (net(patches, visible) - before).abs().max() > 1e-4
