"""Small data sets in files, for trials of candidates: vitals to forecast, trials to classify."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from contracts.proposed import walk
from tsfm_adapt.proposal.formats import recognised
from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.recipe_text import text
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.recipe.files import loads


def vitals(folder: Path, subjects: int = 12, changed: tuple[str, ...] = ()) -> Path:
    """Patients of 700 minutes; the values of `changed` are others."""
    rows = ["patient,time,HR"]
    for number in range(subjects):
        name = f"p{number:02d}"
        values = walk(700, number + (1000 if name in changed else 0))
        rows += [f"{name},{60 * minute},{value:.1f}" for minute, value in enumerate(values)]
    folder.mkdir(exist_ok=True)
    (folder / "ward.csv").write_text("\n".join(rows) + "\n")
    return folder


def trials(folder: Path, count: int = 60, changed: tuple[int, ...] = ()) -> Path:
    """Trials of 64 samples and two classes that differ in spread, five trials a subject."""
    folder.mkdir(exist_ok=True)
    values = np.empty((count, 1, 64))
    for number in range(count):
        rng = np.random.default_rng(number + (1000 if number in changed else 0))
        values[number, 0] = rng.normal(0, 1 + 2 * (number % 2), 64).cumsum()
    np.save(folder / "X.npy", values)
    np.save(folder / "y.npy", np.arange(count) % 2)
    np.save(folder / "subjects.npy", np.arange(count) // 5)
    return folder


def proposed_from(path: Path, task: str | None = None):
    """The survey of a folder, the proposal without a trial, and its recipe."""
    reader = recognised(path)
    survey = look(reader)
    proposal = propose(survey, reader, task)
    return survey, proposal, loads(text(proposal, path, Path("recipe.yaml")))
