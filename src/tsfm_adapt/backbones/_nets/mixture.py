"""Likelihood and quantiles of the mixtures that Moirai 1.x predicts, in its scaled space.

Upstream draws samples; each step of a sample is drawn apart from the others, so that samples say
no more than the quantiles of each step, which are exact here and the same in every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Distribution, StudentT
from uni2ts.distribution.mixture import Mixture
from uni2ts.distribution.negative_binomial import NegativeBinomial

# Counts above this many standard deviations of the context are clipped to it.
_LAST_COUNT = 64
# Student's density is integrated up to so many of its widths: beyond them is less than 1e-9.
_WIDTHS = 6.5
_NODES, _WEIGHTS = (torch.from_numpy(x).float() for x in np.polynomial.legendre.leggauss(20))
# Quantiles are searched within sinh(+-16) = 4e6 standard deviations of the context, by this many
# halvings.
_REACH, _HALVINGS = 16.0, 32
# Smallest density in scaled space by which the gradient of a quantile is divided.
_LEAST_DENSITY = 1e-2

Cumulative = Callable[[Tensor], Tensor]


def log_likelihood(mixture: Mixture, values: Tensor) -> Tensor:
    """`Mixture.log_prob`, without its random draws where a value is outside a component's support.

    Args:
        mixture: of shape (...).
        values: (...), or (Q, ...), finite.
    """
    logs = []
    for log_weight, component in _parts(mixture):
        inside, safe = _within(component, values)
        logs.append(torch.where(inside, log_weight + component.log_prob(safe), -torch.inf))
    return torch.stack(logs).logsumexp(0)


def quantiles(mixture: Mixture, levels: Tensor) -> Tensor:
    """Quantiles (Q, ...) of a mixture of shape (...), at the levels (Q,).

    Differentiable in the mixture's parameters by the implicit function theorem. Where a quantile
    falls on a count of the negative binomial it does not move and has no gradient.
    """
    shape = mixture.batch_shape
    masses = levels.reshape(-1, *(1 for _ in shape)).to(mixture.weights.logits)
    with torch.no_grad():
        cumulative = _cumulative(mixture)
        low = torch.full_like(masses, -_REACH).expand(-1, *shape)
        high = -low
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            enough = cumulative(middle.sinh()) >= masses
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        solution = high.sinh()
    if not torch.is_grad_enabled():
        return solution
    with torch.no_grad():
        continuous = [part for part in _parts(mixture) if not _counts(part[1])]
        densities = [torch.zeros_like(solution)]
        for log_weight, component in continuous:
            inside, safe = _within(component, solution)
            density = (log_weight + component.log_prob(safe)).exp()
            densities.append(torch.where(inside, density, 0.0))
        slope = 1 / torch.stack(densities).sum(0).clamp(min=_LEAST_DENSITY)
    mass = _cumulative(mixture)(solution)
    moves = (mass.detach() - masses).abs() < 1e-3
    return solution - torch.where(moves, slope * (mass - mass.detach()), 0.0)


def _parts(mixture: Mixture) -> Iterator[tuple[Tensor, Distribution]]:
    """Log weights, which the categorical has normalised, and components."""
    return zip(mixture.weights.logits.unbind(-1), mixture.components, strict=True)


def _counts(component: Distribution) -> bool:
    return isinstance(component, NegativeBinomial)


def _within(component: Distribution, values: Tensor) -> tuple[Tensor, Tensor]:
    """Mask of values in the component's support, and values that are in it everywhere."""
    assert component.support is not None
    inside: Tensor = component.support.check(values)
    return inside, torch.where(inside, values, 1.0)


def _cumulative(mixture: Mixture) -> Cumulative:
    """The mixture's distribution function; what does not depend on the value is computed once."""
    parts = [(weight.exp(), _cumulative_of(component)) for weight, component in _parts(mixture)]

    def cumulative(values: Tensor) -> Tensor:
        return torch.stack([weight * part(values) for weight, part in parts]).sum(0)

    return cumulative


def _cumulative_of(component: Distribution) -> Cumulative:
    if isinstance(component, StudentT):
        return _student(component)
    if isinstance(component, NegativeBinomial):
        return _negative_binomial(component)

    def cumulative(values: Tensor) -> Tensor:
        inside, safe = _within(component, values)
        return torch.where(inside, component.cdf(safe), 0.0)  # supports are bounded below only

    return cumulative


def _student(component: StudentT) -> Cumulative:
    """Student's t by Gauss-Legendre quadrature; torch has no incomplete beta function.

    With t = sqrt(df) tan(u) the density in u is proportional to cos(u)^(df - 1).
    """
    power = component.df - 1
    farthest = (_WIDTHS / power.sqrt()).clamp(max=torch.pi / 2)
    nodes, weights = (x.to(power) for x in (_NODES, _WEIGHTS))

    def integral(end: Tensor) -> Tensor:
        total = torch.zeros_like(end)
        for node, weight in zip(nodes, weights, strict=True):
            total = total + weight * (power * (end * (1 + node) / 2).cos().log()).exp()
        return total * end / 2

    half = integral(farthest)

    def cumulative(values: Tensor) -> Tensor:
        standard = (values - component.loc) / component.scale
        end = (standard.abs() / component.df.sqrt()).atan().minimum(farthest)
        return 0.5 + 0.5 * standard.sign() * integral(end) / half

    return cumulative


def _negative_binomial(component: NegativeBinomial) -> Cumulative:
    """Steps at 0, 1, 2, ... as upstream draws them."""
    counts = torch.arange(_LAST_COUNT, device=component.logits.device)
    ends = counts.to(component.logits).reshape(-1, *(1 for _ in component.batch_shape))
    below = component.log_prob(ends).exp().cumsum(0).clamp(max=1.0)
    steps = torch.cat([below, torch.ones_like(below[:1])])  # (65, ...)

    def cumulative(values: Tensor) -> Tensor:
        step = values.floor().clamp(min=0, max=_LAST_COUNT).long()
        return torch.where(values >= 0, steps.gather(0, step), 0.0)

    return cumulative
