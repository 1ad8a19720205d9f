"""The warning that a recipe has a setting under the name of an earlier version."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

_SHOWN: dict[str | tuple[str, type[Warning], int], int] = {}  # each text once a process


def warn_renamed(old: str, new: str) -> None:
    """Warns of a spelling that the next version will not read.

    Args:
        old: path and value as given, `adapters.lora.layers: [0, 2]`.
        new: path and value to write in its place.
    """
    warnings.warn_explicit(
        f"{old} is the old spelling of {new}. This version reads both; write the new one.",
        FutureWarning,
        filename="<recipe>",
        lineno=1,
        registry=_SHOWN,
    )


def written(value: Any) -> str:
    """A plain value as a recipe has it on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {written(own)}" for key, own in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(written(own) for own in value) + "]"
    return "null" if value is None else str(value)
