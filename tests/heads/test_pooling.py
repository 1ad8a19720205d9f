"""One vector a channel: its tokens, and what instance normalisation took from them."""

import math

import numpy as np
import pytest
import torch

from tsfm_adapt.backbones.base import Encoded
from tsfm_adapt.batches import Batch
from tsfm_adapt.heads import _pooling
from tsfm_adapt.heads._nets import standardised
from tsfm_adapt.heads._pooling import (
    STATISTICS,
    flagged,
    statistics,
    vectors,
    vectors_key,
    weights,
)


def test_statistics_weigh_as_much_as_all_tokens_of_a_channel():
    """One penalty for both would otherwise drown three numbers among hundreds."""
    rng = np.random.default_rng(0)
    weights = _pooling.weights(width=16, channels=2, merge="concat", with_statistics=True)
    module = standardised.FittedLinear(weights, 3)
    scaled = module.standardise(rng.normal(5, 3, (400, 38)).astype(np.float32))
    power = scaled.var(0).reshape(2, 19)
    np.testing.assert_allclose(power[:, :16].sum(1), 1, rtol=1e-4)
    np.testing.assert_allclose(power[:, 16:], 1, rtol=1e-4)


def example():
    """One window of two channels and three tokens; the second channel shows nothing."""
    tokens = torch.tensor([[[[1.0, 8.0], [3.0, 2.0], [9.0, 9.0]], [[7.0, 7.0]] * 3]])
    seen = torch.tensor([[[True, True, False], [False] * 3]])
    return Encoded(tokens, seen)


def batch():
    values = torch.tensor([[[2.0, 4.0, 99.0, 99.0], [99.0] * 4]])
    observed = torch.tensor([[[True, True, False, False], [False] * 4]])
    names = ("HR", "MAP")
    return Batch(values, observed, None, None, torch.zeros(1), 1.0, names, ("p",))


@pytest.mark.parametrize(
    ("pooling", "merge", "expected"),
    [
        ("mean", "concat", [2.0, 5.0, 0.0, 0.0]),
        ("mean", "mean", [2.0, 5.0]),
        ("last", "concat", [3.0, 2.0, 0.0, 0.0]),
        ("max", "mean", [3.0, 8.0]),
    ],
)
def test_tokens_that_are_not_observed_are_no_part_of_a_vector(pooling, merge, expected):
    assert vectors(example(), batch(), pooling, merge, False).tolist() == [expected]


def test_statistics_stand_behind_the_tokens_of_their_channel():
    both = vectors(example(), batch(), "mean", "concat", True)
    assert both.shape == (1, 2 * (2 + STATISTICS))
    found = both.unflatten(1, (2, -1))
    assert found[0, 0, :2].tolist() == [2.0, 5.0]
    assert torch.equal(found[..., 2:], statistics(batch()))


def test_statistics_are_mean_logarithm_of_the_spread_and_share_of_what_was_observed():
    known, nothing = statistics(batch())[0]
    assert known.tolist() == pytest.approx([3.0, math.log(1.001), 0.5])
    assert nothing.tolist() == [0.0, 0.0, 0.0]


def test_a_flag_says_which_tokens_are_observed_and_the_others_are_0():
    found = flagged(example())[0]
    assert found[0].tolist() == [[1.0, 8.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 0.0]]
    assert not found[1].any()


@pytest.mark.parametrize("merge", ["concat", "mean"])
@pytest.mark.parametrize("with_statistics", [False, True])
def test_there_is_a_weight_for_every_number(merge, with_statistics):
    found = vectors(example(), batch(), "mean", merge, with_statistics)
    assert len(weights(2, 2, merge, with_statistics)) == found.shape[1]


def test_vectors_that_differ_have_different_keys():
    keys = {
        vectors_key(pooling, merge, with_statistics)
        for pooling in ("mean", "last", "max")
        for merge in ("concat", "mean")
        for with_statistics in (False, True)
    }
    assert len(keys) == 12
