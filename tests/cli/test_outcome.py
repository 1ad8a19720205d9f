"""What a run prints of events and of subgroups."""

from __future__ import annotations

from typing import Any

from tsfm_adapt.cli.outcome import _events, _subgroups
from tsfm_adapt.evaluation.scores import Scores, SubgroupTable, Summary


def scores(models: dict[str, Any] | None = None, **parts: Any) -> Scores:
    """What is printed of events and subgroups, and nothing else."""
    summary = Summary.model_validate({"models": models or {}, "events": parts.pop("events", {})})
    tables = {
        name: SubgroupTable.model_validate(table)
        for name, table in parts.pop("subgroups", {}).items()
    }
    return Scores.model_construct(**dict(summary), subgroups=tables)


def test_events_are_printed_in_a_row_a_model() -> None:
    counts = {"interval": None, "detected": 0, "false_alarms_a_day": 1.0}
    point = {
        **counts,
        "sensitivity": 0.5,
        "low": 0.25,
        "high": 0.75,
        "lead_s": {"median": 900.0, "q25": 600.0, "q75": 1200.0},
    }
    nothing = {**counts, "sensitivity": None, "low": None, "high": None, "lead_s": None}
    event = {
        "event": "MAP < 65 mmHg",
        "episodes": 4,
        "subjects": 2,
        "monitored_days": 1.25,
        "windows": 10,
        "windows_before_onset": 4,
        "windows_not_at_risk": 0,
        "episodes_unforeseeable": 0,
        "threshold": "of each model",
        "models": {
            "adapted": {"auroc": None, "at": {"1": point}},
            "ridge": {"auroc": None, "at": {"1": nothing}},
        },
    }
    *_, heading, titles, adapted, ridge = _events(scores(events={"low": event}))
    assert heading.startswith("low (MAP < 65 mmHg): 4 episodes of 2 subjects in 1.2 monitored")
    assert titles.split() == ["1", "false/day", "lead", "at", "last"]
    assert adapted.split() == ["adapted", "0.50", "[0.25,", "0.75]", "15", "min"]
    assert ridge.split() == ["ridge", "-", "-"]
    assert _events(scores()) == []


def test_subgroups_are_printed_with_their_numbers_and_small_ones_without_scores() -> None:
    scored = {
        "subjects": 9,
        "windows": 90,
        "models": {"adapted": 1.0, "zero_shot": 1.25, "ridge": 1.5},
        "difference": {
            "versus": "zero_shot",
            "difference": 20.0,
            "low": 10.0,
            "high": 30.0,
            "interval": "subjects",
        },
    }
    small = {"subjects": 2, "windows": 20, "models": None, "difference": None}
    table = {
        "metric": "mase",
        "better": "lower",
        "min_subjects": 5,
        "groups": {"F": scored, "M": small},
    }
    roles = {"adapted": "adapted", "zero_shot": "zero_shot", "ridge": "baseline"}
    models = {name: {"role": role, "overall": {}} for name, role in roles.items()}
    _, heading, titles, women, men = _subgroups(scores(models=models, subgroups={"sex": table}))
    assert heading == "by sex (mase, lower is better)"
    assert titles.split()[:4] == ["subjects", "windows", "adapted", "zero_shot"]
    assert women.split() == ["F", "9", "90", "1.0000", "1.2500", "20.0", "%", "[10.0,", "30.0]"]
    assert men.split() == ["M", "2", "20", "fewer", "than", "5", "subjects"]
