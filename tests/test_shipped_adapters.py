"""The bundles of `adapters/` do what their page says; a bundle of format 1 says what it said."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from tsfm_adapt.recipe.trees import parse_mapping
from tsfm_adapt.runs.bundle import read_card
from tsfm_adapt.runs.run import predict

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "adapters" / "README.md").read_text(encoding="utf-8")
NAMES = sorted(path.parent.name for path in ROOT.glob("adapters/*/bundle.json"))
OLD = Path(__file__).parent / "data" / "bundle_v1"
READER = {"name": "csv", "layout": "wide", "time_format": "seconds"}


def documented(name):
    """What the page's command asks for: (folder, file, reader)."""
    (line,) = re.findall(rf"^tsfm-adapt predict adapters/{name} .*$", PAGE, re.MULTILINE)
    words = shlex.split(line)
    folder, file = (ROOT / word for word in words[2:4])
    return folder, str(file), parse_mapping(words[words.index("--reader") + 1], "--reader")


def test_there_is_one_for_each_task():
    tasks = [name.split("-")[1] for name in NAMES]
    assert tasks == ["classification", "forecast", "imputation"]


@pytest.mark.parametrize("name", NAMES)
def test_the_documented_command_gives_a_finite_table(name):
    table = predict(*documented(name), None).to_pandas()
    assert set(table.subject) == {"icu_vitals-0000", "icu_vitals-0001"}
    said = [column for column in table if column.startswith(("q", "p_"))]
    if name == "vitals-imputation-lora":
        assert np.isfinite(table.value).all()
        table = table[~table.measured]
    found = table[said].to_numpy()
    assert len(found) > 1
    assert np.isfinite(found).all()
    if name == "vitals-classification-lora":
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
        assert 0 < found.min() < found.max() < 1
    else:
        assert (np.diff(found, axis=1) >= 0).all()  # 0.1, 0.5, 0.9
        assert read_card(ROOT / "adapters" / name).calibrated == (0.8,)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_it_is_not(name):
    folder = ROOT / "adapters" / name
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "SYNTHETIC" in card
    assert "Not a medical device" in card
    assert read_card(folder).synthetic
    assert read_card(folder).checkpoint == "embedded"  # nothing to fetch
    shown = json.loads((folder / "scores.json").read_text(encoding="utf-8"))["verdict"]
    reference = shown["vs_zero_shot"] or shown["vs_frozen_probe"]
    assert reference["shown"] or "Exported by force although" in card


@pytest.mark.parametrize("name", NAMES)
def test_each_is_small(name):
    files = (ROOT / "adapters" / name).iterdir()
    assert sum(path.stat().st_size for path in files) < 1_000_000


@pytest.mark.parametrize("said", ["calibrated", "raw"])
def test_a_bundle_of_format_1_says_what_it_said(said):
    """The folder is never written again: a later version that reads it otherwise is wrong.

    It cannot tell a change of the embedded weights, which the bundle refuses by their hash.
    """
    assert read_card(OLD).format_version == 1
    expected = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))[said]
    units = {"HR": "bpm", "MAP": "mmHg"}
    table = predict(
        OLD, str(OLD / "input.csv"), {**READER, "units": units}, None, raw=said == "raw"
    )
    for level, values in expected.items():
        np.testing.assert_allclose(table.column(level).to_numpy(), values, rtol=1e-5)
