import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tsfm_adapt.forecasts import QuantileForecast, QuantileLevels, SampleForecast

NINE = tuple(i / 10 for i in range(1, 10))
UNEVEN = (0.01, 0.05, 0.5, 0.8, 0.99)


def forecast(levels=NINE, shape=(2, 3), steps=5, seed=0, sort=True):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, len(levels), steps, generator=generator)
    return QuantileForecast(values.sort(dim=2).values if sort else values, levels)


def test_steps_are_the_last_axis():
    assert forecast(steps=7).steps == 7


@pytest.mark.parametrize("levels", [NINE, UNEVEN])
def test_known_levels_are_handed_out_as_they_are_in_the_order_asked(levels):
    whole = forecast(levels)
    assert torch.equal(whole.quantiles(levels), whole.values)
    assert torch.equal(whole.quantiles(levels[::-1]), whole.values.flip(2))
    assert torch.equal(whole.quantiles([levels[2]]), whole.values[:, :, 2:3])


def test_a_level_that_is_known_up_to_rounding_is_that_level():
    whole = forecast()
    for level, position in ((0.1 + 0.2, 2), (float(np.float32(0.7)), 6), (1 - 0.9, 0)):
        torch.testing.assert_close(
            whole.quantiles([level])[:, :, 0], whole.values[:, :, position], rtol=0, atol=1e-6
        )


@settings(deadline=None, max_examples=50)
@given(
    levels=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=6),
    seed=st.integers(0, 1000),
    known=st.sampled_from([NINE, UNEVEN, (0.5,)]),
    sort=st.booleans(),
)
def test_levels_between_are_interpolated_and_beyond_are_the_outermost(levels, seed, known, sort):
    whole = forecast(known, shape=(1, 2), steps=3, seed=seed, sort=sort)
    expected = np.apply_along_axis(
        lambda column: np.interp(levels, known, column), 2, whole.values.double().numpy()
    )
    # 1e-6 of level counts as equal, over at most a gap of 0.04 between neighbours
    np.testing.assert_allclose(whole.quantiles(levels).numpy(), expected, atol=1e-4)


def test_crossing_quantiles_stay_as_the_model_said_them():
    crossing = QuantileForecast(torch.tensor([[[[3.0], [1.0]]]]), (0.1, 0.9))
    assert crossing.quantiles([0.1, 0.5, 0.9]).flatten().tolist() == [3.0, 2.0, 1.0]


def test_the_loss_is_twice_the_pinball_summed_over_levels_averaged_over_observed_targets():
    whole = QuantileForecast(torch.tensor([[[[1.0, 5.0], [3.0, 9.0]]]]), (0.2, 0.9))
    target = torch.tensor([[[2.0, 1e9]]])
    observed = torch.tensor([[[True, False]]])
    scale = torch.tensor([[[0.5]]])
    # errors (2-1)/.5 = 2 and (2-3)/.5 = -2: 2 * (.2 * 2 + .1 * 2) = 1.2
    assert whole.loss(target, observed, scale).item() == pytest.approx(1.2)


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 1000), missing=st.floats(0, 0.9))
def test_the_loss_equals_numpys_arithmetic(seed, missing):
    generator = torch.Generator().manual_seed(seed)
    whole = forecast(UNEVEN, seed=seed)
    target = torch.randn(2, 3, 5, generator=generator)
    observed = torch.rand(2, 3, 5, generator=generator) >= missing
    scale = torch.rand(2, 3, 1, generator=generator) + 0.1
    error = (target[:, :, None] - whole.values).double().numpy() / scale[:, :, None].numpy()
    levels = np.array(UNEVEN)[:, None]
    each = (2 * np.where(error >= 0, levels * error, (levels - 1) * error)).sum(axis=2)
    expected = each[observed.numpy()].mean() if observed.any() else 0.0
    assert whole.loss(target, observed, scale).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("garbage", [1e30, -3e38, float("nan"), float("inf")])
