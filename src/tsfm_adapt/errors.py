"""Errors that a user can act on, by kind.

Every message has three parts: the rule, the values found, the next step. It names paths of the
recipe and arguments of the call, never options of the command line: the command line adds these,
prints the message without a traceback, and exits with the kind's `exit_code`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class TsfmAdaptError(Exception):
    """Base of all errors that a user can act on.

    Args:
        message: the rule, the values found, the next step.
        argument: the parameter of the call that was given the wrong value, such as `sets`.
        remedy: an argument that would help, as `force` or `to=bundle`.
    """

    exit_code = 1

    def __init__(
        self, message: str = "", *, argument: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(message)
        self.argument = argument
        self.remedy = remedy


class RecipeError(TsfmAdaptError):
    """The recipe asks for something that does not exist or does not fit together."""

    exit_code = 2


class DataError(TsfmAdaptError):
    """A recording is missing, broken, too short, or in the wrong unit."""

    exit_code = 3


class EnvironmentProblem(TsfmAdaptError):
    """Something around the run is missing: an extra, a checkpoint, a device, disk space."""

    exit_code = 4


class DivergedError(TsfmAdaptError):
    """Training produced a loss or gradient that is not finite."""

    exit_code = 5


class Interrupted(TsfmAdaptError):
    """The user stopped the work; what was finished is saved."""

    exit_code = 130


class CannotMerge(TsfmAdaptError):
    """The adapter has no equivalent change of the base weights."""


def closest(name: str, known: Iterable[str]) -> str:
    """A ` Did you mean 'x'?` suffix for error messages, empty where nothing is close."""
    names = sorted(known)
    folded = {candidate.casefold(): candidate for candidate in names}
    matches = get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f" Did you mean '{folded[matches[0]]}'?" if matches else ""
