"""The trials of a study as a whole: how far they are, and which of them are tried again.

A process that dies in a trial leaves it running for ever. So whoever asks for a trial next first
fails the trials of dead processes and queues their parameters again.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from tsfm_adapt.studies.folder import StudyFolder
from tsfm_adapt.studies.processes import alive

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

_DEATHS = 3  # of the processes of one trial, after which it has failed


@dataclass(frozen=True)
class Tally:
    """The trials of a study, by state."""

    trials: tuple[FrozenTrial, ...]

    @property
    def finished(self) -> tuple[FrozenTrial, ...]:
        """Trials that are complete, pruned or failed; not those whose process died."""
        return tuple(t for t in self.trials if t.state.is_finished() and not self.broken(t))

    @property
    def running(self) -> tuple[FrozenTrial, ...]:
        """Trials that a process is running."""
        return tuple(t for t in self.trials if t.state.name == "RUNNING")

    @property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """Trials with a value."""
        return tuple(t for t in self.trials if t.state.name == "COMPLETE")

    def broken(self, trial: FrozenTrial) -> bool:
        """True where the process died or was stopped, so that the parameters are tried again."""
        if trial.state.name != "FAIL" or "reason" in trial.user_attrs:
            return False
        return "stopped" in trial.user_attrs or self.deaths(trial) < _DEATHS

    def deaths(self, trial: FrozenTrial) -> int:
        """How many processes died on the same parameters, up to this trial."""
        return sum(
            root(t) == root(trial)
            and t.number <= trial.number
            and t.state.name == "FAIL"
            and not {"reason", "stopped"} & t.user_attrs.keys()
            for t in self.trials
        )

    def again(self, trial: FrozenTrial) -> FrozenTrial | None:
        """The trial that tries a broken one's parameters again; None = not queued yet."""
        later = (t for t in self.trials if root(t) == root(trial) and t.number > trial.number)
        return next(later, None)

    def reason(self, trial: FrozenTrial) -> str:
        """Why a trial has no value; '' where it has one."""
        if trial.state.name == "FAIL" and "reason" not in trial.user_attrs:
            if not self.broken(trial):
                return f"its process died {self.deaths(trial)} times"
            how = "stopped" if "stopped" in trial.user_attrs else "its process died"
            again = self.again(trial)
            return f"{how}; " + (f"again as {again.number}" if again else "not yet tried again")
        return str(trial.user_attrs.get("reason", ""))


def tally(optuna_study: optuna.Study) -> Tally:
    """The study's trials as they are now."""
    return Tally(tuple(optuna_study.get_trials(deepcopy=False)))


def root(trial: FrozenTrial | optuna.Trial) -> int:
    """The number of the first trial of the same parameters, whose folder it goes on in."""
    return int(trial.user_attrs.get("again", trial.number))


def queue(
    optuna_study: optuna.Study, params: Mapping[str, JsonValue], marks: Mapping[str, JsonValue]
) -> None:
    """Queues a trial; its parameters are also a mark, as a process may die before it drew them."""
    optuna_study.enqueue_trial(dict(params), user_attrs={"params": dict(params), **marks})


def recover(study: StudyFolder, optuna_study: optuna.Study) -> Tally:
    """Marks trials of dead processes as failed and queues their parameters again.

    The caller holds the lock `ask`. What was failed before but not queued, because the process
    died in between, is queued now.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.storages.fail_stale_trials(optuna_study)  # of a database: without a heartbeat
    trials = tally(optuna_study)
    for trial in trials.running:
        if not alive(trial, study):
            with suppress(ValueError, RuntimeError, optuna.exceptions.UpdateFinishedTrialError):
                optuna_study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    trials = tally(optuna_study)
    for trial in trials.trials:
        if trials.broken(trial) and trials.again(trial) is None:
            same = {k: v for k, v in trial.user_attrs.items() if k == "as_it_stands"}
            params = trial.user_attrs.get("params", trial.params)
            queue(optuna_study, params, {"again": root(trial), **same})
    return tally(optuna_study)
