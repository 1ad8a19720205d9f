"""Lag-Llama's network: sizes, lags, and the Student t that it draws from."""

import pytest
import torch

from tsfm_adapt.backbones._nets.lag_llama import LAGS, LagLlamaNet, StudentT

PUBLISHED = {"n_layer": 8, "n_head": 9, "n_embd_per_head": 16, "lags_seq": list(LAGS)}


# The network


def test_the_published_sizes_make_the_published_number_of_parameters():
    with torch.device("meta"):
        net = LagLlamaNet(PUBLISHED)
    assert sum(p.numel() for p in net.parameters()) == 2_449_299
    assert len(net.state_dict()) == 73
    assert net.transformer["h"][0].mlp.c_fc1.weight.shape == (512, 144)


def test_the_lags_are_those_of_gluonts_without_the_six_that_it_added_later():
    from gluonts.time_feature import get_lags_for_frequency

    lags = {
        lag - 1
        for frequency in ("QE", "ME", "W", "D", "h", "min", "s")
        for lag in get_lags_for_frequency(frequency)
    }
    assert len(LAGS) == 84
    assert sorted(lags - {1, 2, 3, 4, 5, 6}) == list(LAGS)


def test_densities_are_those_of_torchs_student_t():
    generator = torch.Generator().manual_seed(6)
    df, loc, value = 2 + 5 * torch.rand(200, generator=generator), *torch.randn(2, 200)
    scale = 0.1 + torch.rand(200, generator=generator)
    expected = torch.distributions.StudentT(df, loc, scale).log_prob(value)
    torch.testing.assert_close(StudentT(df, loc, scale).log_prob(value), expected)


@pytest.mark.parametrize("df", [2.0, 3.0, 30.0])
def test_draws_follow_the_student_t_also_in_their_gradient(df):
    from scipy.stats import kstest, t

    uniforms = torch.rand(2, 100_000, generator=torch.Generator().manual_seed(7)).clamp(2**-25)
    parameter = torch.full((100_000,), df, requires_grad=True)
    drawn = StudentT(parameter, torch.zeros(()), torch.ones(())).draw(uniforms)
    assert kstest(drawn.detach().numpy(), "t", args=(df,)).pvalue > 0.01
    bounded = drawn.abs().clamp(max=4.0)
    (gradient,) = torch.autograd.grad(bounded.sum(), parameter)
    less, more = (t(d).expect(lambda x: min(abs(x), 4.0)) for d in (df - 0.1, df + 0.1))
    assert gradient.mean().item() == pytest.approx((more - less) / 0.2, rel=0.1)


def test_extreme_draws_are_finite_with_finite_gradients():
    edges = torch.tensor([2**-25, 0.5, 1 - 2**-24])
    uniforms = torch.cartesian_prod(edges, edges).T
    parameters = [torch.full((9,), value, requires_grad=True) for value in (2.0, 0.0, 1.0)]
    drawn = StudentT(*parameters).draw(uniforms)
    gradients = torch.autograd.grad(drawn.sum(), parameters)
    assert drawn.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)
