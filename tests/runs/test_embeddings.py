"""What the series of a table of embeddings are called; the table is in tests/cli/test_embed.py."""

from tsfm_adapt.adapters import channel_projector, lora, surrogate_pair
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.runs.embeddings import _channels


def names(config):
    model = AdaptedModel(Chronos2.tiny(), [config.build()], setting=Setting(("HR", "RESP")))
    return _channels(model)


def test_series_of_an_adapter_have_the_names_that_the_adapter_gives_them():
    assert names(channel_projector.Config(latents=2)) == ["latent0", "latent1"]
    assert names(surrogate_pair.Config()) == ["HR 1", "RESP 1", "HR 2", "RESP 2"]


def test_an_adapter_of_weights_leaves_the_names_of_the_data():
    assert names(lora.Config(rank=1)) == []
