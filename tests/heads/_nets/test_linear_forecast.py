"""The linear map of a channel's tokens to its next samples."""

import torch

from contracts.batch import assert_near
from tsfm_adapt.heads._nets.linear_forecast import LinearForecast


def test_each_sample_of_each_quantile_is_a_weighted_sum_of_the_tokens():
    module = LinearForecast(inputs=2, quantiles=2, horizon=3, dropout=0.0)
    with torch.no_grad():
        module.linear.weight.copy_(torch.arange(12.0).reshape(6, 2))
        module.linear.bias.copy_(torch.arange(6.0))
    found = module(torch.tensor([[[10.0, 1.0]]]))
    # row r of the weight is (2 r, 2 r + 1); quantiles are the slower of the two
    expected = [[r * 20 + 2 * r + 1 + r for r in rows] for rows in ((0, 1, 2), (3, 4, 5))]
    assert found.tolist() == [[expected]]


def test_channels_and_windows_are_mapped_alike_and_apart():
    module = LinearForecast(inputs=4, quantiles=3, horizon=5, dropout=0.0)
    tokens = torch.randn(2, 3, 4)
    found = module(tokens)
    assert found.shape == (2, 3, 3, 5)
    assert_near(module(tokens.flip(0, 1)), found.flip(0, 1))


def test_dropout_acts_in_training_only():
    module, tokens = (
        LinearForecast(inputs=4, quantiles=1, horizon=2, dropout=0.5),
        torch.ones(9, 4),
    )
    assert (module(tokens) != module(tokens)).any()
    module.eval()
    assert torch.equal(module(tokens), module(tokens))
