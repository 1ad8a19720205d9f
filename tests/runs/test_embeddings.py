"""What the series of a table of embeddings are called; the table is in tests/cli/test_embed.py."""

import numpy as np
import pyarrow

from contracts.proposed import recording, walk
from tsfm_adapt.adapters import channel_projector, lora, surrogate_pair
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.model import AdaptedModel
from tsfm_adapt.runs.embeddings import _channels, _table
from tsfm_adapt.signals.windows import Windows, WindowSpec


def names(config):
    model = AdaptedModel(Chronos2.tiny(), [config.build()], setting=Setting(("HR", "RESP")))
    return _channels(model)


def test_series_of_an_adapter_have_the_names_that_the_adapter_gives_them():
    assert names(channel_projector.Config(latents=2)) == ["latent0", "latent1"]
    assert names(surrogate_pair.Config()) == ["HR 1", "RESP 1", "HR 2", "RESP 2"]


def test_an_adapter_of_weights_leaves_the_names_of_the_data():
    assert names(lora.Config(rank=1)) == []


def test_times_are_in_the_zone_of_all_parts_together():
    start = np.datetime64("2024-03-02T14:00:00", "s")
    own = recording(walk(40), start=start, zone="-05:00")
    windows = Windows([own], WindowSpec(32, 0, 8))
    vectors, shown = np.zeros((2, 1, 3), np.float32), np.ones((2, 1), bool)
    for zone in ("-05:00", "UTC"):
        table = _table(windows, "test", vectors, shown, [], zone)
        assert table.schema.field("time").type == pyarrow.timestamp("ms", tz=zone)
        assert (
            table["time"][0]
            .as_py()
            .isoformat()
            .startswith("2024-03-02T09:00:32" if zone == "-05:00" else "2024-03-02T14:00:32")
        )
