"""Tables of `list` and `doctor`: plain and aligned, drawn only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tsfm_adapt.cli import tables
from tsfm_adapt.components import built_in, component, names

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


def test_list_says_what_every_backbone_is_and_may_be_used_for(cli: Callable[..., Any]) -> None:
    listed = {entry["name"]: entry for entry in json.loads(cli("list", "backbones", "--json").out)}
    assert set(listed) == set(names("backbone"))
    for entry in (listed[name] for name in built_in("backbone")):
        assert entry["parameters"] > 0
        assert 0 < entry["size_mb"] < 10
        assert entry["max_context"] > 0
        assert entry["licence"] == "apache-2.0"
    assert listed["moirai2"]["published"] == {"Salesforce/moirai-2.0-R-small": "cc-by-nc-4.0"}
    text = cli("list", "backbones").out.splitlines()
    assert [line.split()[0] for line in text] == ["name", *names("backbone")]
    assert f"{listed['moment']['parameters']:,}" in "".join(text)
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(text[:3], ("what", "Chronos-2", "Chronos-B"), strict=True)
            }
        )
        == 1
    )


def test_doctor_says_the_same_of_backbones_as_list(cli: Callable[..., Any]) -> None:
    listed = {entry["name"]: entry for entry in json.loads(cli("list", "backbones", "--json").out)}
    assert json.loads(cli("doctor", "--json").out)["backbones"] == listed
    text = cli("doctor").out.partition("backbones:")[2]
    for name in names("backbone"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {name} ")]
        ready = component("backbone", name).problem is None
        assert line.endswith("NOT READY" if not ready else " ready")


def test_a_backbone_that_lacks_a_package_is_listed_with_what_installs_it(
    cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uni2ts" else found(name)
    )
    (line,) = [line for line in cli("list", "backbones").out.splitlines() if "moirai2" in line]
    assert "NOT READY: needs uni2ts: pip install 'tsfm-adapt[moirai]'" in line
    assert "847,120" in line
    (line,) = [line for line in cli("doctor").out.splitlines() if line.startswith("  moirai2 ")]
    assert line.endswith("NOT READY")
