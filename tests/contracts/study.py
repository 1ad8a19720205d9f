"""A small recipe with a search, and trials of it that begin and do not end."""

from tsfm_adapt.studies.processes import this_process
from tsfm_adapt.studies.storage import open_study

RECIPE = """
name: small
data:
  reader: {name: synthetic, subjects: 6, hours: 8}
  channels: {HR: bpm}
  rate_hz: 1/60
backbone: {name: chronos2}
adapters: [{name: lora, rank: 4}]
task: {name: forecast, context_s: 7200, horizon_s: 1800}
train: {steps: 20, lr: 0.5}
search: {trials: 5, space: {train.lr: {low: 1.0e-4, high: 1.0e-2, log: true}}}
"""


def began(study, marks=None):
    """A trial under way; in this process where nothing else is said."""
    made, _ = open_study(study, None, 0)
    trial = made.ask()
    trial.suggest_float("train.lr", 1e-4, 1e-2, log=True)
    trial.set_user_attr("process", marks or this_process())
    return made, trial


def states(made):
    return [t.state.name for t in made.get_trials(deepcopy=False)]
