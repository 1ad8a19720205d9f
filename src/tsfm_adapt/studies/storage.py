"""A study on disk: trials that several processes share, and that outlive any of them.

A study's folder holds recipe.yaml with its search, study.json, and, unless a database holds the
trials, journal.log. A process that dies in a trial leaves it running for ever, so that whoever
asks for a trial next first looks for such trials, fails them and queues their parameters again.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm_adapt._util import atomic
from tsfm_adapt.errors import DataError, EnvironmentProblem
from tsfm_adapt.recipe import space
from tsfm_adapt.recipe.files import dumps, loads
from tsfm_adapt.recipe.search import Search

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from tsfm_adapt.recipe.schema import Recipe

_LOCK_GRACE_S = 10  # after which the journal's lock of a dead process is taken over
_HEARTBEAT_S, _SILENT_S = 10, 120  # of a process on another machine
_DEATHS = 3  # of the processes of one trial, after which it has failed
_SMOKE_TRIALS = 3


@dataclass(frozen=True)
class StudyFolder:
    """A study's folder."""

    folder: Path

    @property
    def recipe(self) -> Recipe:
        """The resolved recipe with its search."""
        path = self.folder / "recipe.yaml"
        if not path.is_file() or not self._about.is_file():
            raise DataError(
                f"'{self.folder}' is no study: it holds no recipe.yaml and study.json. Give the "
                "folder that `tsfm-adapt tune` named."
            )
        return loads(path.read_text(encoding="utf-8"), source=str(path))

    @property
    def search(self) -> Search:
        """The recipe's search."""
        found = self.recipe.search
        assert found is not None
        return found

    @property
    def smoke(self) -> bool:
        """True where every trial is cut down to a few steps and windows."""
        return bool(self._noted["smoke"])

    @property
    def name(self) -> str:
        """What a storage knows the study by."""
        return str(self._noted["name"])

    @property
    def in_database(self) -> bool:
        """True where a database holds the trials."""
        return bool(self._noted["database"])

    @property
    def planned(self) -> int:
        """How many trials the study ends after."""
        planned = self.search.planned
        return min(planned, _SMOKE_TRIALS) if self.smoke else planned

    @property
    def _about(self) -> Path:
        return self.folder / "study.json"

    @property
    def _noted(self) -> Mapping[str, Any]:
        found: dict[str, Any] = json.loads(self._about.read_text(encoding="utf-8"))
        return found

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """Waits until no other process is at `what`; the system frees it when a process dies."""
        with (self.folder / f".{what}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def created(recipe: Recipe, runs: Path, database: bool, smoke: bool) -> StudyFolder:
    """The folder `<runs>/<recipe name>/study-...` of a new study, or of one in a database.

    Args:
        recipe: with its search.
        runs: the folder that runs go into.
        database: the study is known by its recipe, so that the same recipe finds it again.
        smoke: trials of a few steps.
    """
    text = dumps(recipe)
    digest = sha256(f"{text}{smoke}".encode()).hexdigest()
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    stem = f"study-{digest[:12]}" if database else f"study-{stamp}-{digest[:6]}"
    stems = (stem if database or n == 1 else f"{stem}-{n}" for n in count(1))
    folders = (runs / recipe.name / name for name in stems)
    folder = next(f for f in folders if database or not f.exists())
    about = {"name": f"{recipe.name}-{digest[:12]}", "database": database, "smoke": smoke}
    if not (folder / "study.json").exists():
        atomic.write_text(folder / "recipe.yaml", text)
        atomic.write_text(folder / "study.json", json.dumps(about) + "\n")
    return StudyFolder(folder)


def opened(study: StudyFolder, storage: str | None, worker: int) -> tuple[optuna.Study, bool]:
    """The study's trials, and whether this folder began it and so ends it.

    Args:
        study: its folder.
        storage: the database's url; None = the folder's journal.
        worker: number of this process among those that share the study; a different one draws
            differently.

    Raises:
        EnvironmentProblem: the database cannot be reached, or the journal is broken.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    recipe, search = study.recipe, study.search
    home = f"{socket.gethostname()}:{study.folder.absolute()}"
    metric = recipe.task.build().scoring(recipe.data.rate_hz).metric
    higher = search.metric == "score" and metric.better == "higher"
    kept = _storage(study, storage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        try:
            made = optuna.create_study(
                storage=kept,
                study_name=study.name,
                direction="maximize" if higher else "minimize",
                pruner=_pruner(search, recipe.train.steps),
            )
            made.set_user_attr("home", home)
        except optuna.exceptions.DuplicatedStudyError:
            made = optuna.load_study(
                storage=kept, study_name=study.name, pruner=_pruner(search, recipe.train.steps)
            )
        with study.alone("ask"):
            if "queued" not in made.user_attrs:
                _queue_first(made, recipe, search)
                made.set_user_attr("queued", True)
        known = len(made.get_trials(deepcopy=False))
        made.sampler = _sampler(search, [recipe.seed, worker, known])
    return made, study.in_database is False or made.user_attrs.get("home") == home


def _queue_first(made: optuna.Study, recipe: Recipe, search: Search) -> None:
    """The points of a grid; else the recipe as it stands, so that no result is worse than it."""
    if search.sampler == "grid":
        for point in space.grid_points(search):
            _queue(made, point)
        return
    standing = space.as_it_stands(search, recipe)
    if standing is not None:
        _queue(made, standing, as_it_stands=True)


def _queue(made: optuna.Study, params: Mapping[str, Any], **marks: bool | int) -> None:
    """The parameters are also a mark: a process may die before it drew them."""
    made.enqueue_trial(dict(params), user_attrs={"params": dict(params), **marks})


def _storage(study: StudyFolder, url: str | None) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    if study.in_database and url is None:
        raise EnvironmentProblem(
            f"'{study.folder}' is the folder of a study in a database. Say which: --storage URL."
        )
    if url is not None:
        return _database(url)
    journal = study.folder / "journal.log"
    lock = JournalFileSymlinkLock(str(journal), _LOCK_GRACE_S)
    _cut_torn_tail(journal, lock)
    backend = JournalFileBackend(str(journal), lock)
    try:
        return JournalStorage(backend)
    except ValueError as error:  # of a line that is not JSON
        raise EnvironmentProblem(
            f"'{journal}' is broken: {error}. Remove that line and resume the study."
        ) from error


def _database(url: str) -> Any:
    import optuna
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        shown = make_url(url).render_as_string(hide_password=True)
    except SQLAlchemyError as error:
        raise EnvironmentProblem(
            "--storage: not the url of a database. Write it like sqlite:///study.db or "
            "postgresql+psycopg://user@host/name."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.storages.RDBStorage(
                url, heartbeat_interval=_HEARTBEAT_S, grace_period=_SILENT_S
            )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EnvironmentProblem(
            f"--storage {shown}: cannot be opened: {reason}. Check the url, that the database "
            "runs, and that its driver is installed."
        ) from error


def _cut_torn_tail(journal: Path, lock: Any) -> None:
    """Removes a half line that a full disk or a power cut left: the next one would join it."""
    if not journal.exists():
        return
    lock.acquire()
    try:
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            os.truncate(journal, whole)
    finally:
        lock.release()


def _sampler(search: Search, seeds: Sequence[int]) -> Any:
    """By name; its draws are a function of the seeds and the finished trials."""
    import numpy as np
    from optuna import samplers

    seed = int(np.random.SeedSequence(list(seeds)).generate_state(1)[0])
    if search.sampler == "gp":
        return samplers.GPSampler(seed=seed)
    if search.sampler == "qmc":
        return samplers.QMCSampler(
            scramble=True,
            seed=seed,
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
        )
    if search.sampler == "tpe":
        return samplers.TPESampler(seed=seed, constant_liar=True)
    return samplers.RandomSampler(seed=seed)  # also of a grid, all of which is queued


def _pruner(search: Search, steps: int) -> Any:
    """By name; none judges a trial before a fifth of its steps, where the rate still rises."""
    from optuna import pruners

    early = max(1, steps // 5)
    made = {
        "median": lambda: pruners.MedianPruner(n_warmup_steps=early),
        "percentile": lambda: pruners.PercentilePruner(25.0, n_warmup_steps=early),
        "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=early),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=early, max_resource=steps),
        "none": pruners.NopPruner,
    }
    return made[search.pruner]()


@dataclass(frozen=True)
class Tally:
    """How far a study is, from its trials."""

    trials: tuple[FrozenTrial, ...]

    @property
    def finished(self) -> tuple[FrozenTrial, ...]:
        """Complete, pruned, or failed for a reason of their own; not those that died."""
        return tuple(t for t in self.trials if t.state.is_finished() and not self.broken(t))

    @property
    def running(self) -> tuple[FrozenTrial, ...]:
        """Under way, in any process."""
        return tuple(t for t in self.trials if t.state.name == "RUNNING")

    @property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """Those with a value."""
        return tuple(t for t in self.trials if t.state.name == "COMPLETE")

    def broken(self, trial: FrozenTrial) -> bool:
        """Its process died or was stopped, and its parameters are or will be tried again."""
        if trial.state.name != "FAIL" or "reason" in trial.user_attrs:
            return False
        return "stopped" in trial.user_attrs or self.deaths(trial) < _DEATHS

    def deaths(self, trial: FrozenTrial) -> int:
        """How many processes died of the same parameters, up to this trial."""
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


def root(trial: FrozenTrial | optuna.Trial) -> int:
    """The number of the first trial of the same parameters, whose folder it goes on in."""
    return int(trial.user_attrs.get("again", trial.number))


def tally(made: optuna.Study) -> Tally:
    """The study's trials as they are now."""
    return Tally(tuple(made.get_trials(deepcopy=False)))


def recover(study: StudyFolder, made: optuna.Study) -> Tally:
    """Fails the trials of dead processes and queues what broke again; only under `alone`.

    What was failed before, but not queued, because this died in between, is queued now.
    """
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optuna.storages.fail_stale_trials(made)  # of a database: without a heartbeat
    found = tally(made)
    for trial in found.running:
        if not _alive(trial, study):
            with suppress(ValueError, RuntimeError, optuna.exceptions.UpdateFinishedTrialError):
                made.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    found = tally(made)
    for trial in found.trials:
        if found.broken(trial) and found.again(trial) is None:
            same = {k: v for k, v in trial.user_attrs.items() if k == "as_it_stands"}
            params = trial.user_attrs.get("params", trial.params)
            _queue(made, params, again=root(trial), **same)
    return tally(made)


def this_process() -> dict[str, str | int]:
    """What a trial is marked with, so that others can see whether it still runs."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _started(os.getpid()) or "unknown",
    }


def _alive(trial: FrozenTrial, study: StudyFolder) -> bool:
    process = trial.user_attrs.get("process")
    if process is None:  # it is marked under `alone`, so that it died before it was
        begun = trial.datetime_start or datetime.min
        young = (datetime.now() - begun).total_seconds() < _SILENT_S
        return study.in_database and young  # another machine may be about to
    if process["host"] == socket.gethostname():
        return bool(_started(int(process["pid"])) == process["started"])
    if study.in_database:
        return True  # until the database misses its heartbeat
    sign = _sign(study, process)
    here = _sign(study, {"host": socket.gethostname(), "pid": os.getpid()})
    here.parent.mkdir(exist_ok=True)
    here.touch()  # by the clock of the file's machine
    return sign.exists() and here.stat().st_mtime - sign.stat().st_mtime < _SILENT_S


def _started(pid: int) -> str | None:
    """When a process of this machine began, as far as is known; None where there is none."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return "unknown"
    try:  # a number may be given to another process later; Linux tells them apart
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return "unknown"
    return None if fields[0] == "Z" else fields[19]


def _sign(study: StudyFolder, process: Mapping[str, Any]) -> Path:
    return study.folder / "alive" / f"{process['host']}-{process['pid']}"


@contextmanager
def signs_of_life(study: StudyFolder, parent: int | None) -> Iterator[None]:
    """While the block runs, tells other machines so, and ends the process with its parent.

    Args:
        study: whose folder the sign is in.
        parent: process that this one belongs to; None = it belongs to nobody.
    """
    over = threading.Event()
    sign = _sign(study, this_process())
    sign.parent.mkdir(exist_ok=True)

    def beat() -> None:
        for second in count():
            if second % _HEARTBEAT_S == 0:
                with suppress(OSError):
                    sign.touch()
            if over.wait(1.0):
                return
            if parent is not None and os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            sign.unlink()
