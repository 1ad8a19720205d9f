"""Tables of `list` and `doctor`: plain and aligned, drawn only on a terminal."""

from __future__ import annotations

import sys

import pytest

from tsfm_adapt.cli import tables

TITLES, ROWS = ("name", "size"), [["a", "1,000"], ["longer [name]", "2"]]


def test_columns_are_aligned_and_numbers_to_the_right() -> None:
    assert tables.lines(TITLES, ROWS, right=("size",)) == [
        "name            size",
        "a              1,000",
        "longer [name]      2",
    ]


def test_without_rows_there_are_titles() -> None:
    assert tables.lines(TITLES, []) == ["name  size"]


def test_a_table_is_drawn_on_a_terminal_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables.show(TITLES, ROWS)
    assert capsys.readouterr().out.isascii()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    tables.show(TITLES, ROWS)
    drawn = capsys.readouterr().out
    assert not drawn.isascii()
    assert "longer [name]" in drawn
