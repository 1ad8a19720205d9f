"""What `check` and `train` say of leaks, alarms and subgroups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def copied(table: Path) -> Path:
    """The table, in which p7 (test) repeats p0 (train) from the start."""
    lines = table.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("p7,")]
    copy = [line.replace("p0,", "p7,", 1) for line in lines if line.startswith("p0,")]
    table.write_text("\n".join([*kept, *copy]) + "\n")
    return table


@pytest.mark.parametrize("verb", ["check", "train"])
def test_a_patient_copied_into_test_stops_check_and_train(
    cli: Callable[..., Any],
    recipe: dict[str, Any],
    written: Callable[..., Path],
    copied: Path,
    verb: str,
) -> None:
    outcome = cli(verb, written(recipe))
    assert outcome.code == 3
    assert "subject p0 in train and subject p7 in test hold the same 120 values of HR" in (
        outcome.err.replace("\n", " ")
    )
    assert "Traceback" not in outcome.err


def test_a_run_that_allows_copies_and_warns_of_events_says_both(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], copied: Path
) -> None:
    recipe["data"]["split"]["allow_duplicates"] = True
    recipe["task"]["events"] = {"slow": {"channel": "HR", "below": 75}}
    outcome = cli("check", written(recipe))
    assert "leakage audit: subject p0 in train and subject p7 in test" in outcome.out
    outcome = cli("train", written(recipe), "--quiet")
    assert outcome.code == 0, outcome.err
    assert "slow (HR < 75 bpm): " in outcome.out
    run = Path(outcome.out.splitlines()[-1].removeprefix("run: "))
    scores = json.loads((run / "scores.json").read_text())
    (finding,) = scores["audit"]["findings"]
    assert (finding["kind"], finding["splits"]) == ("duplicate", ["train", "test"])
    slow = scores["events"]["slow"]
    assert set(slow["models"]) == set(scores["models"])
    assert set(slow["models"]["adapted"]["at"]) == {"1", "2", "5"}
    assert 0 < slow["monitored_days"] <= 2 * 120 / 1440
