import pytest

from contracts.adapter import AdapterContract, base_tensors
from tsfm_adapt.adapters import bitfit
from tsfm_adapt.adapters.base import Setting
from tsfm_adapt.backbones.chronos2 import Chronos2
from tsfm_adapt.backbones.chronos_bolt import ChronosBolt
from tsfm_adapt.backbones.chronos_t5 import ChronosT5
from tsfm_adapt.backbones.moment import Moment
from tsfm_adapt.errors import RecipeError
from tsfm_adapt.model import AdaptedModel


class TestBitFit(AdapterContract):
    config = bitfit.Config()

    def trained_base(self, backbone):
        return {name for name in base_tensors(backbone) if name.endswith(".bias")}


@pytest.mark.parametrize(
    ("backbone_class", "size"),
    [
        (Chronos2, (64 + 32 + 32) + (64 + 144 + 144)),  # both patch embeddings
        (ChronosBolt, (64 + 32 + 32) + (64 + 576 + 576)),
        (Moment, 8),  # the head
    ],
)
def test_its_size_is_that_of_the_biases(backbone_class, size):
    model = AdaptedModel(backbone_class.tiny(), [bitfit.Config().build()])
    assert sum(p.numel() for p in model.trainable().values()) == size
    assert not [name for name in model.trainable() if "relative" in name]


def test_a_table_of_relative_positions_is_no_bias():
    """Chronos-T5 has two of them and not one bias."""
    told = r"none of the 47 tensors of chronos_t5 is a bias \(2 tables"
    with pytest.raises(RecipeError, match=told):
        bitfit.Config().build().attach(ChronosT5.tiny(), Setting())
