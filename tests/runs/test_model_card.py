"""A card says what its run knows, and says plainly what the run does not know."""

from dataclasses import replace

import pytest
import yaml

from contracts.card import CARD
from tsfm_adapt.evaluation.scores import Scores
from tsfm_adapt.recipe.schema import Recipe
from tsfm_adapt.runs.model_card import model_card


@pytest.fixture(scope="module")
def recipe():
    tree = {
        "name": "vitals",
        "data": {
            "reader": {"name": "synthetic"},
            "channels": {"HR": "bpm", "SpO2": "%"},
            "rate_hz": "1/60",
        },
        "backbone": {"name": "chronos2"},
        "adapters": [{"name": "lora"}],
        "task": {"name": "forecast", "context_s": 14400, "horizon_s": 1800},
    }
    return Recipe.model_validate(tree)


def scores(**changes):
    plain = {
        "task": "forecast",
        "metric": "mase",
        "better": "lower",
        "checkpoint": "best",
        "smoke": False,
        "synthetic": False,
        "windows": 618,
        "subjects": 12,
        "left_out": {"windows": 0, "pairs": 0, "recordings": {}},
        "audit": {"recordings": 73, "stretch_samples": 32, "findings": [], "lines": []},
        "models": {
            "adapted": {
                "role": "adapted",
                "overall": {"mase": 0.81234, "wql": 0.05, "coverage80": 0.741},
            },
            "zero_shot": {
                "role": "zero_shot",
                "overall": {"mase": 0.9, "wql": 0.06, "coverage80": 0.66},
            },
            "last_value": {"overall": {"mase": 1.0, "wql": None, "coverage80": None}},
        },
        "protocol": {
            "split": {},
            "stride_s": 60.0,
            "subjects_by_split": {"train": 42, "val": 9, "test": 12},
            "recordings_by_split": {"train": 50, "val": 10, "test": 13},
            "windows_by_split": {"train": 5000, "val": 700, "test": 618},
            "origins_sha256": "0",
            "fitted_on": "train",
        },
        "verdict": {"metric": "mase", "interval": "subjects", "comparisons": []},
        "sentences": ["against zero-shot: MASE 8.1 % lower"],
        "costs": {"trainable_parameters": 1234, "total_parameters": 56789},
    }
    return Scores.model_validate(plain | changes)


def test_it_states_base_licence_data_scores_and_calibration(recipe):
    text = model_card(CARD, recipe, scores(), "import this")
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {
        "library_name": "tsfm-adapt",
        "base_model": "amazon/chronos-2",
        "license": "apache-2.0",
    }
    for stated in (
        "Not a medical device",
        "```python\nimport this\n```",
        "HR (bpm), SpO2 (%)",
        "horizon 30 samples, quantiles 0.1, 0.5, 0.9",
        "Adapters: lora; trained parameters 1,234 of 56,789",
        "One sample every 60 s; context 240 samples",
        "0123abcd",
        "| test | 12 | 13 | 618 |",
        "| adapted | 0.8123 | 0.0500 |",
        "| last_value | 1.0000 | - |",
        "against zero-shot: MASE 8.1 % lower.",
        "95 % bootstrap over the subjects",
        "adapted: 74% of the measured values",
        "zero_shot: 66% of the measured values",
        "`apache-2.0`, that of the base weights",
    ):
        assert stated in body, stated
    for absent in ("SYNTHETIC", "simulated", "commercial", "No comparison", "only.", "random"):
        assert absent not in body, absent


@pytest.mark.parametrize(
    ("card", "changes", "text"),
    [
        ({"synthetic": True}, {}, "SYNTHETIC: simulated signals, no patient is behind them"),
        ({"synthetic": True}, {}, "says nothing about patients"),
        ({"licence": "cc-by-nc-4.0"}, {}, "NOT for commercial use"),
        ({"licence": "unknown"}, {}, "Unknown: the weights `amazon/chronos-2` come without"),
        ({"checkpoint": "tiny"}, {}, "The base weights are random"),
        ({}, {"subjects": 3}, "Tested on 3 subjects only"),
        ({}, {"subjects": 1}, "Tested on 1 subject only"),
        ({}, {"smoke": True, "verdict": None}, "A smoke run"),
        ({}, {"verdict": None}, "No comparison has shown it to be better"),
        ({"horizon": 0}, {}, "no horizon"),
    ],
)
def test_it_says_what_limits_the_model(recipe, card, changes, text):
    assert text in model_card(replace(CARD, **card), recipe, scores(**changes), "")


def test_classes_have_their_own_scores_and_calibration(recipe):
    overall = {"auroc": 0.91, "auprc": None, "balanced_accuracy": 0.8, "ece": 0.123}
    models = {"adapted": {"role": "adapted", "overall": overall}}
    of_classes = scores(models=models, metric="auroc", better="higher")
    text = model_card(CARD, recipe, of_classes, "")
    assert "| model (higher is better) | AUROC | AUPRC | balanced accuracy |" in text
    assert "| adapted | 0.9100 | - | 0.8000 |" in text
    assert "adapted: expected calibration error 0.123" in text


def test_notes_stand_before_the_use(recipe):
    text = model_card(CARD, recipe, scores(), "", notes=("Exported by force.",))
    assert text.index("> **Exported by force.**") < text.index("## Use")


def test_it_has_the_lines_of_the_audit(recipe):
    lines = ["leakage audit: subjects: not checked (name them)"]
    audit = {"recordings": 73, "stretch_samples": 32, "findings": [], "lines": lines}
    assert f"- {lines[0]}\n" in model_card(CARD, recipe, scores(audit=audit), "")


def test_a_unit_that_was_guessed_is_marked(recipe):
    guessed = {"unit": "bpm", "from_unit": "bpm", "unit_assumed": True}
    tree = recipe.model_dump(mode="json", exclude_unset=True)
    tree["data"]["channels"]["HR"] = guessed
    text = model_card(CARD, Recipe.model_validate(tree), scores(), "")
    assert "HR (bpm, ASSUMED: the files state no unit), SpO2 (%)" in text
