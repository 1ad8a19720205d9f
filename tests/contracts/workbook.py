"""Workbooks as tests write them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

openpyxl = pytest.importorskip(
    "openpyxl", reason="needs the extra xlsx: pip install 'tsfm-adapt[xlsx]'"
)

START = datetime(2024, 1, 2, 8)
HEADER = ["Time", "HR (bpm)", "SpO2 (%)"]


def rows(count: int = 20, first: float = 60, minutes: float = 1) -> list[list[Any]]:
    """Times, heart rates and saturations."""
    return [
        [START + timedelta(minutes=minutes * number), first + number % 7, 95 + number % 4]
        for number in range(count)
    ]


def write(path: Path, sheets: Mapping[str, Sequence[Sequence[Any]]]) -> Path:
    """A workbook of some sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, cells in sheets.items():
        sheet = book.create_sheet(name)
        for row in cells:
            sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def changed(path: Path, part: str, old: str, new: str) -> Path:
    """Replaces text in a part of a workbook."""
    import zipfile

    with zipfile.ZipFile(path) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    assert old.encode() in parts[part]
    parts[part] = parts[part].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return path
