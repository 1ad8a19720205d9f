"""A small recipe of simulated vital signs and its recordings, read once."""

from functools import cache

from tsfm_adapt.recipe.parts import prepare
from tsfm_adapt.recipe.schema import Recipe

TREE = {
    "name": "small",
    "data": {
        "reader": {"name": "synthetic", "cohort": "icu_vitals", "subjects": 9, "hours": 4},
        "channels": {"HR": "bpm", "MAP": "mmHg"},
        "rate_hz": "1/60",
        "split": {"by": "subject", "train": 4, "val": 2, "test": 3},
    },
    "backbone": {"name": "chronos_bolt", "checkpoint": "tiny"},
    "adapters": [{"name": "lora", "rank": 2}],
    "task": {"name": "forecast", "context_s": 3840, "horizon_s": 960},
    "train": {"steps": 2, "batch_size": 4, "accelerator": "cpu", "val_windows": 6},
    "evaluate": {"max_windows": 12},
}


def recipe(**changes):
    """The recipe, some of its values changed by path."""
    return Recipe.from_dict(TREE).override(changes)


@cache
def prepared():
    """Its recordings and windows, by split."""
    return prepare(recipe())
