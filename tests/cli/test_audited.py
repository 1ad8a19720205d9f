"""What `check` and `train` say of leaks, alarms and subgroups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsfm_adapt.cli.outcome import _events, _subgroups


@pytest.fixture
def copied(table: Path) -> Path:
    """The table, in which p7 (test) repeats p0 (train) from the start."""
    lines = table.read_text().splitlines()
    kept = [line for line in lines if not line.startswith("p7,")]
    copy = [line.replace("p0,", "p7,", 1) for line in lines if line.startswith("p0,")]
    table.write_text("\n".join([*kept, *copy]) + "\n")
    return table


def test_check_says_that_nothing_leaks(
    cli: Callable[..., Any], recipe: dict[str, Any], written: Callable[..., Path], table: Path
) -> None:
    outcome = cli("check", written(recipe))
    assert outcome.code == 0, outcome.err
    assert "leakage audit: no subject, no stretch of >= 32 samples and no window" in outcome.out
    found = json.loads(cli("check", written(recipe), "--json").out)
    assert found["audit"]["findings"] == []


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
    assert (finding["kind"], finding["parts"]) == ("duplicate", ["train", "test"])
    slow = scores["events"]["slow"]
    assert set(slow["models"]) == set(scores["models"])
    assert set(slow["models"]["adapted"]["at"]) == {"1", "2", "5"}
    assert 0 < slow["monitored_days"] <= 2 * 120 / 1440


def test_events_are_printed_in_a_row_a_model() -> None:
    point = {
        "sensitivity": 0.5,
        "low": 0.25,
        "high": 0.75,
        "lead_s": {"median": 900.0, "q25": 600.0, "q75": 1200.0},
    }
    nothing = {"sensitivity": None, "low": None, "high": None, "lead_s": None}
    event = {
        "event": "MAP < 65 mmHg",
        "episodes": 4,
        "subjects": 2,
        "monitored_days": 1.25,
        "models": {"adapted": {"at": {"1": point}}, "ridge": {"at": {"1": nothing}}},
    }
    *_, heading, titles, adapted, ridge = _events({"events": {"low": event}})
    assert heading.startswith("low (MAP < 65 mmHg): 4 episodes of 2 subjects in 1.2 monitored")
    assert titles.split() == ["1", "false/day", "lead", "at", "last"]
    assert adapted.split() == ["adapted", "0.50", "[0.25,", "0.75]", "15", "min"]
    assert ridge.split() == ["ridge", "-", "-"]
    assert _events({}) == []


def test_subgroups_are_printed_with_their_numbers_and_small_ones_without_scores() -> None:
    scored = {
        "subjects": 9,
        "windows": 90,
        "models": {"adapted": 1.0, "zero_shot": 1.25, "ridge": 1.5},
        "difference": {"difference": 20.0, "low": 10.0, "high": 30.0},
    }
    small = {"subjects": 2, "windows": 20, "models": None, "difference": None}
    table = {
        "metric": "mase",
        "better": "lower",
        "min_subjects": 5,
        "groups": {"F": scored, "M": small},
    }
    _, heading, titles, women, men = _subgroups({"subgroups": {"sex": table}})
    assert heading == "by sex (mase, lower is better)"
    assert titles.split()[:4] == ["subjects", "windows", "adapted", "zero_shot"]
    assert women.split() == ["F", "9", "90", "1.0000", "1.2500", "20.0", "%", "[10.0,", "30.0]"]
    assert men.split() == ["M", "2", "20", "fewer", "than", "5", "subjects"]
