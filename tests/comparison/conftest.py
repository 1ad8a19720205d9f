"""Two backbones compared on one small recipe, once for all tests that only read what came out."""

import pytest

from tsfm_adapt._util.progress import Progress
from tsfm_adapt.comparison import cells as comparison
from tsfm_adapt.comparison import ranking
from tsfm_adapt.recipe.files import loads

QUIET = Progress(quiet=True)


RECIPE = """
name: small
seed: 5
data:
  reader: {name: synthetic, cohort: icu_vitals, subjects: 24, hours: 3}
  channels: {HR: bpm, MAP: mmHg}
  rate_hz: 1/60
  split: {by: subject, train: 12, val: 4, test: 8}
backbone: {name: chronos_bolt, checkpoint: tiny}
adapters: [{name: lora, rank: 2, lr: 0.02}]
task: {name: forecast, context_s: 3840, horizon_s: 600}
train: {steps: 3, batch_size: 4, val_windows: 8}
evaluate: {max_windows: 24}
"""


@pytest.fixture(scope="session")
def recipe():
    return loads(RECIPE)


@pytest.fixture(scope="session")
def compared(recipe, tmp_path_factory):
    """Two backbones, as they are and with LoRA of two seeds, and one that cannot be."""
    folder = tmp_path_factory.mktemp("compare")
    wanted = comparison.cells(
        recipe, ["chronos_bolt", "chronos_t5=tiny"], ["none", "lora"], [1, 2]
    )
    broken = recipe.override(
        {
            "adapters": [{"name": "bitfit"}],
            "backbone": {"name": "chronos_t5", "checkpoint": "tiny"},
        }
    )
    wanted.append(comparison.Cell("<b>broken</b>", broken))
    return folder, wanted, comparison.run(recipe, wanted, folder, QUIET)


@pytest.fixture(scope="session")
def ranked(compared):
    _, _, finished = compared
    return ranking.rank(finished.folders, finished.failures)
