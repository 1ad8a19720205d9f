"""What a run prints of events and of subgroups."""

from __future__ import annotations

from tsfm_adapt.cli.outcome import _events, _subgroups


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
