"""Runs the trials of a study, then trains the best recipe and scores it on the test set.

Results are in the study's folder: trials.csv, best.yaml, plots/, and in refit/ the run of the best
recipe, the only one that is scored on the test set.
"""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from tsfm_adapt._util import atomic
from tsfm_adapt._util.progress import Progress
from tsfm_adapt.errors import EnvironmentProblem, Interrupted, RecipeError
from tsfm_adapt.recipe.files import dumps
from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.runs.lifecycle import SMOKE, resume, train
from tsfm_adapt.runs.run import Run
from tsfm_adapt.studies.folder import StudyFolder, create
from tsfm_adapt.studies.processes import signs_of_life, this_process
from tsfm_adapt.studies.storage import open_study, quiet_optuna
from tsfm_adapt.studies.tally import Tally, recover, tally
from tsfm_adapt.studies.trials import FailedTrial, Objective, blind

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from tsfm_adapt.recipe.schema import Recipe

# Holds the database's url for worker processes: an argument would show its password to everyone.
STORAGE = "TSFM_ADAPT_STORAGE"

_WAIT_S = 2.0  # between looks at trials of other processes


@dataclass(frozen=True)
class Tuned:
    """The result of a study."""

    study: StudyFolder
    trials: Mapping[str, int]  # how many: complete, pruned, failed
    best: int  # number of the trial
    value: float  # on the validation windows
    changes: Mapping[str, JsonValue]  # of the recipe, by path
    standing: float | None  # value of the recipe as it stands, where the space holds it
    run: Run | None  # of the best recipe; None where another machine began the study


def begin(recipe: Recipe, runs_folder: Path, storage: str | None, smoke: bool) -> StudyFolder:
    """A new study; in a database the one of this recipe, where it was begun before.

    Raises:
        RecipeError: there is nothing to search, or a trial would need several devices.
    """
    if recipe.search is None:
        raise RecipeError(
            "search: missing. Say what to vary, e.g. search: {space: {train.lr: "
            "{low: 1.0e-4, high: 1.0e-2, log: true}}}."
        )
    if recipe.train.devices != 1 or recipe.train.num_nodes != 1:
        raise RecipeError(
            f"search: a trial trains on one device; train.devices is {recipe.train.devices}, "
            f"train.num_nodes {recipe.train.num_nodes}. Set both to 1 and use several workers.",
            remedy="workers=2",
        )
    return create(recipe, runs_folder, database=storage is not None, smoke=smoke)


def tune(study: StudyFolder, storage: str | None, workers: int, progress: Progress) -> Tuned:
    """Runs what is left of a study, then trains and scores the best recipe.

    Args:
        study: its folder.
        storage: the database's url; None = the folder's journal.
        workers: processes that run trials at once.
        progress: where progress is shown.

    Raises:
        Interrupted: stopped; what is finished is kept.
        RecipeError: no trial had a value.
        EnvironmentProblem: workers ended before the study.
    """
    progress.say(f"study folder: {study.folder}")
    optuna_study, began_here = open_study(study, storage, worker=0)
    session = _Session(study, optuna_study, began_here, storage, workers, progress)
    try:
        with _stoppable(), quiet_optuna():
            _run(session)
            return _finish(session)
    except (KeyboardInterrupt, Interrupted):
        raise Interrupted(
            f"stopped and saved. Go on with: tsfm-adapt tune --resume {study.folder}"
        ) from None
    finally:
        atomic.write_text(study.folder / "trials.csv", _table(tally(optuna_study)))


@dataclass(frozen=True)
class _Session:
    """A study, and how this process goes on with it."""

    study: StudyFolder
    optuna_study: optuna.Study
    began_here: bool  # and so the best recipe is trained here
    storage: str | None
    workers: int
    progress: Progress


