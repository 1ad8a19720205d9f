"""The folder of a study: its recipe with the search, what it is called, and its locks.

It holds recipe.yaml, study.json and, unless a database holds the trials, journal.log.
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from tsfm_adapt._util import atomic
from tsfm_adapt.errors import DataError
from tsfm_adapt.recipe.files import dumps, loads

if TYPE_CHECKING:
    from tsfm_adapt.recipe.schema import Recipe
    from tsfm_adapt.recipe.search import Search

_SMOKE_TRIALS = 3


class _About(TypedDict):
    """study.json."""

    name: str
    database: bool
    smoke: bool


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
        search = self.recipe.search
        assert search is not None
        return search

    @property
    def smoke(self) -> bool:
        """True for a smoke run: a few steps and windows in every trial."""
        return bool(self._content["smoke"])

    @property
    def name(self) -> str:
        """The study's name in its storage."""
        return str(self._content["name"])

    @property
    def in_database(self) -> bool:
        """True where a database holds the trials."""
        return bool(self._content["database"])

    @property
    def planned(self) -> int:
        """Number of trials after which the study ends."""
        planned = self.search.planned
        return min(planned, _SMOKE_TRIALS) if self.smoke else planned

    @property
    def _about(self) -> Path:
        return self.folder / "study.json"

    @property
    def _content(self) -> _About:
        content: _About = json.loads(self._about.read_text(encoding="utf-8"))
        return content

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Holds the study's lock `what`, which the system frees when its process dies."""
        with (self.folder / f".{what}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def create(recipe: Recipe, runs: Path, *, database: bool, smoke: bool) -> StudyFolder:
    """Creates the folder `<runs>/<recipe name>/study-...`, or finds it for a study in a database.

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
    about: _About = {"name": f"{recipe.name}-{digest[:12]}", "database": database, "smoke": smoke}
    if not (folder / "study.json").exists():
        atomic.write_text(folder / "recipe.yaml", text)
        atomic.write_text(folder / "study.json", json.dumps(about) + "\n")
    return StudyFolder(folder)
