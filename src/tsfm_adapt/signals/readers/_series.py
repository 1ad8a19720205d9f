"""Parsing of text files with one labelled series a line (.ts, .arff)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.recording import FloatArray, Labels

Case = tuple[FloatArray, Labels]  # values (C, T), and the label `label` or `target`, if any


@dataclass(frozen=True)
class Series:
    """The cases of a file: their lines, and the function that parses one."""

    lines: Sequence[tuple[int, str]]  # line number and text
    case: Callable[[int, str], Case]


def lines_of(path: Path, comment: str) -> list[tuple[int, str]]:
    """The stripped lines with their numbers, without empty lines and comments.

    Raises:
        DataError: the file cannot be read as text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path} must be readable UTF-8 text: {problem}. Correct its "
            "permissions or encoding, or take it out of the folder."
        ) from problem
    lines = [(row, line.strip()) for row, line in enumerate(text.splitlines(), start=1)]
    return [(row, line) for row, line in lines if line and not line.startswith(comment)]


def stacked(path: Path, row: int, series: Sequence[str]) -> FloatArray:
    """Parses the dimensions of one case to values (C, T); `?` and NaN become NaN.

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
    """A class as int or float where it is a number, so that recipes can list 1, 2, 3."""
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    return int(number) if number.is_integer() else number


def label_of(path: Path, row: int, text: str, classes: Sequence[str], expected: str) -> Labels:
    """The label of a case: one of the classes or, where there are none, a target number.

    Args:
        path: the file.
        row: the case's line.
        text: the class or target in the file, stripped.
        classes: all classes; empty = the label is a target number.
        expected: of a target, for the error.

    Raises:
        DataError: an unknown class, or a target that is no number.
    """
    if classes and text not in classes:
        raise broken(path, row, text, f"one of the classes {', '.join(classes)}")
    value = plain(text)
    if not classes and isinstance(value, str):
        raise broken(path, row, text, expected)
    return {"label" if classes else "target": value}


def broken(path: Path, row: int, text: str, expected: str) -> DataError:
    """The error for one line that cannot be parsed."""
    return DataError(
        f"{path}, line {row}: expected {expected}, found '{text[:60]}'. Correct "
        "that line, or take the file out of the folder."
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
