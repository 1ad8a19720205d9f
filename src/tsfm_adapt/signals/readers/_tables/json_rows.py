"""JSON as rows of cells: an object on each line, or one list of objects; nested ones are flat."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import JsonValue

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._heads import head
from tsfm_adapt.signals.readers._tables.text import opened
from tsfm_adapt.signals.readers._tables.typed import Cell

Object = dict[str, JsonValue]


@dataclass(frozen=True)
class JsonRows:
    """Columns in the order in which their keys appear; None where an object lacks one."""

    columns: dict[str, list[Cell]]
    numbers: list[int]  # of each row's line, or its place in the list, from 1

    @property
    def skipped(self) -> tuple[int, ...]:
        """Indices of the lines before the last that hold nothing."""
        last = self.numbers[-1] if self.numbers else 0
        return tuple(number - 1 for number in sorted({*range(1, last + 1)} - {*self.numbers}))


def rows_of(path: Path, most: int | None = None) -> JsonRows:
    """The objects of a file, at most `most` of them, as columns.

    Lists become text; keys within an object within an object are joined with dots.

    Raises:
        DataError: a line is no object, with its number; two keys of an object become one.
    """
    columns: dict[str, list[Cell]] = {}
    numbers: list[int] = []
    for number, one in islice(_objects(path), most):
        row = len(numbers)
        for name, cell in _flat(one):
            own = columns.setdefault(name, [])
            if len(own) > row:
                raise _broken(path, number, f"the key '{name}' occurs twice")
            own.extend([None] * (row - len(own)))
            own.append(cell)
        numbers.append(number)
    for own in columns.values():
        own.extend([None] * (len(numbers) - len(own)))
    return JsonRows(columns, numbers)


def looks_like_rows(path: Path) -> bool:
    """True for a list of objects or objects on lines; a single object, as of settings, is none."""
    start = head(path).lstrip()
    if start.startswith("["):
        return start[1:].lstrip().startswith("{")
    first, _, rest = start.partition("\n")
    try:
        return isinstance(json.loads(first), dict) and bool(rest.strip())
    except (ValueError, RecursionError):
        return False


def _objects(path: Path) -> Iterator[tuple[int, Object]]:
    """Each object with the number of its line, or of its place in the list."""
    number = 0
    listed = head(path).lstrip().startswith("[")
    try:
        with opened(path) as file:
            for number, text in enumerate([file.read()] if listed else file, start=1):
                if not text.strip():
                    continue
                # The mark of UTF-8 stands before the first line only
                value = json.loads(text.decode("utf-8-sig"), object_pairs_hook=_unlike)
                yield from _listed(path, value) if listed else [_checked(path, number, value)]
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as problem:
        raise _broken(path, None if listed else max(number, 1), str(problem)) from problem


def _listed(path: Path, value: JsonValue) -> Iterable[tuple[int, Object]]:
    assert isinstance(value, list)
    return (_checked(path, place, one) for place, one in enumerate(value, start=1))


def _checked(path: Path, number: int, value: JsonValue) -> tuple[int, Object]:
    if not isinstance(value, dict):
        raise _broken(path, number, f"found {json.dumps(value)[:40]}")
    return number, value


def _unlike(pairs: Sequence[tuple[str, JsonValue]]) -> Object:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key '{max(names, key=names.count)}' occurs twice")
    return found


def _flat(one: Object, above: str = "") -> Iterator[tuple[str, Cell]]:
    for name, value in one.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        elif isinstance(value, list):
            yield above + name, json.dumps(value)
        else:
            yield above + name, value


def _broken(path: Path, number: int | None, found: str) -> DataError:
    place = "" if number is None else f", row {number}"
    return DataError(
        f"A JSON table holds an object on each line, or one list of objects: {path}{place}: "
        f"{found}. Correct it, or fetch the file again."
    )
