r"""ARFF files of the UEA and UCR archives: a header of attributes, then a line for each case.

A series of one dimension has an attribute for each sample. One of several dimensions is one
relational attribute: a quoted text in which a written `\\n` separates the dimensions. The class is
the last attribute: a list of names, or for regression a number called target or class. Shorter
series end in `?`, which are read as missing values.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._series import Case, Series, broken, label_of, lines_of, stacked

_ATTRIBUTE = re.compile(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+(.+)", re.IGNORECASE)
_NUMBER = ("numeric", "real", "integer")
_TARGETS = ("target", "class", "targetvalue", "classvalue")


@dataclass(frozen=True)
class _Header:
    relational: bool  # True: dimensions in quotes; False: one dimension, without quotes
    samples: int  # of a dimension; where relational, the most
    classes: tuple[str, ...]
    labelled: bool


def read_arff(path: Path) -> Series:
    """Reads the header of a file; cases are parsed one at a time.

    Raises:
        DataError: not an ARFF file of series. Parsing a case raises it for a line that does not
            fit the header.
    """
    lines = lines_of(path, "%")
    header: list[tuple[int, str]] = []
    while lines and lines[0][1].casefold() != "@data":
        header.append(lines.pop(0))
    if len(lines) < 2:
        raise DataError(
            f"An ARFF file holds attributes, a line @data, and a line a case: {path} has "
            f"{len(header)} header lines and no cases. Take it out of the folder."
        )
    stated = _header(path, header)
    return Series(lines[1:], lambda row, line: _case(path, row, line, stated))


def _header(path: Path, lines: list[tuple[int, str]]) -> _Header:
    """Parses the header's lines."""
    outer: list[tuple[str, str]] = []  # name and type
    inner = 0  # attributes inside the relational one
    inside = False
    for row, line in lines:
        word = line.split()[0].casefold()
        match = _ATTRIBUTE.fullmatch(line)
        if inside and word == "@end":
            inside = False
        elif word == "@attribute" and match is not None:
            name, kind = match.group(1).strip("'\""), match.group(2).strip()
            if inside:
                inner += 1
            else:
                outer.append((name.casefold(), kind))
                inside = kind.casefold() == "relational"
        elif word != "@relation":
            raise broken(path, row, line, "a header line like '@attribute t0 numeric', to @data")
    kinds = [kind.casefold() for _, kind in outer]
    name, last = outer[-1] if outer else ("", "")
    classes = _classes(last) if last.startswith("{") else ()
    labelled = bool(classes) or (name in _TARGETS and kinds[-1] in _NUMBER)
    series = kinds[: len(kinds) - labelled]
    if series != ["relational"] and not (series and set(series) <= set(_NUMBER)):
        raise DataError(
            "An ARFF file of series has numbers and a class, or one relational attribute and a "
            f"class: {path} has {len(outer)} attributes of the kinds "
            f"{', '.join(sorted({kind[:20] for kind in kinds})) or 'none'}. "
            "Write the readings to a CSV table and use the reader csv."
        )
    relational = series == ["relational"]
    return _Header(relational, inner if relational else len(series), classes, labelled)


def _classes(kind: str) -> tuple[str, ...]:
    return tuple(name.strip().strip("'\"") for name in kind.strip("{} ").split(","))


def _case(path: Path, row: int, line: str, header: _Header) -> Case:
    """Parses one line to values (C, T) and its label."""
    text, label = line, ""
    if header.relational:
        quote = line[0]
        end = line.rfind(quote)
        rest = line[end + 1 :].strip()
        if quote not in "'\"" or end == 0 or rest.startswith(",") != header.labelled:
            raise broken(path, row, line, "one quoted text with the dimensions, then the class")
        text, label = line[1:end], rest.removeprefix(",")
    elif header.labelled:
        text, _, label = line.rpartition(",")
    values = stacked(path, row, text.split("\\n") if header.relational else [text])
    samples = values.shape[1]
    if samples > header.samples or (samples < header.samples and not header.relational):
        raise broken(path, row, line, f"{header.samples} samples, not {samples},")
    if not header.labelled:
        return values, {}
    stated = label.strip().strip("'\"")
    return values, label_of(path, row, stated, header.classes, "a number behind the last ','")
