"""Scores of a model beside zero-shot and baselines, on the same test windows, scored once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.backbones.base import RANDOM
from tsfm_adapt.evaluation import paired
from tsfm_adapt.evaluation.base import Errors
from tsfm_adapt.evaluation.conformal import Conformal, pairs
from tsfm_adapt.evaluation.scores import (
    AuditSummary,
    CalibrationScores,
    Costs,
    LeftOut,
    Protocol,
    Role,
    Scores,
    Verdict,
)
from tsfm_adapt.evaluation.subgroups import by_subgroup
from tsfm_adapt.evaluation.tables import write
from tsfm_adapt.evaluation.verdict import sentence, verdict
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.parts import PreparedData
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.calibration import calibrated
from tsfm_adapt.runs.rivals import Rated, ScoringContext, baselines, recorded, rivals
from tsfm_adapt.tasks.base import Task
from tsfm_adapt.training.building import parameter_counts


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
    context = ScoringContext.of(recipe, prepared, smoke)
    main, others = rivals(context, model, progress, without_baselines)
    roles = {name: own.role for name, own in {main.name: main, **others}.items()}
    with progress.work("score", len(context.test) * len(roles)) as meter:
        on_test = recorded(main, main.test, context, meter.advance)
        errors = {main.name: on_test.errors} | _errors(context, others, meter.advance)
    result = None
    if recipe.adapts and not smoke and not without_baselines:
        block = context.scoring.block(context.test)
        result = verdict(context.scoring, errors, roles, context.scale, block, recipe.seed)
    conformal, calibration = None, None
    if recipe.adapts and recipe.evaluate.conformal and pairs(context.task.levels):
        conformal, calibration = calibrated(context, main, on_test, progress)
    model.to("cpu")
    scores = _scores(
        context,
        errors,
        roles,
        reasons=_not_scored(context.task, model),
        calibration=calibration,
        verdict=result,
        sentences=_sentences(context, model, result, without_baselines),
        costs=_costs(model, folder),
    )
    rows = context.task.table(context.test, on_test.predictions, context.scale.units)
    write(folder / "predictions" / "test.parquet", rows)
    _keep(context, errors, folder)
    return scores, conformal


def score_baselines(
    recipe: Recipe, prepared: PreparedData, folder: Path, progress: Progress, smoke: bool
) -> Scores:
    """The baselines' scores, once for all models that are scored without them; see `score`."""
    context = ScoringContext.of(recipe, prepared, smoke)
    fitted = baselines(context, progress)
    with progress.work("score", len(context.test) * len(fitted)) as meter:
        errors = _errors(context, fitted, meter.advance)
    _keep(context, errors, folder)
    return _scores(context, errors, dict.fromkeys(errors, Role.BASELINE))


def _errors(
    context: ScoringContext, models: Mapping[str, Rated], tick: Callable[[int], None]
) -> dict[str, Errors]:
    """The errors of models on their test windows."""
    return {
        name: context.scoring.errors(rated.predictor, rated.test, context.batch_size, tick)
        for name, rated in models.items()
    }


def _keep(context: ScoringContext, errors: Mapping[str, Errors], folder: Path) -> None:
    models = {name: context.scoring.kept(each) for name, each in errors.items()}
    kept = paired.Paired(context.scale.mase, context.scoring.block(context.test), models)
    paired.write(folder / "predictions" / "paired.npz", kept)


def _scores(
    context: ScoringContext,
    errors: Mapping[str, Errors],
    roles: Mapping[str, Role],
    *,
    reasons: Mapping[str, str] | None = None,
    calibration: CalibrationScores | None = None,
    verdict: Verdict | None = None,
    sentences: Sequence[str] = (),
    costs: Costs | None = None,
) -> Scores:
    """Assembles the content of scores.json.

    Args:
        context: of the run.
        errors: by model; of the first it is counted what is left out, which is the same for all.
        roles: of the models.
        reasons: why models were not scored.
        calibration: of the prediction intervals.
        verdict: None without one.
        sentences: below the table.
        costs: of the trained model.
    """
    recipe, prepared, windows = context.recipe, context.prepared, context.test
    scored = next(iter(errors.values())).scored.any(-1)  # (W, C)
    scoring = context.scoring
    summary = scoring.summary(errors, context.scale).with_roles(roles)
    grouping, seed = recipe.evaluate.grouping, recipe.seed
    return Scores(
        split="test",
        task=recipe.task.name,
        metric=context.scoring.metric.name,
        better=context.scoring.metric.better,
        metric_label=context.scoring.metric.label,
        metric_unit=context.scoring.metric.unit,
        checkpoint="best" if recipe.adapts else None,
        smoke=context.smoke,
        synthetic=recipe.data.reader.synthetic,
        windows=len(windows),
        subjects=len(np.unique(windows.subjects)),
        left_out=LeftOut(
            windows=int((~scored.any(-1)).sum()),
            pairs=int((~scored).sum()),
            recordings=dict(prepared.left_out),
        ),
        protocol=_protocol(context),
        audit=AuditSummary.model_validate(prepared.audit.summary()),
        **dict(summary),
        reasons=dict(reasons or {}),
        subgroups=by_subgroup(scoring, errors, roles, windows, context.scale, grouping, seed),
        calibration=calibration,
        verdict=verdict,
        sentences=tuple(sentences),
        costs=costs or Costs(),
    )


def _protocol(context: ScoringContext) -> Protocol:
    """How the data were split, and which windows were scored."""
    prepared, windows = context.prepared, context.test
    return Protocol(
        split=context.recipe.data.split.model_dump(mode="json"),
        stride_s=windows.spec.stride / context.recipe.data.rate_hz,
        windows_by_split={name: len(of) for name, of in prepared.windows.items()},
        recordings_by_split={name: len(of) for name, of in prepared.recordings.items()},
        subjects_by_split={name: prepared.subjects(name) for name in prepared.recordings},
        origins_sha256=windows.origins_sha256(),
        fitted_on="train and val: MASE scale, baselines; train: the adapter; "
        "val: calibration of prediction intervals",
    )


def _not_scored(task: Task, model: AdaptedModel) -> dict[str, str]:
    """Models that cannot be scored, with the reason."""
    reason = task.no_zero_shot(model.backbone.spec)
    return {} if reason is None else {Role.ZERO_SHOT: reason}


def _sentences(
    context: ScoringContext, model: AdaptedModel, verdict: Verdict | None, without_baselines: bool
) -> list[str]:
    """What a user reads below the table of scores."""
    warning = [RANDOM] if model.backbone.spec.random_weights else []
    if verdict is not None:
        return [*warning, sentence(verdict, context.scoring.metric)]
    if context.smoke:
        return [*warning, "smoke run: everything fits; the scores mean nothing"]
    if without_baselines:
        return [*warning, "scored without baselines: they were scored elsewhere; no verdict"]
    name = context.recipe.backbone.name
    return [*warning, f"zero-shot {name}: nothing was adapted, so there is no verdict"]


def _costs(model: AdaptedModel, folder: Path) -> Costs:
    """Parameters, time and memory."""
    from tsfm_adapt.training import checkpoints

    fitted = checkpoints.how_it_went(folder)
    trainable, total = parameter_counts(model)
    return Costs(
        trainable_parameters=trainable,
        total_parameters=total,
        best_step=fitted.best_step if fitted else None,
        train_seconds=fitted.train_seconds if fitted else 0.0,
        seconds_per_step=fitted.train_seconds / fitted.step if fitted else None,
        peak_memory_mb=fitted.peak_memory_mb if fitted else None,
    )
