"""A recipe's text, and what is said of it where it is refused."""

import pytest
import yaml

from tsfm_adapt.errors import RecipeError
from tsfm_adapt.recipe.files import loads

TEXT = """\
name: vitals
seed: 3
data:
  reader: {name: synthetic, subjects: 9}
  channels: {HR: bpm, SpO2: "%"}
  rate_hz: 1/60
  cleaning: {ranges: {HR: [10, 300]}}
  split: {by: subject, train: 0.7, val: 0.15, test: 0.15}
backbone: {name: chronos2}
adapters:
  - {name: lora, rank: 8, sites: [attn.q]}
task: {name: forecast, context_s: 7200, horizon_s: 1800, horizons_s: [900]}
train: {steps: 30, lr: 1e-3}
evaluate: {max_windows: 50}
"""


def with_value(path, value):
    """The recipe's text with one value replaced or added; without it for `...`."""
    tree = yaml.safe_load(TEXT)
    node, keys = tree, [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    if value is ...:
        del node[keys[-1]]
    else:
        node[keys[-1]] = value
    return yaml.safe_dump(tree, sort_keys=False)


def faults(text, *sets):
    """The lines of the refusal."""
    with pytest.raises(RecipeError) as told:
        loads(text, sets, source="my.yaml")
    assert told.value.exit_code == 2
    return str(told.value).splitlines()
