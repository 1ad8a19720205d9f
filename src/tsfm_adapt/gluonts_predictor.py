"""The name by which version 0.1 offered `export.gluonts`."""

from tsfm_adapt.export.gluonts import AdaptedPredictor as AdaptedPredictor
