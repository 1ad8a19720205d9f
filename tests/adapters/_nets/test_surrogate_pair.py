"""The two surrogates of each channel, number by number."""

import torch

from contracts.batch import assert_near
from tsfm_adapt.adapters._nets.surrogate_pair import Surrogates


def surrogates(channels=2, width=3, trained=True):
    torch.manual_seed(4)
    module = Surrogates(channels, width, torch.device("cpu"))
    if trained:
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_()
    return module


def test_untrained_they_are_the_channels_and_their_negatives():
    series = torch.randn(2, 2, 5)
    assert torch.equal(surrogates(trained=False)(series), torch.cat([series, -series], dim=1))


def test_they_are_a_x_plus_g_and_minus_b_x_plus_g():
    module = surrogates()
    x = torch.tensor([0.5, -2.0])
    hidden = module.enter.weight @ x + module.enter.bias
    g = module.leave.weight @ (hidden / (1 + (-hidden).exp())) + module.leave.bias
    first, second = module.log_a.exp() * x + g, g - module.log_b.exp() * x
    assert_near(module(x[None, :, None])[0, :, 0], torch.cat([first, second]))


def test_their_difference_holds_no_mixture_whatever_was_trained():
    """By it a forecast of both is turned into one of the channel."""
    module, series = surrogates(), torch.randn(3, 2, 7)
    first, second = module(series).split(2, dim=1)
    a, b = module.log_a.exp()[:, None], module.log_b.exp()[:, None]
    assert_near((first - second) / (a + b), series, relative=1e-5)


def test_each_sample_is_mixed_apart():
    module, series = surrogates(), torch.randn(3, 2, 7)
    changed = series.clone()
    changed[1, 0, 4] += 1.0
    differs = (module(changed) - module(series)).abs().amax(1)  # (B, T)
    assert (differs > 1e-6).nonzero().tolist() == [[1, 4]]


def test_the_precision_is_that_of_the_data_under_autocast():
    module, series = surrogates(), torch.randn(3, 2, 7)
    plain = module(series)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module(series), plain)
