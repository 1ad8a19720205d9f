"""Functions for Python and notebooks: load a backbone, forecast zero-shot, compare."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.components import config_class
from tsfm_adapt.errors import DataError, RecipeError
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.signals.recording import Recording, RecordingSet

if TYPE_CHECKING:
    import pandas

    from tsfm_adapt.backbones.base import Encoder
    from tsfm_adapt.comparison.ranking import Against, Row


def load_backbone(name: str, checkpoint: str = "embedded", revision: str | None = None) -> Encoder:
    """A pretrained model in eval mode, float32, on the CPU.

    Args:
        name: such as `chronos2`; `tsfm-adapt list backbones` has them all.
        checkpoint: `embedded`, a Hub id, or a folder in upstream's own layout.
        revision: of the Hub; None = the newest.

    Raises:
        RecipeError: there is no such backbone or checkpoint.
        EnvironmentProblem: a package is missing, or the Hub cannot be reached.
    """
    config = config_class("backbone", name)(name=name, checkpoint=checkpoint, revision=revision)
    backbone: Encoder = config.build()
    return backbone


def zero_shot(
    backbone: Encoder,
    recordings: Sequence[Recording] | RecordingSet,
    *,
    context_s: float,
    horizon_s: float,
    every_s: float | None = None,
    quantiles: Sequence[float] = (0.1, 0.5, 0.9),
    batch_size: int = 64,
) -> pandas.DataFrame:
    """Forecasts of an unadapted backbone.

    Args:
        backbone: of `load_backbone`.
        recordings: with the same channels, units and rate.
        context_s: what it sees, seconds.
        horizon_s: what it forecasts, seconds.
        every_s: interval between forecast origins, s; None = one forecast, at the end.
        quantiles: levels, the median among them.
        batch_size: windows at once.

    Returns:
        The table of `evaluation.tables.table`, without `measured`.

    Raises:
        RecipeError: a duration is not a whole number of samples, or the context is too long.
        DataError: no recording is as long as the context.
    """
    given = RecordingSet(tuple(recordings))
    longest = max(given, key=lambda recording: recording.samples, default=None)
    if longest is None or longest.duration_s < context_s:
        raise DataError(
            f"zero_shot: context_s={context_s:g} s is longer than every recording; the longest of "
            f"{len(given)} has {longest.duration_s if longest else 0:g} s. Shorten context_s."
        )
    settings = {"context_s": context_s, "horizon_s": horizon_s, "quantiles": tuple(quantiles)}
    try:
        task = config_class("task", "forecast")(**settings).build()
    except ValueError as error:  # of pydantic
        raise RecipeError(f"zero_shot: {error}") from error
    task.check(backbone.spec, longest.rate_hz)
    predictor = task.predictor(AdaptedModel(backbone))
    table = task.predict(predictor, given, longest.units, batch_size, every_s)
    frame: pandas.DataFrame = table.to_pandas()
    return frame


def compare(
    recipe: Recipe,
    backbones: Sequence[str] = (),
    adapters: Sequence[str] = (),
    seeds: Sequence[int] = (),
    *,
    folder: str | Path,
    progress: Progress | None = None,
    jobs: int = 1,
) -> pandas.DataFrame:
    """Backbones x adapters x seeds on one recipe, each trained and scored once, best first.

    Args:
        recipe: what they have in common.
        backbones: names, or name=checkpoint; empty = the recipe's.
        adapters: `none`, names, or several joined by +; empty = `none` and the recipe's own.
        seeds: of training; empty = the recipe's.
        folder: where the runs go; what is there and finished is not computed again.
        progress: where progress is shown; None = on standard error.
        jobs: processes that work at once.

    Returns:
        A row a model, by its name: its score (the column has the metric's name), how much better
        it is than the unadapted backbone (`gain`, `low`, `high`: the interval; in percent, or in
        points of a score of classes) and what that amounts to after Holm's adjustment (`verdict`),
        the same beside the best simple model (`..._baseline`), the trained parameters, the
        seconds of training, and the folder of its run (`run`; of the first seed).
    """
    import pandas

    from tsfm_adapt.comparison import cells as comparison  # with the training engine: seconds
    from tsfm_adapt.comparison import ranking

    wanted = comparison.cells(recipe, backbones, adapters, seeds)
    finished = comparison.run(recipe, wanted, Path(folder), progress or Progress(), jobs)
    ranked = ranking.rank(finished.folders, finished.failures)
    rows = [
        {
            ranked.metric.name: row.overall.get(ranked.metric.name),
            **_gain(row.vs_reference, ""),
            **_gain(row.vs_baseline, "_baseline"),
            "trained_parameters": row.costs.trainable_parameters,
            "train_s": row.costs.train_seconds,
            "run": _run(row),
            "failure": row.failure,
        }
        for row in ranked.rows
    ]
    return pandas.DataFrame(rows, index=pandas.Index([r.name for r in ranked.rows], name="model"))


def _gain(against: Against | None, suffix: str) -> dict[str, float | str | None]:
    of = None if against is None else against.comparison
    return {
        f"gain{suffix}": of.difference if of else None,
        f"low{suffix}": of.low if of else None,
        f"high{suffix}": of.high if of else None,
        f"verdict{suffix}": against.verdict if against else None,
    }


def _run(row: Row) -> Path | None:
    return row.folders[0] if row.backbone is not None and row.folders else None
