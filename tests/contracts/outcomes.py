"""How reading a dialect ended: read, asked about, refused, or wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from contracts.readings import Attempt, Truth, attempt, problems
from tsfm_adapt.errors import DataError
from tsfm_adapt.proposal.proposal import propose
from tsfm_adapt.proposal.survey import look
from tsfm_adapt.signals.readers.base import ReaderConfig
from tsfm_adapt.signals.readers.csv import Config

READ, PASTED, NAMED, UNNAMED, MISLED, WRONG, CRASHED = (
    "read",
    "read after pasting",
    "refused, named",
    "refused, unnamed",
    "WRONG AFTER PASTING",
    "SILENTLY WRONG",
    "CRASHED",
)


@dataclass(frozen=True)
class Outcome:
    """How reading a dialect ended."""

    name: str
    verdict: str
    why: str

    def __str__(self) -> str:
        return f"{self.name:34} {self.verdict:20} {' '.join(self.why.split())[:420]}"


def judged(name: str, folder: Path, truths: Sequence[Truth]) -> Outcome:
    """Reads a folder, and compares with what it holds; each of the truths is right."""
    try:
        got = attempt(folder)
        unproposed = "" if got.config is None else why_not_proposed(got.config)
    except Exception as error:  # whatever else is raised is what a person would see
        return Outcome(name, CRASHED, f"{type(error).__name__}: {error}")
    if got.how == "refused":
        return Outcome(name, NAMED if names_what(got, folder) else UNNAMED, got.message)
    wrong = min((problems(got, truth) for truth in truths), key=len)
    if not wrong and unproposed:
        return Outcome(name, UNNAMED, unproposed)
    if not wrong:
        return Outcome(name, READ if got.how == "read" else PASTED, got.message)
    if got.asks:
        return Outcome(name, NAMED if names_what(got, folder) else UNNAMED, got.message)
    why = f"{'; '.join(wrong)} | {got.config!r} | {got.message}"
    return Outcome(name, WRONG if got.how == "read" else MISLED, why)


def why_not_proposed(config: ReaderConfig) -> str:
    """Why `init` has no recipe for what was read; '' where it has one."""
    try:
        propose(look(config), config)
    except DataError as error:
        return str(error)
    return ""


def names_what(got: Attempt, folder: Path) -> bool:
    """Whether a refusal names a row, a column or a setting, apart from the path and the rule."""
    message = got.message.replace(str(folder), "")
    names = "|".join(name for name in Config.model_fields if name not in ("name", "root"))
    row, column = r"\brow \d+", r"\bcolumns?\b[^.]{0,60}['(]"
    setting = rf"\b({names})(:|=|\b.*--reader)"
    return re.search(f"{row}|{column}|{setting}", message) is not None


def table(outcomes: Sequence[Outcome]) -> str:
    """All outcomes, and how many there are of each."""
    counts = Counter(one.verdict for one in outcomes)
    return "\n".join(["", *map(str, outcomes), *(f"{n:3} {what}" for what, n in counts.items())])


def of(outcomes: Sequence[Outcome], *verdicts: str) -> list[Outcome]:
    """Those that ended so."""
    return [one for one in outcomes if one.verdict in verdicts]
