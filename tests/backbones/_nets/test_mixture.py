"""Quantiles and likelihoods of Moirai's mixtures."""

import numpy as np
import pytest

pytest.importorskip("uni2ts", reason="needs the extra moirai")

import torch


def test_gradients_of_quantiles_are_those_of_finite_differences():
    """Of every parameter of every component but the counts, whose quantiles stand still."""
    from torch.distributions import Categorical, LogNormal, Normal, StudentT
    from uni2ts.distribution.mixture import Mixture

    from tsfm_adapt.backbones._nets.mixture import quantiles

    levels = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)

    def found(logits, df, loc, scale, narrow, mean, spread):
        components = [
            StudentT(df, loc, scale),
            Normal(narrow, torch.full_like(narrow, 0.5)),
            LogNormal(mean, spread),
        ]
        return quantiles(Mixture(Categorical(logits=logits), components), levels)

    given = ([[0.3, -0.2, 0.1]], [4.0], [-0.5], [1.2], [0.8], [0.1], [0.6])
    parameters = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in given]
    assert torch.autograd.gradcheck(found, parameters, eps=1e-4, atol=1e-4, rtol=1e-3)


def test_a_quantile_on_a_count_is_the_count_and_has_no_gradient():
    from torch.distributions import Categorical
    from uni2ts.distribution.mixture import Mixture
    from uni2ts.distribution.negative_binomial import NegativeBinomial

    from tsfm_adapt.backbones._nets.mixture import quantiles

    total = torch.tensor([3.0], requires_grad=True)
    counts = NegativeBinomial(total_count=total, logits=torch.tensor([0.5]))
    mixture = Mixture(Categorical(logits=torch.zeros(1, 1)), [counts])
    found = quantiles(mixture, torch.tensor([0.1, 0.5, 0.9]))
    torch.manual_seed(0)
    drawn = counts.sample((20000,)).quantile(torch.tensor([0.1, 0.5, 0.9]), dim=0)
    assert torch.allclose(found, drawn, atol=1e-4)
    assert not torch.autograd.grad(found.sum(), total)[0].any()


def mixture(*components, logits=(0.3, -0.4)):
    from torch.distributions import Categorical
    from uni2ts.distribution.mixture import Mixture

    return Mixture(Categorical(logits=torch.tensor([logits[: len(components)]])), components)


def test_the_likelihood_is_the_weighted_sum_of_densities_each_in_its_support():
    from torch.distributions import LogNormal, Normal

    from tsfm_adapt.backbones._nets.mixture import log_likelihood

    weights = torch.tensor([0.3, -0.4]).softmax(0).tolist()
    mixed = mixture(
        Normal(torch.tensor([0.5]), torch.tensor([2.0])),
        LogNormal(torch.tensor([0.1]), torch.tensor([0.7])),
    )
    for value in (-1.0, 0.25, 3.0):
        normal = np.exp(-((value - 0.5) ** 2) / 8) / (2 * np.sqrt(2 * np.pi))
        other = 0.0
        if value > 0:
            other = np.exp(-((np.log(value) - 0.1) ** 2) / (2 * 0.49))
            other /= value * 0.7 * np.sqrt(2 * np.pi)
        expected = np.log(weights[0] * normal + weights[1] * other)
        found = log_likelihood(mixed, torch.tensor([value]))
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("df", [2.5, 4.0, 30.0])
def test_quantiles_of_one_student_t_are_scipys(df):
    from scipy.stats import t
    from torch.distributions import StudentT

    from tsfm_adapt.backbones._nets.mixture import quantiles

    levels = torch.tensor([0.05, 0.5, 0.8, 0.95])
    one = mixture(StudentT(torch.tensor([df]), torch.tensor([1.5]), torch.tensor([0.4])))
    with torch.no_grad():
        found = quantiles(one, levels)[:, 0]
    np.testing.assert_allclose(found, t.ppf(levels, df, 1.5, 0.4), rtol=1e-4, atol=1e-5)
