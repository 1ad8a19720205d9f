"""Tables that nobody can decide: read after an answer, never at once."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest

from contracts.readings import attempt


def lines(header, cells, ids=("a", "b", "c"), count=200):
    """A table with so many rows of each id."""
    return "\n".join([header, *(cells(id, row) for id in ids for row in range(count))]) + "\n"


def june(row, pattern):
    """A minute later each row, from the morning of 5 June 2023 on."""
    return (datetime(2023, 6, 5, 8) + timedelta(minutes=row)).strftime(pattern)


def beats(row):
    return 60 + row % 17


def apart(id, row):
    """Ids in a column of an unknown name, each at another time."""
    return f"{id},{june(row + 999 * ord(id), '%Y-%m-%d %H:%M')},{beats(row)}"


def trial(id, row):
    return f"{id}{row},N," + ",".join(f"{(row * n) % 7}.5" for n in range(40))


TABLES = {
    "day or month": (
        lines("id,time,HR", lambda i, r: f"{i},{june(r, '%d/%m/%Y %H:%M')},{beats(r)}"),
        "time_format",
    ),
    "day or year": (
        lines("id,time,HR", lambda i, r: f"{i},{june(r, '%d/%m/07 %H:%M')},{beats(r)}"),
        "time_format",
    ),
    "decimals or thousands": (
        lines("id;time;flow", lambda i, r: f"{i};{60 * r};{1 + r % 7},{100 + r % 800}"),
        "decimal|thousands",
    ),
    "one person three times, or three people": (
        lines("time,HR", lambda i, r: f"{10 * r},{beats(r)}"),
        "duplicates|subject|session",
    ),
    "one person in three phases, or three people": (
        lines("time,HR,phase", lambda i, r: f"{10 * r},{beats(r)},{i}"),
        "phase",
    ),
    "three people under an unknown name": (lines("foo,time,HR", apart), "'foo'"),
    "a clock that runs twice": (
        lines("time,HR", lambda i, r: f"{june(r, '%H:%M')},{beats(r)}", ids="ab"),
        "duplicates|subject|session",
    ),
    "no time and no rate": (
        lines("ppg,ecg", lambda i, r: f"{500 + r % 90},0.{r % 10}"),
        "rate_hz",
    ),
    "samples of a rate that nobody states": (
        lines("id,label," + ",".join(f"x{n}" for n in range(40)), trial, count=20),
        "rate_hz",
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_nobody_can_decide_is_asked(name, tmp_path):
    text, words = TABLES[name]
    (tmp_path / "table.csv").write_text(text)
    got = attempt(tmp_path)
    assert got.how != "read", got.config
    assert re.search(words, got.message), got.message
    assert got.how == "pasted", got.message  # there is a line to go on with
