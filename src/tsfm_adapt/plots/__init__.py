"""Pictures: of a run, of a comparison's models, and, by the names here, for notebooks."""

from tsfm_adapt.plots.notebook import channel_attention as channel_attention
from tsfm_adapt.plots.notebook import embedding as embedding
from tsfm_adapt.plots.notebook import filled as filled
from tsfm_adapt.plots.notebook import forecast as forecast
from tsfm_adapt.plots.notebook import recording as recording
