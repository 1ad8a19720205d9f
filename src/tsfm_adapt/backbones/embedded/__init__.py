"""Facts about a backbone's weights without building it, so that lists are quick.

Read from the head of the weights file that comes with the package, and from literals in the
backbone's file: `LICENCES` (checkpoint -> licence), `EMBEDDED_CONTEXT` (samples) and, where a
weights file holds more than parameters, `NO_PARAMETERS` (names of tensors).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from tsfm_adapt.components import constants
from tsfm_adapt.errors import EnvironmentProblem

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Embedded:
    """Facts about the weights of a backbone that come with the package."""

    parameters: int
    size_mb: float  # of the file, in millions of bytes
    max_context: int  # samples
    licence: str


def embedded(name: str) -> Embedded | None:
    """Facts about the weights that come with the package; None = there are none.

    Raises:
        EnvironmentProblem: the file is broken.
    """
    path = FOLDER / name / "model.safetensors"
    if not path.is_file():
        return None
    literals = constants("backbone", name, "LICENCES", "EMBEDDED_CONTEXT", "NO_PARAMETERS")
    other_tensors = literals.get("NO_PARAMETERS", ())
    shapes = {key: shape for key, shape in _shapes(path).items() if key not in other_tensors}
    return Embedded(
        parameters=sum(map(prod, shapes.values())),
        size_mb=path.stat().st_size / 1e6,
        max_context=literals["EMBEDDED_CONTEXT"],
        licence=literals["LICENCES"]["embedded"],
    )


def published(name: str) -> dict[str, str]:
    """The licence of each checkpoint that is known on the Hub, by id."""
    licences: Mapping[str, str] = constants("backbone", name, "LICENCES").get("LICENCES", {})
    return {id: licence for id, licence in licences.items() if id != "embedded"}


def in_short(licences: Mapping[str, str]) -> str:
    """Counts of licences as text: `5 cc-by-nc-4.0`."""
    return ", ".join(f"{n} {licence}" for licence, n in Counter(licences.values()).items())


def _shapes(path: Path) -> dict[str, list[int]]:
    """Shapes of the tensors in a safetensors file: 8 bytes of length, then a JSON header."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            head: dict[str, Any] = json.loads(file.read(min(length, path.stat().st_size)))
        return {key: about["shape"] for key, about in head.items() if key != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise EnvironmentProblem(
            f"'{path}' is no safetensors file ({error}). Install tsfm-adapt again."
        ) from error
