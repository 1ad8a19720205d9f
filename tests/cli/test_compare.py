"""`compare`: which targets go together, and the line of a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsfm_adapt.cli.compare import _line, _listed, _numbers
from tsfm_adapt.comparison.ranking import Against, Row
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.evaluation.intervals import Comparison
from tsfm_adapt.evaluation.scores import ModelScores


def test_a_run_is_compared_as_it_was_scored(cli: Callable[..., Any], trained: Path) -> None:
    scores = json.loads((trained / "scores.json").read_text())
    outcome = cli("compare", trained, "--json", "--quiet")
    assert outcome.code == 0, outcome.err
    printed = json.loads(outcome.out)
    assert Path(printed["report"]).is_file()
    rows = printed["comparison"]["rows"]
    values = [row["overall"]["mase"] for row in rows]
    assert values == sorted(values)
    assert values == sorted(own["overall"]["mase"] for own in scores["models"].values())


def test_folders_of_runs_take_no_choice_of_models(cli: Callable[..., Any], trained: Path) -> None:
    for option, value in (("--backbones", "moment"), ("--adapters", "none"), ("--seeds", "1")):
        outcome = cli("compare", trained, option, value)
        assert outcome.code == 2
        assert "belong to a recipe" in outcome.err


NAME = "chronos2 + lora"
SCORES = ModelScores(overall={"mase": 0.9})


def against(low: float | None, high: float | None) -> Against:
    comparison = Comparison(10.0, low, high, shown=True, interval="subjects")
    return Against("zero_shot", comparison, p_holm=0.01)


def test_two_recipes_are_refused_and_named(cli: Callable[..., Any]) -> None:
    outcome = cli("compare", "a.yaml", "b.yaml")
    assert outcome.code == 2
    assert "a.yaml, b.yaml" in outcome.err.replace("\n", " ")


def test_lists_are_split_at_commas_and_seeds_are_whole_numbers() -> None:
    assert _listed(" lora, none,,") == ["lora", "none"]
    assert _numbers("17, 23") == [17, 23]
    assert _numbers("") == []
    with pytest.raises(RecipeError, match=r"'1,x' is no list of whole numbers"):
        _numbers("1,x")


@pytest.mark.parametrize(
    ("row", "line"),
    [
        (Row(NAME, failure="no memory\nof this device"), "failed: no memory"),
        (Row(NAME, scores=ModelScores(overall={"mase": None})), "mase -"),
        (Row(NAME, scores=SCORES), "mase 0.900"),
        (
            Row(NAME, scores=SCORES, vs_reference=against(2.0, 18.25)),
            "mase 0.900  +10.0 [+2.0, +18.2] against zero_shot: better",
        ),
        (
            Row(NAME, scores=SCORES, vs_reference=against(None, None)),
            "mase 0.900  +10.0 against zero_shot: better",
        ),
    ],
)
def test_a_model_is_a_line_with_its_score_and_what_adapting_gave(row: Row, line: str) -> None:
    assert _line(row, "mase") == f"{NAME:<40} {line}"
