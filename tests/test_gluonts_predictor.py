"""The module name by which version 0.1 offered its GluonTS predictor."""

from tsfm_adapt import gluonts_predictor
from tsfm_adapt.export import gluonts


def test_the_old_name_leads_to_the_very_same_class():
    assert gluonts_predictor.AdaptedPredictor is gluonts.AdaptedPredictor
