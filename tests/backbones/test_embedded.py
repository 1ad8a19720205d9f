"""What every checkpoint that comes with the package must be."""

import json
import re
from pathlib import Path

import pytest
import torch

from contracts.batch import LEVELS, random_batch
from tsfm_adapt.backbones._checkpoints import locate
from tsfm_adapt.backbones.embedded import FOLDER as EMBEDDED
from tsfm_adapt.components import built_in, component, config_class
from tsfm_adapt.errors import RecipeError

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.parent.name for path in EMBEDDED.glob("*/README.md"))


def test_every_backbone_has_one():
    folders = {p.name for p in EMBEDDED.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders == set(NAMES)
    assert set(NAMES) == set(built_in("backbone"))


def test_together_they_stay_small():
    sizes = {n: sum(p.stat().st_size for p in (EMBEDDED / n).iterdir()) for n in NAMES}
    assert max(sizes.values()) <= 6.5e6, sizes
    assert sum(sizes.values()) <= 58e6, sizes


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_ours_and_the_default(name):
    if problem := component("backbone", name).problem:
        pytest.skip(f"backbone '{name}' {problem}")
    backbone = config_class("backbone", name)().build()
    assert backbone.spec.checkpoint == "embedded"
    assert backbone.spec.licence == "apache-2.0"
    assert 400_000 <= sum(p.numel() for p in backbone.network.parameters()) <= 1_600_000
    assert {p.dtype for p in backbone.network.parameters()} == {torch.float32}


def test_the_page_of_components_names_them_all():
    page = (ROOT / "docs/reference/components.md").read_text(encoding="utf-8")
    sizes = re.findall(r"^\| `(\w+)` \| .*? \| [\d.]+ million \|", page, re.MULTILINE)
    assert sizes == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_its_card_says_synthetic_and_repeats_its_scores(name):
    card = (EMBEDDED / name / "README.md").read_text(encoding="utf-8")
    results = ROOT / "experiments" / "embedded_checkpoints" / "results"
    record = json.loads((results / f"{name}.json").read_text())
    scores = json.loads((results / f"{name}_test.json").read_text())
    assert "SYNTHETIC" in card
    assert "Not a medical device" in card
    assert f"{record['parameters']:,}" in card
    for steps in ("15", "30"):
        assert f"{scores['icu_minute']['zero_shot'][steps]['mase']:.3f}" in card
    for steps in ("6", "12"):
        assert f"{scores['icu_hourly']['zero_shot'][steps]['mase']:.3f}" in card
        assert f"{scores['glucose']['zero_shot'][steps]['mae']['glucose']:.2f}" in card


@pytest.mark.parametrize("name", NAMES)
def test_it_continues_a_level_better_than_the_mean_of_the_context(name):
    """A random network, or one loaded with the wrong scaling, does not."""
    if problem := component("backbone", name).problem:
        pytest.skip(f"backbone '{name}' {problem}")
    backbone = config_class("backbone", name)().build()
    batch = random_batch(windows=16, channels=4, samples=128, horizon=8, missing=0.0, seed=3)
    torch.manual_seed(0)
    with torch.no_grad():
        predicted = backbone.forecast(batch, 8).quantiles(LEVELS)[:, :, 1]
    scale = batch.values.std(-1, keepdim=True)
    errors = [
        ((guess - batch.target).abs() / scale).mean()
        for guess in (predicted, batch.values.mean(-1, keepdim=True))
    ]
    assert errors[0] < 0.7 * errors[1]


def test_a_family_without_weights_here_says_which_have_some():
    with pytest.raises(RecipeError, match=r"no weights of nobody come .* chronos2, chronos_bolt"):
        locate("nobody", "embedded")
