"""Scores of a model beside zero-shot and baselines, on the same test windows, scored once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.evaluation import conformal as conformal_fit
from tsfm_adapt.evaluation import paired
from tsfm_adapt.evaluation.base import Errors, Predicted, Predictor, Scale, Scoring
from tsfm_adapt.evaluation.conformal import MIN_SUBJECTS, Conformal, pairs
from tsfm_adapt.evaluation.forecast_errors import ForecastErrors, summarise
from tsfm_adapt.evaluation.scores import (
    AuditSummary,
    CalibrationScores,
    Costs,
    LeftOut,
    Protocol,
    Role,
    Scores,
    SubgroupTable,
    Summary,
    Verdict,
)
from tsfm_adapt.evaluation.subgroups import by_subgroup
from tsfm_adapt.evaluation.tables import write
from tsfm_adapt.evaluation.verdict import sentence, verdict
from tsfm_adapt.model import AdaptedModel, device_for
from tsfm_adapt.recipe.parts import PreparedData, scale_of
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import FloatArray
from tsfm_adapt.signals.windows import Windows
from tsfm_adapt.tasks.base import Task, samples
from tsfm_adapt.training.building import reference, unadapted
from tsfm_adapt.training.feature_cache import remembered

_CALIBRATED = 512  # validation windows, evenly spaced
_CALIBRATED_SCORES = ("coverage80", "width80", "wql", "crps_scaled")


def score(
    recipe: Recipe,
    prepared: PreparedData,
    model: AdaptedModel,
    folder: Path,
    progress: Progress,
    *,
    smoke: bool,
    without_baselines: bool = False,
) -> tuple[Scores, Conformal | None]:
    """The content of scores.json, and the calibration of prediction intervals where there is one.

    Writes predictions and paired errors into `folder`.

    Args:
        recipe: what was run.
        prepared: its recordings and windows.
        model: adapted, at its best checkpoint; where nothing is adapted, the zero-shot model.
        folder: the run's.
        progress: where progress is shown.
        smoke: the run was cut down, so that there is no verdict.
        without_baselines: zero-shot and baselines are scored elsewhere; no verdict.
    """
    bench = _Bench.of(recipe, prepared, smoke)
    main, others = _models(bench, model, progress, without_baselines)
    with progress.work("score", len(main.test)) as meter:
        recorded = _recorded(main, main.test, bench, meter.advance)
    rated = {main.name: main, **others}
    errors = {main.name: recorded.errors} | _errors(bench, others, progress)
    roles = {name: own.role for name, own in rated.items()}
    result = None
    if recipe.adapts and not smoke and not without_baselines:
        block = bench.scoring.block(bench.test)
        result = verdict(bench.scoring, errors, roles, bench.scale, block, recipe.seed)
    conformal, calibration = None, None
    if recipe.adapts and recipe.evaluate.conformal and pairs(bench.task.levels):
        conformal, calibration = _calibrated(bench, main, recorded, progress)
    model.to("cpu")
    scores = _scores(
        bench,
        bench.scoring.summary(errors, bench.scale).with_roles(roles),
        errors[main.name],
        reasons=_not_scored(bench.task, model),
        subgroups=by_subgroup(
            bench.scoring,
            errors,
            roles,
            bench.test,
            bench.scale,
            recipe.evaluate.grouping,
            recipe.seed,
        ),
        calibration=calibration,
        verdict=result,
        sentences=_sentences(bench, model, result, without_baselines),
        costs=_costs(model, folder),
    )
    rows = bench.task.table(bench.test, recorded.predictions, bench.scale.units)
    write(folder / "predictions" / "test.parquet", rows)
    _keep(bench, errors, folder)
    return scores, conformal


def score_baselines(
    recipe: Recipe, prepared: PreparedData, folder: Path, progress: Progress, smoke: bool
) -> Scores:
    """The baselines' scores, once for all models that are scored without them; see `score`."""
    bench = _Bench.of(recipe, prepared, smoke)
    errors = _errors(bench, _baselines(bench, progress), progress)
    _keep(bench, errors, folder)
    first = next(iter(errors.values()))
    roles = dict.fromkeys(errors, Role.BASELINE)
    summary = bench.scoring.summary(errors, bench.scale).with_roles(roles)
    return _scores(bench, summary, first)


@dataclass(frozen=True)
class _Bench:
    """What all models of a run are scored on, and by."""

    recipe: Recipe
    prepared: PreparedData
    task: Task
    scoring: Scoring[Any]  # Any: the task knows what it keeps
    scale: Scale
    smoke: bool

    @staticmethod
    def of(recipe: Recipe, prepared: PreparedData, smoke: bool) -> _Bench:
        task = recipe.task.build()
        scoring = task.scoring(recipe.data.rate_hz)
        return _Bench(recipe, prepared, task, scoring, scale_of(recipe, prepared), smoke)

    @property
    def val(self) -> Windows:
        return self.prepared.windows["val"]

    @property
    def test(self) -> Windows:
        return self.prepared.windows["test"]

    @property
    def batch_size(self) -> int:
        return self.recipe.evaluate.batch_size


