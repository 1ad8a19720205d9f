"""PhysioNet/CinC Challenge 2012: 48 hours of irregular ICU readings, one text file a patient.

A reading that was not taken has no row; -1 means unknown. Every patient has all 37 parameters as
channels, some without readings. Zeros and impossible values are not changed. Several readings may
share a minute.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field

from tsfm_adapt.errors import DataError
from tsfm_adapt.signals.readers._heads import head, some_files
from tsfm_adapt.signals.readers.base import ReaderConfig, resolve_root
from tsfm_adapt.signals.recording import IrregularReadings

DURATION_S = 48 * 3600.0

UNITS: Mapping[str, str] = {
    "ALP": "IU/L",
    "ALT": "IU/L",
    "AST": "IU/L",
    "Albumin": "g/dL",
    "BUN": "mg/dL",
    "Bilirubin": "mg/dL",
    "Cholesterol": "mg/dL",
    "Creatinine": "mg/dL",
    "DiasABP": "mmHg",
    "FiO2": "1",
    "GCS": "1",
    "Glucose": "mg/dL",
    "HCO3": "mmol/L",
    "HCT": "%",
    "HR": "bpm",
    "K": "mEq/L",
    "Lactate": "mmol/L",
    "MAP": "mmHg",
    "MechVent": "1",
    "Mg": "mmol/L",
    "NIDiasABP": "mmHg",
    "NIMAP": "mmHg",
    "NISysABP": "mmHg",
    "Na": "mEq/L",
    "PaCO2": "mmHg",
    "PaO2": "mmHg",
    "Platelets": "cells/nL",
    "RespRate": "breaths/min",
    "SaO2": "%",
    "SysABP": "mmHg",
    "Temp": "degC",
    "TroponinI": "ug/L",
    "TroponinT": "ug/L",
    "Urine": "mL",
    "WBC": "cells/nL",
    "Weight": "kg",
    "pH": "1",
}

_ATTRIBUTES = {"Age": "age", "Height": "height_cm", "ICUType": "icu_type", "Weight": "weight_kg"}
_STATICS = {"RecordID", "Gender", *_ATTRIBUTES}
_LABELS = {
    "SAPS-I": "saps_i",
    "SOFA": "sofa",
    "Length_of_stay": "length_of_stay_d",
    "Survival": "survival_d",
    "In-hospital_death": "in_hospital_death",
}
_UNKNOWN = -1.0
_HEADER = "Time,Parameter,Value"


class Config(ReaderConfig):
    """Reads patients as irregular readings over 48 hours; id and subject are the RecordID.

    Static parameters become attributes. The sets a, b and c have one layout and share no RecordID;
    those of a sort before those of b, so that a split by counts in order of name can train on one
    set and test on the next. Labels come from `Outcomes-*.txt` in or beside the root; a set
    without that file has no labels.
    """

    name: Literal["challenge2012"] = "challenge2012"
    root: str = Field(description="the folder that holds set-a, or set-a itself")
    sets: tuple[Literal["a", "b", "c"], ...] | None = Field(
        default=None,
        min_length=1,
        description="folders set-a, set-b, ... to read; null = all of the root",
    )

    @classmethod
    def guess(cls, path: Path) -> Self | None:
        """Recognised by a folder of text files with a patient's header row."""
        if not path.is_dir():
            return None
        files = [file for file in some_files(path, (".txt",)) if file.stem.isdigit()]
        if not any(head(file).startswith(_HEADER) for file in files[:1]):
            return None
        return cls(root=str(path))

    def files(self) -> Iterable[Path]:
        """All files below the root, and the outcomes beside it."""
        root = resolve_root(self.root)
        return {*(path for path in root.rglob("*") if path.is_file()), *_outcome_files(root)}

    def read(self, channels: tuple[str, ...]) -> Iterator[IrregularReadings]:
        """Yields the patients sorted by RecordID."""
        root = resolve_root(self.root)
        paths = sorted(
            (path for name in self.sets or (None,) for path in _files(root, name)),
            key=lambda path: path.stem,
        )
        outcomes = _outcomes(root)
        wanted = tuple(name for name in channels or UNITS if name in UNITS)
        for path, following in zip(paths, [*paths[1:], None], strict=True):
            if following is not None and following.stem == path.stem:
                raise DataError(
                    f"A RecordID occurs once below {root}: {path} and {following} share it. "
                    "Set data.reader.root to the folder of one of them."
                )
            yield _patient(path, wanted, outcomes.get(path.stem, {}))


