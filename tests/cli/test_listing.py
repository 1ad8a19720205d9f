"""`list`: components and recipes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tsfm_adapt.components import built_in, names


@pytest.mark.parametrize("what", ["backbones", "adapters", "tasks", "readers"])
def test_list_names_every_component_and_its_state(cli: Callable[..., Any], what: str) -> None:
    listed = json.loads(cli("list", what, "--json").out)
    assert {"name", "ready", "reason"} <= listed[0].keys()
    assert all(entry["summary"] for entry in listed)


def test_where_no_recipes_are_list_says_where_they_are(cli: Callable[..., Any]) -> None:
    outcome = cli("list", "recipes")
    assert outcome.code == 0
    assert outcome.out.startswith("there are no recipes in ")
    assert "tsfm-adapt init" in outcome.out
    assert json.loads(cli("list", "recipes", "--json").out) == []


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