@dataclass(frozen=True)
class _Rated:
    """A predictor, and the windows with the features that it alone reads."""

    name: str
    role: Role
    predictor: Predictor
    val: Windows
    test: Windows


@dataclass(frozen=True)
class _Recorded:
    """A model's predictions for windows, and their errors."""

    predictions: FloatArray  # (N, ...) in the order of the windows
    errors: Errors


def _recorded(
    rated: _Rated, windows: Windows, bench: _Bench, tick: Callable[[int], None]
) -> _Recorded:
    """Predicts windows and keeps the predictions beside their errors."""
    scoring, values = bench.scoring, []

    def batches() -> Iterator[Predicted]:
        for batch in scoring.predicted(rated.predictor, windows, bench.batch_size, tick):
            values.append(batch.values)
            yield batch

    errors = scoring.rated(batches(), rated.predictor, windows)
    return _Recorded(np.concatenate(values), errors)


def _errors(bench: _Bench, models: Mapping[str, _Rated], progress: Progress) -> dict[str, Errors]:
    """The errors of models on their test windows."""
    errors: dict[str, Errors] = {}
    total = sum(len(rated.test) for rated in models.values())
    with progress.work("score", total) as meter:
        for name, rated in models.items():
            errors[name] = bench.scoring.errors(
                rated.predictor, rated.test, bench.batch_size, meter.advance
            )
    return errors


def _keep(bench: _Bench, errors: Mapping[str, Errors], folder: Path) -> None:
    models = {name: bench.scoring.kept(each) for name, each in errors.items()}
    kept = paired.Paired(bench.scale.mase, bench.scoring.block(bench.test), models)
    paired.write(folder / "predictions" / "paired.npz", kept)


def _models(
    bench: _Bench, model: AdaptedModel, progress: Progress, without_baselines: bool
) -> tuple[_Rated, dict[str, _Rated]]:
    """The model, and what it is compared with."""
    recipe = bench.recipe
    role = Role.ADAPTED if recipe.adapts else Role.ZERO_SHOT
    main = _rated(bench, role, model, recipe, progress)
    if without_baselines:
        return main, {}
    plain, others = unadapted(recipe), {}
    head = bench.task.reference_head(recipe.head)
    if head is not None:
        probe = reference(recipe, bench.prepared, head, progress)
        others[Role.FROZEN_PROBE] = _rated(bench, Role.FROZEN_PROBE, probe, plain, progress)
    if recipe.adapts and bench.task.no_zero_shot(model.backbone.spec) is None:
        zero_shot = AdaptedModel(recipe.backbone.build())
        others[Role.ZERO_SHOT] = _rated(bench, Role.ZERO_SHOT, zero_shot, plain, progress)
    return main, {str(name): own for name, own in others.items()} | _baselines(bench, progress)


def _rated(
    bench: _Bench, role: Role, model: AdaptedModel, recipe: Recipe, progress: Progress
) -> _Rated:
    """A network's predictor with fallback and thresholds; its name is its role."""
    device = device_for(bench.recipe.train.accelerator)
    predictor = bench.task.predictor(model.to(device))
    predictor = bench.task.with_fallback(predictor, bench.prepared.fit)
    val = remembered(model, recipe, bench.val, progress)
    return _Rated(
        name=str(role),
        role=role,
        predictor=bench.task.with_thresholds(predictor, val, bench.batch_size),
        val=val,
        test=remembered(model, recipe, bench.test, progress),
    )


def _baselines(bench: _Bench, progress: Progress) -> dict[str, _Rated]:
    """The simple models, fitted."""
    rate_hz, season_s = bench.recipe.data.rate_hz, bench.recipe.evaluate.season_s
    season = None if season_s is None else samples(season_s, rate_hz, "season_s")
    with progress.step("fitting baselines"):
        fitted = bench.task.baselines(bench.prepared.fit, rate_hz, season)
        return {
            name: _Rated(
                name=name,
                role=Role.BASELINE,
                predictor=bench.task.with_thresholds(own, bench.val, bench.batch_size),
                val=bench.val,
                test=bench.test,
            )
            for name, own in fitted.items()
        }


def _calibrated(
    bench: _Bench, main: _Rated, recorded: _Recorded, progress: Progress
) -> tuple[Conformal | None, CalibrationScores]:
    """The calibration, fitted on validation windows, and what scores.json holds of it."""
    windows = main.val.evenly_spaced(_CALIBRATED)
    subjects = len(np.unique(windows.subjects))
    about = CalibrationScores(split="val", windows=len(windows), subjects=subjects)
    if reason := _too_few(bench, len(windows), subjects):
        return None, about.model_copy(update={"reason": reason})
    with progress.work("calibrate", len(windows)) as meter:
        on_val = _recorded(main, windows, bench, meter.advance)
    assert isinstance(on_val.errors, ForecastErrors)  # only quantiles have pairs of levels
    conformal = conformal_fit.fit(
        quantiles=on_val.predictions,
        levels=bench.task.levels,
        target=on_val.errors.target,
        scored=on_val.errors.scored,
        subjects=on_val.errors.subjects,
    )
    channels = bench.scale.channels
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
    return conformal, _with_coverage(about, bench, main, recorded, conformal)


