"""The maps between channels and latents, number by number."""

import pytest
import torch

from contracts.batch import assert_near
from tsfm_adapt.adapters._nets.channel_projector import Projection

CPU = torch.device("cpu")


def projection(encodes=True, varies=True):
    made = Projection(channels=3, latents=2, encodes=encodes, varies=varies, device=CPU)
    made.directions.copy_(torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]))
    return made


def filled(module):
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def test_untrained_both_ways_are_the_fitted_directions():
    module = projection()
    series = torch.tensor([[[1.0], [2.0], [3.0]]])
    assert_near(module.encoded(series), torch.tensor([[[2.2], [3.0]]]))
    assert torch.equal(module.decoding, module.directions.mT)
    assert_near(module.log_variances(series), torch.full((1, 2, 1), -4.0))


def test_what_is_trained_is_added_to_the_directions():
    module, series = filled(projection()), torch.randn(2, 3, 5)
    weight = module.directions + module.encoder
    for window, encoded in zip(series, module.encoded(series), strict=True):
        expected = [
            sum(w * channel for w, channel in zip(row, window, strict=True)) for row in weight
        ]
        assert_near(encoded, torch.stack(expected))
    assert torch.equal(module.decoding, module.directions.mT + module.decoder)


def test_logarithms_of_variances_are_linear_in_the_channels_within_bounds():
    module, series = filled(projection()), torch.randn(2, 3, 5)
    expected = torch.einsum("kc,bct->bkt", module.log_variance, series)
    expected = expected + module.log_variance_bias[:, None]
    assert_near(module.log_variances(series), expected.clamp(-12, 6))
    assert module.log_variances(1e6 * series).abs().max() == 12
    assert module.log_variances(1e6 * series).max() == 6


@pytest.mark.parametrize(
    ("encodes", "varies", "trained"),
    [
        (False, False, 3 * 2 + 3),
        (True, False, 2 * 3 * 2 + 3),
        (True, True, 3 * 3 * 2 + 2 + 3),
    ],
)
def test_only_the_maps_that_are_asked_for_train(encodes, varies, trained):
    module = projection(encodes, varies)
    assert sum(p.numel() for p in module.parameters()) == trained
    assert {name for name, _ in module.named_buffers()} == {"mean", "deviation", "directions"}


def test_channels_are_mixed_in_the_precision_of_the_data_under_autocast():
    module, series = filled(projection()), torch.randn(2, 3, 5)
    plain = module.encoded(series), module.log_variances(series)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(module.encoded(series), plain[0])
        assert torch.equal(module.log_variances(series), plain[1])
