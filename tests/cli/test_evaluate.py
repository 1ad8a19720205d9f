"""`evaluate`: the same scores again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_evaluate_repeats_the_scores(cli: Callable[..., Any], trained: Path) -> None:
    before = json.loads((trained / "scores.json").read_text())
    outcome = cli("evaluate", trained, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["scores"] == before