def work(study: StudyFolder, storage: str | None, worker: int, progress: Progress) -> None:
    """Runs trials until nothing is left to begin.

    Args:
        study: its folder.
        storage: the database's url; None = the folder's journal.
        worker: number of this process; 0 = the one that the user started.
        progress: where progress is shown.
    """
    optuna_study, _ = open_study(study, storage, worker)
    if _nothing_left(study, tally(optuna_study)):
        return
    recipe = study.recipe
    objective = Objective(
        recipe=recipe,
        prepared=blind(prepare(recipe, study.smoke)),
        folder=study.folder,
        always=SMOKE if study.smoke else {},
        progress=progress,
    )
    parent = os.getppid() if worker else None
    with _stoppable(), quiet_optuna(), signs_of_life(study, parent):
        while _run_one(study, optuna_study, objective, progress):
            pass


def _run_one(
    study: StudyFolder, optuna_study: optuna.Study, objective: Objective, progress: Progress
) -> bool:
    """Runs one trial; False where all planned ones are finished or running."""
    with ExitStack() as asking:
        asking.enter_context(study.locked("ask"))
        number = 0
        if _nothing_left(study, recover(study, optuna_study)):
            return False

        def value(trial: optuna.Trial) -> float:
            nonlocal number
            number = trial.number
            trial.set_user_attr("process", this_process())
            asking.close()  # others may ask now
            try:
                return objective(trial)
            except FailedTrial:
                raise
            except (KeyboardInterrupt, Exception) as error:
                if "reason" not in trial.user_attrs:
                    trial.set_user_attr("stopped", type(error).__name__)
                raise

        optuna_study.optimize(value, n_trials=1, catch=(FailedTrial,), gc_after_trial=True)
    _say(study, tally(optuna_study), number, progress)
    return True


def _nothing_left(study: StudyFolder, trials: Tally) -> bool:
    return len(trials.finished) + len(trials.running) >= study.planned


def _run(session: _Session) -> None:
    """Runs trials until all planned ones are finished, here or elsewhere."""
    study, optuna_study = session.study, session.optuna_study
    waiting = False
    while len((trials := tally(optuna_study)).finished) < study.planned:
        if waiting and _nothing_left(study, trials):
            time.sleep(_WAIT_S)
            with study.locked("ask"):
                recover(study, optuna_study)
            continue
        if session.workers == 1:
            work(study, session.storage, worker=0, progress=session.progress)
        else:
            _spawn(session)
        trials = tally(optuna_study)
        if not waiting and _nothing_left(study, trials) and trials.running:
            if not session.began_here:
                return
            session.progress.say(f"waiting for {len(trials.running)} trials of other processes")
            waiting = True


def _spawn(session: _Session) -> None:
    """Runs worker processes until the last has ended."""
    study, workers = session.study, session.workers
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = {"OMP_NUM_THREADS": threads} | os.environ
    if session.storage is not None:
        environment[STORAGE] = session.storage
    started = [
        subprocess.Popen(  # noqa: S603  # this program
            _command(study, worker), env=environment, stdout=subprocess.DEVNULL
        )
        for worker in range(1, workers + 1)
    ]
    try:
        codes = [process.wait() for process in started]
    except KeyboardInterrupt:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        raise
    if any(codes) and not _nothing_left(study, tally(session.optuna_study)):
        raise EnvironmentProblem(
            f"{sum(map(bool, codes))} of {workers} workers ended early; their messages stand "
            f"above. Go on with: tsfm-adapt tune --resume {study.folder}"
        )


def _command(study: StudyFolder, worker: int) -> list[str]:
    """The command of a worker process."""
    return [
        *(sys.executable, "-m", "tsfm_adapt", "tune"),
        *("--resume", str(study.folder)),
        *("--worker", str(worker)),
    ]


