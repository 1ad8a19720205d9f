"""`doctor`: what is installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tsfm_adapt.components import component, names


def test_doctor_reports_versions_and_exits_well(cli: Callable[..., Any]) -> None:
    outcome = cli("doctor", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["packages"]["torch"] != "missing"


def test_doctor_shows_no_heading_without_entries(cli: Callable[..., Any]) -> None:
    lines = cli("doctor").out.splitlines()
    for heading, following in zip(lines, [*lines[1:], "end:"], strict=True):
        assert heading.startswith(" ") or following.startswith(" "), heading


def test_doctor_says_the_same_of_backbones_as_list(cli: Callable[..., Any]) -> None:
    listed = {entry["name"]: entry for entry in json.loads(cli("list", "backbones", "--json").out)}
    assert json.loads(cli("doctor", "--json").out)["backbones"] == listed
    text = cli("doctor").out.partition("backbones:")[2]
    for name in names("backbone"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"  {name} ")]
        ready = component("backbone", name).problem is None
        assert line.endswith("NOT READY" if not ready else " ready")
