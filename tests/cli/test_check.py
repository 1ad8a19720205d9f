"""`check`: what a recipe would train, without training it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.usefixtures("table")
def test_check_counts_the_parameters_that_the_run_and_its_card_state(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path]
) -> None:
    file = written(recipe)
    checked = json.loads(cli("check", file, "--json").out)
    outcome = cli("train", file, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    run = json.loads(outcome.out)
    costs = run["scores"]["costs"]
    counts = checked["trainable_parameters"], checked["total_parameters"]
    assert counts == (costs["trainable_parameters"], costs["total_parameters"])
    card = (Path(run["run"]) / "bundle" / "README.md").read_text()
    assert f"trained parameters {counts[0]:,} of {counts[1]:,}\n" in card
    assert f"trains {counts[0]:,} of {counts[1]:,} parameters" in cli("check", file).out


@pytest.mark.usefixtures("table")
def test_parameters_outside_the_backbones_network_are_counted_too(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path]
) -> None:
    def counts(adapters: list[dict[str, Any]]) -> tuple[int, int]:
        checked = json.loads(cli("check", written(recipe | {"adapters": adapters}), "--json").out)
        return checked["trainable_parameters"], checked["total_parameters"]

    none, base = counts([])
    trained, total = counts([{"name": "prompt"}])
    assert none == 0
    assert trained > 0
    assert total == base + trained


def test_check_counts_windows_and_parameters_and_trains_nothing(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("check", written(recipe), "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["parts"]["train"] == {"windows": 4 * 81, "subjects": 4}
    # q and v of 2 layers' time and group attention, rank 2, width 32
    assert found["trainable_parameters"] == 2 * 2 * 2 * 2 * (32 + 32)
    assert not Path("runs").exists()


def test_check_says_that_nothing_leaks(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("check", written(recipe))
    assert outcome.code == 0, outcome.err
    assert "leakage audit: no subject, no stretch of >= 32 samples and no window" in outcome.out
    found = json.loads(cli("check", written(recipe), "--json").out)
    assert found["audit"]["findings"] == []
