"""Text files of labelled series: lines, cells as numbers, classes, errors that name the line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import FloatArray

Label = Mapping[str, str | int | float]
Case = tuple[
    FloatArray, Label
]  # values (C, T), and the label `label` or `target` where there is one


@dataclass(frozen=True)
class Series:
    """One file: the lines of its cases, and how to read one of them."""

    lines: Sequence[tuple[int, str]]  # line number and text
    case: Callable[[int, str], Case]


def lines_of(path: Path, comment: str) -> list[tuple[int, str]]:
    """The numbered lines that are neither empty nor a comment, without surrounding blanks.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path} must be a readable text file: {problem}. Fetch it again."
        ) from problem
    lines = [(row, line.strip()) for row, line in enumerate(text.splitlines(), start=1)]
    return [(row, line) for row, line in lines if line and not line.startswith(comment)]


def stacked(path: Path, row: int, series: Sequence[str]) -> FloatArray:
    """The dimensions of one case (C, T), each a text of numbers; `?` and NaN are missing.

    Raises:
        DataError: a cell is no finite number, or the dimensions differ in length.
    """
    rows = [_numbers(path, row, text) for text in series]
    lengths = sorted({len(values) for values in rows})
    if len(lengths) > 1:
        raise DataError(
            f"The dimensions of a case have one length: {path}, line {row}, has {lengths[0]} to "
            f"{lengths[-1]} samples. Fill the shorter ones with '?' in the file."
        )
    return np.stack(rows)


def plain(text: str) -> str | int | float:
    """A class as a whole number where it is one, so that recipes can list 1, 2, 3."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def label_of(path: Path, row: int, text: str, classes: Sequence[str], expected: str) -> Label:
    """The label of a case: one of the classes, or without classes a number to regress on.

    Args:
        path: the file.
        row: the case's line.
        text: what the file states, without blanks.
        classes: all there are; empty = a target.
        expected: what an error about a target asks for.

    Raises:
        DataError: it is neither.
    """
    if classes and text not in classes:
        raise broken(path, row, text, f"one of the classes {', '.join(classes)}")
    value = plain(text)
    if not classes and isinstance(value, str):
        raise broken(path, row, text, expected)
    return {"label" if classes else "target": value}


def broken(path: Path, row: int, found: str, expected: str) -> DataError:
    """An error about one line."""
    return DataError(
        f"{path}, line {row}: expected {expected}, found '{found[:60]}'. Fetch it again."
    )


def _numbers(path: Path, row: int, text: str) -> FloatArray:
    cells = [cell.strip() for cell in text.split(",")]
    try:
        values = np.array([math.nan if cell == "?" else float(cell) for cell in cells])
    except ValueError:
        values = np.array([math.inf])
    if np.isinf(values).any():
        raise broken(path, row, text, "finite numbers or '?' with commas between")
    return values
