"""How quantile forecasts are scored, summarised and compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsfm_adapt.evaluation.alarms import AlarmErrors, Event, summarise_events
from tsfm_adapt.evaluation.base import Kept, Predicted, Predictor, Scale, Scoring, counted
from tsfm_adapt.evaluation.forecast_errors import (
    ForecastErrors,
    concatenate,
    forecast_errors,
    mase,
    summarise,
)
from tsfm_adapt.evaluation.intervals import Comparison, Pair, compared
from tsfm_adapt.evaluation.metric import METRICS, OF_QUANTILES
from tsfm_adapt.evaluation.scores import Models, Summary
from tsfm_adapt.signals.recording import BoolArray, FloatArray, IntArray
from tsfm_adapt.signals.windows import WindowArrays, Windows


class QuantileScoring(Scoring[ForecastErrors]):
    """Base of scorings of quantiles: ranks by MASE, compares by its relative difference."""

    metric = METRICS["mase"]
    shown = OF_QUANTILES

    def headline(self, errors: ForecastErrors, scale: Scale) -> float | None:
        """Overall MASE."""
        absolute, count = errors.sums()
        overall = float(mase(absolute.sum(0), count.sum(0), scale.mase))
        return overall if math.isfinite(overall) else None

    def kept(self, errors: ForecastErrors) -> Kept:
        """Subjects (W,), sums of absolute errors and counts, (W, C)."""
        absolute, count = errors.sums()
        return {"subjects": np.array(errors.subjects), "absolute": absolute, "count": count}

    def pair(self, ours: Kept, theirs: Kept, mase: FloatArray) -> Pair:
        """Two models by the relative difference of their overall MASE, in percent."""
        assert np.array_equal(ours["subjects"], theirs["subjects"])
        assert np.array_equal(ours["count"], theirs["count"])
        some = ours["count"].any(axis=1)  # a patient without a scored target is none
        return _MasePair(
            subject=numbered(ours["subjects"][some]),
            ours=ours["absolute"][some],
            theirs=theirs["absolute"][some],
            count=ours["count"][some],
            scale=mase,
        )


@dataclass(frozen=True)
class ForecastScoring(QuantileScoring):
    """Scoring of forecasts of H steps, and of the warnings of events where there are any.

    A (window, channel) pair is scored where its context holds at least `min_context` measured
    values and its target at least one: the same pairs for every model.
    """

    min_context: int = 1
    horizons: Mapping[str, int] = field(default_factory=dict)  # name: steps pooled up to
    events: Mapping[str, Event] = field(default_factory=dict)
    false_alarms_a_day: Sequence[float] = ()

    def rated(
        self, batches: Iterable[Predicted], predictor: Predictor, windows: Windows
    ) -> ForecastErrors:
        """Sufficient statistics of the errors, batch by batch."""
        pieces, alarms = [], []
        for batch in batches:
            arrays = batch.arrays
            assert arrays.target is not None
            assert arrays.target_observed is not None
            pairs = counted(arrays, self.min_context)
            pieces.append(
                forecast_errors(
                    quantiles=batch.values,
                    levels=predictor.levels,
                    target=arrays.target,
                    observed=arrays.target_observed,
                    counted=pairs,
                    subjects=arrays.subjects,
                )
            )
            alarms.append(self._alarms(arrays, batch.values, predictor.levels, pairs))
        errors = concatenate(pieces)
        if not self.events:
            return errors
        alarm, at_risk = np.concatenate(alarms, axis=2)  # (E, W)
        return AlarmErrors(
            **vars(errors), alarm=alarm.T, at_risk=at_risk.T.astype(bool), windows=windows
        )

    def summary(
        self,
        errors: Mapping[str, ForecastErrors],
        scale: Scale,
    ) -> Summary:
        """`models` over the whole horizon, `horizons` over the shorter ones, and `events`."""

        def over(steps: int | None) -> Models:
            return {
                name: summarise(e, scale.channels, scale.units, scale.mase, steps)
                for name, e in errors.items()
            }

        alarms = {name: e for name, e in errors.items() if isinstance(e, AlarmErrors)}
        units = dict(zip(scale.channels, scale.units, strict=True))
        return Summary(
            models=over(None),
            horizons={name: over(steps) for name, steps in self.horizons.items()},
            events=summarise_events(alarms, self.events, units, self.false_alarms_a_day)
            if alarms
            else {},
        )

    def _alarms(
        self,
        arrays: WindowArrays,
        quantiles: FloatArray,
        levels: tuple[float, ...],
        pairs: BoolArray,
    ) -> FloatArray:
        """Alarm scores of the events, and which windows are at risk of them: (2, E, B)."""
        alarms = np.empty((2, len(self.events), len(quantiles)))
        for number, event in enumerate(self.events.values()):
            c = arrays.channels.index(event.channel)
            alarms[0, number] = event.score(quantiles[:, c], levels)
            alarms[1, number] = event.at_risk(
                arrays.values[:, c], arrays.observed[:, c], pairs[:, c]
            )
        return alarms


def compare_forecasts(
    adapted: ForecastErrors,
    reference: ForecastErrors,
    scale: FloatArray,
    block: int,
    seed: int = 0,
    steps: int | None = None,
) -> Comparison:
    """The relative difference in overall MASE with a 95 % interval.

    Args:
        adapted: errors on some windows, in the order of time.
        reference: the other model's on the same windows.
        scale: (C,) MASE scale.
        block: consecutive windows that share samples.
        seed: of the resampling.
        steps: pool the steps 1..steps; None = all.
    """
    assert np.array_equal(adapted.scored, reference.scored)
    scoring = ForecastScoring()
    ours, theirs = (scoring.kept(each.until(steps)) for each in (adapted, reference))
    return compared(scoring.pair(ours, theirs, scale), block, seed)


def numbered(names: NDArray[np.str_]) -> IntArray:
    """Names as numbers from 0 on."""
    return np.unique(names, return_inverse=True)[1].astype(np.int64)


@dataclass(frozen=True)
class _MasePair(Pair):
    subject: IntArray
    ours: FloatArray  # (W, C) sums of absolute errors
    theirs: FloatArray  # (W, C)
    count: FloatArray  # (W, C)
    scale: FloatArray  # (C,)

    def pooled(self) -> float:
        return float(self._gain(lambda values: values.sum(axis=0)))

    def each(self) -> FloatArray:
        return self._gain(self._per_subject)

    def of_subjects(self, times: IntArray) -> FloatArray:
        return self._gain(lambda values: times @ self._per_subject(values))

    def of_blocks(self, first: IntArray, length: int) -> FloatArray:
        def drawn(values: FloatArray) -> FloatArray:
            running = np.vstack([np.zeros(values.shape[1]), np.cumsum(values, axis=0)])
            total: FloatArray = (running[first + length] - running[first]).sum(axis=1)
            return total

        return self._gain(drawn)

    def _per_subject(self, values: FloatArray) -> FloatArray:
        """Sums (S, C) of (W, C) by subject."""
        sums = np.zeros((int(self.subject.max()) + 1, values.shape[1]))
        np.add.at(sums, self.subject, values)
        return sums

    def _gain(self, summed: Callable[[FloatArray], FloatArray]) -> FloatArray:
        """100 (reference - adapted) / reference of sums (..., C), in percent, (...)."""
        ours, theirs, count = (summed(values) for values in (self.ours, self.theirs, self.count))
        reference = mase(theirs, count, self.scale)
        with np.errstate(invalid="ignore", divide="ignore"):
            gain: FloatArray = 100 * (reference - mase(ours, count, self.scale)) / reference
        return np.where(reference > 0, gain, 0.0)