def _too_few(bench: _Bench, windows: int, subjects: int) -> str | None:
    """Why validation is too small to calibrate on; None where it is not."""
    others = bench.recipe.data.split.by != "time"  # by time, the subjects of val are those of test
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
    bench: _Bench,
    main: _Rated,
    recorded: _Recorded,
    conformal: Conformal,
) -> CalibrationScores:
    """With the coverage and width of the calibrated intervals on the test windows."""
    batches = (
        Predicted(main.test.gather(index), conformal(recorded.predictions[index]))
        for index in main.test.batches(bench.batch_size)
    )
    errors = bench.scoring.rated(batches, main.predictor, main.test)
    assert isinstance(errors, ForecastErrors)
    scale = bench.scale
    scores = summarise(errors, scale.channels, scale.units, scale.mase)
    return about.model_copy(
        update={
            "overall": {name: scores.overall[name] for name in _CALIBRATED_SCORES},
            "channels": {
                channel: {name: of[name] for name in _CALIBRATED_SCORES}
                for channel, of in scores.channels.items()
            },
        }
    )


def _scores(
    bench: _Bench,
    summary: Summary,
    errors: Errors,
    *,
    reasons: Mapping[str, str] | None = None,
    subgroups: Mapping[str, SubgroupTable] | None = None,
    calibration: CalibrationScores | None = None,
    verdict: Verdict | None = None,
    sentences: Sequence[str] = (),
    costs: Costs | None = None,
) -> Scores:
    """The content of scores.json: what was scored, what was not, and the scores."""
    recipe, prepared, windows = bench.recipe, bench.prepared, bench.test
    scored = errors.scored.any(-1)  # (W, C)
    return Scores(
        split="test",
        task=recipe.task.name,
        metric=bench.scoring.metric.name,
        better=bench.scoring.metric.better,
        checkpoint="best" if recipe.adapts else None,
        smoke=bench.smoke,
        synthetic=recipe.data.reader.synthetic,
        windows=len(windows),
        subjects=len(np.unique(windows.subjects)),
        left_out=LeftOut(
            windows=int((~scored.any(-1)).sum()),
            pairs=int((~scored).sum()),
            recordings=dict(prepared.left_out),
        ),
        protocol=Protocol(
            split=recipe.data.split.model_dump(mode="json"),
            stride_s=windows.spec.stride / recipe.data.rate_hz,
            windows_by_split={split_name: len(w) for split_name, w in prepared.windows.items()},
            recordings_by_split={
                split_name: len(r) for split_name, r in prepared.recordings.items()
            },
            subjects_by_split={
                split_name: prepared.subjects(split_name) for split_name in prepared.recordings
            },
            origins_sha256=windows.origins_sha256(),
            fitted_on="train and val: MASE scale, baselines; train: the adapter; "
            "val: calibration of prediction intervals",
        ),
        audit=AuditSummary.model_validate(prepared.audit.summary()),
        **dict(summary),
        reasons=dict(reasons or {}),
        subgroups=dict(subgroups or {}),
        calibration=calibration,
        verdict=verdict,
        sentences=tuple(sentences),
        costs=costs or Costs(),
    )


def _not_scored(task: Task, model: AdaptedModel) -> dict[str, str]:
    """Models that cannot be scored, with the reason."""
    reason = task.no_zero_shot(model.backbone.spec)
    return {} if reason is None else {Role.ZERO_SHOT: reason}


def _sentences(
    bench: _Bench, model: AdaptedModel, verdict: Verdict | None, without_baselines: bool
) -> list[str]:
    """What a user reads below the table of scores."""
    warning = [RANDOM] if model.backbone.spec.random_weights else []
    if verdict is not None:
        return [*warning, sentence(verdict)]
    if bench.smoke:
        return [*warning, "smoke run: everything fits; the scores mean nothing"]
    if without_baselines:
        return [*warning, "scored without baselines: they were scored elsewhere; no verdict"]
    name = bench.recipe.backbone.name
    return [*warning, f"zero-shot {name}: nothing was adapted, so there is no verdict"]


def _costs(model: AdaptedModel, folder: Path) -> Costs:
    """Parameters, time and memory."""
    from tsfm_adapt.training import checkpoints

    fitted = checkpoints.how_it_went(folder)
    return Costs(
        trainable_parameters=sum(p.numel() for p in model.trainable().values()),
        total_parameters=sum(p.numel() for p in model.network.parameters()),
        best_step=fitted.best_step if fitted else None,
        train_seconds=fitted.train_seconds if fitted else 0.0,
        seconds_per_step=fitted.train_seconds / fitted.step if fitted else None,
        peak_memory_mb=fitted.peak_memory_mb if fitted else None,
    )
