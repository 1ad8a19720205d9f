"""Where the trials of a study are stored, and how the next one is drawn and judged, with Optuna.

They are in the study's journal or in a database; several processes share them, and they outlive
any of these.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tsfm_adapt._util.quiet import log_level
from tsfm_adapt.errors import EnvironmentProblem
from tsfm_adapt.recipe import space
from tsfm_adapt.studies.folder import StudyFolder
from tsfm_adapt.studies.processes import HEARTBEAT_S, SILENT_S
from tsfm_adapt.studies.tally import queue

if TYPE_CHECKING:
    import optuna

    from tsfm_adapt.recipe.schema import Recipe
    from tsfm_adapt.recipe.search import Search

_LOCK_GRACE_S = 10  # after which the journal's lock of a dead process is taken over


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Without Optuna's line for each trial while the block runs."""
    import optuna  # noqa: F401  # sets its level when it is first imported

    with log_level(logging.CRITICAL, "optuna"):
        yield


def open_study(study: StudyFolder, storage: str | None, worker: int) -> tuple[optuna.Study, bool]:
    """Opens a study in its storage; also whether it was begun in this folder, which then ends it.

    Args:
        study: its folder.
        storage: the database's url; None = the folder's journal.
        worker: number of this process among those that share the study; a different one draws
            differently.

    Raises:
        EnvironmentProblem: the database cannot be reached, or the journal is broken.
    """
    import optuna

    recipe, search = study.recipe, study.search
    home = f"{socket.gethostname()}:{study.folder.absolute()}"
    metric = recipe.task.build().scoring(recipe.data.rate_hz).metric
    higher = search.metric == "score" and metric.better == "higher"
    with quiet_optuna():
        trials = _storage(study, storage)
    with quiet_optuna(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        try:
            optuna_study = optuna.create_study(
                storage=trials,
                study_name=study.name,
                direction="maximize" if higher else "minimize",
                pruner=_pruner(search, recipe.train.steps),
            )
            optuna_study.set_user_attr("home", home)
        except optuna.exceptions.DuplicatedStudyError:
            optuna_study = optuna.load_study(
                storage=trials, study_name=study.name, pruner=_pruner(search, recipe.train.steps)
            )
        with study.locked("ask"):
            if "queued" not in optuna_study.user_attrs:
                _queue_first(optuna_study, recipe, search)
                optuna_study.set_user_attr("queued", True)
        known = len(optuna_study.get_trials(deepcopy=False))
        optuna_study.sampler = _sampler(search, [recipe.seed, worker, known])
    began_here = not study.in_database or optuna_study.user_attrs.get("home") == home
    return optuna_study, began_here


def _queue_first(optuna_study: optuna.Study, recipe: Recipe, search: Search) -> None:
    """Queues all points of a grid, or else the recipe's own values as the first trial."""
    if search.sampler == "grid":
        for point in space.grid_points(search):
            queue(optuna_study, point, {})
        return
    standing = space.as_it_stands(search, recipe)
    if standing is not None:
        queue(optuna_study, standing, {"as_it_stands": True})


def _storage(study: StudyFolder, url: str | None) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    if study.in_database and url is None:
        raise EnvironmentProblem(
            f"'{study.folder}' is the folder of a study in a database. Give the database's url.",
            remedy="storage=URL",
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
            "storage: not the url of a database. Write it like sqlite:///study.db or "
            "postgresql+psycopg://user@host/name.",
            argument="storage",
        ) from error
    try:
        with log_level(logging.WARNING, "alembic"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return optuna.storages.RDBStorage(
                url, heartbeat_interval=HEARTBEAT_S, grace_period=SILENT_S
            )
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EnvironmentProblem(
            f"storage {shown}: cannot be opened: {reason}. Check the url, that the database "
            "runs, and that its driver is installed.",
            argument="storage",
        ) from error


def _cut_torn_tail(journal: Path, lock: Any) -> None:
    """Cuts off an incomplete last line, as a full disk or a power cut leaves it."""
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
    """The search's sampler; its draws depend on the seeds and the finished trials only."""
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
    """The search's pruner; it prunes no trial before a fifth of its steps, during warm-up."""
    from optuna import pruners

    early = max(1, steps // 5)
    makers = {
        "median": lambda: pruners.MedianPruner(n_warmup_steps=early),
        "percentile": lambda: pruners.PercentilePruner(25.0, n_warmup_steps=early),
        "halving": lambda: pruners.SuccessiveHalvingPruner(min_resource=early),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=early, max_resource=steps),
        "none": pruners.NopPruner,
    }
    return makers[search.pruner]()
