"""Tries a task's candidates before anything is trained, to propose the best of them.

Nothing of the test set is looked at. The work is done in rounds that hold every candidate, so that
a trial which is cut short has compared them on the same windows.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import DataError, TsfmAdaptError
from tsfm_adapt.proposal.outcome import Trial
from tsfm_adapt.proposal.survey import Survey
from tsfm_adapt.recipe.parts import PreparedData, prepare
from tsfm_adapt.recipe.schema import Recipe

if TYPE_CHECKING:
    from tsfm_adapt.runs.rivals import ScoringContext

BUDGET_S = 60.0
_VALUES = 40_000_000  # of all recordings: reading more of them again takes too long


class Comparison(Protocol):
    """Candidates that are compared in rounds."""

    rounds: int
    names: tuple[str, ...]  # of the pieces of work in a round

    def piece(self, number: int, name: str) -> None:
        """Does one piece of a round, and keeps what it gave."""

    def finished(self, rounds: int, left_s: float) -> Trial:
        """What the first rounds gave.

        Args:
            rounds: how many were done whole.
            left_s: time left, for what stands beside the candidates.
        """


class _OutOfTime(Exception):
    """The budget is spent."""


def tried(recipe: Recipe, survey: Survey, progress: Progress, budget_s: float = BUDGET_S) -> Trial:
    """Tries a task's candidates on the train and validation data of a recipe.

    Errors and interruptions end a trial, not the proposal.

    Args:
        recipe: as it is proposed without a trial.
        survey: of its recordings.
        progress: shows a bar.
        budget_s: wall-clock time after which no further piece of work begins.
    """
    if not recipe.task.candidates:
        return Trial(f"none: for task {recipe.task.name} there is nothing to choose from")
    if survey.more or survey.values > _VALUES:
        return Trial(
            "none: which recordings are for test is known once all are read, and of so many that "
            "takes too long here"
        )
    end_s = time.monotonic() + budget_s
    work: Comparison | None = None
    done, why = 0, ""
    try:
        work = _comparison(recipe, progress)
        with progress.work("trial", work.rounds * len(work.names)) as meter:
            for number in range(work.rounds):
                for name in work.names:
                    if time.monotonic() > end_s:
                        raise _OutOfTime
                    work.piece(number, name)
                    meter.advance(note=name)
                done = number + 1
    except _OutOfTime:
        why = f"stopped after {budget_s:g} s"
    except KeyboardInterrupt:
        why = "interrupted"
    except TsfmAdaptError as problem:
        return Trial(f"none: {problem}")
    if work is None or not done:
        return Trial(f"none came to an end ({why}): the usual network is proposed")
    try:
        found = work.finished(done, end_s - time.monotonic())
    except KeyboardInterrupt:
        why = "interrupted"
        found = work.finished(done, -1.0)
    part = f"; {why} and {done} of {work.rounds} rounds" if why else ""
    return replace(found, on=found.on + part)


def _comparison(recipe: Recipe, progress: Progress) -> Comparison:
    from tsfm_adapt.proposal.cross_validation import CrossValidation
    from tsfm_adapt.proposal.zero_shot import ZeroShot

    prepared = prepare(recipe, progress=progress)
    if recipe.task.of_labels:
        return CrossValidation(without_test(recipe, prepared))
    if not len(prepared.windows["val"]):
        raise DataError("the validation split has no window")
    return ZeroShot(without_test(recipe, prepared))


def without_test(recipe: Recipe, prepared: PreparedData) -> ScoringContext:
    """A context that scores on validation, and fits on train alone what runs fit on both."""
    from tsfm_adapt.runs.rivals import ScoringContext

    windows, train = prepared.windows, prepared.recordings["train"]
    shadow = replace(
        prepared,
        recordings={"train": train, "val": prepared.recordings["val"], "test": ()},
        windows={"train": windows["train"], "val": windows["val"], "test": windows["val"]},
        fit=train,
    )
    return ScoringContext.of(recipe, shadow, smoke=False)
