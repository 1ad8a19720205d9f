"""`check`: what a recipe would train, without training it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


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