def _files(root: Path, name: str | None) -> list[Path]:
    """The patients' files of one set; name None = all below the root."""
    paths = list(root.rglob("[0-9]*.txt"))
    if not paths:
        raise DataError(
            f"A Challenge 2012 folder holds files like set-a/132539.txt: {root} has none. "
            "Set data.reader.root to the folder that holds set-a."
        )
    if name is None:
        return paths
    of_set = [path for path in paths if path.absolute().parent.name == f"set-{name}"]
    if not of_set:
        folders = sorted({path.absolute().parent.name for path in paths})
        raise DataError(
            f"data.reader.sets: the files of set {name} lie in a folder set-{name}; below {root} "
            f"are files in {', '.join(folders)}. Correct sets, or put its files into such a "
            "folder."
        )
    return of_set


def _patient(
    path: Path, channels: tuple[str, ...], labels: Mapping[str, int]
) -> IrregularReadings:
    """Reads one patient's file."""
    index = {name: number for number, name in enumerate(channels)}
    statics: dict[str, float] = {}
    readings: list[tuple[float, int, float]] = []
    for row, (clock, parameter, text) in _rows(path, _HEADER):
        try:
            hours, minutes = clock.split(":")
            time_s, value = 3600.0 * int(hours) + 60.0 * int(minutes), float(text)
            if not (math.isfinite(value) and 0 <= time_s <= DURATION_S):
                raise ValueError
        except ValueError:
            line = f"{clock},{parameter},{text}"
            raise _broken(path, row, line, "HH:MM up to 48:00,name,number") from None
        if clock == "00:00" and parameter not in statics and parameter in _STATICS:
            statics[parameter] = value
        elif value == _UNKNOWN:
            continue
        elif parameter in index:
            readings.append((time_s, index[parameter], value))
        elif parameter not in UNITS:
            raise _broken(path, row, parameter, "one of the 37 parameters")
    if str(round(statics.get("RecordID", _UNKNOWN))) != path.stem:
        raise DataError(
            f"A patient's file is named by its RecordID: {path} holds "
            f"{statics.get('RecordID', 'none')}. Correct its name, or take it out of the folder."
        )
    table = np.array(sorted(readings, key=lambda reading: reading[0])).reshape(-1, 3)
    return IrregularReadings(
        id=path.stem,
        subject=path.stem,
        time_s=table[:, 0],
        channel=table[:, 1].astype(np.int64),
        value=table[:, 2],
        channels=channels,
        units=tuple(UNITS[name] for name in channels),
        duration_s=DURATION_S,
        attributes=_attributes(statics),
        labels=labels,
    )


def _attributes(statics: Mapping[str, float]) -> dict[str, str | float]:
    """The known static parameters as attributes."""
    attributes: dict[str, str | float] = {
        name: statics[parameter]
        for parameter, name in _ATTRIBUTES.items()
        if statics.get(parameter, _UNKNOWN) != _UNKNOWN
    }
    if statics.get("Gender") in (0.0, 1.0):
        attributes["sex"] = "M" if statics["Gender"] else "F"
    return attributes


def _outcome_files(root: Path) -> list[Path]:
    """The outcomes files below the root and beside it."""
    return sorted({*root.rglob("Outcomes-*.txt"), *root.parent.glob("Outcomes-*.txt")})


def _outcomes(root: Path) -> dict[str, dict[str, int]]:
    """Labels by RecordID, from every outcomes file; unknown ones are left out."""
    labels: dict[str, dict[str, int]] = {}
    header = ",".join(["RecordID", *_LABELS])
    for path in _outcome_files(root):
        for row, (record, *fields) in _rows(path, header):
            try:
                values = [int(field) for field in fields]
            except ValueError:
                raise _broken(path, row, ",".join(fields), "whole numbers") from None
            labels[record] = {
                name: value
                for name, value in zip(_LABELS.values(), values, strict=True)
                if value != _UNKNOWN
            }
    return labels


def _rows(path: Path, header: str) -> Iterator[tuple[int, list[str]]]:
    """The rows after the header: line number and cells."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(
            f"{path} must be readable UTF-8 text: {problem}. Correct its "
            "permissions or encoding, or take it out of the folder."
        ) from problem
    if not lines or lines[0] != header:
        raise _broken(path, 1, lines[0] if lines else "nothing", header)
    columns = header.count(",") + 1
    for row, line in enumerate(lines[1:], start=2):
        fields = line.split(",")
        if len(fields) != columns:
            raise _broken(path, row, line, header)
        yield row, fields


def _broken(path: Path, row: int, text: str, expected: str) -> DataError:
    return DataError(
        f"{path}, row {row}: expected {expected}, found '{text[:60]}'. Correct "
        "that row, or take the file out of the set's folder."
    )
