"""Forecast scores, from sufficient statistics that add up over batches of windows.

MASE is Hyndman & Koehler's (2006) with a scale fitted on train and validation; WQL is the weighted
quantile loss of the M5 and GluonTS tradition. CRPS is approximated at the task's levels: twice
their mean pinball loss (Gneiting & Ranjan 2011).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from tsfm_adapt.errors import DivergedError
from tsfm_adapt.evaluation.metric import METRICS
from tsfm_adapt.evaluation.scores import ByName, ModelScores
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray, Recording


@dataclass(frozen=True)
class ForecastErrors:
    """Errors of one model on W windows, beside the targets."""

    subjects: tuple[str, ...]  # (W,)
    target: FloatArray  # (W, C, H) data units
    scored: BoolArray  # (W, C, H) measured, in a pair that counts
    point: FloatArray  # (W, C, H) the median
    pinball: FloatArray  # (W, C, H) twice the pinball loss, mean over levels
    low: FloatArray  # (W, C, H) the 0.1 quantile; NaN without it
    high: FloatArray  # (W, C, H) the 0.9 quantile; NaN without it

    def until(self, steps: int | None) -> ForecastErrors:
        """The errors of the first `steps` steps; all for None."""
        if steps is None or steps == self.target.shape[-1]:
            return self
        cut = {name: getattr(self, name)[..., :steps] for name in _ARRAYS}
        return ForecastErrors(self.subjects, **cut)

    def where(self, some: BoolArray) -> ForecastErrors:
        """The errors of some windows (W,)."""
        kept = {name: getattr(self, name)[some] for name in _ARRAYS}
        return ForecastErrors(tuple(np.array(self.subjects)[some].tolist()), **kept)

    @property
    def absolute(self) -> FloatArray:
        """|target - point| (W, C, H), 0 where not scored."""
        error: FloatArray = np.where(self.scored, np.abs(self.target - self.point), 0.0)
        return error

    def sums(self) -> tuple[FloatArray, FloatArray]:
        """Sum of absolute errors and number of scored targets, (W, C) each."""
        return self.absolute.sum(-1, dtype=np.float64), self.scored.sum(-1).astype(np.float64)


@dataclass(frozen=True)
class MaskedErrors(ForecastErrors):
    """Errors at values that were hidden from W windows; H is the window's length."""

    mask: IntArray  # (W,) which of the task's masks hid them
    headed: bool = False  # a head of the recipe estimated them


# Scores over all channels, in the order of scores.json.
_OVERALL = (
    *("mase", "wql", "crps_scaled", "coverage80"),
    *("mae", "rmse", "mape", "width80", "dtw"),
)

_ARRAYS = tuple(field.name for field in fields(ForecastErrors) if field.name != "subjects")


def forecast_errors(
    quantiles: FloatArray,
    levels: Sequence[float],
    target: FloatArray,
    observed: BoolArray,
    counted: BoolArray,
    subjects: Sequence[str],
) -> ForecastErrors:
    """The errors of one batch.

    Args:
        quantiles: (W, C, Q, H) in data units.
        levels: Q levels, 0.5 among them; a single level is a point forecast.
        target: (W, C, H); arbitrary where not observed.
        observed: (W, C, H).
        counted: (W, C) the pairs that are scored.
        subjects: (W,).

    Raises:
        DivergedError: a prediction that is scored is not finite.
    """
    scored = observed & counted[..., None]
    broken = int((scored & ~np.isfinite(quantiles).all(axis=2)).sum())
    if broken:
        raise DivergedError(
            f"Scores need finite predictions; {broken} of {int(scored.sum())} in a batch are not. "
            "Train again with a lower train.lr, or score another checkpoint."
        )
    safe = np.where(scored, target, 0.0).astype(np.float32)
    error = safe[:, :, None] - quantiles  # (W, C, Q, H)
    q = np.asarray(levels, dtype=np.float32)[:, None]
    pinball = 2 * np.maximum(q * error, (q - 1) * error).mean(axis=2)

    def at(level: float) -> FloatArray:
        index = np.flatnonzero(np.isclose(levels, level))
        if len(index) == 0:
            return np.full(target.shape, np.nan, dtype=np.float32)
        column: FloatArray = quantiles[:, :, index[0]]
        return column

    return ForecastErrors(tuple(subjects), safe, scored, at(0.5), pinball, at(0.1), at(0.9))