def test_targets_that_are_not_observed_change_neither_loss_nor_gradient(garbage):
    results = []
    for hidden in (0.0, garbage):
        values = forecast().values.requires_grad_()
        observed = torch.ones(2, 3, 5, dtype=torch.bool)
        observed[0, 1, 2:] = False
        target = torch.zeros(2, 3, 5).masked_fill(~observed, hidden)
        loss = QuantileForecast(values, NINE).loss(target, observed, torch.ones(2, 3, 1))
        loss.backward()
        assert not values.grad[0, 1, :, 2:].any()
        results.append((loss.detach(), values.grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


def test_without_any_observed_target_the_loss_is_zero():
    values = forecast().values.requires_grad_()
    none = torch.zeros(2, 3, 5, dtype=torch.bool)
    loss = QuantileForecast(values, NINE).loss(torch.ones(2, 3, 5), none, torch.ones(2, 3, 1))
    loss.backward()
    assert loss == 0
    assert not values.grad.any()


def test_the_loss_has_no_unit():
    target, observed, scale = torch.randn(2, 3, 5), torch.rand(2, 3, 5) > 0.3, torch.rand(2, 3, 1)
    whole = forecast()
    in_other_units = QuantileForecast(whole.values * 1000, NINE)
    assert in_other_units.loss(target * 1000, observed, scale * 1000).item() == pytest.approx(
        whole.loss(target, observed, scale).item(), rel=1e-5
    )


def test_the_loss_is_least_at_the_quantiles_of_the_data():
    generator = torch.Generator().manual_seed(3)
    sample = torch.randn(1, 1, 4001, generator=generator).exp()
    everywhere, one = torch.ones_like(sample, dtype=torch.bool), torch.ones(1, 1, 1)
    truth = torch.quantile(sample.flatten(), torch.tensor(NINE))

    def loss(values):
        constant = values[None, None, :, None].expand(1, 1, 9, sample.shape[-1])
        return QuantileForecast(constant, NINE).loss(sample, everywhere, one).item()

    best = loss(truth)
    for position in range(9):
        for shift in (-0.05, 0.05):
            moved = truth.clone()
            moved[position] += shift
            assert loss(moved) > best


def test_quantiles_of_samples_are_those_of_numpy():
    samples = torch.randn(20, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    whole = SampleForecast(samples)
    expected = np.quantile(samples.double().numpy(), UNEVEN, axis=0)
    assert whole.steps == 5
    np.testing.assert_allclose(
        whole.quantiles(UNEVEN).numpy(), np.moveaxis(expected, 0, 2), atol=1e-6
    )


def test_the_loss_of_samples_is_that_of_their_deciles_and_reaches_them():
    samples = torch.randn(20, 2, 3, 5, generator=torch.Generator().manual_seed(0))
    samples.requires_grad_()
    whole = SampleForecast(samples)
    target, observed = torch.zeros(2, 3, 5), torch.rand(2, 3, 5) < 0.8
    scale = torch.full((2, 3, 1), 2.0)
    loss = whole.loss(target, observed, scale)
    deciles = QuantileForecast(whole.quantiles(NINE), NINE)
    assert loss.item() == pytest.approx(deciles.loss(target, observed, scale).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(loss, samples)
    assert (gradient.abs().amax(0) > 0)[observed].all()
    assert not gradient.movedim(0, -1)[~observed].any()


@pytest.mark.parametrize(
    ("levels", "rule"),
    [
        ((), "include 0.5"),
        ((0.1, 0.9), "include 0.5"),
        ((0.0, 0.5), "between 0 and 1"),
        ((0.5, 1.0), "between 0 and 1"),
        ((0.9, 0.5), "increase and do not repeat"),
        ((0.5, 0.5), "increase and do not repeat"),
    ],
    ids=str,
)
def test_levels_of_a_recipe_that_break_a_rule_are_refused_with_it(levels, rule):
    with pytest.raises(ValidationError, match=rule):
        TypeAdapter(QuantileLevels).validate_python(levels)


def test_levels_of_a_recipe_are_kept_as_they_are():
    for levels in ((0.5,), (0.1, 0.5, 0.9), UNEVEN):
        assert TypeAdapter(QuantileLevels).validate_python(list(levels)) == levels
