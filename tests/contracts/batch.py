"""Batches to test with, what a backbone makes of them, and how close two results must be."""

from dataclasses import replace

import torch

from tsfm_adapt.backbones.base import PLAIN, Forecaster

LEVELS = (0.1, 0.5, 0.9)
# Garbage to put where nothing was measured; all finite, as the batch promises.
GARBAGE = (0.0, -1.0, 1e-30, 9999.0, 1e30, -3e38)


def random_batch(windows=3, channels=4, samples=70, horizon=20, missing=0.2, seed=0):
    """Random walks of very different levels and scales, with single and long gaps."""
    from tsfm_adapt.batches import Batch

    generator = torch.Generator().manual_seed(seed)
    shape = (windows, channels, samples + horizon)
    level = torch.tensor([80.0, 120.0, 36.6, 0.0, 97.0, 5.5])[:channels, None]
    scale = torch.tensor([1.0, 10.0, 0.1, 3.0, 0.5, 1.0])[:channels, None]
    values = level + scale * torch.randn(shape, generator=generator).cumsum(-1)
    observed = torch.rand(shape, generator=generator) >= missing
    if missing:  # and half of the series lose a third of the context in one piece
        first = torch.randint(samples, (windows, channels, 1), generator=generator)
        time = torch.arange(samples + horizon)
        hit = torch.rand((windows, channels, 1), generator=generator) < 0.5
        observed &= ~(hit & (time >= first) & (time < (first + samples // 3).clamp(max=samples)))
    values = values.where(observed, 0.0)
    return Batch(
        values=values[..., :samples].contiguous(),
        observed=observed[..., :samples].contiguous(),
        target=values[..., samples:].contiguous(),
        target_observed=observed[..., samples:].contiguous(),
        start_s=torch.arange(windows, dtype=torch.float64) * 86400.0,
        rate_hz=1 / 60,
        channels=tuple(f"c{i}" for i in range(channels)),
        subjects=tuple(f"p{i}" for i in range(windows)),
    )


def with_garbage(batch, seed=0):
    """The same measurements; arbitrary numbers wherever nothing was measured."""
    generator = torch.Generator().manual_seed(seed)

    def fill(values, observed):
        picks = torch.randint(len(GARBAGE), values.shape, generator=generator)
        return values.where(observed, torch.tensor(GARBAGE)[picks])

    return replace(
        batch,
        values=fill(batch.values, batch.observed),
        target=fill(batch.target, batch.target_observed),
    )


def select(batch, windows=slice(None), channels=slice(None)):
    """A copy of some windows and channels of a batch, in the order given."""

    def names(all_names, picked):
        if isinstance(picked, slice):
            return all_names[picked]
        return tuple(all_names[i] for i in picked)

    return replace(
        batch,
        values=batch.values[windows][:, channels].clone(),
        observed=batch.observed[windows][:, channels].clone(),
        target=batch.target[windows][:, channels].clone(),
        target_observed=batch.target_observed[windows][:, channels].clone(),
        start_s=batch.start_s[windows],
        channels=names(batch.channels, channels),
        subjects=names(batch.subjects, windows),
    )


def reversed_in_time(batch, windows=slice(None), channels=slice(None)):
    """A copy in which some series of the context run backwards."""
    turned = select(batch)
    turned.values[windows, channels] = batch.values[windows, channels].flip(-1)
    turned.observed[windows, channels] = batch.observed[windows, channels].flip(-1)
    return turned


def calls(backbone, batch, steps=20):
    """What a backbone can be asked about a batch, by the name of the output: functions of
    `through`."""
    found = {}
    if isinstance(backbone, Forecaster):
        found["loss"] = lambda through: backbone.loss(batch, through)
        found["forecast"] = lambda through: backbone.forecast(batch, steps, through).quantiles(
            LEVELS
        )
    return found | {"tokens": lambda through: backbone.encode(batch, through)}


def outputs(backbone, batch, steps=20, through=PLAIN):
    """All that a backbone says about a batch, each part from the same seed."""
    result = {}
    for name, call in calls(backbone, batch, steps).items():
        torch.manual_seed(0)
        result[name] = call(through)
    encoded = result.pop("tokens")
    return result | {"tokens": encoded.tokens, "token_observed": encoded.token_observed}


def differentiable(result):
    """The names of the outputs that carry gradients."""
    return [name for name in result if name != "token_observed"]


def roughened(backbone, seed=1, noise=0.2):
    """The backbone with noise on every weight: a fresh one is almost linear and channel-blind."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in backbone.network.parameters():
            parameter.add_(noise * torch.randn(parameter.shape, generator=generator))
    return backbone


def assert_same(actual, expected):
    """Bit-equal, part by part."""
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(actual[name], value), f"{name} differs by {_gap(actual[name], value)}"


def assert_near(actual, expected, relative=1e-5):
    """Within `relative` of the largest expected magnitude; series by series for (B, C, ...)."""
    assert actual.shape == expected.shape
    within = tuple(range(2, expected.ndim)) or tuple(range(expected.ndim))
    magnitude = expected.detach().abs().amax(dim=within, keepdim=True)
    off = ((actual - expected).detach().abs() / magnitude.clamp(min=1e-12)).max().item()
    assert off <= relative, f"differs by {off:.2e} of the magnitude, allowed {relative}"


def _gap(actual, expected):
    return (actual.float() - expected.float()).abs().max().item()
