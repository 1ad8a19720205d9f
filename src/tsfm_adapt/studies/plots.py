"""Plots of a study: its optimisation history and the importance of its parameters."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tsfm_adapt._util import atomic
from tsfm_adapt.plots._panels import panels

if TYPE_CHECKING:
    import optuna
    from matplotlib.figure import Figure

_ENOUGH = 4  # complete trials, fewer give no importances


def draw(folder: Path, study: optuna.Study, metric: str) -> None:
    """Writes history.png and, where enough trials are complete, importance.png.

    Args:
        folder: for the pictures.
        study: finished.
        metric: `loss` or `score`, of the validation windows.
    """
    figures = {"history": history(study, metric), "importance": importance(study)}
    for name, figure in figures.items():
        if figure is not None:
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            atomic.write_bytes(folder / f"{name}.png", buffer.getvalue())


def history(study: optuna.Study, metric: str) -> Figure:
    """The value of each complete trial, and the best so far."""
    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    numbers = [t.number for t in complete]
    values = np.array([t.value for t in complete], dtype=float)
    lower = study.direction.name == "MINIMIZE"
    best = np.minimum.accumulate(values) if lower else np.maximum.accumulate(values)
    figure, (axes,) = panels(1, 1)
    axes.plot(numbers, values, "o", color="C0", label="a trial")
    axes.step(numbers, best, where="post", color="C1", label="best so far")
    for trial in complete:
        if "as_it_stands" in trial.user_attrs and trial.value is not None:
            label = "the recipe as it stands"
            axes.axhline(trial.value, color="0.5", linestyle=":", label=label)
            break
    axes.set_xlabel("trial")
    axes.set_ylabel(f"validation {metric}")
    axes.set_title("history of the study")
    axes.legend()
    return figure


def importance(study: optuna.Study) -> Figure | None:
    """Share of the values' variance that each parameter explains (fANOVA; Hutter et al. 2014).

    Parameters of options are left out: not every trial has them. None where trials are too few or
    too alike.
    """
    import optuna

    complete = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    if len(complete) < _ENOUGH or len({t.value for t in complete}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shares = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
    if not shares:
        return None
    names = list(shares)[::-1]
    figure, (axes,) = panels(1, 1)
    axes.barh(names, [shares[name] for name in names], color="C0")
    axes.set_xlabel("share of the variance of the value")
    axes.set_title(f"importance of parameters, {len(complete)} complete trials")
    return figure
