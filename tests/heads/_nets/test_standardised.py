"""Linear layers on standardised features."""

import numpy as np
import pytest
import torch

from contracts.batch import assert_near
from tsfm_adapt.heads._nets.standardised import FittedLinear, Standardised, StandardisedLinear


def features(windows=50):
    values = np.random.default_rng(0).normal([5, -2, 1e4], [3, 0.1, 7], size=(windows, 3))
    return values.astype(np.float32)


def test_features_of_train_have_mean_0_and_the_deviation_that_was_asked_for():
    module = Standardised([1.0, 0.25, 2.0])
    found = module.standardise(features())
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(found.std(0), [1.0, 0.25, 2.0], rtol=1e-3)


def test_other_windows_are_scaled_by_train_alone():
    module, train = Standardised([1.0] * 3), features()
    module.standardise(train)
    other = torch.tensor([[0.0, 1.0, 2.0]])
    expected = (other.numpy() - train.mean(0)) / train.std(0)
    np.testing.assert_allclose(module.scaled(other).numpy(), expected, rtol=1e-3)


def test_a_feature_that_never_varies_is_0_whatever_comes_later():
    train = features()
    train[:, 1] = 7.0
    module = Standardised([1.0] * 3)
    assert not module.standardise(train)[:, 1].any()
    assert module.scaled(torch.full((2, 3), 1e6))[:, 1].tolist() == [0.0, 0.0]


@pytest.mark.parametrize("kind", ["trains", "fitted"])
def test_logits_are_a_linear_map_of_standardised_features(kind):
    weight, bias = np.array([[1, 2, 3], [0, -1, 0.5]], np.float32), np.array([0.5, -1], np.float32)
    if kind == "trains":
        module = StandardisedLinear([1.0] * 3, 2, dropout=0.5).eval()
        module.start_from(weight, bias)
        assert sum(p.numel() for p in module.parameters()) == 8
    else:
        module = FittedLinear([1.0] * 3, 2)
        module.weight.copy_(torch.from_numpy(weight))
        module.bias.copy_(torch.from_numpy(bias))
        assert list(module.parameters()) == []
    standard = module.standardise(features())
    expected = torch.from_numpy(standard @ weight.T + bias)
    assert_near(module(torch.from_numpy(features())), expected)


def test_a_pool_makes_the_features_window_by_window():
    class Sum(torch.nn.Module):
        def forward(self, tokens):
            return tokens.sum(1)

    module = StandardisedLinear([1.0] * 3, 2, dropout=0.0, pool=Sum())
    tokens = np.random.default_rng(1).normal(size=(1030, 4, 3)).astype(np.float32)  # three chunks
    np.testing.assert_allclose(module.pooled(tokens), tokens.sum(1), rtol=1e-4, atol=1e-5)
    plain = StandardisedLinear([1.0] * 3, 2, dropout=0.0)
    assert plain.pooled(tokens) is tokens
    with torch.no_grad():
        plain.load_state_dict(module.state_dict())
    found = torch.from_numpy(tokens[:5])
    assert_near(module(found), plain(found.sum(1)))
