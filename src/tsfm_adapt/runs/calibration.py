"""Conformal calibration of a run's prediction intervals, fitted on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.evaluation import conformal as conformal_fit
from tsfm_adapt.evaluation.base import Predicted
from tsfm_adapt.evaluation.conformal import MIN_SUBJECTS, Conformal, pairs
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors, summarise
from tsfm_adapt.evaluation.scores import CalibrationScores
from tsfm_adapt.runs.rivals import Rated, Recorded, ScoringContext, recorded

_WINDOWS = 512  # of validation, evenly spaced
_SCORES = ("coverage80", "width80", "wql", "crps_scaled")


def calibrated(
    context: ScoringContext, main: Rated, on_test: Recorded, progress: Progress
) -> tuple[Conformal | None, CalibrationScores]:
    """The calibration, fitted on validation windows, and what scores.json holds of it."""
    windows = main.val.evenly_spaced(_WINDOWS)
    subjects = len(np.unique(windows.subjects))
    about = CalibrationScores(split="val", windows=len(windows), subjects=subjects)
    if reason := _too_few(context, len(windows), subjects):
        return None, about.model_copy(update={"reason": reason})
    with progress.work("calibrate", len(windows)) as meter:
        on_val = recorded(main, windows, context, meter.advance)
    assert isinstance(on_val.errors, ForecastErrors)  # only quantiles have pairs of levels
    conformal = conformal_fit.fit(
        quantiles=on_val.predictions,
        levels=context.task.levels,
        target=on_val.errors.target,
        scored=on_val.errors.scored,
        subjects=on_val.errors.subjects,
    )
    channels = context.scale.channels
    problems = dict(zip(channels, conformal.problems, strict=True))
    about = about.model_copy(
        update={
            "factors": _factors(conformal, channels),
            "not_calibrated": {n: why for n, why in problems.items() if why is not None},
        }
    )
    if not conformal.fitted:
        name, why = next(iter(about.not_calibrated.items()))
        reason = f"no channel can be calibrated; {name}: {why}"
        return None, about.model_copy(update={"reason": reason})
    return conformal, _with_coverage(about, context, main, on_test, conformal)


def _too_few(context: ScoringContext, windows: int, subjects: int) -> str | None:
    """Why validation is too small to calibrate on; None where it is not."""
    # Split by time, the subjects of val are those of test.
    others = context.recipe.data.split.by != "time"
    if windows and (not others or subjects >= MIN_SUBJECTS):
        return None
    needed = f"{MIN_SUBJECTS} are needed" if others else "windows are needed"
    return f"the validation split has windows of {subjects} subjects, {needed}"


def _factors(conformal: Conformal, channels: Sequence[str]) -> dict[str, dict[str, float | None]]:
    return {
        channel: {
            f"{100 * nominal:g}": float(of[low]) if np.isfinite(of[low]) else None
            for low, _, nominal in pairs(conformal.levels)
        }
        for channel, of in zip(channels, conformal.factors, strict=True)
    }


def _with_coverage(
    about: CalibrationScores,
    context: ScoringContext,
    main: Rated,
    on_test: Recorded,
    conformal: Conformal,
) -> CalibrationScores:
    """With the coverage and width of the calibrated intervals on the test windows."""
    batches = (
        Predicted(main.test.gather(index), conformal(on_test.predictions[index]))
        for index in main.test.batches(context.batch_size)
    )
    errors = context.scoring.rated(batches, main.predictor, main.test)
    assert isinstance(errors, ForecastErrors)
    scale = context.scale
    scores = summarise(errors, scale.channels, scale.units, scale.mase)
    return about.model_copy(
        update={
            "overall": {name: scores.overall[name] for name in _SCORES},
            "channels": {
                channel: {name: of[name] for name in _SCORES}
                for channel, of in scores.channels.items()
            },
        }
    )