@contextmanager
def _stoppable() -> Iterator[None]:
    """Handles SIGTERM like Ctrl-C while the block runs."""

    def stop(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _say(study: StudyFolder, trials: Tally, number: int, progress: Progress) -> None:
    """Shows a finished trial's result, the best so far, and the time left."""
    last = trials.trials[number]
    how = f"{last.value:.4f}" if last in trials.complete else trials.reason(last)
    best = _best(study, trials)
    shown = "" if best is None else f"; best {best.value:.4f} (trial {best.number})"
    seconds = [_seconds(t) or 0.0 for t in trials.finished]
    left = study.planned - len(trials.finished)
    eta_s = left * sum(seconds) / len(seconds) / (len(trials.running) + 1)
    eta = f", about {eta_s:.0f} s left" if left > 0 else ""
    line = f"trial {last.number}, {len(trials.finished)}/{study.planned}: {how}{shown}{eta}"
    progress.say(line)


def _best(study: StudyFolder, trials: Tally) -> FrozenTrial | None:
    recipe = study.recipe
    metric = recipe.task.build().scoring(recipe.data.rate_hz).metric
    sign = metric.sign if study.search.metric == "score" else 1
    return min(trials.complete, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)


def _finish(session: _Session) -> Tuned:
    """Saves the best recipe, draws the plots, and trains and tests that recipe once."""
    study = session.study
    with study.locked("finish"):
        trials = tally(session.optuna_study)
        best = _best(study, trials)
        if best is None:
            reasons = [trials.reason(t) for t in trials.finished]
            raise RecipeError(
                f"search: none of {len(reasons)} trials has a value; the first: "
                f"{reasons[0] if reasons else 'not begun'}"
            )
        changes = best.user_attrs["changes"]
        recipe = study.recipe.without_search().override(changes)
        atomic.write_text(study.folder / "best.yaml", dumps(recipe))
        run = _refit(study, recipe, session.progress) if session.began_here else None
        if not study.smoke:
            from tsfm_adapt.studies.plots import draw

            draw(study.folder / "plots", session.optuna_study, study.search.metric)
    states = [t.state.name for t in trials.finished]
    counts = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    standing = [t.value for t in trials.complete if "as_it_stands" in t.user_attrs]
    return Tuned(
        study=study,
        trials={word: states.count(state) for word, state in counts.items()},
        best=best.number,
        value=float(best.value or 0.0),
        changes=changes,
        standing=standing[0] if standing else None,
        run=run,
    )


def _refit(study: StudyFolder, recipe: Recipe, progress: Progress) -> Run:
    """Trains the best recipe, resumes its run, or returns the finished one."""
    folder = study.folder / "refit"
    begun = sorted(folder.glob("*/*/env.json"))
    if not begun:
        progress.say("training the best recipe, to be scored on test")
        return train(recipe, folder, progress, smoke=study.smoke)
    run = Run(begun[-1].parent)
    return run if run.scored else resume(run, progress)


def _seconds(trial: FrozenTrial) -> float | None:
    return trial.duration.total_seconds() if trial.duration is not None else None


def _table(trials: Tally) -> str:
    """trials.csv: a row a trial, a column a path that any of them changed."""
    paths = list(dict.fromkeys(p for t in trials.trials for p in t.user_attrs.get("changes", {})))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "value", "seconds", "step", "reason", *paths])
    for trial in trials.trials:
        state = "broken" if trials.broken(trial) else _STATES[trial.state.name]
        value = trial.value if trial.state.name == "COMPLETE" else None
        seconds = _seconds(trial)
        changes = trial.user_attrs.get("changes", {})
        shown = changes | {path: trial.params[path] for path in changes if path in trial.params}
        cells = [_cell(shown[path]) if path in shown else "" for path in paths]
        writer.writerow(
            [
                trial.number,
                state,
                "" if value is None else value,
                "" if seconds is None else f"{seconds:.2f}",
                "" if trial.last_step is None else trial.last_step,
                trials.reason(trial),
                *cells,
            ]
        )
    return text.getvalue()


_STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


def _cell(value: Any) -> Any:
    return value if isinstance(value, str | int | float) else json.dumps(value)
