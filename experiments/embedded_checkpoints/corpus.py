"""The synthetic corpus: batch k is a pure function of (seed, k), nothing is stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import patterns
import stochastic
from observation import MAX_LAG, Groups, couple, disturb, hide, learnable
from stochastic import Array, unit

PATCH = 16  # samples; targets are drawn in whole patches
FAMILIES: Mapping[str, Callable[[np.random.Generator, int, int], Array]] = {
    "mean_reverting": stochastic.mean_reverting,
    "smooth": stochastic.smooth,
    "integrated": stochastic.integrated,
    "excursions": stochastic.excursions,
    "resonant": stochastic.resonant,
    "switching": stochastic.switching,
    "kernel_mixture": patterns.kernel_mixture,
    "waveform": patterns.waveform,
    "seasonal": patterns.seasonal,
    "steps": patterns.steps,
}


@dataclass(frozen=True)
class Plan:
    """What the corpus is made of; recorded beside every checkpoint."""

    families: Mapping[str, float] = field(
        default_factory=lambda: {
            "mean_reverting": 0.20,
            "smooth": 0.19,
            "integrated": 0.13,
            "excursions": 0.12,
            "resonant": 0.05,
            "switching": 0.07,
            "kernel_mixture": 0.08,
            "waveform": 0.05,
            "seasonal": 0.05,
            "steps": 0.06,
        }
    )
    contexts: Mapping[int, float] = field(  # samples: share of batches
        default_factory=lambda: {48: 0.22, 128: 0.43, 240: 0.23, 512: 0.12}
    )
    patches: Mapping[int, float] = field(  # patches of 16 to forecast: share of batches
        default_factory=lambda: {1: 0.55, 2: 0.3, 4: 0.1, 8: 0.05}
    )
    samples: int = 6_000  # about the context samples of a batch: short contexts, more rows
    largest_group: int = 8
    mixed_groups: float = 0.3  # share of groups whose channels come from different families


@dataclass(frozen=True)
class CorpusBatch:
    """R rows in groups; NaN = not measured."""

    context: Array  # (R, T)
    target: Array  # (R, 16 n); all NaN in rows that are not learnable
    groups: Groups  # (R,) ascending

    @property
    def patches(self) -> int:
        """n, the number of output patches that the target fills."""
        return self.target.shape[1] // PATCH


def draw_batch(plan: Plan, seed: int, step: int) -> CorpusBatch:
    """Batch `step` of the corpus; equal arguments give equal arrays."""
    rng = np.random.default_rng([seed, step])
    context = int(_choose(rng, plan.contexts, 1)[0])
    horizon = PATCH * int(_choose(rng, plan.patches, 1)[0])
    groups = _groups(rng, rows=min(max(plan.samples // context, 16), 128), plan=plan)
    series = _latent(rng, plan, groups, MAX_LAG + context + horizon)
    values = disturb(rng, couple(rng, unit(series), groups))
    values = hide(rng, values, groups, context)
    past, target = values[:, :context], values[:, context:]
    target = np.where(learnable(past, target)[:, None], target, np.float32(np.nan))
    return CorpusBatch(np.ascontiguousarray(past), target, groups)


def _groups(rng: np.random.Generator, rows: int, plan: Plan) -> Groups:
    """Group numbers of `rows` rows; a third of the groups has one channel."""
    sizes = rng.integers(1, plan.largest_group + 1, rows)
    sizes[rng.random(rows) < 1 / 3] = 1
    return np.repeat(np.arange(rows), sizes)[:rows]


def _latent(rng: np.random.Generator, plan: Plan, groups: Groups, length: int) -> Array:
    """Series (R, length), each family generated in one go for all of its rows."""
    number = int(groups[-1]) + 1
    shared = _choose(rng, plan.families, number)[groups]
    own = _choose(rng, plan.families, len(groups))
    mixed = rng.random(number)[groups] < plan.mixed_groups
    family = np.where(mixed, own, shared)
    series = np.empty((len(groups), length), np.float32)
    for name in plan.families:
        rows = np.flatnonzero(family == name)
        if len(rows):
            series[rows] = FAMILIES[name](rng, len(rows), length)
    return series


def _choose(
    rng: np.random.Generator, shares: Mapping[str, float] | Mapping[int, float], size: int
) -> np.ndarray:
    options = np.array(list(shares))
    weights = np.array(list(shares.values()))
    return rng.choice(options, size, p=weights / weights.sum())
