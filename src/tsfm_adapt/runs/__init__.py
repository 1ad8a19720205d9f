"""A run's folder: trained, scored, saved, loaded again.

The names below are public: the card of every bundle imports `load` from here.
"""

from tsfm_adapt.runs.lifecycle import evaluate as evaluate
from tsfm_adapt.runs.lifecycle import resume as resume
from tsfm_adapt.runs.lifecycle import train as train
from tsfm_adapt.runs.run import Run as Run
from tsfm_adapt.runs.run import load as load
from tsfm_adapt.runs.run import predict as predict