def concatenate(pieces: Sequence[ForecastErrors]) -> ForecastErrors:
    """The errors of several batches as if of one."""
    joined = {name: np.concatenate([getattr(p, name) for p in pieces]) for name in _ARRAYS}
    return ForecastErrors(tuple(s for piece in pieces for s in piece.subjects), **joined)


def mase_scale(recordings: Iterable[Recording]) -> FloatArray:
    """Mean absolute first difference of each channel, (C,) data units: the scale of MASE.

    The mean of |x_t - x_(t-1)| over pairs both measured, pooled over recordings.

    A channel without such a pair, or that never moves, has NaN: its MASE is undefined.
    """
    total: FloatArray | None = None
    for recording in recordings:
        sums = np.zeros((2, len(recording.channels)))
        for piece in recording.blocks(overlap=1):
            step = np.abs(np.diff(piece.astype(np.float64), axis=1))
            sums += [np.nansum(step, axis=1), np.isfinite(step).sum(axis=1)]
        total = sums if total is None else total + sums
    assert total is not None, "no recordings"
    with np.errstate(invalid="ignore", divide="ignore"):
        scale: FloatArray = total[0] / total[1]
    return np.where(scale > 0, scale, np.nan)


def mase(absolute: FloatArray, count: FloatArray, scale: FloatArray) -> FloatArray:
    """Overall MASE (...) from sums (..., C): the mean over channels with a MASE; NaN for none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        scaled = absolute / count / scale
        defined = np.isfinite(scaled)
        mean: FloatArray = np.where(defined, scaled, 0.0).sum(-1) / defined.sum(-1)
    return mean


def summarise(
    errors: ForecastErrors,
    channels: Sequence[str],
    units: Sequence[str],
    scale: FloatArray,
    steps: int | None = None,
) -> ModelScores:
    """The scores of one model; None where undefined.

    Args:
        errors: of one model.
        channels: C names.
        units: C units; errors in units have an overall value only where all are one.
        scale: (C,) MASE scale in data units, NaN = undefined.
        steps: pool the steps 1..steps; None = all.
    """
    kept = errors.until(steps)
    by_channel = {
        name: _channel(kept, index, float(scale[index])) for index, name in enumerate(channels)
    }
    absolute, count = kept.sums()
    subjects = np.array(kept.subjects)
    by_subject = {
        str(name): {"mase": _plain(mase(absolute[of].sum(0), count[of].sum(0), scale))}
        for name in np.unique(subjects)
        for of in [subjects == name]
    }
    with np.errstate(invalid="ignore", divide="ignore"):
        curves = kept.absolute.sum(0) / kept.scored.sum(0)  # (C, H)
    one_unit = len(set(units)) == 1
    return ModelScores(
        overall={
            name: _over_channels(by_channel, name)
            if one_unit or not METRICS[name].in_data_units
            else None
            for name in _OVERALL
        },
        channels=by_channel,
        by_subject=by_subject,
        by_step={
            name: {"mae": [_plain(v) for v in curve]}
            for name, curve in zip(channels, curves, strict=True)
        },
    )


def summarise_filling(
    errors: ForecastErrors,
    channels: Sequence[str],
    units: Sequence[str],
    scale: FloatArray,
    deviation: FloatArray | None = None,
) -> ModelScores:
    """Scores of filled gaps: those of `summarise` that need no order of steps, and two more.

    MRE is the sum of absolute errors over the sum of absolute values, as in BRITS (Cao et al.,
    NeurIPS 2018). `mae_standardised` divides each error by its channel's standard deviation in
    train and averages over all hidden values, whatever their channel, as TSI-Bench does (Du et
    al., arXiv 2406.12747).

    Args:
        errors: of one model.
        channels: C names.
        units: C units.
        scale: (C,) MASE scale in data units, NaN = undefined.
        deviation: (C,) standard deviation in train, data units; a channel that never varies is
            left out. None = no `mae_standardised`.
    """
    scores = summarise(errors, channels, units, scale)
    absolute, count = errors.sums()
    overall = _without_path(scores.overall)
    if deviation is not None:
        varies = deviation > 0
        total = (absolute.sum(0)[varies] / deviation[varies]).sum()
        overall["mae_standardised"] = _ratio(total, float(count.sum(0)[varies].sum()))
    magnitude = np.abs(errors.target, dtype=np.float64).sum((0, 2))  # 0 where not scored
    by_channel = {
        channel: _without_path(scores.channels[channel]) | {"mre": _ratio(float(error), float(of))}
        for error, of, channel in zip(absolute.sum(0), magnitude, channels, strict=True)
    }
    overall["mre"] = _over_channels(by_channel, "mre")
    return ModelScores(overall=overall, channels=by_channel, by_subject=scores.by_subject)


def dtw(a: FloatArray, b: FloatArray) -> FloatArray:
    """Dynamic time warping distance of N pairs (N, H), absolute cost, (N,)."""
    steps = a.shape[1]
    across, down = a.T, b.T
    # Cells (i, j) of one antidiagonal i + j depend on the two before it only; i from 0 to H.
    before = np.full((steps + 1, len(a)), np.inf)
    before[0] = 0.0
    last = np.full_like(before, np.inf)
    for diagonal in range(2, 2 * steps + 1):
        low, high = max(1, diagonal - steps), min(diagonal - 1, steps)
        cost = np.abs(across[low - 1 : high] - down[diagonal - high - 1 : diagonal - low][::-1])
        now = np.full_like(before, np.inf)
        nearest = np.minimum(last[low - 1 : high], last[low : high + 1])
        now[low : high + 1] = cost + np.minimum(nearest, before[low - 1 : high])
        before, last = last, now
    distance: FloatArray = last[steps]
    return distance


def _channel(errors: ForecastErrors, index: int, scale: float) -> ByName:
    scored = errors.scored[:, index]
    target = errors.target[:, index][scored].astype(np.float64)
    error = target - errors.point[:, index][scored]
    pinball = errors.pinball[:, index][scored].astype(np.float64)
    low, high = errors.low[:, index][scored], errors.high[:, index][scored]
    magnitude = np.abs(target)
    whole = scored.all(axis=1)
    warped = dtw(errors.target[whole, index], errors.point[whole, index])
    relative = np.abs(error[magnitude > 1e-8]) / magnitude[magnitude > 1e-8]
    mae, crps = _mean(np.abs(error)), _mean(pinball)
    intervals = bool((high > low).any()) and not np.isnan(low).any()  # else a point estimate
    return {
        "n": int(scored.sum()),
        "mae": mae,
        "rmse": None if mae is None else float(np.sqrt(np.mean(error**2))),
        "mape": _mean(relative),
        "mase": _ratio(mae, scale),
        "wql": _ratio(float(pinball.sum()), float(magnitude.sum())),
        "crps": crps,
        "crps_scaled": _ratio(crps, scale),
        "coverage80": _mean((target >= low) & (target <= high)) if intervals else None,
        "width80": _mean(high - low) if intervals else None,
        "dtw": _mean(warped),
        "dtw_n": int(whole.sum()),
    }


def _without_path(scores: ByName) -> ByName:
    """Scores without those of a path through time, which scattered samples do not have."""
    return {name: value for name, value in scores.items() if name not in ("dtw", "dtw_n")}


def _over_channels(by_channel: Mapping[str, ByName], name: str) -> float | None:
    """Unweighted mean over the channels where the score is defined."""
    each = (scores[name] for scores in by_channel.values())
    values = [value for value in each if value is not None]
    return float(np.mean(values)) if values else None


def _mean(values: FloatArray | BoolArray) -> float | None:
    return float(np.mean(values, dtype=np.float64)) if values.size else None


def _ratio(value: float | None, by: float) -> float | None:
    return value / by if value is not None and np.isfinite(by) and by > 0 else None


def _plain(value: float | FloatArray) -> float | None:
    return float(value) if np.isfinite(value) else None
