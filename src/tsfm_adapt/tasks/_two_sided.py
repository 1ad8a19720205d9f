"""Fills gaps by two forecasts, from before and from behind, blended by distance.

Any forecaster can fill this way without having been trained for it. The windows run backwards for
the second forecast, so that a gap's right side becomes the past.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt.forecasts import QuantileForecast
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray

if TYPE_CHECKING:
    from torch import Tensor

    from tsfm_adapt.batches import Batch
    from tsfm_adapt.forecasts import Forecast

Forecaster = Callable[["Batch", int], "Forecast"]

_ROWS = 512  # contexts forecast at once


def two_sided(
    forecaster: Forecaster,
    batch: Batch,
    wanted: Tensor,
    levels: Sequence[float],
    patch: int,
) -> QuantileForecast:
    """Quantiles of every sample of the window, (B, C, Q, T).

    A gap is a run of samples that are not observed. Sample k of a gap of L is the forecast from
    before it with weight (L + 1 - k) / (L + 1), else that from behind it; a gap at the window's
    edge has one side. Where a gap reaches from edge to edge the quantiles are 0: nothing is known.
    Observed samples are their own quantiles. Gaps are filled whole if one of their samples is
    wanted; what is neither observed nor filled is 0. Differentiable in the forecaster.

    Args:
        forecaster: of the samples after a batch's context, any number of them. All channels
            before a gap are its context, so that joint models see the others too.
        batch: what is visible; nothing else is looked at.
        wanted: (B, C, T) bool.
        levels: Q quantile levels.
        patch: forecasts have a whole number of patches, so that one gap's estimate does not
            depend on which others are filled with it.
    """
    import torch

    observed = batch.observed.cpu().numpy()
    gaps = _gaps(observed, wanted.cpu().numpy())
    shown = torch.where(batch.observed, batch.values, 0.0)
    filled = shown[..., None].repeat(1, 1, 1, len(levels))  # (B, C, T, Q)
    sides = [_Side.of(gaps, patch, observed.shape[-1], behind) for behind in (False, True)]
    estimates = [side.estimated(forecaster, batch, levels) for side in sides]
    entries, of_gap = gaps.entries()  # (3, N), (N,)
    if len(of_gap):
        before, behind = (
            side.at(estimate, entries, gaps, of_gap)
            for side, estimate in zip(sides, estimates, strict=True)
        )
        weight = torch.from_numpy(gaps.weight(entries[2], of_gap)).to(filled)[:, None]
        at = tuple(torch.from_numpy(index).to(filled.device) for index in entries)
        filled = filled.index_put(at, weight * before + (1 - weight) * behind)
    if torch.is_grad_enabled() and not any(len(side.window) for side in sides):
        # A batch without a gap that has a side trains nothing, but has a gradient.
        filled = filled + 0.0 * forecaster(batch, 1).quantiles(levels).sum()
    return QuantileForecast(filled.movedim(-1, 2), tuple(levels))


def some_gaps(wanted: Tensor, most: int) -> Tensor:
    """The wanted samples (B, C, T) in at most `most` stretches of each window, evenly spaced.

    A stretch is a run of samples where some channel is wanted. Which are kept depends on the
    window alone.
    """
    import torch

    anywhere = wanted.any(1).cpu().numpy()  # (B, T)
    begins = np.diff(anywhere.astype(np.int8), axis=1, prepend=0) == 1
    number = np.cumsum(begins, axis=1) - 1  # of the stretch, where there is one
    kept = np.zeros_like(anywhere)
    for row, stretches in enumerate(begins.sum(1)):
        picked = (
            (2 * np.arange(most) + 1) * stretches // (2 * most)
        )  # the middles of `most` equal shares
        kept[row] = anywhere[row] & np.isin(number[row], picked)
    return wanted & torch.from_numpy(kept).to(wanted.device)[:, None]


@dataclass(frozen=True)
class _Gaps:
    """G runs of samples that are not observed."""

    window: IntArray  # (G,)
    channel: IntArray  # (G,)
    first: IntArray  # (G,)
    stop: IntArray  # (G,) past the last
    samples: int  # T

    def entries(self) -> tuple[tuple[IntArray, IntArray, IntArray], IntArray]:
        """Window, channel and sample of each of N missing values, and its gap."""
        length = self.stop - self.first
        gap = np.repeat(np.arange(len(length)), length)
        within = np.arange(len(gap)) - np.repeat(np.cumsum(length) - length, length)
        return (self.window[gap], self.channel[gap], self.first[gap] + within), gap

    def weight(self, sample: IntArray, gap: IntArray) -> FloatArray:
        """Of the forecast from before, (N,)."""
        first, stop = self.first[gap], self.stop[gap]
        blend = (stop - sample) / (stop - first + 1)
        blend = np.where(first == 0, 0.0, np.where(stop == self.samples, 1.0, blend))
        weight: FloatArray = blend.astype(np.float32)
        return weight


def _gaps(observed: BoolArray, wanted: BoolArray) -> _Gaps:
    """The gaps with a sample that is wanted."""
    edge = np.diff(np.pad(~observed, ((0, 0), (0, 0), (1, 1))).astype(np.int8), axis=-1)
    window, channel, first = np.nonzero(edge == 1)
    stop = np.nonzero(edge == -1)[2]  # in the same order
    before = np.pad(np.cumsum(wanted & ~observed, axis=-1), ((0, 0), (0, 0), (1, 0)))
    some = before[window, channel, stop] > before[window, channel, first]
    samples = observed.shape[-1]
    return _Gaps(window[some], channel[some], first[some], stop[some], samples)


@dataclass(frozen=True)
class _Side:
    """The R forecasts that gaps need from one side, each of a window's channels together."""

    behind: bool
    window: IntArray  # (R,)
    edge: IntArray  # (R,) the first missing sample, seen from this side
    steps: IntArray  # (R,)
    row: IntArray  # (G,) each gap's forecast; 0 where there is none

    @staticmethod
    def of(gaps: _Gaps, patch: int, samples: int, behind: bool) -> _Side:
        """Gaps of a window that begin together and need as many patches share a forecast."""
        steps = -(-(gaps.stop - gaps.first) // patch) * patch
        edge = gaps.stop - 1 if behind else gaps.first
        sided = gaps.stop < samples if behind else gaps.first > 0
        keys = np.stack([gaps.window, edge, steps], axis=1)
        rows, of_sided = np.unique(keys[sided], axis=0, return_inverse=True)
        row = np.zeros(len(edge), dtype=np.int64)
        row[sided] = of_sided.reshape(-1)
        return _Side(behind, rows[:, 0], rows[:, 1], rows[:, 2], row)

    def estimated(self, forecaster: Forecaster, batch: Batch, levels: Sequence[float]) -> Tensor:
        """The forecasts (R, C, Q, most steps), 0 beyond each one's; at least one row."""
        import torch
        from torch.nn import functional as F

        most = int(self.steps.max(initial=1))
        shape = (1, batch.values.shape[1], len(levels), most)
        pieces, order = [batch.values.new_zeros(shape)], [np.array([len(self.window)])]
        for steps in np.unique(self.steps):
            same = np.flatnonzero(self.steps == steps)
            for rows in np.split(same, np.arange(_ROWS, len(same), _ROWS)):
                forecast = forecaster(self._contexts(batch, rows), int(steps))
                quantiles = forecast.quantiles(levels).to(batch.values)
                pieces.append(F.pad(quantiles, (0, most - int(steps))))
                order.append(rows)
        back = np.argsort(np.concatenate(order), kind="stable")
        return torch.cat(pieces)[torch.from_numpy(back).to(batch.values.device)]

    def at(
        self,
        estimate: Tensor,
        entries: tuple[IntArray, IntArray, IntArray],
        gaps: _Gaps,
        of_gap: IntArray,
    ) -> Tensor:
        """The estimates (N, Q) of missing values; of no meaning where a gap has no such side."""
        import torch

        _, channel, sample = entries
        ahead = (gaps.stop[of_gap] - 1 - sample) if self.behind else (sample - gaps.first[of_gap])
        sided = (gaps.stop < gaps.samples) if self.behind else (gaps.first > 0)
        row = np.where(sided, self.row, len(self.window))[of_gap]  # the last row is all 0
        ahead = np.where(sided[of_gap], ahead, 0)
        index = [torch.from_numpy(i).to(estimate.device) for i in (row, channel, ahead)]
        return estimate[index[0], index[1], :, index[2]]

    def _contexts(self, batch: Batch, rows: IntArray) -> Batch:
        """The windows up to each edge, at their end, or backwards from behind it."""
        import torch

        samples = batch.values.shape[-1]
        window, edge = self.window[rows], self.edge[rows]
        back = np.arange(samples, 0, -1)  # the last sample is one before the edge
        sample = edge[:, None] + back if self.behind else edge[:, None] - back  # (R, T)
        inside = (sample >= 0) & (sample < samples)
        device = batch.values.device
        index = torch.from_numpy(np.where(inside, sample, 0)).to(device)[:, None]
        index = index.expand(-1, batch.values.shape[1], -1)
        picked = torch.from_numpy(window).to(device)
        known = torch.from_numpy(inside).to(device)[:, None]
        observed = batch.observed[picked].gather(-1, index) & known
        values = batch.values[picked].gather(-1, index)
        first = torch.from_numpy(edge - samples).to(batch.start_s)
        unknown = torch.full_like(batch.start_s[picked], torch.nan)
        return replace(
            batch.without_target(),
            values=torch.where(observed, values, 0.0),
            observed=observed,
            start_s=unknown if self.behind else batch.start_s[picked] + first / batch.rate_hz,
            subjects=tuple(batch.subjects[w] for w in window),
        )
